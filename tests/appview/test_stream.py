"""The change stream: its window on disk, its numbers, and those who follow it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from atdex_appview.errors import FellBehind, StreamUnavailable
from atdex_appview.store.base import AccountEvent, RecordEvent, StoreEvent
from atdex_appview.stream import log as log_module
from atdex_appview.stream.changes import ChangeStream
from atdex_appview.stream.entries import Entry, entries_of, info_frame, without_record
from atdex_appview.stream.log import StreamLog
from atdex_lexicons import Catalog
from atdex_lexicons.datamodel import encode
from atdex_xrpc.event_frames import parse_frame
from tests.appview.records import ALICE, BOB, rev

SECONDS = 15.0
CATALOG = Catalog.bundled()
NSID = "app.bsky.atdata.subscribeRecords"
ENTRY = "science.alt.dataset.entry"
CID = "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm"
NOW = 1_790_000_000_000_000
HOUR = 3_600_000_000


def record(
    rkey: str = "a", *, did: str = ALICE, action: str = "create", name: str = "retina"
) -> RecordEvent:
    if action == "delete":
        return RecordEvent(did, rev(1), ENTRY, rkey, "delete")
    raw = encode({"$type": ENTRY, "name": name, "bytes": b"\x00\xff", "nested": {"a": [1, 2]}})
    assert action in ("create", "update")
    return RecordEvent(did, rev(1), ENTRY, rkey, action, CID, raw, "valid")  # type: ignore[arg-type]


def told(event: StoreEvent, seq: int) -> Entry:
    [entry] = entries_of([event], seq, NOW)
    return entry


def body(entry: Entry) -> Any:
    return parse_frame(entry.frame).body


def rkeys(entries: Sequence[Entry]) -> list[str]:
    return [body(entry).get("rkey", "account") for entry in entries]


# Messages


@pytest.mark.parametrize(
    "event",
    [
        record(),
        record(action="update"),
        record(action="delete"),
        RecordEvent(BOB, rev(9), ENTRY, "b", "create", CID, None, "dialect:flat"),
        RecordEvent(BOB, rev(9), ENTRY, "k" * 300, "delete"),
        RecordEvent(BOB, rev(9), ENTRY, "k" * 23, "delete"),
        RecordEvent(BOB, rev(9), ENTRY, "k" * 24, "delete"),
        AccountEvent(ALICE, active=False, status="takendown"),
        AccountEvent(ALICE, active=True),
    ],
)
@pytest.mark.parametrize("seq", [7, 23, 24, 70_000, 2**32 - 1, 2**32, NOW])
def test_every_message_is_valid_by_its_document(event: StoreEvent, seq: int) -> None:
    entry = told(event, seq)
    message = parse_frame(entry.frame)
    CATALOG.validate_message(NSID, dict(message.body), message.kind)
    assert message.body["seq"] == seq
    assert message.body["time"] == "2026-09-21T14:13:20.000000Z"
    # The frame is what an encoder would have written: sorted keys, no more, no less.
    assert entry.frame.endswith(encode(dict(message.body)))


def test_a_record_is_told_byte_for_byte() -> None:
    event = record()
    entry = told(event, 7)
    assert event.raw is not None
    assert event.raw in entry.frame
    assert body(entry)["record"]["bytes"] == b"\x00\xff"
    assert body(without_record(entry)) == {k: v for k, v in body(entry).items() if k != "record"}
    gone = told(record(action="delete"), 8)
    assert without_record(gone) is gone


def test_a_notice_is_valid_by_its_document() -> None:
    message = parse_frame(info_frame("OutdatedCursor", "some is missing"))
    CATALOG.validate_message(NSID, dict(message.body), message.kind)


# The log


def opened(folder: Path, change: int = 0, **options: Any) -> StreamLog:
    return StreamLog.open(folder / "stream.sqlite", change=change, **{"now": NOW, **options})


def test_numbers_grow_by_one_and_go_on_after_a_restart(tmp_path: Path) -> None:
    log = opened(tmp_path)
    assert (log.last, log.floor) == (NOW, 0)
    entries = log.prepare(1, [record("a"), record("b")], NOW)
    assert [entry.seq for entry in entries] == [NOW + 1, NOW + 2]
    log.close()
    log = opened(tmp_path, 1, now=NOW - HOUR)  # the clock was set back
    assert [e.seq for e in log.prepare(2, [record("c")], NOW)] == [NOW + 3]
    assert rkeys(log.read(0, log.last)) == ["a", "b", "c"]
    log.close()
    log = opened(tmp_path, 2, now=NOW + HOUR)
    assert [e.seq for e in log.prepare(3, [record("d")], NOW)] == [NOW + HOUR + 1]
    assert rkeys(log.read(NOW + 2, log.last)) == ["c", "d"]
    log.close()


def test_what_the_store_did_not_commit_is_taken_back_and_its_number_not_given_again(
    tmp_path: Path,
) -> None:
    log = opened(tmp_path)
    log.prepare(1, [record("a")], NOW)
    log.prepare(2, [record("b"), record("c")], NOW)
    log.close()  # killed before the store committed its second change
    log = opened(tmp_path, 1)
    assert rkeys(log.read(0, log.last)) == ["a"]
    assert (log.floor, log.count) == (0, 1)
    again = log.prepare(2, [record("b")], NOW)
    assert again[0].seq > NOW + 3
    assert rkeys(log.read(0, log.last)) == ["a", "b"]
    log.close()


def test_a_transaction_that_fails_takes_its_messages_back(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.prepare(1, [record("a")], NOW)
    log.prepare(2, [record("b")], NOW)
    log.take_back(2)
    assert [e.seq for e in log.prepare(2, [record("c")], NOW)] == [NOW + 3]
    assert rkeys(log.read(0, log.last)) == ["a", "c"]
    assert log.count == 2
    log.close()
    log = opened(tmp_path, 2)
    assert rkeys(log.read(0, log.last)) == ["a", "c"]
    log.close()


@pytest.mark.parametrize("change", [0, 1, 9])
def test_a_log_and_a_store_of_different_times_have_missed_something(
    tmp_path: Path, change: int
) -> None:
    log = opened(tmp_path)
    for number in (1, 2, 3):
        log.prepare(number, [record(str(number))], NOW)
    log.close()
    log = opened(tmp_path, change)
    assert log.floor == log.last >= NOW + 3
    assert log.read(log.floor, log.last) == []
    with pytest.raises(FellBehind):
        log.read(NOW + 1, log.last)
    log.close()


def test_a_new_log_beside_a_store_with_records_has_missed_them(tmp_path: Path) -> None:
    log = opened(tmp_path, 5)
    assert log.floor == log.last == NOW
    log.close()


def test_a_lost_log_repeats_no_number(tmp_path: Path) -> None:
    log = opened(tmp_path)
    before = log.prepare(1, [record("a")], NOW)[-1].seq
    log.close()
    (tmp_path / "stream.sqlite").unlink()
    log = opened(tmp_path, 1, now=NOW + HOUR)
    assert log.prepare(2, [record("b")], NOW)[0].seq > before
    log.close()


def test_the_window_is_bounded_by_number(tmp_path: Path) -> None:
    log = opened(tmp_path, max_events=10)
    for number in range(1, 8):
        log.prepare(number, [record(f"{number}-{n}") for n in range(3)], NOW)
    assert log.count == 10
    kept = log.read(log.floor, log.last)
    assert [entry.seq for entry in kept] == list(range(NOW + 12, NOW + 22))
    assert log.floor == NOW + 11
    with pytest.raises(FellBehind):
        log.read(log.floor - 1, log.last)
    log.close()
    log = opened(tmp_path, 7, max_events=10)
    assert (log.count, log.floor) == (10, NOW + 11)
    log.close()


def test_the_window_is_bounded_by_age(tmp_path: Path) -> None:
    log = opened(tmp_path, max_hours=2)
    log.prepare(1, [record("a")], NOW)
    log.prepare(2, [record("b")], NOW + HOUR)
    log.prepare(3, [record("c")], NOW + HOUR * 5 // 2)
    assert rkeys(log.read(log.floor, log.last)) == ["b", "c"]
    log.prepare(4, [], NOW + HOUR * 10)
    assert log.read(log.floor, log.last) == []
    assert (log.count, log.floor) == (0, log.last)
    log.close()


def test_a_smaller_window_is_reached_batch_by_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = opened(tmp_path)
    log.prepare(1, [record(str(n)) for n in range(100)], NOW)
    log.close()
    monkeypatch.setattr(log_module, "TRIM_EVENTS", 30)
    log = opened(tmp_path, 1, max_events=10)
    counts = []
    for number in range(2, 6):
        log.prepare(number, [record("x")], NOW)
        counts.append(log.count)
    assert counts == [71, 42, 13, 10]
    log.close()


def test_a_page_is_bounded_by_its_bytes_and_has_one_message_at_least(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "PAGE_BYTES", 1_000)
    log = opened(tmp_path)
    log.prepare(1, [record("a", name="x" * 2_000), *(record(str(n)) for n in range(9))], NOW)
    pages, at = [], 0
    while page := log.read(at, log.last):
        pages.append(len(page))
        at = page[-1].seq
    assert pages[0] == 1
    assert sum(pages) == 10
    assert max(pages) < 6
    log.close()


def test_what_a_deleted_account_published_is_not_kept(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.prepare(1, [record("a"), record("b", did=BOB)], NOW)
    gone = AccountEvent(ALICE, active=False, status="deleted")
    log.prepare(2, [gone, record("c")], NOW)
    assert rkeys(log.read(0, log.last)) == ["b", "account", "c"]
    assert log.count == 3
    log.close()


def test_a_log_of_a_newer_version_or_of_no_database_is_refused(tmp_path: Path) -> None:
    opened(tmp_path).close()
    file = tmp_path / "stream.sqlite"
    with sqlite3.connect(file) as sql:
        sql.execute("UPDATE stream_facts SET value = 99 WHERE name = 'version'")
    sql.close()
    with pytest.raises(StreamUnavailable, match="newer"):
        opened(tmp_path)
    file.write_bytes(b"no database" * 1000)
    with pytest.raises(StreamUnavailable):
        opened(tmp_path)


# Following


class Feed:
    """A stream without a store: `give` is a change of one."""

    def __init__(self, stream: ChangeStream) -> None:
        self.stream = stream
        self.change = 0

    async def give(self, *events: StoreEvent) -> None:
        self.change += 1
        await asyncio.to_thread(self.stream.prepare, self.change, events, NOW)
        await asyncio.to_thread(self.stream.committed)


@asynccontextmanager
async def feed(folder: Path, *, change: int = 0, **options: Any) -> AsyncIterator[Feed]:
    stream = ChangeStream(opened(folder, change), **options)
    try:
        given = Feed(stream)
        given.change = change
        yield given
    finally:
        stream.close()


async def take(stream: ChangeStream, count: int, after: int | None = None) -> list[str]:
    found: list[Entry] = []
    async with asyncio.timeout(SECONDS), aclosing(stream.follow(after)) as parts:
        async for part in parts:
            found += part
            if len(found) >= count:
                break
    return rkeys(found)


async def test_who_follows_without_a_cursor_gets_what_comes_next(tmp_path: Path) -> None:
    async with feed(tmp_path) as given:
        await given.give(record("before"))
        await asyncio.sleep(0)
        following = asyncio.create_task(take(given.stream, 2))
        await asyncio.sleep(0)
        await given.give(record("a"))
        await given.give(record("b"))
        assert await following == ["a", "b"]


async def test_a_follower_is_told_only_what_is_committed(tmp_path: Path) -> None:
    async with feed(tmp_path) as given:
        following = asyncio.create_task(take(given.stream, 1, after=0))
        await asyncio.to_thread(given.stream.prepare, 1, [record("never")], NOW)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await asyncio.shield(following)
        given.stream.take_back()
        await given.give(record("a"))
        assert await following == ["a"]


async def test_a_cursor_anywhere_goes_on_there_from_disk_and_memory(tmp_path: Path) -> None:
    names = [f"r{n:03}" for n in range(60)]
    async with feed(tmp_path, recent_events=20) as given:
        for start in range(0, 60, 7):
            await given.give(*(record(name) for name in names[start : start + 7]))
        await asyncio.sleep(0)
        for at in range(60):
            assert await take(given.stream, 60 - at, after=NOW + at) == names[at:]
    async with feed(tmp_path, change=given.change) as given:
        await given.give(record("later"))
        assert await take(given.stream, 61, after=0) == [*names, "later"]


async def test_a_follower_that_was_up_to_date_and_falls_behind_is_told_so(
    tmp_path: Path,
) -> None:
    async with feed(tmp_path, recent_events=10) as given:
        slow = given.stream.follow()
        patient = given.stream.follow(patient=True)
        first = [asyncio.ensure_future(anext(each)) for each in (slow, patient)]
        await asyncio.sleep(0)
        await given.give(record("first"))
        for each in first:
            assert rkeys(await each) == ["first"]
        for number in range(10):
            await given.give(*(record(f"{number}-{n}") for n in range(3)))
        await asyncio.sleep(0)
        async with asyncio.timeout(SECONDS):
            with pytest.raises(FellBehind):
                await anext(slow)
            assert rkeys(await anext(patient))[:2] == ["0-0", "0-1"]
        await patient.aclose()


async def test_who_reads_the_past_may_be_slow_until_the_window_passes_it(tmp_path: Path) -> None:
    log = opened(tmp_path, max_events=30)
    stream = ChangeStream(log, recent_events=5)
    given = Feed(stream)
    try:
        await given.give(*(record(f"old {n}") for n in range(20)))
        await asyncio.sleep(0)
        reader = stream.follow(NOW)
        await given.give(*(record(f"new {n}") for n in range(8)))
        await asyncio.sleep(0)
        async with asyncio.timeout(SECONDS):
            assert rkeys(await anext(reader))[0] == "old 0"
            late = stream.follow(NOW + 1)
            await given.give(*(record(f"newer {n}") for n in range(30)))
            await asyncio.sleep(0)
            with pytest.raises(FellBehind):
                await anext(late)
    finally:
        stream.close()


async def test_memory_is_bounded_by_bytes(tmp_path: Path) -> None:
    async with feed(tmp_path, recent_bytes=50_000) as given:
        for number in range(30):
            await given.give(record(str(number), name="x" * 5_000))
        await asyncio.sleep(0)
        assert given.stream._recent_size <= 50_000
        assert len(await take(given.stream, 30, after=0)) == 30


async def test_many_followers_share_what_is_in_memory(tmp_path: Path) -> None:
    async with feed(tmp_path) as given:
        followers = [asyncio.create_task(take(given.stream, 50, after=NOW)) for _ in range(50)]
        for number in range(50):
            await given.give(record(str(number)))
        expected = [str(number) for number in range(50)]
        assert await asyncio.gather(*followers) == [expected] * 50
