from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from atdex_appview.sqlite_rows import SIZES, delete_keys, insert_rows

COUNTS = [0, 1, 15, 16, 17, SIZES[0] - 1, SIZES[0], SIZES[0] + 1, 3 * SIZES[0] + 37]


@pytest.mark.parametrize("count", COUNTS)
def test_every_row_is_inserted_once_and_every_key_deleted(count: int) -> None:
    rows = [(f"k{n}", n, bytes((n % 256,)), None) for n in range(count)]
    with closing(sqlite3.connect(":memory:")) as sql:
        sql.execute("CREATE TABLE t (key TEXT PRIMARY KEY, n INTEGER, raw BLOB, empty TEXT)")
        sql.execute("INSERT INTO t VALUES ('other', 1, x'00', NULL)")
        insert_rows(sql, "INSERT INTO t (key, n, raw, empty)", rows)
        found = sql.execute("SELECT * FROM t WHERE key <> 'other' ORDER BY n").fetchall()
        assert found == rows
        delete_keys(sql, "DELETE FROM t WHERE key IN", [key for key, *_ in rows])
        assert sql.execute("SELECT key FROM t").fetchall() == [("other",)]


def test_the_last_of_two_rows_with_one_key_is_kept() -> None:
    rows = [("same", n) for n in range(300)]
    with closing(sqlite3.connect(":memory:")) as sql:
        sql.execute("CREATE TABLE t (key TEXT PRIMARY KEY, n INTEGER)")
        insert_rows(sql, "INSERT OR REPLACE INTO t (key, n)", rows)
        assert sql.execute("SELECT * FROM t").fetchall() == [("same", 299)]
