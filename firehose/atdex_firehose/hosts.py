"""How hosts are treated that repos are fetched from: few requests at a time, and left alone when
they ask for it.

A host that answers 429 is left alone for as long as it says (see `rates.retry_after`), else for a
minute, then two, up to an hour; one success starts that over. Hosts are independent: a slow one
keeps nobody else waiting.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from atdex_firehose.errors import RateLimited

REQUESTS = 4
"""Requests to one host at a time: a small PDS is one process."""
FIRST_SECONDS = 60.0
CAP_SECONDS = 3600.0
"""How long a host is left alone that does not say for how long, and the longest that it may ask."""
HOSTS = 4_096
"""Hosts remembered."""


class _Host:
    __slots__ = ("limited", "places", "until")

    def __init__(self) -> None:
        self.places = asyncio.Semaphore(REQUESTS)
        self.limited = 0
        self.until = 0.0


class Hosts:
    """`clock` gives seconds; `first` is how long a host is left alone at its first 429."""

    def __init__(self, clock: Callable[[], float], *, first: float = FIRST_SECONDS) -> None:
        self._clock = clock
        self._first = first
        self._hosts: OrderedDict[str, _Host] = OrderedDict()

    def waiting(self, name: str) -> float:
        """Seconds for which the host wants to be left alone; 0 where it may be asked."""
        host = self._hosts.get(name)
        return 0.0 if host is None else max(0.0, host.until - self._clock())

    @asynccontextmanager
    async def request(self, name: str) -> AsyncIterator[None]:
        """One request to the host, when it is this one's turn. RateLimited that comes out of it is
        remembered, and raised at once while the host wants to be left alone."""
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = _Host()
            if len(self._hosts) > HOSTS:
                self._hosts.popitem(last=False)
        else:
            self._hosts.move_to_end(name)
        async with host.places:
            left = self.waiting(name)
            if left:
                raise RateLimited(name, left)
            try:
                yield
            except RateLimited as error:
                asked = error.seconds
                if asked is None:
                    asked = self._first * 2.0 ** min(host.limited, 16)
                host.limited += 1
                host.until = self._clock() + min(CAP_SECONDS, max(0.0, asked))
                raise
            host.limited = 0
