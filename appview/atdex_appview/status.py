"""How the node is: what it follows, and the answer of `/xrpc/_health`.

`ok`: every part answers and an upstream is connected. `degraded`: queries are answered, but no
upstream has been connected for less than `UPSTREAM_GRACE` seconds. `unavailable`: anything else,
and the answer is 503.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from atdex_appview.errors import AppviewError
from atdex_firehose.stats import Backfill, Stats

log = logging.getLogger(__name__)

CHECK_TIMEOUT = 2.0
"""Seconds for one part to answer a trivial read: slower is as good as down."""

UPSTREAM_GRACE = 300.0
"""Seconds without any upstream before the node calls itself unavailable: a relay's restart is
shorter, and an answer from an index that has missed more is not what callers expect."""

IngestWord = Literal["ok", "stopped", "absent"]
Check = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Upstream:
    """One relay or PDS that the node follows.

    `cursor` is the sequence number up to which everything is stored, None before the first event.
    `lag_seconds` is the age of the last event when it arrived. `down_seconds` is how long the
    connection has been missing, None while it is there.
    """

    url: str
    cursor: int | None
    lag_seconds: float | None
    down_seconds: float | None

    def to_json(self) -> dict[str, Any]:
        """`describeNode#upstream`, with the connection's state beside it."""
        view: dict[str, Any] = {"url": self.url, "connected": self.down_seconds is None}
        if self.cursor is not None:
            view["cursor"] = self.cursor
        if self.lag_seconds is not None:
            view["lagSeconds"] = max(0, round(self.lag_seconds))
        if self.down_seconds is not None:
            view["disconnectedSeconds"] = max(0, round(self.down_seconds))
        return view


class UpstreamWatch:
    """Turns a consumer's "connected or not" into "for how long not".

    `look` is asked by a clock and by every health check: the time that a connection is missing
    counts from the first look that missed it.
    """

    def __init__(
        self, stats: Callable[[], Stats], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stats = stats
        self._clock = clock
        self._down_since: dict[str, float] = {}

    def look(self) -> tuple[Upstream, ...]:
        now = self._clock()
        upstreams = []
        for stats in self._stats().upstreams:
            url = stats["url"]
            if stats["connected"]:
                self._down_since.pop(url, None)
            else:
                self._down_since.setdefault(url, now)
            since = self._down_since.get(url)
            upstreams.append(
                Upstream(
                    url=url,
                    cursor=stats["cursor"] or None,
                    lag_seconds=stats["lag_seconds"],
                    down_seconds=None if since is None else now - since,
                )
            )
        return tuple(upstreams)


def backfill_json(backfill: Backfill) -> dict[str, Any]:
    """`describeNode#backfill`."""
    states = backfill.repos
    return {
        "repos": {
            "synchronized": states.get("synchronized", 0),
            "incomplete": states.get("incomplete", 0),
            "desynchronized": states.get("desynchronized", 0),
            "inProgress": states.get("in-progress", 0),
        },
        "remaining": backfill.remaining,
        "records": backfill.records,
        "recordsPerSecond": round(backfill.records_per_second),
        "outcomes": [
            {"outcome": outcome, "count": count}
            for outcome, count in sorted(backfill.outcomes.items())
        ],
        "listing": [
            {"host": host, "listing": listing} for host, listing in sorted(backfill.listing.items())
        ],
    }


@dataclass(frozen=True, slots=True)
class Health:
    """Asks every part anew at each call. `checks` are by the part's name; each raises an
    AppviewError where the part cannot answer.
    """

    checks: Mapping[str, Check]
    ingest: Callable[[], IngestWord]
    upstreams: Callable[[], Sequence[Upstream]]
    backfill: Callable[[], Backfill | None]

    async def __call__(self) -> dict[str, Any]:
        """`{ok, status, <part>…, ingest, upstreams, backfill?}`; `ok` false means 503.

        A part that fails is named; why is in the log, not in an answer to strangers.
        """
        words = await asyncio.gather(*(_word(name, c) for name, c in self.checks.items()))
        parts = dict(zip(self.checks, words, strict=True))
        ingest = self.ingest()
        upstreams = self.upstreams()
        down = [u.down_seconds for u in upstreams if u.down_seconds is not None]
        cut_off = bool(upstreams) and len(down) == len(upstreams)
        failed = any(word != "ok" for word in words) or ingest == "stopped"
        if failed or (cut_off and min(down) > UPSTREAM_GRACE):
            status = "unavailable"
        else:
            status = "degraded" if cut_off else "ok"
        answer: dict[str, Any] = {
            "ok": status != "unavailable",
            "status": status,
            **parts,
            "ingest": ingest,
            "upstreams": [upstream.to_json() for upstream in upstreams],
        }
        backfill = self.backfill()
        if backfill is not None:
            answer["backfill"] = backfill_json(backfill)
        return answer


async def _word(name: str, check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            await check()
    except (AppviewError, TimeoutError) as failure:
        log.warning("health: %s does not answer", name, extra={"reason": str(failure)})
        return "does not answer"
    return "ok"
