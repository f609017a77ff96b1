"""Events with their readings: order, bounds, ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from atdex_appview import read_ahead
from atdex_appview.read_ahead import AHEAD, FEW, PART, ReadAhead
from atdex_appview.reading import Reading, judge
from atdex_appview.reading_process import Job, Judged, ReadingProcess
from atdex_firehose.events import CommitEvent, Event, Identity, IdentityEvent, RecordOp
from atdex_lexicons import Catalog
from tests.appview.records import ALICE, COLLECTIONS, rev
from tests.appview.test_reading_process import dataset

CATALOG = Catalog.bundled()
SOURCE = "wss://relay.example"
KNOWN = Identity(ALICE, None, None, None)


def commit(number: int, records: int = 1) -> CommitEvent:
    """Records, and beside each a deletion and a record of another collection."""
    ops: list[RecordOp] = []
    for at in range(records):
        collection, rkey, raw, _ = dataset(number * 1000 + at)
        ops += [
            RecordOp("delete", collection, rev(5_000_000 + at), None, None),
            RecordOp("create", collection, rkey, "bafy", raw),
            RecordOp("create", "org.example.other", rkey, "bafy", b"\xa0"),
        ]
    return CommitEvent(SOURCE, number, ALICE, rev(number), "", tuple(ops), KNOWN)


def identity(number: int) -> IdentityEvent:
    return IdentityEvent(SOURCE, number, ALICE, "2026-01-01T00:00:00Z", None)


@dataclass
class Scripted:
    events: list[Event]
    pause: Callable[[int], bool] = lambda _: False
    """Whether the source waits a moment before that event."""
    failure: Exception | None = None
    given: int = 0

    async def __aiter__(self) -> AsyncIterator[Event]:
        for number, event in enumerate(self.events):
            if self.pause(number):
                await asyncio.sleep(0.001)
            self.given += 1
            yield event
        if self.failure is not None:
            raise self.failure


@dataclass
class Counted(ReadingProcess):
    """Reads by itself, and keeps how many records were asked for at a time."""

    asked: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    async def read(self, jobs: list[Job]) -> list[Judged]:  # type: ignore[override]  # what is given
        self.asked.append(len(jobs))
        await asyncio.sleep(0.001)
        return [judge(CATALOG, *job[:3], uri=job[3]) for job in jobs]


async def taken(source: Scripted, process: ReadingProcess | None) -> list[tuple[int, int]]:
    """(seq, how many readings) of each event; every reading is the one of that event's record."""
    found = []
    async for event, judged in ReadAhead(source, CATALOG, process).events():
        assert isinstance(event, CommitEvent | IdentityEvent)
        found.append((event.seq, len(judged)))
        if isinstance(event, CommitEvent):
            jobs = read_ahead._jobs(event)
            assert [one.json for one in judged if isinstance(one, Reading)] == [
                reading.json
                for job in jobs
                if isinstance(reading := judge(CATALOG, *job[:3], uri=job[3]), Reading)
            ]
    return found


@pytest.mark.parametrize("with_process", [True, False])
@pytest.mark.parametrize("every", [1, 3, 40, 1000])
async def test_every_event_comes_once_in_order_with_its_own_readings(
    with_process: bool, every: int
) -> None:
    events: list[Event] = [
        identity(n) if n % 7 == 0 else commit(n, records=n % 3) for n in range(200)
    ]
    source = Scripted(events, pause=lambda number: number % every == 0)
    found = await taken(source, Counted() if with_process else None)
    assert found == [(n, 0 if n % 7 == 0 else n % 3) for n in range(200)]


async def test_many_are_read_by_the_process_and_few_are_not() -> None:
    process = Counted()
    await taken(Scripted([commit(n) for n in range(FEW - 1)]), process)
    assert process.asked == []
    await taken(Scripted([commit(n) for n in range(2 * PART)]), process)
    assert sum(process.asked) > PART
    assert max(process.asked) <= PART


async def test_what_is_ahead_is_bounded() -> None:
    source = Scripted([commit(n) for n in range(10 * PART)])
    events = ReadAhead(source, CATALOG, Counted()).events()
    await anext(events)
    for _ in range(50):
        await asyncio.sleep(0.001)
    # The part that is being given, those ahead, the one that forms, and an event in hand.
    assert source.given <= (AHEAD + 2) * PART + 1
    await events.aclose()


async def test_large_records_fill_a_part_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "PART_BYTES", 20 * len(dataset(1)[2]))
    process = Counted()
    await taken(Scripted([commit(n) for n in range(200)]), process)
    assert process.asked
    assert max(process.asked) <= 21


async def test_what_the_source_raises_comes_after_the_events_before_it() -> None:
    source = Scripted([commit(n) for n in range(30)], failure=OSError("gone"))
    found = []
    with pytest.raises(OSError, match="gone"):
        async for event, _ in ReadAhead(source, CATALOG, Counted()).events():
            found.append(event)
    assert len(found) == 30


async def test_without_a_process_to_start_records_are_read_all_the_same() -> None:
    process = ReadingProcess(["/nowhere/at/all"])
    found = await taken(Scripted([commit(n) for n in range(3 * FEW)]), process)
    assert found == [(n, 1) for n in range(3 * FEW)]


async def test_who_stops_in_the_middle_leaves_nothing_behind() -> None:
    before = asyncio.all_tasks()
    events = ReadAhead(Scripted([commit(n) for n in range(1000)]), CATALOG, Counted()).events()
    for _ in range(300):
        await anext(events)
    await events.aclose()
    assert asyncio.all_tasks() == before


def test_records_of_families_are_read_and_no_others() -> None:
    [job] = read_ahead._jobs(commit(1))
    assert job[0] == COLLECTIONS["dataset"]
