"""The consumers that `firehose` compares: one in a process, one stream from its start to its end.

python -m tests.benchmarks.firehose_consumers NAME URL PLC LAST_SEQ COLLECTION...

Prints one JSON object: `frames`, `seconds` and seconds of `cpu` from the first message to the last,
and what else the consumer knows. The loop around each library is as short as its documentation has
it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import sys
import time
import urllib.request
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import libipld

from atdex_firehose import Consumer
from tests.support.replay import HOLD, RELEASE

SUBSCRIBE = "/xrpc/com.atproto.sync.subscribeRepos?cursor=0"
POLL_SECONDS = 0.001
QUIET_SECONDS = 0.5
ROUNDS = 20
FRAMES_PER_SAMPLE = 100_000  # of the memory

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Job:
    url: str
    plc: str
    last_seq: int
    collections: Sequence[str]

    @property
    def subscription(self) -> str:
        return self.url.replace("http", "ws", 1) + SUBSCRIBE


@dataclass(slots=True)
class Clock:
    """From the first message to the last."""

    frames: int = 0
    kept: int = 0
    begun: float = 0.0
    cpu: float = 0.0

    def start(self) -> None:
        self.begun, self.cpu = time.perf_counter(), time.process_time()

    def result(self, **more: Any) -> Result:
        seconds, cpu = time.perf_counter() - self.begun, time.process_time() - self.cpu
        return {"frames": self.frames, "seconds": seconds, "cpu": cpu, "kept": self.kept} | more


class Reader:
    """What is done with a message: nothing, or decoding it and looking for wanted collections.

    A drain must find the end too: the last message is known by its bytes, which it ends on.
    """

    def __init__(self, job: Job, decodes: bool) -> None:
        self._wanted = frozenset(job.collections)
        self._last = b"cseq" + libipld.encode_dag_cbor(job.last_seq)
        self._last_seq = job.last_seq
        self._decodes = decodes
        self.clock = Clock()

    def take(self, raw: bytes) -> bool:
        """False at the last one."""
        clock = self.clock
        if not clock.frames:
            clock.start()
        clock.frames += 1
        if not self._decodes:
            return self._last not in raw[:400]
        header, body = libipld.decode_dag_cbor_multi(raw)
        if header["t"] == "#commit":
            wanted = self._wanted
            for op in body["ops"]:
                if op["path"].partition("/")[0] in wanted:
                    clock.kept += 1
                    break
        seq: int = body["seq"]
        return seq < self._last_seq


async def with_picows(job: Job, reader: Reader) -> Result:
    from picows import WSFrame, WSListener, WSTransport, ws_connect

    ended = asyncio.get_running_loop().create_future()

    class Listener(WSListener):
        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            if not ended.done() and not reader.take(frame.get_payload_as_bytes()):
                ended.set_result(reader.clock.result())

    await ws_connect(Listener, job.subscription, max_frame_size=5_000_000)
    result: Result = await ended
    return result


async def with_websockets(job: Job, reader: Reader) -> Result:
    from websockets.asyncio.client import connect

    async with connect(
        job.subscription, max_size=None, compression=None, proxy=None, close_timeout=0.1
    ) as socket:
        while reader.take(await socket.recv(decode=False)):
            pass
        return reader.clock.result()


async def with_sdk(job: Job) -> Result:
    """Every message parsed into its model; the CAR only where a dataset is in it."""
    from atproto import (  # type: ignore[import-untyped]
        CAR,
        FirehoseSubscribeReposClient,
        models,
        parse_subscribe_repos_message,
    )

    clock = Clock()
    wanted = frozenset(job.collections)
    client = FirehoseSubscribeReposClient({"cursor": 0}, f"{job.url.replace('http', 'ws', 1)}/xrpc")

    def take(message: Any) -> None:
        if not clock.frames:
            clock.start()
        clock.frames += 1
        commit = parse_subscribe_repos_message(message)
        if isinstance(commit, models.ComAtprotoSyncSubscribeRepos.Commit) and any(
            op.path.partition("/")[0] in wanted for op in commit.ops
        ):
            clock.kept += 1
            CAR.from_bytes(commit.blocks)
        if getattr(commit, "seq", 0) >= job.last_seq:
            report(clock.result())  # ends the process: a stop would wait for the connection

    client.start(take)
    raise RuntimeError("the SDK's client ended before the stream")


async def with_ours(job: Job) -> Result:
    """This project, as it comes: nothing is kept, every event acknowledged.

    The stream is held back until the repos that exist before it are fetched, as with a consumer
    that has been running for a while; then every commit has one before it to be compared with.
    """
    logging.disable(logging.WARNING)
    clock, memory = Clock(), Memory()
    await ask(job, HOLD)
    async with Consumer(
        relays=[job.url], collections=job.collections, plc=job.plc, allow_private_hosts=True
    ) as consumer:

        async def drain() -> None:
            async for event in consumer:
                clock.kept += 1
                consumer.ack(event)

        draining = asyncio.create_task(drain())
        await prepared(consumer)
        before = consumer.stats()
        await ask(job, RELEASE)
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if draining.done():
                await draining
            frames = consumer.frames
            if frames and not clock.begun:
                clock.start()
                clock.kept = 0
            memory.sample(frames)
            if frames == clock.frames:  # nothing new: all the statistics cost more than a frame
                stats = consumer.stats()
                if stats.upstreams[0]["cursor"] >= job.last_seq:  # of what was acknowledged
                    break
            clock.frames = frames
        stats = consumer.stats()
        clock.frames = stats.frames
        result = clock.result(
            verified=stats.commits_verified - before.commits_verified,
            rejected=stats.rejected - before.rejected,
            desynchronized=stats.desynchronized - before.desynchronized,
            memory=memory.samples,
        )
        draining.cancel()
        return result


async def with_ours_again(job: Job) -> Result:
    """One consumer after the other in one process: what one leaves behind adds up."""
    after: list[float] = []
    verified = 0
    for _ in range(ROUNDS):
        verified += (await with_ours(job))["verified"]
        after.append(resident())
    return {"verified": verified, "memory": after}


async def prepared(consumer: Consumer) -> None:
    """Until it is connected, and nothing is left to fetch."""
    quiet = 0.0
    while quiet < QUIET_SECONDS:
        await asyncio.sleep(QUIET_SECONDS / 10)
        connected = consumer.stats().upstreams[0]["connected"]
        busy = consumer.busy_within(QUIET_SECONDS) or not connected
        quiet = 0.0 if busy else quiet + QUIET_SECONDS / 10


async def ask(job: Job, path: str) -> None:
    await asyncio.to_thread(urllib.request.urlopen, job.plc + path)


@dataclass(slots=True)
class Memory:
    """Megabytes in memory along the stream: pairs with the number of frames."""

    samples: list[tuple[int, float]] = field(default_factory=list)
    _next: int = 0

    def sample(self, frames: int) -> None:
        if frames >= self._next:
            self._next = frames + FRAMES_PER_SAMPLE
            self.samples.append((frames, resident()))


def resident() -> float:
    """Megabytes of this process in memory now."""
    with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123 - read in a loop
        pages = int(statm.read().split()[1])
    return pages * resource.getpagesize() / 1e6


CONSUMERS: dict[str, Callable[[Job], Coroutine[Any, Any, Result]]] = {
    "sdk": with_sdk,
    "picows, drain": lambda job: with_picows(job, Reader(job, decodes=False)),
    "picows, decode": lambda job: with_picows(job, Reader(job, decodes=True)),
    "websockets, drain": lambda job: with_websockets(job, Reader(job, decodes=False)),
    "websockets, decode": lambda job: with_websockets(job, Reader(job, decodes=True)),
    "ours": with_ours,
    "ours, again and again": with_ours_again,
}


def report(result: Result) -> None:
    """Prints and ends the process at once: what libraries do when they close is not measured."""
    print(json.dumps(result), flush=True)
    os._exit(0)


if __name__ == "__main__":
    name, url, plc, last_seq, *collections = sys.argv[1:]
    report(asyncio.run(CONSUMERS[name](Job(url, plc, int(last_seq), collections))))
