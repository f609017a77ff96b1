from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from atdex_firehose import ledger as ledger_module
from atdex_firehose.events import AccountEvent, Event, SyncEvent
from atdex_firehose.ledger import Ledger
from atdex_firehose.repo import Head, Standing
from atdex_firehose.state import State
from atdex_firehose.watermark import Watermark


@pytest.fixture
async def state() -> AsyncIterator[State]:
    opened = await State.open(None)
    yield opened
    await opened.close()


def commit(seq: int, rev: str, did: str = "did:plc:a") -> Event:
    return SyncEvent("http://relay", seq, did, rev, "2026-01-01T00:00:00Z")


def head(rev: str) -> Head:
    return Head(rev, b"tree of " + rev.encode())


async def test_a_head_is_saved_only_when_everything_before_it_is_acknowledged(state: State) -> None:
    ledger, mark = Ledger(state), Watermark()
    repo = await ledger.load("did:plc:a")
    events = [commit(n, f"r{n}") for n in (1, 2, 3)]
    for event, rev in zip(events, ("r1", "r2", "r3"), strict=True):
        mark.hold(event.seq)
        ledger.deliver(event, repo, mark, head(rev))
    assert repo.head == head("r3")  # verification goes on from there at once
    ledger.ack(events[1])
    assert ledger.take_changes() == ({}, {})
    assert mark.value == 0
    ledger.ack(events[0])
    assert ledger.take_changes() == ({"did:plc:a": head("r2")}, {})
    assert mark.value == 2
    ledger.ack(events[2])
    ledger.ack(events[2])
    assert ledger.take_changes() == ({"did:plc:a": head("r3")}, {})
    assert (mark.value, ledger.unacked) == (3, 0)


async def test_another_relays_copy_is_finished_when_the_first_one_is(state: State) -> None:
    ledger, one, two = Ledger(state), Watermark(), Watermark()
    repo = await ledger.load("did:plc:a")
    event = commit(5, "r1")
    one.hold(5)
    ledger.deliver(event, repo, one, head("r1"))
    two.hold(900)
    ledger.repeated("did:plc:a", "r1", two, 900)
    assert (one.value, two.value) == (4, 899)
    ledger.ack(event)
    assert (one.value, two.value) == (5, 900)
    two.hold(901)
    ledger.repeated("did:plc:a", "r1", two, 901)  # the first one is long done
    assert two.value == 901


async def test_a_standing_waits_for_its_acknowledgement_too(state: State) -> None:
    ledger, mark = Ledger(state), Watermark()
    repo = await ledger.load("did:plc:a")
    mark.hold(1)
    event = AccountEvent("http://relay", 1, "did:plc:a", "2026-01-01T00:00:00Z", False, "x")
    ledger.deliver(event, repo, mark, Standing(False, "x"))
    assert not repo.standing.active
    assert ledger.take_changes() == ({}, {})
    ledger.ack(event)
    assert ledger.take_changes() == ({}, {"did:plc:a": Standing(False, "x")})


async def test_what_could_not_be_saved_is_kept_unless_superseded(state: State) -> None:
    ledger, mark = Ledger(state), Watermark()
    for did, seq, rev in (("did:plc:a", 1, "r1"), ("did:plc:b", 2, "r1")):
        mark.hold(seq)
        event = commit(seq, rev, did)
        ledger.deliver(event, await ledger.load(did), mark, head(rev))
        ledger.ack(event)
    taken = ledger.take_changes()
    event = commit(3, "r2")
    ledger.deliver(event, await ledger.load("did:plc:a"), mark, head("r2"))
    ledger.ack(event)
    ledger.give_back(*taken)
    assert ledger.take_changes()[0] == {"did:plc:a": head("r2"), "did:plc:b": head("r1")}


async def test_too_many_events_out_close_the_door(state: State) -> None:
    ledger, mark = Ledger(state, max_unacked=2), Watermark()
    repo = await ledger.load("did:plc:a")
    events = [commit(1, "r1"), commit(2, "r2")]
    ledger.deliver(events[0], repo, mark, head("r1"))
    assert not ledger.full
    ledger.deliver(events[1], repo, mark, head("r2"))
    assert ledger.full
    ledger.ack(events[1])
    assert not ledger.full


async def test_repos_are_forgotten_unless_something_depends_on_them(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "MEMORY_REPOS", 10)
    ledger, mark = Ledger(state), Watermark()
    busy = await ledger.load("did:plc:busy")
    mark.hold(1)
    event = commit(1, "r1", busy.did)
    ledger.deliver(event, busy, mark, head("r1"))
    for n in range(50):
        await ledger.load(f"did:plc:{n}")
    assert ledger.repo("did:plc:busy") is busy
    assert ledger.repo("did:plc:0") is None
    assert ledger.repo("did:plc:49") is not None
    assert len(ledger._repos) <= 12


async def test_a_repo_comes_back_from_the_state(state: State) -> None:
    await state.save({}, {"did:plc:a": head("r9")}, {"did:plc:a": Standing(False, "x")}, {})
    repo = await Ledger(state).load("did:plc:a")
    assert (repo.head, repo.standing) == (head("r9"), Standing(False, "x"))
