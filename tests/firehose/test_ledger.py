from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from atdex_firehose import ledger as ledger_module
from atdex_firehose.events import AccountEvent, CommitEvent, Event, Identity, RecordOp, SyncEvent
from atdex_firehose.ledger import UNACKED_EVENTS, Ledger
from atdex_firehose.repo import ACTIVE, Head, RepoRow, Standing
from atdex_firehose.state import Changes, State
from atdex_firehose.watermark import Watermark

DID = "did:plc:a"
RELAY = "http://relay"
TIME = "2026-01-01T00:00:00Z"


@pytest.fixture
async def state() -> AsyncIterator[State]:
    opened = await State.open(None)
    yield opened
    await opened.close()


class Books:
    """A ledger with one upstream, whose repos are tracked from the start."""

    def __init__(self, state: State, max_unacked: int = UNACKED_EVENTS) -> None:
        self.state = state
        self.ledger = Ledger(state, max_unacked=max_unacked)
        self.mark = Watermark()

    async def commit(self, seq: int, rev: str, did: str = DID, **ops: str | None) -> Event:
        """Deliver a commit; `ops` are the CIDs of records by key (None: deleted)."""
        repo = await self.ledger.load(did)
        if not repo.tracked:
            self.ledger.move(repo, "synchronized")
        self.mark.hold(seq)
        changes = tuple(
            RecordOp(
                "create" if cid else "delete", "a.b.c", rkey, cid, (cid and cid.encode()) or None
            )
            for rkey, cid in ops.items()
        )
        identity = Identity(did, None, None, None)
        event = CommitEvent(RELAY, seq, did, rev, TIME, changes, identity)
        self.ledger.deliver(event, repo, [(self.mark, seq)], head(rev), ops=changes)
        return event

    async def save(self) -> None:
        await self.ledger.save(lambda: {RELAY: self.mark.value}, dict)

    async def saved_head(self, did: str = DID) -> Head | None:
        await self.save()
        row, _, _ = await self.state.repo(did)
        return None if row is None else row.head


def head(rev: str) -> Head:
    return Head(rev, b"tree of " + rev.encode())


async def test_a_head_is_saved_only_when_everything_before_it_is_acknowledged(state: State) -> None:
    books = Books(state)
    events = [await books.commit(n, f"r{n}", **{f"k{n}": f"c{n}"}) for n in (1, 2, 3)]
    repo = await books.ledger.load(DID)
    assert repo.head == head("r3")  # verification goes on from there at once
    books.ledger.ack(events[1])
    assert await books.saved_head() is None
    assert (books.mark.value, await state.records(DID)) == (0, {})
    books.ledger.ack(events[0])
    assert await books.saved_head() == head("r2")
    assert await state.records(DID) == {"a.b.c/k1": "c1", "a.b.c/k2": "c2"}
    assert await state.cursors() == {RELAY: 2}
    books.ledger.ack(events[2])
    books.ledger.ack(events[2])
    assert await books.saved_head() == head("r3")
    assert (books.mark.value, books.ledger.unacked) == (3, 0)


async def test_another_relays_copy_is_finished_when_the_first_one_is(state: State) -> None:
    books, two = Books(state), Watermark()
    event = await books.commit(5, "r1")
    two.hold(900)
    books.ledger.repeated(DID, "r1", two, 900)
    assert (books.mark.value, two.value) == (4, 899)
    books.ledger.ack(event)
    assert (books.mark.value, two.value) == (5, 900)
    two.hold(901)
    books.ledger.repeated(DID, "r1", two, 901)  # the first one is long done
    assert two.value == 901


async def test_a_standing_waits_for_its_acknowledgement_too(state: State) -> None:
    books = Books(state)
    repo = await books.ledger.load(DID)
    event = AccountEvent(RELAY, 1, DID, TIME, False, "x")
    books.mark.hold(1)
    books.ledger.deliver(event, repo, [(books.mark, 1)], Standing(False, "x"))
    assert not repo.standing.active
    await books.save()
    assert await state.standing(DID) == ACTIVE
    books.ledger.ack(event)
    await books.save()
    assert await state.standing(DID) == Standing(False, "x")


async def test_a_commit_without_news_moves_the_head_in_its_turn(state: State) -> None:
    books = Books(state)
    event = await books.commit(1, "r1")
    repo = await books.ledger.load(DID)
    books.mark.hold(2)
    books.ledger.advance(repo, [(books.mark, 2)], head("r2"))
    assert repo.head == head("r2")
    assert await books.saved_head() is None
    books.ledger.ack(event)
    assert await books.saved_head() == head("r2")
    assert books.mark.value == 2


async def test_what_was_delivered_of_a_repo_is_known_before_it_is_acknowledged(
    state: State,
) -> None:
    books = Books(state)
    books.ledger.ack(await books.commit(1, "r1", x="c1", y="c1"))
    await books.save()
    books.ledger.ack(await books.commit(2, "r2", x="c2", z="c2"))
    await books.commit(3, "r3", y=None, w="c3")
    repo = await books.ledger.load(DID)
    expected = {"a.b.c/x": "c2", "a.b.c/z": "c2", "a.b.c/w": "c3"}
    assert await books.ledger.records(repo) == expected
    assert await state.records(DID) == {"a.b.c/x": "c1", "a.b.c/y": "c1"}


async def test_a_parked_commit_lets_its_number_go_in_the_transaction_that_saves_it(
    state: State,
) -> None:
    books = Books(state)
    repo = await books.ledger.load(DID)
    books.ledger.move(repo, "desynchronized")
    books.mark.hold(7)
    books.ledger.park(repo, RELAY, books.mark, 7, b"frame")
    assert (await state.cursors(), await state.parked(DID, 0)) == ({}, [])
    await books.save()
    assert await state.cursors() == {RELAY: 7}
    (parked,) = await state.parked(DID, 0)
    assert (parked.source, parked.seq, parked.raw) == (RELAY, 7, b"frame")
    # What it came to is out: it stays parked until that is acknowledged.
    event = SyncEvent(RELAY, 7, DID, "r1", TIME)
    books.ledger.deliver(event, repo, [], head("r1"), row=parked.row)
    await books.save()
    assert await state.parked(DID, 0) == [parked]
    books.ledger.ack(event)
    await books.save()
    assert await state.parked(DID, 0) == []


async def test_a_fetched_repo_is_saved_as_waiting_until_it_is_acknowledged(state: State) -> None:
    books = Books(state)
    repo = await books.ledger.load(DID)
    books.ledger.move(repo, "desynchronized")
    books.ledger.move(repo, "in-progress")
    await books.save()
    row, _, _ = await state.repo(DID)
    assert row is not None and row.state == "desynchronized"
    ops = (RecordOp("create", "a.b.c", "x", "c1", b"c1"),)
    event = CommitEvent("pds", 0, DID, "r5", "", ops, Identity(DID, None, None, None), live=False)
    books.ledger.deliver(event, repo, [], head("r5"), ops=ops, resync=True)
    books.ledger.move(repo, "synchronized")
    await books.save()
    row, _, _ = await state.repo(DID)
    assert row is not None and (row.state, row.head) == ("desynchronized", None)
    books.ledger.ack(event)
    await books.save()
    row, _, _ = await state.repo(DID)
    assert row is not None and (row.state, row.head) == ("synchronized", head("r5"))
    assert await state.records(DID) == {"a.b.c/x": "c1"}


async def test_a_deleted_account_loses_its_records_and_keeps_what_comes_after(
    state: State,
) -> None:
    books = Books(state)
    books.ledger.ack(await books.commit(1, "r1", x="c1"))
    await books.save()
    repo = await books.ledger.load(DID)
    gone = AccountEvent(RELAY, 2, DID, TIME, False, "deleted")
    books.mark.hold(2)
    books.ledger.deliver(gone, repo, [(books.mark, 2)], Standing(False, "deleted"))
    assert await books.ledger.records(repo) == {}
    back = AccountEvent(RELAY, 3, DID, TIME, True, None)
    books.mark.hold(3)
    books.ledger.deliver(back, repo, [(books.mark, 3)], Standing(True, None))
    after = await books.commit(4, "r4", y="c4")
    for event in (gone, back, after):
        books.ledger.ack(event)
    await books.save()
    assert await state.records(DID) == {"a.b.c/y": "c4"}


async def test_what_could_not_be_saved_is_kept_unless_superseded(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = Books(state)
    books.ledger.ack(await books.commit(1, "r1", "did:plc:a", x="c1"))
    books.ledger.ack(await books.commit(2, "r1", "did:plc:b", x="c1"))
    repo = await books.ledger.load("did:plc:c")
    books.ledger.move(repo, "desynchronized")
    books.mark.hold(3)
    books.ledger.park(repo, RELAY, books.mark, 3, b"frame")

    async def fail(changes: Changes) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(state, "save", fail)
        with pytest.raises(OSError, match="full"):
            await books.save()
    books.ledger.ack(await books.commit(4, "r2", "did:plc:a", x="c2"))
    await books.save()
    assert await books.saved_head("did:plc:a") == head("r2")
    assert await books.saved_head("did:plc:b") == head("r1")
    assert await state.records("did:plc:a") == {"a.b.c/x": "c2"}
    assert await state.records("did:plc:b") == {"a.b.c/x": "c1"}
    assert [each.raw for each in await state.parked("did:plc:c", 0)] == [b"frame"]


async def test_too_many_events_out_close_the_door(state: State) -> None:
    books = Books(state, max_unacked=2)
    await books.commit(1, "r1")
    assert not books.ledger.full
    second = await books.commit(2, "r2")
    assert books.ledger.full
    books.ledger.ack(second)
    assert not books.ledger.full


async def test_repos_are_forgotten_unless_something_depends_on_them(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "MEMORY_REPOS", 10)
    books = Books(state)
    await books.commit(1, "r1", "did:plc:busy")
    ledger = books.ledger
    for n in range(50):
        await ledger.load(f"did:plc:{n}")
    busy = ledger.repo("did:plc:busy")
    assert busy is not None and busy.head == head("r1")
    assert ledger.repo("did:plc:0") is None
    assert ledger.repo("did:plc:49") is not None
    assert len(ledger._repos) <= 12


async def test_a_repo_comes_back_from_the_state(state: State) -> None:
    row = RepoRow(DID, "incomplete", head("r9"), 2, "why", 3, 4.0, "r8", 1.0, 2.0)
    await state.save(Changes(repos=[row], standings={DID: Standing(False, "x")}))
    ledger = Ledger(state)
    await ledger.open()
    assert (ledger.tracked, dict(ledger.states)) == ({DID}, {"incomplete": 1})
    repo = await ledger.load(DID)
    assert (repo.row(), repo.standing) == (row, Standing(False, "x"))
