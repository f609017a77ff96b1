"""How often a host is asked: a bucket of turns for each key, and pauses that a host asks for.

    rates = Rates(per_second=10, burst=3)
    rates.book("a.test")    0.0  0.0  0.0  0.1  0.2  ...   # seconds until the booked turn

A turn is booked, so those who wait for one key never wake up together, and nobody else waits.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

KEYS = 65_536
"""Keys remembered, the longest unused dropped first; about 10 MB."""
PAUSE_SECONDS = 300.0
"""The longest pause that a host can ask for: none of them may silence us for a day."""


class Rates:
    """Turns per key: `burst` at once, then `per_second`. For one event loop.

    Memory is bounded by KEYS. A key that was dropped starts with a full bucket.
    """

    def __init__(
        self, per_second: float, burst: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = 1.0 / per_second
        self._slack = (burst - 1) * self._interval
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()  # when a key's bucket is full again
        self._pauses: OrderedDict[str, float] = OrderedDict()

    def book(self, key: str, *, longest: float | None = None) -> float | None:
        """Book the next turn of `key`: the seconds until it comes.

        None, and nothing is booked, where that is more than `longest`.
        """
        now = self._clock()
        full_at = max(self._full_at.get(key, now), now)
        pause = self.paused(key)
        if pause > 0.0:  # after it there is no burst: those who waited come one by one
            full_at = max(full_at, now + pause + self._slack)
        wait = max(0.0, full_at - self._slack - now)
        if longest is not None and wait > longest:
            return None
        _keep(self._full_at, key, full_at + self._interval)
        return wait

    def pause(self, key: str, seconds: float) -> None:
        """`key` has no turns for so long (at most PAUSE_SECONDS); a longer pause stays."""
        until = self._clock() + min(max(seconds, 0.0), PAUSE_SECONDS)
        _keep(self._pauses, key, max(until, self._pauses.get(key, until)))

    def paused(self, key: str) -> float:
        """The seconds that are left of a pause; 0 where there is none."""
        until = self._pauses.get(key)
        if until is None:
            return 0.0
        left = until - self._clock()
        if left <= 0.0:
            del self._pauses[key]
            return 0.0
        return left

    async def turn(self, key: str, *, longest: float) -> bool:
        """Wait for a turn, and through pauses that begin meanwhile. False, at once, where it
        would take more than `longest` seconds."""
        while True:
            wait = self.book(key, longest=longest)
            if wait is None:
                return False
            if wait > 0.0:
                await asyncio.sleep(wait)
            if self.paused(key) <= 0.0:
                return True


def _keep(table: OrderedDict[str, float], key: str, value: float) -> None:
    table[key] = value
    table.move_to_end(key)
    if len(table) > KEYS:
        table.popitem(last=False)


def site_of(host: str) -> str:
    """The key of a host: its last two labels.

    Whoever owns a domain can make up as many hosts below it as they like, and most handles are
    hosts of one provider, so they share a bucket. Under `co.uk` strangers share one as well.
    """
    return ".".join(host.lower().rstrip(".").split(".")[-2:])


def retry_after(value: str | None) -> float | None:
    """The seconds that a `Retry-After` header asks for, as a number or a date (RFC 9110, 10.2.3);
    None where there is none or it is neither."""
    if value is None or len(value) > 64:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), PAUSE_SECONDS)
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # of a year or an offset that no clock has
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return min(max((when - datetime.now(UTC)).total_seconds(), 0.0), PAUSE_SECONDS)
