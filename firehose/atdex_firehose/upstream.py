"""One upstream, followed for ever: connect, read, check the sequence, and come back after errors.

Guarantees of an `Upstream`: frames are handed on in the order of `seq`, each at most once per
process; the stream continues after the last frame that was handed on, whatever ended the
connection. A clean close by the upstream is an end of the connection like any other.

    connect(cursor=7) → 8, 9 → closed → wait → connect(cursor=9) → 10 …

What nobody wants costs little more than being decoded. What somebody may want is put into a batch,
prepared together, as the same work on many frames in a row is faster, and then taken one after the
other. Nothing is counted, nor passed by the watermark, before what is in front of it was taken.

    read 5 6 7 8 9 10   6 and 9 may be wanted; top is 5
    prepare 6, 9        whatever needs no order
    take 6              top is 6; where that waits, all behind it waits
    take 9              top is 9, and then 10

Waiting grows with failures in a row (see `backoff`) and starts over once a connection proved
healthy. A frame that cannot be decoded drops the connection; one that comes back at the same place
`POISON_ATTEMPTS` times is set aside, so that it does not stop the stream for ever.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from time import monotonic, time
from typing import NoReturn

from atdex_firehose import subscribe
from atdex_firehose.backoff import Backoff
from atdex_firehose.errors import (
    BackwardSeq,
    FutureCursor,
    InvalidEvent,
    InvalidFrame,
    UpstreamError,
)
from atdex_firehose.frames import (
    SEQUENCED,
    Body,
    Kind,
    did_of,
    seq_of,
    split,
    upstream_error,
)
from atdex_firehose.items import Item
from atdex_firehose.limits import LARGE_FRAME_BYTES, SEQ_MAX
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
READ_FRAMES = 64
"""Frames decoded in one go: half a millisecond of those that nobody wants. A large one is the last
of its go."""
BATCH_ITEMS = 16
"""Frames that somebody may want, prepared together: two milliseconds, and more gain nothing."""


@dataclass(slots=True)
class Timing:
    """The waits of one upstream, in seconds; tests shorten them."""

    ping: float = subscribe.PING_SECONDS
    idle: float = subscribe.IDLE_SECONDS
    backoff: Backoff = field(default_factory=Backoff)


class Source(ABC):
    """What upstreams of every kind share: connections one after the other, and what is known
    of them. `url` is the name under which the cursor is kept; `frames` are those that came in
    order; `last_time` is the upstream's time of the last one and ours (seconds since the epoch),
    `first_read` our time of the first one, 0 before it.
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
        self.first_read = 0.0
        self._timing = timing

    async def run(self) -> NoReturn:
        """Follow until cancelled. Raises only what the callbacks raise: errors of ours."""
        backoff = self._timing.backoff
        while True:
            started, frames = monotonic(), self.frames
            try:
                await self._follow()
            except UpstreamError as error:
                # Nothing is awaited here: compiled, that mixes up the exceptions of tasks.
                self.last_error = ended = error
            finally:
                self.connected = False
            healthy = monotonic() - started >= HEALTHY_SECONDS
            if healthy or self.frames - frames >= HEALTHY_FRAMES:
                backoff.reset()
            delay = backoff.next_delay()
            self._report(ended, delay)
            await asyncio.sleep(delay)

    async def _follow(self) -> NoReturn:
        url = self._address()

        def opened() -> None:
            self.connected = True
            self.connections += 1
            log.info("connected to %s", url)

        await subscribe.follow(
            url, self.receiver(), opened, ping=self._timing.ping, idle=self._timing.idle
        )

    @abstractmethod
    def _address(self) -> str:
        """Where the next connection goes, from the watermark; called before each."""

    @abstractmethod
    def receiver(self) -> subscribe.Take:
        """What takes the messages of the next connection."""

    def _report(self, error: UpstreamError, delay: float) -> None:
        log.warning("%s; connecting again in %.1f s", error, delay)


Take = Callable[[Item], Rest | None]
"""Takes one frame; what it returns is awaited before the next frame is taken."""
Wants = Callable[[Body, bytes], bool]
"""Whether a `#commit`, by its body and whole frame, may be wanted, as far as that is known now."""
Prepare = Callable[[Sequence[Item]], None]
"""Does ahead of their turns what of the work on some frames depends on no other frame."""


class Upstream(Source):
    """Follows `relay` after `cursor`, and hands every sequenced frame to `take`, but for commits
    that are not what `wants` says.

    A commit of a DID that has another frame before it in the batch is handed over in any case, as
    that one may change the answer. `take` owns the watermark for what it takes: it must `seen` or
    `hold` each number. `poison` is told of frames that were set aside because they cannot be
    decoded, `outdated` that events were missed because the cursor was older than what the
    upstream keeps.
    """

    def __init__(
        self,
        relay: Relay,
        cursor: int,
        take: Take,
        poison: Callable[[Upstream, bytes, InvalidFrame], Rest | None],
        timing: Timing,
        *,
        wants: Wants = lambda _body, _raw: True,
        prepare: Prepare = lambda _items: None,
        outdated: Callable[[Upstream], None] = lambda _upstream: None,
    ) -> None:
        super().__init__(relay.base, cursor, timing)
        self._relay = relay
        self._take = take
        self._poison = poison
        self._wants = wants
        self._prepare = prepare
        self._tell_outdated = outdated
        self._last = 0  # read of this connection
        self._items: deque[tuple[int, Item]] = deque()
        """The batch: each with the number of frames that it and those before it make, which nobody
        wants."""
        self._dids: set[str] = set()  # of the batch
        self._passed = 0  # frames behind the batch, which nobody wants
        self._taking = False  # the batch is prepared, and partly taken
        self._poisoned: dict[bytes, int] = {}

    def _address(self) -> str:
        self._last = self._passed = 0
        self._taking = False
        self._items.clear()
        self._dids.clear()
        return self._relay.subscription(self.watermark.top)

    def receiver(self) -> subscribe.Take:
        return self._receive

    def _receive(self, messages: deque[bytes]) -> Rest | None:
        items = self._items
        if not self._taking:
            if messages:
                number = len(messages)
                full = self._read(messages)
                if not items:
                    self._pass()
                    unread = len(messages) == number
                    return self._deal_with(messages.popleft()) if unread else None
                if not full:
                    return None
            if len(items) > 1:
                self._prepare([item for _, item in items])
            self._taking = True
        rest: Rest | None = None
        while items and rest is None:
            frames, item = items.popleft()
            self.frames += frames
            rest = self._take(item)
        if rest is None:
            self._taking = False
            self._dids.clear()
            self._pass()
        return rest

    def _read(self, messages: deque[bytes]) -> bool:
        """Decode messages, and add to the batch what may be wanted. True: the batch is full, or a
        message that is no event in order is next."""
        # The way of every frame: tenths of a microsecond count.
        wants, items, dids = self._wants, self._items, self._dids
        last, passed, top = self._last, self._passed, self.watermark.top
        full, sent = False, None
        for _ in range(min(len(messages), READ_FRAMES)):
            raw = messages.popleft()
            try:
                kind, body = split(raw)
            except InvalidFrame:  # again, and told, in `_deal_with`
                kind, body = "", {}
            seq = body.get("seq")
            if kind not in SEQUENCED or type(seq) is not int or not last < seq <= SEQ_MAX:
                messages.appendleft(raw)
                full = True
                break
            last = seq
            if seq <= top:
                continue  # some upstreams repeat the event at the cursor
            passed += 1
            sent = body.get("time")
            if kind != "#commit" or wants(body, raw) or (dids and _repo(body) in dids):
                item = self._item(kind, seq, body, raw)
                items.append((passed, item))
                passed = 0
                dids.add(item.did)
                if len(items) == BATCH_ITEMS:
                    full = True
                    break
            if len(raw) > LARGE_FRAME_BYTES:
                break
        self._last, self._passed = last, passed
        if passed or items:
            self._poisoned.clear()
            now = time()
            self.first_read = self.first_read or now
            if type(sent) is str:
                self.last_time = (sent, now)
        return full

    def _pass(self) -> None:
        """What was read and is wanted by nobody, and has nothing in front of it any more."""
        self.frames += self._passed
        self._passed = 0
        if self._last > self.watermark.top:
            self.watermark.seen(self._last)

    def _item(self, kind: Kind, seq: int, body: Body, raw: bytes) -> Item:
        try:
            did = did_of(kind, body)
        except InvalidEvent:
            did = ""  # rejected where the frame is parsed
        return Item(self.url, self, kind, seq, did, body, raw)

    def _deal_with(self, raw: bytes) -> Rest | None:
        """A message that is no event, or not the next one. Raises what ends the connection."""
        try:
            kind, body = split(raw)
            if kind in SEQUENCED:
                raise BackwardSeq(self.url, seq_of(body), self._last)
        except InvalidFrame as error:
            return self._poison(self, raw, error) if self._is_poison(raw, error) else None
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
        return None

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


def _repo(body: Body) -> str | None:
    repo = body.get("repo")
    return repo if type(repo) is str else None
