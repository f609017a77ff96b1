"""One Jetstream, followed for ever: a light source, for those who take a server's word.

Its cursor is a time, and inclusive. So each connection starts `OVERLAP_SECONDS` before the last
message that was handed on, and messages are handed on again: at least once, in the server's order.

    connect(no cursor) → …, t → closed → wait → connect(cursor = t - 5 s) → …, t again, t + 1, …

What cannot be noticed here: a cursor older than the server's window (36 hours by default) starts at
the oldest message that it has, and one from the future at the live end, without a word. Whoever was
away for longer has a gap, and only the repos themselves can fill it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from time import time

from atdex_firehose.errors import ConfigError, InvalidFrame, Rejected
from atdex_firehose.jetstream import Item, number, parse_message, read_message, time_of
from atdex_firehose.relay import JETSTREAM_COLLECTIONS, Jetstream
from atdex_firehose.subscribe import Rest, Take, one_by_one
from atdex_firehose.upstream import Source, Timing

log = logging.getLogger(__name__)

OVERLAP_SECONDS = 5
"""How far a connection goes back: messages are not quite in the order of their times, and servers
behind one name have different clocks."""
OLDEST = 10**15
"""A time (2001) that is before every window. Smaller cursors are numbers of another kind."""
EVERYTHING = "*"
"""The pattern of every collection, which a Jetstream asks for by none."""


class JetstreamUpstream(Source):
    """Follows `jetstream`, and hands what its messages say to `take`.

    `collections` are NSIDs or `a.b.*`, at most 100; all are wanted where there are none, or `*`.
    `cursor` is where to start, in microseconds since the epoch: 0 for the oldest message that the
    server has, None for the live end. `take` owns the watermark: it must `seen` or `hold` the `seq`
    of each item. `reject` is told of messages that are not what they should be; they hold no
    number.
    """

    def __init__(
        self,
        jetstream: Jetstream,
        collections: Sequence[str],
        cursor: int | None,
        take: Callable[[JetstreamUpstream, Item], Rest | None],
        reject: Callable[[JetstreamUpstream, bytes, Rejected | InvalidFrame], Rest | None],
        timing: Timing,
    ) -> None:
        if len(collections) > JETSTREAM_COLLECTIONS:
            raise ConfigError(
                "collections", len(collections), f"a Jetstream takes {JETSTREAM_COLLECTIONS}"
            )
        super().__init__(jetstream.base, cursor or 0, timing)
        self._jetstream = jetstream
        self._collections = () if EVERYTHING in collections else tuple(collections)
        self._live = cursor is None
        self._take = take
        self._reject = reject

    def want(self, collections: Sequence[str]) -> None:
        """What is asked for from the next connection on."""
        self._collections = () if EVERYTHING in collections else tuple(collections)

    def _address(self) -> str:
        top = self.watermark.top
        cursor = None if self._live and not top else max(top - OVERLAP_SECONDS * 1_000_000, OLDEST)
        return self._jetstream.subscription(cursor, self._collections)

    def receiver(self) -> Take:
        return one_by_one(self._receive)

    def _receive(self, raw: bytes) -> Rest | None:
        try:
            time_us, message = read_message(raw)
        except InvalidFrame as error:
            return self._set_aside(raw, error)
        now = time()
        seq = number(time_us, self.watermark.top, now)
        self.frames += 1
        self.last_time = (time_of(time_us), now)
        self.first_read = self.first_read or now
        try:
            item = parse_message(message, seq)
        except Rejected as error:
            self.watermark.seen(seq)
            return self._set_aside(raw, error)
        if item is None:
            self.watermark.seen(seq)
            return None
        return self._take(self, item)

    def _set_aside(self, raw: bytes, error: Rejected | InvalidFrame) -> Rest | None:
        """The stream goes on: a message stands for itself, and dropping the connection would only
        bring it again."""
        log.warning("%s: rejected a message of %d bytes: %s", self.url, len(raw), error)
        return self._reject(self, raw, error)
