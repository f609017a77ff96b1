"""The consumer against a PDS and a directory that nobody here wrote."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from atdex_firehose import (
    AccountEvent,
    CommitEvent,
    Consumer,
    Event,
    IdentityEvent,
    RejectedEvent,
    SyncEvent,
)
from atdex_firehose.car import read_car
from atdex_firehose.state import Changes, State
from atdex_lexicons import datamodel
from tests.devnet import Account, Devnet
from tests.firehose.network import DEADLINE, until

pytestmark = pytest.mark.devnet

NOTE = "app.test.note"


def note(text: str) -> dict[str, object]:
    return {"$type": NOTE, "text": text, "createdAt": "2026-01-01T00:00:00Z"}


async def events_of(consumer: Consumer, account: Account, last: str) -> list[Event]:
    """The events of one account, up to the record with this text."""
    found: list[Event] = []
    async with asyncio.timeout(DEADLINE):
        async for event in consumer:
            consumer.ack(event)
            if event.did != account.did:
                continue
            found.append(event)
            raws = [op.raw or b"" for op in event.ops] if isinstance(event, CommitEvent) else []
            if any(last.encode() in raw for raw in raws):
                break
    return found


async def test_everything_a_real_pds_emits_is_verified(devnet: Devnet, tmp_path: Path) -> None:
    account = await asyncio.to_thread(devnet.create_account, "firehose-all.test")

    def fill() -> None:
        for n in range(20):
            account.create_record(NOTE, note(str(n)), rkey=f"n{n}")
        account.put_record(NOTE, "n3", note("changed"))
        account.delete_record(NOTE, "n4")
        account.create_record("app.other.thing", {"$type": "app.other.thing"})
        account.create_record(NOTE, note("filled"))

    def rotate() -> None:
        devnet.rotate(account.did)
        account.create_record(NOTE, note("after a loud rotation"))

    def rotate_quietly() -> None:
        devnet.rotate(account.did, quiet=True)
        account.create_record(NOTE, note("after a quiet rotation"))

    def go_and_return() -> None:
        account.deactivate()
        account.activate()
        devnet.take_down(account.did)
        devnet.take_down(account.did, applied=False)
        account.create_record(NOTE, note("back again"))

    steps = {
        "filled": fill,
        "after a loud rotation": rotate,
        "after a quiet rotation": rotate_quietly,
        "back again": go_and_return,
    }
    events: list[Event] = []
    state = tmp_path / "state.sqlite"
    async with Consumer([devnet.pds], ["app.test.*"], state=state, plc=devnet.plc) as consumer:
        # Step by step: a commit that is read only after the next rotation has no key any more.
        for last, step in steps.items():
            _, found = await asyncio.gather(
                asyncio.to_thread(step), events_of(consumer, account, last)
            )
            events += found

    assert not [event for event in events if isinstance(event, RejectedEvent)]
    records: dict[str, str | None] = {}
    for event in events:
        for op in event.ops if isinstance(event, CommitEvent) else ():
            assert op.collection == NOTE
            records[f"at://{event.did}/{op.collection}/{op.rkey}"] = op.cid
            if op.raw is not None:
                value = datamodel.decode(op.raw)
                assert isinstance(value, dict)
                assert datamodel.encode(value) == op.raw
    kept = {uri: cid for uri, cid in records.items() if cid is not None}
    assert kept == await asyncio.to_thread(account.list_records, NOTE)
    assert records[f"at://{account.did}/{NOTE}/n4"] is None

    standings = [(e.active, e.status) for e in events if isinstance(e, AccountEvent)]
    assert standings[-4:] == [
        (False, "deactivated"),
        (True, None),
        (False, "takendown"),
        (True, None),
    ]
    assert len([event for event in events if isinstance(event, SyncEvent)]) == 1
    handles = {e.identity.claimed for e in events if isinstance(e, IdentityEvent) and e.identity}
    assert handles == {"firehose-all.test"}

    raw = await asyncio.to_thread(devnet.get_repo, account.did)
    assert read_car(raw).roots[0] in read_car(raw).blocks


async def test_after_a_restart_a_real_pds_continues_after_the_cursor(
    devnet: Devnet, tmp_path: Path
) -> None:
    account = await asyncio.to_thread(devnet.create_account, "firehose-again.test")
    state = tmp_path / "state.sqlite"
    await asyncio.to_thread(account.create_record, NOTE, note("one"))
    async with Consumer([devnet.pds], ["app.test.*"], state=state, plc=devnet.plc) as consumer:
        await events_of(consumer, account, "one")
    await asyncio.to_thread(account.create_record, NOTE, note("two"))
    async with Consumer([devnet.pds], ["app.test.*"], state=state, plc=devnet.plc) as consumer:
        events = await events_of(consumer, account, "two")
    # "one" was acknowledged and its rev saved, though the cursor may be behind it because of
    # events of others that were still out.
    assert len([event for event in events if isinstance(event, CommitEvent)]) == 1


async def test_a_cursor_ahead_of_a_real_pds_is_kept_and_said(
    devnet: Devnet, tmp_path: Path
) -> None:
    saved = await State.open(tmp_path / "state.sqlite")
    await saved.save(Changes({devnet.pds: 10_000_000}))
    await saved.close()
    async with Consumer(
        [devnet.pds], ["app.test.*"], state=tmp_path / "state.sqlite", plc=devnet.plc
    ) as consumer:
        await until(lambda: consumer.stats().upstreams[0]["last_error"] is not None)
        (upstream,) = consumer.stats().upstreams
    assert upstream["cursor"] == 10_000_000
    assert "uture" in str(upstream["last_error"])
