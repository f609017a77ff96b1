"""The node's SQLite state, on disk."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from atdex_appview import state as state_module
from atdex_appview.errors import StateUnavailable, StoreFormatUnknown
from atdex_appview.state import (
    PROBLEM_CHARS,
    PROBLEMS_KEPT,
    RAW_BYTES,
    Notes,
    QuarantinedRecord,
    State,
)
from atdex_firehose.state import State as FirehoseState
from atdex_lexicons.errors import Problem
from tests.appview.records import ALICE, BOB, rev, uri


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[State]:
    opened = await State.open(tmp_path / "state.sqlite")
    yield opened
    await opened.close()


def invalid(
    rkey: str, number: int = 1, *, did: str = ALICE, raw: bytes = b"x"
) -> QuarantinedRecord:
    return QuarantinedRecord(
        uri=uri(did, "dataset", rkey),
        did=did,
        cid="bafyrei",
        rev=rev(number),
        problems=(Problem("/name", "is too long"),),
        raw=raw,
        size=len(raw),
        seen_at=5,
    )


async def test_a_cancelled_save_leaves_nothing_half_done_and_the_next_one_works(
    state: State,
) -> None:
    for delay in (0.0, 0.0, 0.0005, 0.001, 0.002):
        saving = asyncio.create_task(put(state, invalid("a")))
        await asyncio.sleep(delay)
        saving.cancel()
        await asyncio.gather(saving, return_exceptions=True)
    await asyncio.gather(*(put(state, invalid(str(n))) for n in range(5)))
    assert set(kept_in(state)) >= {str(n) for n in range(5)}


async def put(state: State, *records: QuarantinedRecord) -> None:
    await state.save([Notes(quarantined=records)])


def kept_in(state: State) -> list[str]:
    """The keys of what is in quarantine, the last one set aside first."""
    with closing(sqlite3.connect(state.path)) as database:
        rows = database.execute("SELECT uri FROM appview_quarantine ORDER BY id DESC").fetchall()
    return [uri.rsplit("/", 1)[1] for (uri,) in rows]


async def test_a_quarantined_record_is_kept_with_all_its_problems(state: State) -> None:
    kept = invalid("a")
    await put(state, kept, invalid("b"))
    assert await state.get(kept.uri) == kept
    assert await state.count() == 2
    await state.save([Notes(cleared=((kept.uri, kept.rev),))])
    assert await state.get(kept.uri) is None
    assert await state.count() == 1


async def test_a_newer_version_replaces_and_an_older_one_does_not(state: State) -> None:
    await put(state, invalid("a", 2))
    await put(state, invalid("a", 1, raw=b"older"))
    found = await state.get(invalid("a").uri)
    assert found is not None
    assert (found.rev, found.raw) == (rev(2), b"x")
    await state.save([Notes(cleared=((found.uri, rev(1)),))])
    assert await state.count() == 1, "a replayed valid version does not clear a later invalid one"
    await state.save([Notes(cleared=((found.uri, rev(3)),))])
    assert await state.count() == 0


async def test_notes_are_written_in_their_order(state: State) -> None:
    kept = invalid("a", 2)
    await state.save([Notes(quarantined=(kept,)), Notes(cleared=((kept.uri, rev(3)),))])
    assert await state.count() == 0
    await state.save([Notes(cleared=((kept.uri, rev(1)),)), Notes(quarantined=(kept,))])
    assert await state.count() == 1


async def test_what_was_set_aside_after_an_account_was_cleared_stays(state: State) -> None:
    await put(state, invalid("old"))
    await state.save(
        [
            Notes(quarantined=(invalid("between"),)),
            Notes(cleared_dids=(ALICE,)),
            Notes(quarantined=(invalid("after"),)),
        ]
    )
    assert kept_in(state) == ["after"]


async def test_everything_of_an_account_can_be_cleared(state: State) -> None:
    await put(state, invalid("a"), invalid("b"), invalid("c", did=BOB))
    await state.save([Notes(cleared_dids=(ALICE,))])
    assert await state.count() == 1


async def test_what_is_kept_of_a_record_is_bounded(state: State) -> None:
    problems = tuple(Problem("/p" * 2_000, "r" * 2_000) for _ in range(200))
    huge = QuarantinedRecord(
        uri(ALICE, "dataset", "a"), ALICE, None, rev(1), problems, b"x" * 900_000, 900_000, 1
    )
    await put(state, huge)
    found = await state.get(huge.uri)
    assert found is not None
    assert (len(found.raw), found.size) == (RAW_BYTES, 900_000)
    assert len(found.problems) == PROBLEMS_KEPT
    assert len(found.problems[0].path) == len(found.problems[0].reason) == PROBLEM_CHARS


async def test_how_many_are_kept_is_bounded_and_the_oldest_go(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_module, "QUARANTINED_PER_ACCOUNT", 3)
    monkeypatch.setattr(state_module, "WAITING_IN_ALL", 2)
    await put(state, invalid("bobs", did=BOB))
    for n in range(10):
        await put(state, invalid(f"r{n}"))
        await state.save([Notes(waiting={f"did:plc:{n}": "suspended"})])
    assert kept_in(state) == ["r9", "r8", "r7", "bobs"]
    assert await state.waiting_status("did:plc:9") == "suspended"
    assert await state.waiting_status("did:plc:0") is None
    monkeypatch.setattr(state_module, "QUARANTINED_IN_ALL", 2)
    await put(state, invalid("one more", did=BOB))
    assert await state.count() == 2


async def test_repeating_a_save_changes_nothing(state: State) -> None:
    notes = Notes(
        quarantined=(invalid("a"),),
        waiting={BOB: "deactivated"},
        search_change=9,
    )
    await state.save([notes])
    await state.save([notes])
    assert await state.count() == 1
    assert await state.waiting_status(BOB) == "deactivated"
    assert await state.search_change() == 9
    await state.save([Notes(waiting={BOB: None})])
    assert await state.waiting_status(BOB) is None


async def test_a_save_that_fails_writes_nothing(state: State) -> None:
    with pytest.raises(StateUnavailable):
        await state.save(
            [Notes(quarantined=(invalid("a"),), search_change=[])]  # type: ignore[arg-type]  # what must fail
        )
    assert await state.count() == 0
    await put(state, invalid("a"))
    assert await state.count() == 1


async def test_saves_at_once_take_turns(state: State) -> None:
    await asyncio.gather(*(put(state, invalid(f"r{n}")) for n in range(50)))
    assert await state.count() == 50


async def test_everything_is_there_after_reopening(state: State) -> None:
    await state.save([Notes(quarantined=(invalid("a"),), search_change=3)])
    await state.close()
    await state.close()
    again = await State.open(state.path)
    assert (await again.count(), await again.search_change()) == (1, 3)
    await again.close()


async def test_an_empty_state_has_no_search_change(state: State) -> None:
    assert await state.search_change() is None


async def test_the_file_is_shared_with_the_firehose(state: State) -> None:
    firehose = await FirehoseState.open(state.path)
    await asyncio.gather(*(put(state, invalid(f"r{n}")) for n in range(20)))
    await firehose.close()
    await state.close()
    again = await State.open(state.path)
    assert await again.count() == 20
    await again.close()


async def test_a_closed_state_is_unavailable(state: State) -> None:
    await state.close()
    with pytest.raises(StateUnavailable):
        await state.count()
    with pytest.raises(StateUnavailable):
        await put(state, invalid("a"))


async def test_a_file_of_another_format_or_none_at_all_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    opened = await State.open(path)
    await opened.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE appview_meta SET value = 99 WHERE name = 'format'")
    connection.close()
    with pytest.raises(StoreFormatUnknown, match="has format 99"):
        await State.open(path)
    junk = tmp_path / "junk.sqlite"
    junk.write_bytes(b"no database at all, " * 100)
    with pytest.raises(StateUnavailable, match=r"junk\.sqlite"):
        await State.open(junk)
