"""The posts that name datasets, in SQLite: bounded, in the order in which they came.

Order: every post has a number of its own, given when it was first seen and kept for ever. Pages run
by it downwards, so a walk meets each post that was there all the time exactly once.

Guarantees: what a method has returned for survives a kill. Writing the same thing again changes
nothing. Of one post the highest rev counts: a deletion is remembered, so that a commit that comes
again brings nothing back. `has` answers from memory, at once, and never says no wrongly.

Everything here comes from the network, so all of it is bounded; the oldest goes first.

Example: posts A, B, C get 1, 2, 3. `before(None, 2)` gives C, B. B is deleted, D comes as 4, A is
changed. `before(2, 2)` gives A, as it is now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import orjson

from atdex_appview.feeds.file import FeedsFile

POSTS_KEPT = 50_000
"""Posts, the deleted ones among them, counted from the newest: some 20 MB. At a post a minute that
names a dataset, a month."""

POSTS_PER_ACCOUNT = 500
"""Posts of one account, so that nobody pushes out what others said."""

_PUT = """
INSERT INTO posts (uri, did, rev, datasets) VALUES (?, ?, ?, ?)
    ON CONFLICT (uri) DO UPDATE SET rev = excluded.rev, datasets = excluded.datasets
    WHERE excluded.rev >= rev AND (datasets IS NOT NULL OR excluded.rev > rev)
"""
_BOUND_ACCOUNT = """
DELETE FROM posts WHERE did = ? AND id <= (SELECT id FROM posts
    WHERE did = ? ORDER BY id DESC LIMIT 1 OFFSET ?)
"""
_BOUND = "DELETE FROM posts WHERE id <= (SELECT max(id) FROM posts) - ?"
_BEFORE = """
SELECT id, uri, datasets FROM posts
    WHERE id < ? AND datasets IS NOT NULL AND NOT hidden ORDER BY id DESC LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class PostChange:
    """A post as it is at a rev. `datasets` are those that it names, None where it was deleted or
    names none any more."""

    uri: str
    datasets: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class KeptPost:
    id: int
    uri: str
    datasets: tuple[str, ...]


class Posts:
    """Safe to use from any thread. Any method may raise StateUnavailable."""

    def __init__(self, file: FeedsFile) -> None:
        self._file = file
        self._dids: set[str] = set()

    @classmethod
    def open(cls, file: FeedsFile) -> Self:
        opened = cls(file)
        opened._load()
        return opened

    @property
    def path(self) -> Path:
        return self._file.path

    def has(self, did: str) -> bool:
        """Whether posts of this account may be kept."""
        return did in self._dids

    def write(self, did: str, rev: str, changes: Sequence[PostChange]) -> None:
        """What one commit says, in one transaction."""
        with self._file.writing(synced=False) as sql:
            for change in changes:
                if change.datasets is not None:
                    named: bytes | None = orjson.dumps(change.datasets)
                elif self._knows(change.uri):
                    named = None
                else:
                    continue  # nothing to forget, and nothing to remember it for
                sql.execute(_PUT, (change.uri, did, rev, named))
            sql.execute(_BOUND_ACCOUNT, (did, did, POSTS_PER_ACCOUNT))
            sql.execute(_BOUND, (POSTS_KEPT,))
            # Before the transaction ends: what is kept is known.
            self._dids.add(did)
        if len(self._dids) > 2 * POSTS_KEPT:
            self._load()

    def account(self, did: str, *, active: bool, deleted: bool) -> None:
        """Hides, shows or removes the posts of an account."""
        if not self.has(did):
            return
        with self._file.writing(synced=False) as sql:
            if deleted:
                sql.execute("DELETE FROM posts WHERE did = ?", (did,))
            else:
                sql.execute("UPDATE posts SET hidden = ? WHERE did = ?", (not active, did))

    def before(self, id: int | None, limit: int) -> list[KeptPost]:  # noqa: A002 - its name
        """A page, newest first."""
        rows = self._file.rows(_BEFORE, (2**63 - 1 if id is None else id, limit))
        return [KeptPost(number, uri, tuple(orjson.loads(named))) for number, uri, named in rows]

    def clear(self) -> None:
        """Forgets all: while nobody collects, nobody learns of deletions either."""
        with self._file.writing(synced=False) as sql:
            sql.execute("DELETE FROM posts")
        self._dids.clear()

    def count(self) -> int:
        """How many posts there are to show."""
        query = "SELECT count(*) FROM posts WHERE datasets IS NOT NULL AND NOT hidden"
        return int(self._file.rows(query)[0][0])

    def _knows(self, uri: str) -> bool:
        return bool(self._file.rows("SELECT 1 FROM posts WHERE uri = ?", (uri,)))

    def _load(self) -> None:
        self._dids = {did for (did,) in self._file.rows("SELECT DISTINCT did FROM posts")}
