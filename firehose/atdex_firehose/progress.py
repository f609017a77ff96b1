"""How fetching repos goes: the rate over the last minute, and a line in the log while it lasts."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable

from atdex_firehose.stats import Backfill

log = logging.getLogger(__name__)

LOG_SECONDS = 10.0
"""Between two lines."""
WINDOW_SECONDS = 60.0
"""What a rate is taken over."""


class Rate:
    """Units a second over the window, from readings of a counter."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._readings: deque[tuple[float, int]] = deque()

    def read(self, count: int) -> float:
        """Take a reading; the rate since the oldest one in the window."""
        now = self._clock()
        readings = self._readings
        if not readings or now - readings[-1][0] >= 1.0:
            readings.append((now, count))
        while len(readings) > 1 and now - readings[0][0] > WINDOW_SECONDS:
            readings.popleft()
        then, before = readings[0]
        return (count - before) / (now - then) if now > then else 0.0


async def log_progress(backfill: Callable[[], Backfill]) -> None:
    """Log how fetching goes, while it does; until cancelled."""
    was_busy = False
    while True:
        now = backfill()
        busy = bool(now.remaining or now.listing)
        if busy or was_busy:
            log.info(
                "backfill: %d of %d repos done, %d being fetched, %d records (%.0f/s)%s",
                now.repos.get("synchronized", 0),
                sum(now.repos.values()),
                now.running,
                now.records,
                now.records_per_second,
                f"; listing {', '.join(now.listing)}" if now.listing else "",
            )
        was_busy = busy
        await asyncio.sleep(LOG_SECONDS)
