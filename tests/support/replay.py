"""A recorded network, played again on 127.0.0.1: a relay that is also the PDS, and a directory.

    async with ReplayNetwork(corpus, faults=Faults(seed=7, every=50)) as network:
        Consumer(relays=[network.url], plc=network.plc, ...)

The stream has the cursor semantics of the reference PDS. Documents, repos and lists are as of the
furthest frame that was sent, or of `reached` if that is further: a consumer meets a network that
changes while it reads. Frames up to `forgotten` are not sent any more: they happened before. Up to
`begun` they never were here, as with a relay that is younger than its accounts.
`rate` (frames a second) keeps the sockets' buffers from swallowing a small corpus at once; without
it frames go out as fast as they are taken.

Written on bare sockets, so that it does not bound what is measured against it: frames are encoded
once and sent in slices. `tests.support.replay_process` runs it in a process of its own.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from bisect import bisect_right
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Self

from tests.support.corpus import Corpus
from tests.support.replay_faults import Faults
from tests.support.replay_host import Answer, ReplayHost
from tests.support.replay_socket import Gone, Peer, Request
from tests.support.replay_wire import CLOSE, FIRST_WIDE_SEQ, EndlessWire, Wire, message
from tests.support.repo import error_frame, info_frame

SUBSCRIBE = "/xrpc/com.atproto.sync.subscribeRepos"
HOLD, RELEASE = "/hold", "/release"
"""Asked of the directory: everything is as it was in the beginning, and new subscribers wait; they
get their frames. What a consumer does before the stream is then not measured with it."""
RUN_BYTES = 1 << 20  # sent at once: large enough that Python's share is small
PACE_SECONDS = 0.01  # between runs, where there is a rate
GOING_AWAY, POLICY = struct.pack(">H", 1001), struct.pack(">H", 1008)

Serve = Callable[[Peer], Awaitable[None]]


class ReplayNetwork:
    """Servers for as long as the `async with` block runs. `url` is the relay and PDS, `plc` the
    directory. `host` counts what was asked, `connections` those of the stream, `met` the faults
    that were sent. Leaving raises what went wrong in here.

    `passes` above 1 sends the corpus that often, its seqs rising on, to one subscriber at a time
    and without faults of the stream; the hosts are then as of the end from the beginning.
    """

    def __init__(
        self,
        corpus: Corpus,
        *,
        faults: Faults | None = None,
        collections: bool = False,
        reached: int = 0,
        forgotten: int = 0,
        begun: int = 0,
        rate: float | None = None,
        passes: int = 1,
    ) -> None:
        faults = faults or Faults()
        endless = passes > 1
        if endless and (faults.every or faults.cut_every or rate or reached or forgotten or begun):
            raise ValueError("an endless stream goes out at once and without faults")
        self._plan = faults.planned(corpus)
        self._cut_every = faults.cut_every
        self._rate = rate
        self._forgotten = forgotten
        self._begun = begun
        self._passes = passes
        self._seqs = corpus.seqs
        self._wire = EndlessWire(corpus.frames) if endless else Wire(corpus.frames)
        self.host = ReplayHost(corpus, faults, collections=collections)
        self._origin = corpus.seqs[-1] if endless else max(reached, forgotten, begun)
        self.host.position = self._origin
        self.last_seq = corpus.seqs[-1]
        if endless:
            self.last_seq = FIRST_WIDE_SEQ + passes * len(corpus.frames) - 1
        self.connections = 0
        self.met: Counter[str] = Counter()
        self.url = self.plc = ""
        self._streaming = asyncio.Lock()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._listeners: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []

    async def __aenter__(self) -> Self:
        self.url = self._listen(self._serve)
        self.plc = self._listen(self._serve_directory)
        self.host.url = self.url
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for listener in self._listeners:
            listener.close()
        if self._failures:
            raise self._failures[0]

    def _listen(self, serve: Serve) -> str:
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        listener.setblocking(False)
        self._listeners.append(listener)
        self._start(self._accept(listener, serve))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failures.append(error)

    async def _accept(self, listener: socket.socket, serve: Serve) -> None:
        while True:
            accepted, _address = await asyncio.get_running_loop().sock_accept(listener)
            self._start(self._attend(accepted, serve))

    async def _attend(self, accepted: socket.socket, serve: Serve) -> None:
        with accepted:
            accepted.setblocking(False)
            try:
                await serve(Peer(accepted))
            except Gone:
                return

    async def _serve_directory(self, peer: Peer) -> None:
        while True:
            path = (await peer.request()).path
            if path in (HOLD, RELEASE):
                await peer.answer(self._control(path))
            else:
                await peer.answer(self.host.directory(path.removeprefix("/")))

    def _control(self, path: str) -> Answer:
        if path == HOLD:
            self._flowing.clear()
            self.host.position = self._origin
        else:
            self._flowing.set()
        return Answer(200, b"{}")

    async def _serve(self, peer: Peer) -> None:
        while True:
            request = await peer.request()
            if request.headers.get("upgrade", "").lower() == "websocket":
                return await self._subscribe(peer, request)
            await peer.answer(self.host.xrpc(request.path, request.params))

    async def _subscribe(self, peer: Peer, request: Request) -> None:
        """Send and listen at once, until one side ends it."""
        await peer.upgrade(request)
        self.connections += 1
        cursor = int(request.params.get("cursor", self.host.position))
        if request.path != SUBSCRIBE or cursor > self.last_seq:
            await peer.send(message(error_frame("FutureCursor", "Cursor in the future.")))
            await peer.send(message(POLICY, CLOSE))
            return
        await self._flowing.wait()
        stream = self._endless if self._passes > 1 else self._stream
        sending = asyncio.create_task(stream(peer, cursor))
        listening = asyncio.create_task(peer.listen())
        try:
            await asyncio.wait({sending, listening}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, listening):
                task.cancel()
            ends = await asyncio.gather(sending, listening, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def _stream(self, peer: Peer, cursor: int) -> None:
        """Every frame after `cursor`, with what was planned in the place of some."""
        if cursor < self._forgotten:
            await peer.send(message(info_frame("OutdatedCursor", "Some events are gone.")))
        at = bisect_right(self._seqs, max(cursor, self._forgotten, self._begun))
        cut = at + self._cut_every if self._cut_every else None
        while at < self._wire.count:
            if at == cut:
                await peer.send(message(GOING_AWAY, CLOSE))
                return
            planned = self._plan.get(at)
            stop = at + 1 if planned is not None else self._run_end(at, cut)
            # First the place, then the frames: who has a frame finds the hosts no older than it.
            self.host.position = max(self.host.position, self._seqs[stop - 1])
            if planned is None:
                await peer.send(self._wire.run(at, stop))
            else:
                self.met[planned.kind] += 1
                await peer.send(b"".join(map(message, planned.frames)))
                if planned.once:
                    del self._plan[at]
                    break
            if self._rate:
                await asyncio.sleep((stop - at) / self._rate)
            at = stop
        await asyncio.Event().wait()  # the subscriber leaves: a stream has no end

    def _run_end(self, at: int, cut: int | None) -> int:
        """How far to send in one go."""
        stop = self._wire.fitting(at, RUN_BYTES)
        if self._rate:
            stop = min(stop, at + max(1, int(self._rate * PACE_SECONDS)))
        if cut is not None:
            stop = min(stop, cut)
        return next((place for place in range(at + 1, stop) if place in self._plan), stop)

    async def _endless(self, peer: Peer, cursor: int) -> None:
        wire = self._wire
        assert isinstance(wire, EndlessWire)
        async with self._streaming:
            at = max(0, cursor + 1 - FIRST_WIDE_SEQ)
            while at < self._passes * wire.count:
                turn, place = divmod(at, wire.count)
                wire.number(FIRST_WIDE_SEQ + turn * wire.count)
                while place < wire.count:
                    stop = wire.fitting(place, RUN_BYTES)
                    await peer.send(wire.run(place, stop))
                    place = stop
                at = (turn + 1) * wire.count
            await asyncio.Event().wait()
