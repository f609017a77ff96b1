from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from atdex_firehose import state as state_module
from atdex_firehose.errors import StateError
from atdex_firehose.events import Identity
from atdex_firehose.identity_rows import StoredIdentity
from atdex_firehose.repo import ACTIVE, Head, RepoRow, Standing
from atdex_firehose.state import Changes, Parked, Rejection, State

DID = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
HEAD = Head("3jzfcijpj2z2a", b"\x01\x71")
FOUND = StoredIdentity(Identity(DID, "alice.test", "https://pds.test", "did:key:z"), 12.5)


ROW = RepoRow(DID, "desynchronized", HEAD, 3, "why", 2, 17.5, "3jzfcijpj2z2b", 1.5, 9.0)
REJECTION = Rejection("http://relay", 5, DID, None, "BadSignature", "no", b"frame", 4.5)


async def test_everything_saved_is_there_after_opening_again(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    state = await State.open(path)
    await state.save(
        Changes(
            cursors={"http://relay": 7},
            repos=[ROW],
            records={DID: {"a.b.c/1": "cid1", "a.b.c/2": "cid2"}},
            standings={DID: Standing(False, "takendown")},
            identities={DID: FOUND},
            parked=[Parked(DID, "http://relay", 6, b"six"), Parked(DID, "http://relay", 7, b"7")],
            rejections=[REJECTION],
        )
    )
    await state.close()
    state = await State.open(path)
    assert await state.cursors() == {"http://relay": 7}
    assert await state.repo(DID) == (ROW, 2, Standing(False, "takendown"))
    assert await state.records(DID) == {"a.b.c/1": "cid1", "a.b.c/2": "cid2"}
    assert await state.identity(DID) == FOUND
    assert await state.rejections(9) == await state.rejections(9, DID) == [REJECTION]
    assert [each async for each in state.tracked()] == [(DID, "desynchronized", 17.5)]
    assert await state.due(5) == [(17.5, DID)]
    first, second = await state.parked(DID, 0)
    assert (first.seq, first.raw, second.seq, second.raw) == (6, b"six", 7, b"7")
    assert await state.parked(DID, first.row) == [second]
    await state.save(
        Changes(
            cursors={"http://relay": 9},
            records={DID: {"a.b.c/1": None, "a.b.c/3": "cid3"}},
            standings={DID: ACTIVE},
            identities={DID: StoredIdentity(None, 3.0)},
            unparked=[first.row],
        )
    )
    assert await state.cursors() == {"http://relay": 9}
    assert await state.records(DID) == {"a.b.c/2": "cid2", "a.b.c/3": "cid3"}
    assert await state.repo(DID) == (ROW, 1, ACTIVE)
    assert await state.identity(DID) == StoredIdentity(None, 3.0)
    await state.close()


async def test_a_purge_takes_what_was_there_before_and_nothing_that_came_since() -> None:
    state = await State.open(None)
    parked = Parked(DID, "http://relay", 1, b"old")
    await state.save(Changes(records={DID: {"a.b.c/1": "old"}}, parked=[parked]))
    new = Parked(DID, "http://relay", 2, b"new")
    await state.save(Changes(purged=[DID], records={DID: {"a.b.c/2": "new"}}, parked=[new]))
    assert await state.records(DID) == {"a.b.c/2": "new"}
    assert [each.raw for each in await state.parked(DID, 0)] == [b"new"]
    await state.close()


async def test_an_epoch_passes_whenever_something_new_is_wanted() -> None:
    state = await State.open(None)
    assert await state.set_collections(["a.b.c"]) == 1
    await state.discovered("http://relay", "a.b.c", 1, "page2", ["did:plc:x"], done=False)
    assert await state.listing("http://relay", "a.b.c", 1) == ("page2", False)
    assert await state.set_collections(["a.b.c"]) == 1
    assert await state.set_collections(["a.b.c", "a.b.d"]) == 2
    assert await state.collection_epochs() == {"a.b.c": 1, "a.b.d": 2}
    assert await state.set_collections(["a.b.d"]) == 2
    assert await state.set_collections(["a.b.c", "a.b.d"]) == 3
    # It was not wanted for a while: its listing starts over.
    assert await state.listing("http://relay", "a.b.c", 3) == (None, False)
    await state.close()


async def test_a_repo_that_is_known_keeps_its_row_when_it_is_discovered() -> None:
    state = await State.open(None)
    await state.save(Changes(repos=[ROW]))
    await state.discovered("http://relay", "a.b.c", 1, None, [DID, "did:plc:x"], done=True)
    assert (await state.repo(DID))[0] == ROW
    row = (await state.repo("did:plc:x"))[0]
    assert row is not None
    assert (row.state, row.head, row.retry_at) == ("incomplete", None, 0.0)
    await state.close()


async def test_only_the_last_rejections_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "REJECTIONS", 3)
    state = await State.open(None)
    for n in range(5):
        await state.save(Changes(rejections=[replace(REJECTION, seq=n)]))
    assert [each.seq for each in await state.rejections(9)] == [4, 3, 2]
    await state.close()


async def test_what_was_never_saved_is_not_there() -> None:
    state = await State.open(None)
    assert await state.cursors() == {}
    assert await state.repo(DID) == (None, 0, ACTIVE)
    assert await state.records(DID) == {}
    assert await state.identity(DID) is None
    await state.close()


async def test_a_file_that_is_no_database_is_told_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(StateError, match=r"state\.sqlite"):
        await State.open(path)
    assert path.read_bytes() == b"not a database at all" * 100


async def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    await (await State.open(path)).close()
    db = sqlite3.connect(path)
    db.execute("UPDATE firehose_meta SET value = 99 WHERE name = 'version'")
    db.commit()
    db.close()
    with pytest.raises(StateError, match="version 99"):
        await State.open(path)


async def test_it_shares_a_file_with_other_tables(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE others (x)")
    db.execute("PRAGMA user_version = 42")
    db.commit()
    state = await State.open(path)
    db.execute("INSERT INTO others VALUES (1)")
    db.commit()
    await state.save(Changes({"http://relay": 1}))
    await state.close()
    assert db.execute("PRAGMA user_version").fetchone() == (42,)
    assert db.execute("SELECT x FROM others").fetchall() == [(1,)]
    db.close()


async def test_a_cancelled_save_leaves_nothing_half_done_and_the_next_one_works() -> None:
    state = await State.open(None)
    for delay in (0.0, 0.0005, 0.001, 0.002):
        task = asyncio.create_task(state.save(Changes({"http://relay": 1}, [ROW])))
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await asyncio.gather(*(state.save(Changes({"http://relay": n})) for n in range(5)))
    assert await state.cursors() == {"http://relay": 4}
    await state.close()


WRITER = """
import asyncio, sys
from atdex_firehose.repo import Head, RepoRow
from atdex_firehose.state import Changes, State
async def main():
    state = await State.open(sys.argv[1])
    for n in range(1, 1_000_000):
        head = Head(str(n), b"")
        rows = [RepoRow(f"did:{k}", "synchronized", head) for k in range(20)]
        await state.save(Changes({"u": n}, rows))
        print(n, flush=True)
asyncio.run(main())
"""


async def test_after_kill_9_cursor_and_heads_are_of_one_moment(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    for _ in range(3):
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER, str(path), stdout=asyncio.subprocess.PIPE
        )
        assert writer.stdout is not None
        told = 0
        for _ in range(40):
            told = int(await writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        await writer.communicate()
        state = await State.open(path)
        cursor = (await state.cursors())["u"]
        assert cursor >= told
        rows = [(await state.repo(f"did:{k}"))[0] for k in range(20)]
        assert {row and row.head for row in rows} == {Head(str(cursor), b"")}
        await state.close()
