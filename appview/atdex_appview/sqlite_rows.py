"""Many rows in few statements of SQLite.

Python's `executemany` lets go of the interpreter at every row and waits for it again: beside a
thread that is busy, most of the time of a batch goes into that.
"""

# Statements are put together from a statement of ours and from placeholders:

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain

SIZES = (256, 16, 1)
"""Rows of one statement: few sizes, so that each statement is prepared once."""


def insert_rows(
    connection: sqlite3.Connection, statement: str, rows: Sequence[Sequence[object]]
) -> None:
    """`statement` is what comes before VALUES; all rows have as many columns as the first."""
    start = 0
    for size in SIZES:
        if len(rows) - start < size:
            continue
        row = f"({', '.join('?' * len(rows[0]))})"
        sized = f"{statement} VALUES {', '.join([row] * size)}"
        while len(rows) - start >= size:
            values = list(chain.from_iterable(rows[start : start + size]))
            connection.execute(sized, values)
            start += size


def delete_keys(connection: sqlite3.Connection, statement: str, keys: Sequence[str]) -> None:
    """`statement` ends with IN."""
    start = 0
    for size in SIZES:
        sized = f"{statement} ({', '.join('?' * size)})"
        while len(keys) - start >= size:
            connection.execute(sized, keys[start : start + size])
            start += size
