from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
from pathlib import Path

import pytest

from atdex_firehose.errors import StateError
from atdex_firehose.events import Identity
from atdex_firehose.repo import ACTIVE, Head, Standing
from atdex_firehose.state import State, StoredIdentity

DID = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
HEAD = Head("3jzfcijpj2z2a", b"\x01\x71")
FOUND = StoredIdentity(Identity(DID, "alice.test", "https://pds.test", "did:key:z"), 12.5)


async def test_everything_saved_is_there_after_opening_again(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    state = await State.open(path)
    await state.save(
        {"http://relay": 7}, {DID: HEAD}, {DID: Standing(False, "takendown")}, {DID: FOUND}
    )
    await state.close()
    state = await State.open(path)
    assert await state.cursors() == {"http://relay": 7}
    assert await state.head(DID) == HEAD
    assert await state.standing(DID) == Standing(False, "takendown")
    assert await state.identity(DID) == FOUND
    await state.save({"http://relay": 9}, {}, {DID: ACTIVE}, {DID: StoredIdentity(None, 3.0)})
    assert await state.cursors() == {"http://relay": 9}
    assert await state.standing(DID) == ACTIVE
    assert await state.identity(DID) == StoredIdentity(None, 3.0)
    await state.close()


async def test_what_was_never_saved_is_not_there() -> None:
    state = await State.open(None)
    assert await state.cursors() == {}
    assert await state.head(DID) is None
    assert await state.standing(DID) == ACTIVE
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
    await state.save({"http://relay": 1}, {}, {}, {})
    await state.close()
    assert db.execute("PRAGMA user_version").fetchone() == (42,)
    assert db.execute("SELECT x FROM others").fetchall() == [(1,)]
    db.close()


async def test_a_cancelled_save_leaves_nothing_half_done_and_the_next_one_works() -> None:
    state = await State.open(None)
    for delay in (0.0, 0.0005, 0.001, 0.002):
        task = asyncio.create_task(state.save({"http://relay": 1}, {DID: HEAD}, {}, {}))
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await asyncio.gather(*(state.save({"http://relay": n}, {}, {}, {}) for n in range(5)))
    assert await state.cursors() == {"http://relay": 4}
    await state.close()


WRITER = """
import asyncio, sys
from atdex_firehose.repo import Head
from atdex_firehose.state import State
async def main():
    state = await State.open(sys.argv[1])
    for n in range(1, 1_000_000):
        await state.save({"u": n}, {f"did:{k}": Head(str(n), b"") for k in range(20)}, {}, {})
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
        assert {await state.head(f"did:{k}") for k in range(20)} == {Head(str(cursor), b"")}
        await state.close()
