"""The announcer: posts new datasets of a feed from the operator's account, and deletes its posts.

What is announced: a dataset that a live, verified commit created, made after announcing was
switched on and at most a day ago, first seen here after it was switched on, shown, and in the feed
when its turn comes. So nothing that was fetched (backfill, a resync) or replayed from long ago is
announced.

A post goes when its dataset is deleted, or is not shown any more, for whatever reason, and does not
come back with it. Where a change says so (a deletion, an account's status), it goes at once. All
are looked at regularly as well: a post whose dataset is missing twice in a row goes. Not at the
first time, because a node that has lost its record store fetches it anew, and most of it is missing
then.

`follow` is called by the writer with each batch, before the batch is acknowledged: a dataset that
is to be announced is on disk before the firehose's cursor passes it. The sending is a task of its
own; a PDS that is away, slow or says no holds up nothing, and never stops the node.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import orjson
import regex

from atdex_appview.context import Context
from atdex_appview.errors import AccountRefused, AccountUnavailable
from atdex_appview.feeds.account import Account
from atdex_appview.feeds.announcements import Announcement, Announcements, State
from atdex_appview.feeds.definition import Feed
from atdex_appview.feeds.naming import POST
from atdex_appview.feeds.reading import among
from atdex_appview.feeds.syndication import plain
from atdex_appview.store.base import Change, Delete, Put, RepoChange, StatusChange, StoredRecord
from atdex_appview.views import UNREADABLE
from atdex_firehose.backoff import Backoff
from atdex_lexicons.families import kind_of, project
from atdex_lexicons.families.app_bsky_atdata import FAMILY
from atdex_lexicons.model import Dataset
from atdex_lexicons.tid import tid_micros

log = logging.getLogger(__name__)

OLDEST = 24 * 3_600_000_000
"""µs since the commit: what comes later, from an upstream that was away, is no news any more."""

LOOK_SECONDS = 300.0
"""Between two looks at whether all that was announced is still shown."""

RETRY_FIRST_SECONDS = 5.0
RETRY_CAP_SECONDS = 900.0
"""The waits while the account's service is away."""

REFUSED_SECONDS = 3600.0
"""After a login was refused: services allow few, and only the operator can mend it."""

UNREADY_SECONDS = 1.0
"""For a dataset that is stored and not searchable yet."""

UNREADY_MOST = 600 * 1_000_000
"""µs after which a dataset that is still not searchable keeps others waiting no more."""

PART = 100
"""Datasets looked up at once."""

POST_GRAPHEMES = 300
TITLE_GRAPHEMES = 150
TEXT_BYTES = 3_000
"""Of a post's text and of a card's title: as much as Bluesky takes and shows."""

EVERYTHING = Feed("", "")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Announcer:
    """Posts datasets of `feed` through `account`. `clock` gives seconds since the epoch.

    `run` works until it is cancelled. It raises StateUnavailable, StoreUnavailable and
    SearchUnavailable, which are ours; what the account's service does, it only logs.
    """

    def __init__(
        self,
        context: Context,
        announcements: Announcements,
        account: Account,
        feed: Feed,
        *,
        per_hour: int,
        look_seconds: float = LOOK_SECONDS,
        retry_seconds: float = RETRY_FIRST_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._context = context
        self._announcements = announcements
        self._account = account
        self._feed = feed
        self._per_hour = per_hour
        self._look_seconds = look_seconds
        self._clock = clock
        self._since = announcements.switch_on(self._now())
        self._backoff = Backoff(retry_seconds, RETRY_CAP_SECONDS)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()
        self._lock = threading.Lock()
        self._suspects: set[str] = set()
        self._missing_before: set[str] = set()
        self._looked_at = 0.0
        self._known = False
        self.posted = 0
        self.withdrawn = 0

    # From the writer, on its thread

    def follow(self, changes: Sequence[Change]) -> None:
        """A batch that the record store has applied."""
        new: list[tuple[str, str]] = []
        suspects: list[str] = []
        for change in changes:
            match change:
                case RepoChange():
                    new += self._new(change)
                    suspects += self._deleted(change)
                case StatusChange(active=False):
                    suspects += self._announcements.standing_of(change.did)
        if new and not self._announcements.is_full():
            taken = self._announcements.note(new, self._now())
            if taken < len(new):
                log.info("%d of %d new datasets wait to be announced", taken, len(new))
        if suspects:
            with self._lock:
                self._suspects.update(suspects)
        if (new or suspects) and self._loop is not None:
            with suppress(RuntimeError):  # the loop is closing
                self._loop.call_soon_threadsafe(self._news.set)

    def _new(self, change: RepoChange) -> list[tuple[str, str]]:
        if not (change.live and change.verified):
            return []
        made = tid_micros(change.rev)
        if made < max(self._since, self._now() - OLDEST):
            return []
        return [
            (change.did, op.uri)
            for op in change.changes
            if isinstance(op, Put) and op.created and op.kind == "dataset"
        ]

    def _deleted(self, change: RepoChange) -> list[str]:
        return [
            op.uri
            for op in change.changes
            if isinstance(op, Delete)
            and kind_of(op.uri.split("/")[3]) == "dataset"
            and self._announcements.is_standing(op.uri)
        ]

    # The task

    async def run(self) -> None:
        self._loop = asyncio.get_running_loop()
        while True:
            self._news.clear()
            try:
                delay = await self.work()
                self._backoff.reset()
            except AccountUnavailable as away:
                delay = max(self._backoff.next_delay(), away.retry_after or 0.0)
                delay = min(delay, RETRY_CAP_SECONDS)
                log.warning("cannot announce: %s; next try in %.0f s", away, delay)
                await asyncio.sleep(delay)
                continue
            except AccountRefused as refused:
                log.error("cannot announce: %s; next try in %.0f s", refused, REFUSED_SECONDS)
                await asyncio.sleep(REFUSED_SECONDS)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._news.wait()

    async def work(self) -> float:
        """Does what is due; for how long nothing will be, if nothing happens."""
        if not self._known:
            # At once, so that a wrong password is told before it is needed.
            await self._know_account()
        while True:
            await asyncio.to_thread(self._look)
            waiting = await asyncio.to_thread(self._announcements.next)
            if waiting is None:
                return self._look_seconds
            if waiting.state == "withdrawing":
                await self._withdraw(waiting)
                continue
            now = self._now()
            if waiting.state == "waiting":
                due = await asyncio.to_thread(self._announcements.may_send_at, self._per_hour, now)
                if due > now:
                    return min(self._look_seconds, (due - now) / 1_000_000)
            if not await self._send(waiting):
                return UNREADY_SECONDS

    async def _send(self, announcement: Announcement) -> bool:
        """Announces it, or drops it; False where it is too early to say."""
        dataset = announcement.dataset
        verdict = await asyncio.to_thread(self._judge, announcement)
        if verdict is None:
            return False
        if isinstance(verdict, str):
            log.info("not announced: %s", verdict, extra={"uri": dataset})
            sent = announcement.state == "posting"
            await self._move(dataset, "withdrawing" if sent else "dropped")
            return True
        # From here on it may be there, whatever the answer.
        await self._move(dataset, "posting")
        try:
            await self._account.put(POST, announcement.rkey, verdict)
        except AccountRefused as refused:
            if refused.error != "InvalidRequest":
                raise
            log.error("the post of %s is refused: %s", dataset, refused.reason)
            await self._move(dataset, "dropped")
            return True
        await self._move(dataset, "posted")
        self.posted += 1
        log.info("announced", extra={"uri": dataset, "rkey": announcement.rkey})
        return True

    async def _withdraw(self, announcement: Announcement) -> None:
        try:
            await self._account.delete(POST, announcement.rkey)
        except AccountRefused as refused:
            if refused.error != "InvalidRequest":
                raise
            log.error("the post of %s stays: %s", announcement.dataset, refused.reason)
        await self._move(announcement.dataset, "withdrawn")
        self.withdrawn += 1
        log.info("the announcement was deleted", extra={"uri": announcement.dataset})

    def _look(self) -> None:
        """Marks what is to be withdrawn."""
        with self._lock:
            suspects, self._suspects = self._suspects, set()
        for dataset in self._missing(sorted(suspects)):
            if self._announcements.is_standing(dataset):
                self._announcements.move(dataset, "withdrawing", self._now())
        now = self._clock()
        if 0 <= now - self._looked_at < self._look_seconds:
            return
        self._looked_at = now
        missing: set[str] = set()
        after = ""
        while part := self._announcements.standing(after, PART):
            after = part[-1].dataset
            missing.update(self._missing([each.dataset for each in part]))
        for dataset in missing & self._missing_before:
            self._announcements.move(dataset, "withdrawing", self._now())
        self._missing_before = missing

    def _missing(self, datasets: Sequence[str]) -> list[str]:
        found: list[str] = []
        for start in range(0, len(datasets), PART):
            part = datasets[start : start + PART]
            shown = self._context.store.records(part)
            found += [dataset for dataset in part if dataset not in shown]
        return found

    def _judge(self, announcement: Announcement) -> dict[str, Any] | str | None:
        """The post; why there is none; None where the index does not know the dataset yet."""
        uri, context = announcement.dataset, self._context
        record = context.store.records([uri]).get(uri)
        if record is None:
            return "it is not shown any more"
        if record.first_seen < self._since:
            return "it is older"
        waited = self._now() - announcement.created_at
        if not among(context, EVERYTHING, [uri]):
            return None if waited < UNREADY_MOST else "it cannot be searched for"
        if not among(context, self._feed, [uri]):
            return f"it is not in the feed {self._feed.name}"
        if waited > OLDEST and announcement.state == "waiting":
            return "its turn came too late"
        return self._post(record, announcement)

    def _post(self, record: StoredRecord, announcement: Announcement) -> dict[str, Any] | str:
        try:
            model = project(record.collection, orjson.loads(record.json))
        except UNREADABLE:
            return "its record cannot be read"
        assert isinstance(model, Dataset)
        name = _cut(plain(model.name), TITLE_GRAPHEMES)
        description = _cut(plain(model.description), POST_GRAPHEMES)
        query = urlencode({"uri": record.uri})
        moment = _EPOCH + timedelta(microseconds=announcement.created_at)
        return {
            "text": _cut(f"New dataset: {name}\n\n{description}".strip(), POST_GRAPHEMES),
            "createdAt": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "embed": {
                "$type": "app.bsky.embed.external",
                "external": {
                    "uri": f"{self._context.origin}/xrpc/{FAMILY.name}.getDataset?{query}",
                    "title": name,
                    "description": description,
                    "associatedRefs": [
                        {
                            "$type": "com.atproto.repo.strongRef",
                            "uri": record.uri,
                            "cid": record.cid,
                        }
                    ],
                },
            },
        }

    async def _know_account(self) -> None:
        """Before the first write of a run: whose posts are these?"""
        did = await self._account.did()
        forgotten = await asyncio.to_thread(self._announcements.made_by, did)
        self._known = True
        if forgotten:
            log.warning("%d posts of another account stay, whatever becomes of them", forgotten)

    async def _move(self, dataset: str, state: State) -> None:
        await asyncio.to_thread(self._announcements.move, dataset, state, self._now())

    def _now(self) -> int:
        return int(self._clock() * 1_000_000)


def _cut(text: str, graphemes: int) -> str:
    """At most so many characters as people count them, and bytes as a post may have."""
    parts = regex.findall(r"\X", text)
    if len(parts) <= graphemes and len(text.encode()) <= TEXT_BYTES:
        return text
    kept: list[str] = []
    left = TEXT_BYTES - len("…".encode())
    for part in parts[: graphemes - 1]:
        left -= len(part.encode())
        if left < 0:
            break
        kept.append(part)
    return "".join(kept).rstrip() + "…"
