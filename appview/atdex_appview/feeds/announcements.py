"""The announcements of datasets, in SQLite: what is to be posted, and what was.

    waiting ──attempt──> posting ──answer──> posted
       │                    │                  │
       v                    └──> withdrawing <─┘
    dropped                           └──answer──> withdrawn

Guarantees:
- A dataset is announced at most once, whatever happens in between: its row, and the key of its
  post, are on disk before anything is sent, and the row stays when the post is gone. Sending a post
  again under its key replaces it by itself.
- A post or a deletion whose answer was lost (`posting`, `withdrawing`) is sent again until there is
  an answer.
- Within any hour, across restarts, no more than so many new posts are sent.
- The queue is bounded, and so is what one publisher may have in it: what does not fit is not
  announced. So is the memory of what was: the oldest goes first, and its post stays then.

Example: D is noted (`waiting`, key k). The process is killed after k was sent: D is `posting`. The
next run sends k once more, which changes nothing, and D is `posted`.
"""

# Statements are put together from parts of ours and from placeholders:
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from atdex_appview.feeds.file import FeedsFile
from atdex_lexicons.tid import next_tid

QUEUE = 1_000
"""Datasets that wait to be announced: four days of them at ten an hour."""

QUEUE_PER_PUBLISHER = 20
"""Of one publisher: a bulk upload must not keep everybody else's from being announced."""

KEPT = 20_000
"""Announcements that are remembered, some 5 MB: two and a half years at one an hour."""

HOUR = 3_600_000_000
"""In µs."""

State = Literal["waiting", "posting", "posted", "withdrawing", "withdrawn", "dropped"]

SINCE, WHOSE = "announcing_since", "announcing_as"

_SELECT = "SELECT dataset, state, rkey, created_at FROM announcements"
_STANDING = "state IN ('posting', 'posted')"
_OF = "dataset >= ? AND dataset < ?"


@dataclass(frozen=True, slots=True)
class Announcement:
    """`created_at` is µs since the epoch: the post's own time, the same at every attempt."""

    dataset: str
    state: State
    rkey: str
    created_at: int


class Announcements:
    """Safe to use from any thread. Any method may raise StateUnavailable. Times are µs."""

    def __init__(self, file: FeedsFile) -> None:
        self._file = file

    def switch_on(self, now: int) -> int:
        """Since when datasets are announced; from now on, where they were not."""
        since = self._file.mark(SINCE)
        if since is None:
            self._file.set_mark(SINCE, str(now))
            return now
        return int(since)

    def switch_off(self) -> None:
        """Nothing is announced any more; what waits never will be."""
        self._file.set_mark(SINCE, None)
        with self._file.writing() as sql:
            sql.execute("UPDATE announcements SET state = 'dropped' WHERE state = 'waiting'")

    def made_by(self, did: str) -> int:
        """From now on, `did` posts. Forgets the posts of another account, which this one could
        not delete; how many."""
        if self._file.mark(WHOSE) in (None, did):
            self._file.set_mark(WHOSE, did)
            return 0
        with self._file.writing() as sql:
            forgotten = sql.execute(
                "UPDATE announcements SET state = 'dropped'"
                " WHERE state IN ('posting', 'posted', 'withdrawing')"
            ).rowcount
        self._file.set_mark(WHOSE, did)
        return forgotten

    def note(self, datasets: Sequence[tuple[str, str]], now: int) -> int:
        """Puts datasets, each with its publisher, into the queue, those that were never in it; how
        many there was room for."""
        queue = "SELECT count(*) FROM announcements WHERE state = 'waiting'"
        taken = 0
        with self._file.writing() as sql:
            (queued,) = sql.execute(queue).fetchone()
            for publisher, dataset in datasets:
                if queued + taken >= QUEUE:
                    break
                (own,) = sql.execute(f"{queue} AND {_OF}", _of(publisher)).fetchone()
                if own < QUEUE_PER_PUBLISHER:
                    taken += sql.execute(
                        "INSERT OR IGNORE INTO announcements (dataset, state, rkey, created_at)"
                        " VALUES (?, 'waiting', ?, ?)",
                        (dataset, next_tid(), now),
                    ).rowcount
            sql.execute(
                "DELETE FROM announcements WHERE id <= (SELECT max(id) FROM announcements) - ?",
                (KEPT,),
            )
        return taken

    def is_full(self) -> bool:
        """Whether nothing more can be put into the queue now."""
        query = "SELECT count(*) FROM announcements WHERE state = 'waiting'"
        return bool(self._file.rows(query)[0][0] >= QUEUE)

    def next(self) -> Announcement | None:
        """What is to be sent next: deletions, then what may have been sent, then the oldest."""
        for state in ("withdrawing", "posting", "waiting"):
            query = f"{_SELECT} WHERE state = ? ORDER BY id LIMIT 1"
            for row in self._file.rows(query, (state,)):
                return Announcement(*row)
        return None

    def standing(self, after: str = "", limit: int = 100) -> list[Announcement]:
        """Those whose posts are there, or may be, by their datasets' URIs, after that one."""
        query = f"{_SELECT} WHERE {_STANDING} AND dataset > ? ORDER BY dataset LIMIT ?"
        return [Announcement(*row) for row in self._file.rows(query, (after, limit))]

    def standing_of(self, publisher: str) -> list[str]:
        """The datasets of a publisher among those."""
        query = f"SELECT dataset FROM announcements WHERE {_OF} AND {_STANDING}"
        return [dataset for (dataset,) in self._file.rows(query, _of(publisher))]

    def is_standing(self, dataset: str) -> bool:
        query = f"SELECT 1 FROM announcements WHERE dataset = ? AND {_STANDING}"
        return bool(self._file.rows(query, (dataset,)))

    def move(self, dataset: str, state: State, now: int) -> None:
        """`now` counts where the state is `posting` or `posted`: against the hourly number."""
        sent = now if state in ("posting", "posted") else None
        with self._file.writing() as sql:
            sql.execute(
                "UPDATE announcements SET state = ?, posted_at = coalesce(posted_at, ?)"
                " WHERE dataset = ?",
                (state, sent, dataset),
            )

    def may_send_at(self, per_hour: int, now: int) -> int:
        """When the next new post may be sent: `now`, or later."""
        rows = self._file.rows(
            "SELECT posted_at FROM announcements WHERE posted_at > ?"
            " ORDER BY posted_at DESC LIMIT 1 OFFSET ?",
            (now - HOUR, per_hour - 1),
        )
        return max(now, rows[0][0] + HOUR) if rows else now


def _of(publisher: str) -> tuple[str, str]:
    """What the URIs of a publisher's records lie between: "0" is the character after "/"."""
    return f"at://{publisher}/", f"at://{publisher}0"
