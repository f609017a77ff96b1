"""One upstream, followed for ever: connect, read, check the sequence, and come back after errors.

Guarantees of an `Upstream`: frames are handed on in the order of `seq`, each at most once per
process; the stream continues after the last frame that was handed on, whatever ended the
connection. A clean close by the upstream is an end of the connection like any other.

    connect(cursor=7) → 8, 9 → closed → wait → connect(cursor=9) → 10 …

Waiting grows with failures in a row (see `backoff`) and starts over once a connection proved
healthy. A frame that cannot be decoded drops the connection; one that comes back at the same place
`POISON_ATTEMPTS` times is set aside, so that it does not stop the stream for ever.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from time import monotonic, time
from typing import NoReturn

from atdex_firehose import subscribe
from atdex_firehose.backoff import Backoff
from atdex_firehose.errors import BackwardSeq, FutureCursor, InvalidFrame, UpstreamError
from atdex_firehose.frames import SEQUENCED, Body, Kind, seq_of, split, upstream_error
from atdex_firehose.limits import SEQ_MAX
from atdex_firehose.relay import Relay
from atdex_firehose.shown import text_of
from atdex_firehose.subscribe import Rest
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


class Source(ABC):
    """What upstreams of every kind share: connections one after the other, and what is known
    of them. `url` is the name under which the cursor is kept; `frames` are those that came in
    order; `last_time` is the upstream's time of the last one and ours (seconds since the epoch).
    """

    def __init__(self, url: str, cursor: int, timing: Timing) -> None:
        self.url = url
        self.watermark = Watermark(cursor)
        self.connected = False
        self.frames = 0
        self.connections = 0
        self.outdated = 0
        self.last_error: UpstreamError | None = None
        self.last_time: tuple[str, float] | None = None
        self._timing = timing

    async def run(self) -> NoReturn:
        """Follow until cancelled. Raises only what the callbacks raise: errors of ours."""
        backoff = self._timing.backoff
        while True:
            started, frames = monotonic(), self.frames
            try:
                await self._follow()
            except UpstreamError as error:
                self.last_error = error
                self.connected = False
                healthy = monotonic() - started >= HEALTHY_SECONDS
                if healthy or self.frames - frames >= HEALTHY_FRAMES:
                    backoff.reset()
                delay = backoff.next_delay()
                self._report(error, delay)
                await asyncio.sleep(delay)
            finally:
                self.connected = False

    async def _follow(self) -> NoReturn:
        url = self._address()

        def opened() -> None:
            self.connected = True
            self.connections += 1
            log.info("connected to %s", url)

        await subscribe.follow(
            url, self._receive, opened, ping=self._timing.ping, idle=self._timing.idle
        )

    @abstractmethod
    def _address(self) -> str:
        """Where the next connection goes, from the watermark; called before each."""

    @abstractmethod
    def _receive(self, raw: bytes) -> Rest | None:
        """Take one message; see `subscribe.Take`."""

    def _report(self, error: UpstreamError, delay: float) -> None:
        log.warning("%s; connecting again in %.1f s", error, delay)


Take = Callable[["Upstream", Kind, int, Body, bytes], Rest | None]
"""Takes one frame; what it returns is awaited before the next frame is taken."""


class Upstream(Source):
    """Follows `relay` after `cursor`, and hands every sequenced frame to `take`.

    `take` owns the watermark: it must `seen` or `hold` each number. `poison` is told of frames
    that were set aside because they cannot be decoded, `outdated` that events were missed because
    the cursor was older than what the upstream keeps.
    """

    def __init__(
        self,
        relay: Relay,
        cursor: int,
        take: Take,
        poison: Callable[[Upstream, bytes, InvalidFrame], Rest | None],
        timing: Timing,
        *,
        outdated: Callable[[Upstream], None] = lambda _upstream: None,
    ) -> None:
        super().__init__(relay.base, cursor, timing)
        self._relay = relay
        self._take = take
        self._poison = poison
        self._tell_outdated = outdated
        self._last = 0  # of this connection
        self._poisoned: dict[bytes, int] = {}

    def _address(self) -> str:
        self._last = 0
        return self._relay.subscription(self.watermark.top)

    def _receive(self, raw: bytes) -> Rest | None:
        # The way of every frame: tenths of a microsecond count.
        try:
            kind, body = split(raw)
            if kind not in SEQUENCED:
                self._unsequenced(kind, body)
                return None
            seq = body.get("seq")
            if type(seq) is not int or not self._last < seq <= SEQ_MAX:
                raise BackwardSeq(self.url, seq_of(body), self._last)
        except InvalidFrame as error:
            return self._poison(self, raw, error) if self._is_poison(raw, error) else None
        self._last = seq
        if seq <= self.watermark.top:
            return None  # some upstreams repeat the event at the cursor
        self.frames += 1
        if self._poisoned:
            self._poisoned.clear()
        sent = body.get("time")
        if type(sent) is str:
            self.last_time = (sent, time())
        return self._take(self, kind, seq, body, raw)

    def _unsequenced(self, kind: Kind, body: Body) -> None:
        if kind == "error":
            raise upstream_error(self.url, body)
        if kind == "#info":
            name, message = text_of(body.get("name"), 100), text_of(body.get("message", ""), 300)
            if name == "OutdatedCursor":
                self.outdated += 1
                log.warning("%s: events were missed, the cursor is too old: %s", self.url, message)
                self._tell_outdated(self)
            else:
                log.info("%s: info %s: %s", self.url, name, message)

    def _is_poison(self, raw: bytes, error: InvalidFrame) -> bool:
        """Whether to set an undecodable frame aside now. Raises InvalidFrame to drop the
        connection; False: it was set aside before."""
        digest = sha256(raw).digest()
        seen = self._poisoned.get(digest, 0) + 1
        if len(self._poisoned) >= _POISONED:
            self._poisoned.clear()
        self._poisoned[digest] = seen
        if seen < POISON_ATTEMPTS:
            raise InvalidFrame(error.reason, self.url)
        if seen > POISON_ATTEMPTS:
            return False
        log.error(
            "%s: setting aside a frame of %d bytes after seq %d that was undecodable %d times: %s",
            self.url, len(raw), self.watermark.top, seen, error.reason,
        )  # fmt: skip
        return True

    def _report(self, error: UpstreamError, delay: float) -> None:
        if isinstance(error, FutureCursor):
            log.error(
                "%s: the saved cursor %d is ahead of the upstream (%s). Trying again in %.1f s; if"
                " the upstream was reset, remove its cursor from the state to start over",
                self.url, self.watermark.top, error.reason, delay,
            )  # fmt: skip
        else:
            super()._report(error, delay)
