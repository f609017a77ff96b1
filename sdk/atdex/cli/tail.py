"""What `atdex firehose` does, over the packages of the `node` extra.

Lines are written in batches: at the end of a burst, or when enough are ready. An event is
acknowledged after its line was flushed, so that what a reader of the pipe missed comes again
where there is a state file.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from atdex_firehose import (
    AccountEvent,
    CommitEvent,
    Consumer,
    Event,
    IdentityEvent,
    RejectedEvent,
    SyncEvent,
)
from atdex_firehose.state import State
from atdex_lexicons.datamodel import decode, json_bytes
from atdex_lexicons.errors import InvalidData

log = logging.getLogger(__name__)

BATCH_EVENTS = 256
"""Events of which the lines are written at once."""
LOOK_SECONDS = 0.1
"""How often idleness is looked at."""


@dataclass(frozen=True, slots=True)
class Options:
    """What `tail` was asked for."""

    relays: tuple[str, ...]
    hosts: tuple[str, ...]
    jetstream: str | None
    plc: str
    collections: tuple[str, ...]
    cursor: int | None
    state: Path | None
    backfill: bool
    verify: bool
    allow_private_hosts: bool
    stop_after_idle: float | None
    stats: bool
    quiet: bool


def run(options: Options) -> int:
    """Follow until a signal, idleness, or an error. The exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_Tail(options, sys.stdout.buffer).run())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # not on every platform
        return asyncio.new_event_loop
    return uvloop.new_event_loop


class _Tail:
    def __init__(self, options: Options, out: BinaryIO) -> None:
        self._options = options
        self._out = out
        self._events = 0
        self._last_event = 0.0
        self._last_activity = time.monotonic()

    async def run(self) -> int:
        options = self._options
        consumer = Consumer(
            options.relays,
            options.collections,
            hosts=options.hosts,
            jetstream=options.jetstream,
            state=options.state,
            plc=options.plc,
            cursor=options.cursor,
            verify=options.verify,
            backfill=options.backfill,
            allow_private_hosts=options.allow_private_hosts,
        )
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        async with consumer:
            watching = asyncio.create_task(self._watch(consumer, stop))
            try:
                await self._print(consumer)
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
        if options.stats:
            self._print_stats(consumer)
        return 0

    async def _print(self, consumer: Consumer) -> None:
        quiet = self._options.quiet
        batch: list[Event] = []
        lines: list[bytes] = []
        async for event in consumer:
            self._events += 1
            batch.append(event)
            if not quiet:
                lines += _lines(event)
            if len(batch) >= BATCH_EVENTS or consumer.drained:
                self._last_event, self._last_activity = time.time(), time.monotonic()
                if lines:
                    self._out.write(b"".join(lines))
                    self._out.flush()
                for each in batch:
                    consumer.ack(each)
                batch, lines = [], []

    async def _watch(self, consumer: Consumer, stop: asyncio.Event) -> None:
        """Ends the iteration after a signal, or where nothing came for long enough."""
        idle = self._options.stop_after_idle
        frames = 0
        while not stop.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await stop.wait()
            now = time.monotonic()
            seen = consumer.frames
            if seen != frames:
                frames, self._last_activity = seen, now
            if idle is None or now - self._last_activity < idle:
                continue
            if not consumer.busy_within(idle):
                break
        await consumer.stop()

    def _print_stats(self, consumer: Consumer) -> None:
        stats = consumer.stats()
        first, last = consumer.frame_times or (self._last_event, self._last_event)
        found = {
            "frames": stats.frames,
            "events": self._events,
            "commits_verified": stats.commits_verified,
            "rejected": stats.rejected,
            "desynchronized": stats.desynchronized,
            "resyncs": stats.backfill.resyncs,
            "seconds": round(max(0.0, max(self._last_event, last) - first), 6),
        }
        print(orjson.dumps(found).decode(), file=sys.stderr, flush=True)


def _lines(event: Event) -> Iterator[bytes]:
    match event:
        case CommitEvent():
            head = {"seq": event.seq if event.live else None, "type": "record"}
            head |= {"did": event.did, "rev": event.rev}
            for op in event.ops:
                line = head | {
                    "collection": op.collection,
                    "rkey": op.rkey,
                    "action": op.action,
                    "cid": op.cid,
                    "record": None if op.raw is None else orjson.Fragment(_json(op.raw)),
                    "live": event.live,
                }
                if not event.verified:
                    line["verified"] = False
                yield orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
        case AccountEvent():
            yield _line(event, "account", active=event.active, status=event.status, time=event.time)
        case IdentityEvent():
            identity = event.identity
            facts: dict[str, Any] = {"handle": None, "claimed": None, "pds": None}
            if identity is not None:
                facts = {
                    "handle": identity.handle,
                    "claimed": identity.claimed,
                    "pds": identity.pds,
                }
            yield _line(event, "identity", **facts, time=event.time or None)
        case SyncEvent():
            yield _line(event, "sync", rev=event.rev, time=event.time)
        case RejectedEvent():
            return  # logged, counted, and kept in the state


def _line(event: Event, kind: str, **facts: object) -> bytes:
    head = {"seq": event.seq or None, "type": kind, "did": event.did}
    return orjson.dumps(head | facts, option=orjson.OPT_APPEND_NEWLINE)


def _json(raw: bytes) -> bytes:
    """The record in JSON form; what is no record of the data model is shown as its bytes."""
    try:
        return json_bytes(decode(raw))
    except InvalidData as error:
        shown = {"$bytes": base64.b64encode(raw).decode().rstrip("="), "$invalid": str(error)}
        return orjson.dumps(shown)


async def read_rejected(path: Path, limit: int, did: str | None) -> list[dict[str, Any]]:
    """What a state file holds of rejected frames, newest first. Raises StateError."""
    state = await State.open(path, must_exist=True)
    try:
        found = await state.rejections(limit, did)
    finally:
        await state.close()
    return [
        {
            "source": each.source,
            "seq": each.seq,
            "did": each.did,
            "rev": each.rev,
            "error": each.error,
            "reason": each.reason,
            "seenAt": datetime.fromtimestamp(each.seen_at, UTC).isoformat(timespec="seconds"),
            "frame": base64.b64encode(each.frame).decode(),
        }
        for each in found
    ]
