"""The queue between the consumer's tasks and the one who iterates: bounded by count and bytes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from atdex_firehose.events import CommitEvent, Event, RejectedEvent

OUTBOX_EVENTS = 4_096
"""Events that wait to be iterated; more would only delay the backpressure."""
OUTBOX_BYTES = 32 * 1024 * 1024
"""Bytes of records that wait to be iterated: one commit can hold 2 MB."""


class Outbox:
    """Events in, in order out. After `finish`, what is queued is still handed out, then the end;
    after `fail`, the error is raised at once."""

    def __init__(self, max_events: int = OUTBOX_EVENTS, max_bytes: int = OUTBOX_BYTES) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._events: deque[tuple[Event, int]] = deque()
        self._bytes = 0
        self._finished = False
        self._error: BaseException | None = None
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    def __len__(self) -> int:
        return len(self._events)

    @property
    def failed(self) -> bool:
        return self._error is not None

    def offer(self, event: Event) -> bool:
        """Queue the event if there is room."""
        if not self._writable.is_set():
            return False
        size = 0
        if type(event) is CommitEvent:
            for op in event.ops:
                if op.raw is not None:
                    size += len(op.raw)
            for op in event.mentions:
                size += len(op.raw or b"")
        elif type(event) is RejectedEvent:
            size = len(event.frame)
        self._events.append((event, size))
        self._bytes += size
        if len(self._events) >= self._max_events or self._bytes >= self._max_bytes:
            self._writable.clear()
        self._readable.set()
        return True

    async def put(self, event: Event) -> None:
        """Queue the event, once there is room."""
        while not self.offer(event):
            await self._writable.wait()

    def finish(self) -> None:
        """Nothing more will come."""
        self._finished = True
        self._readable.set()

    def fail(self, error: BaseException) -> None:
        """Iterating raises this error from now on. The first one stays."""
        if self._error is None:
            self._error = error
        self._readable.set()

    async def events(self) -> AsyncIterator[Event]:
        """The events, as they come."""
        while True:
            if self._error is not None:
                raise self._error
            if self._events:
                event, size = self._events.popleft()
                self._bytes -= size
                if len(self._events) < self._max_events and self._bytes < self._max_bytes:
                    self._writable.set()
                yield event
            elif self._finished:
                return
            else:
                self._readable.clear()
                await self._readable.wait()
