"""One upstream, followed for ever: connect, read, check the sequence, and come back after errors.

Guarantees: frames are handed on in the order of `seq`, each at most once per process; the stream
continues after the last frame that was handed on, whatever ended the connection. A clean close by
the upstream is an end of the connection like any other.

    connect(cursor=7) → 8, 9 → closed → wait → connect(cursor=9) → 10 …

Waiting grows with failures in a row (see `backoff`) and starts over once a connection proved
healthy. A frame that cannot be decoded drops the connection; one that comes back at the same place
`POISON_ATTEMPTS` times is set aside, so that it does not stop the stream for ever.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NoReturn

from atdex_firehose import subscribe
from atdex_firehose.backoff import Backoff
from atdex_firehose.errors import BackwardSeq, FutureCursor, InvalidFrame, UpstreamError
from atdex_firehose.frames import SEQUENCED, Body, Kind, seq_of, split, upstream_error
from atdex_firehose.relay import Relay
from atdex_firehose.watermark import Watermark

log = logging.getLogger(__name__)

HEALTHY_SECONDS = 30.0
HEALTHY_FRAMES = 100
"""A connection that lived so long, or brought so much, was healthy: the next wait is short."""
POISON_ATTEMPTS = 3
"""How often the same undecodable frame may drop the connection at the same place."""
_POISONED = 256
"""Different undecodable frames remembered at one place."""


@dataclass(slots=True)
class Timing:
    """The waits of one upstream, in seconds; tests shorten them."""

    ping: float = subscribe.PING_SECONDS
    idle: float = subscribe.IDLE_SECONDS
    backoff: Backoff = field(default_factory=Backoff)


Take = Callable[["Upstream", Kind, int, Body, bytes], Coroutine[Any, Any, None] | None]
"""Takes one frame; what it returns is awaited before the next frame is read."""


class Upstream:
    """Follows `relay` after `cursor`, and hands every sequenced frame to `take`.

    `take` owns the watermark: it must `seen` or `hold` each number. `poison` is told of frames
    that were set aside because they cannot be decoded.
    """

    def __init__(
        self,
        relay: Relay,
        cursor: int,
        take: Take,
        poison: Callable[[Upstream, bytes, InvalidFrame], Coroutine[Any, Any, None] | None],
        timing: Timing,
    ) -> None:
        self.url = relay.base
        self.watermark = Watermark(cursor)
        self.connected = False
        self.frames = 0
        self.connections = 0
        self.outdated = 0
        self.last_error: UpstreamError | None = None
        self.last_time: tuple[str, float] | None = None
        self._relay = relay
        self._take = take
        self._poison = poison
        self._timing = timing
        self._poisoned: dict[bytes, int] = {}

    async def run(self) -> NoReturn:
        """Follow until cancelled."""
        backoff = self._timing.backoff
        while True:
            started, frames = time.monotonic(), self.frames
            try:
                await self._follow()
            except UpstreamError as error:
                self.last_error = error
                self.connected = False
                healthy = time.monotonic() - started >= HEALTHY_SECONDS
                if healthy or self.frames - frames >= HEALTHY_FRAMES:
                    backoff.reset()
                delay = backoff.next_delay()
                self._report(error, delay)
                await asyncio.sleep(delay)
            finally:
                self.connected = False

    async def _follow(self) -> NoReturn:
        url = self._relay.subscription(self.watermark.top)
        async with subscribe.open_connection(
            url, ping=self._timing.ping, idle=self._timing.idle
        ) as connection:
            self.connected = True
            self.connections += 1
            log.info("connected to %s", url)
            receive = connection.receive
            last = 0
            while True:
                raw = await receive()
                try:
                    kind, body = split(raw)
                    seq = seq_of(body) if kind in SEQUENCED else 0
                except InvalidFrame as error:
                    await self._undecodable(raw, error)
                    continue
                if seq == 0:
                    self._unsequenced(kind, body)
                    continue
                if seq <= last:
                    raise BackwardSeq(self.url, seq, last)
                last = seq
                if seq <= self.watermark.top:
                    continue  # some upstreams repeat the event at the cursor
                self.frames += 1
                if self._poisoned:
                    self._poisoned.clear()
                sent = body.get("time")
                if type(sent) is str:
                    self.last_time = (sent, time.time())
                waiting = self._take(self, kind, seq, body, raw)
                if waiting is not None:
                    await waiting

    def _unsequenced(self, kind: Kind, body: Body) -> None:
        if kind == "error":
            raise upstream_error(self.url, body)
        if kind == "#info":
            name, message = str(body.get("name"))[:100], str(body.get("message", ""))[:300]
            if name == "OutdatedCursor":
                self.outdated += 1
                log.warning("%s: events were missed, the cursor is too old: %s", self.url, message)
            else:
                log.info("%s: info %s: %s", self.url, name, message)

    async def _undecodable(self, raw: bytes, error: InvalidFrame) -> None:
        digest = sha256(raw).digest()
        seen = self._poisoned.get(digest, 0) + 1
        if len(self._poisoned) >= _POISONED:
            self._poisoned.clear()
        self._poisoned[digest] = seen
        if seen < POISON_ATTEMPTS:
            raise InvalidFrame(error.reason, self.url)
        if seen > POISON_ATTEMPTS:
            return  # set aside already, on an earlier connection
        log.error(
            "%s: setting aside a frame of %d bytes after seq %d that was undecodable %d times: %s",
            self.url, len(raw), self.watermark.top, seen, error.reason,
        )  # fmt: skip
        waiting = self._poison(self, raw, error)
        if waiting is not None:
            await waiting

    def _report(self, error: UpstreamError, delay: float) -> None:
        if isinstance(error, FutureCursor):
            log.error(
                "%s: the saved cursor %d is ahead of the upstream (%s). Trying again in %.1f s; if"
                " the upstream was reset, remove its cursor from the state to start over",
                self.url, self.watermark.top, error.reason, delay,
            )  # fmt: skip
        else:
            log.warning("%s; connecting again in %.1f s", error, delay)
