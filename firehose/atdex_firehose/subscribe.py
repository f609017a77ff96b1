"""One WebSocket connection to an upstream. The only file that knows the WebSocket library.

Nothing is parsed here: messages, as bytes, are handed to a callback in small groups, in the
library's own callback, without a switch of tasks; and then none, once all is handed on that was
read from the socket at once. A callback that returns a coroutine pauses the socket: what was read
already is kept, in order, and handed on once the coroutine is done. So memory is bounded by the
library's read buffer, and backpressure is TCP's.

    1, 2, 3 │ take → coroutine: pause │ 4 arrives: kept │ awaited │ take, take → None │ resume

Whatever ends the connection, messages that came before the end are handed on first. While they
flow, other tasks get a turn every `TURN_SECONDS`, or after one call of `take` that lasts longer.

The library's own keepalive would miss the pongs of a connection that is merely unread, so it is
off: the upstream is asked only while messages are waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections import deque
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any, NoReturn

from picows import (
    WSCloseCode,
    WSError,
    WSFrame,
    WSListener,
    WSMsgType,
    WSParsedURL,
    WSTransport,
    ws_connect,
)

from atdex_firehose import limits
from atdex_firehose.errors import ConnectionLost

USER_AGENT = "atdex-firehose"
OPEN_SECONDS = 15.0
"""For DNS, TCP, TLS and the handshake together."""
CLOSE_SECONDS = 2.0
"""For the end of TLS and TCP: an upstream that does not take part in it is not waited for."""
PING_SECONDS = 20.0
"""Silence after which the upstream is asked whether it is there, and the time to answer."""
IDLE_SECONDS = 300.0
"""Silence after which the connection is dropped although pings are answered: a relay is never
silent for so long; a PDS may be, and then reconnecting costs nothing."""
TURN_SECONDS = 0.005
"""How long messages are handed on before other tasks get a turn; they may wait for two of these."""
GROUP_MESSAGES = 16
"""Messages handed on together, at least, while there are more: they stay in the processor's caches
until then, which all of a read buffer, of megabytes, would not."""
_KEPT_BYTES = 64 * 1024 * 1024
"""Messages kept while the socket is paused: the library stops after what it has read, which is a
frame and what the kernel buffers (6 MB by default). More means that it did not stop."""

_BINARY, _TEXT, _CONTINUATION = WSMsgType.BINARY, WSMsgType.TEXT, WSMsgType.CONTINUATION
_LOG = logging.getLogger(f"{__name__}.library")
_LOG.setLevel(logging.CRITICAL)  # what it would say is in ConnectionLost

Rest = Coroutine[Any, Any, None]
Take = Callable[[deque[bytes]], Rest | None]
"""Takes messages off the left, as many as it likes; what it returns is awaited before it is called
again. Called without any, it does what it has put off: for now, no more come."""


def one_by_one(take: Callable[[bytes], Rest | None]) -> Take:
    """For who has no use for more than one message at a time."""

    def first(messages: deque[bytes]) -> Rest | None:
        return take(messages.popleft()) if messages else None

    return first


async def follow(
    url: str,
    take: Take,
    opened: Callable[[], None],
    *,
    ping: float = PING_SECONDS,
    idle: float = IDLE_SECONDS,
) -> NoReturn:
    """Connect to a full WebSocket URL and hand its messages to `take` until the connection ends.

    A text message comes as its bytes. `opened` is called before the first message. Raises
    ConnectionLost at the end, clean or not, and whatever `take` raises as soon as it does.
    """
    reader = _Reader(url, take, opened)
    try:
        await _connect(url, reader)
        await reader.work(ping, idle)
    finally:
        reader.discard()
        await reader.close()
    raise ConnectionLost(url, reader.reason)


async def _connect(url: str, reader: _Reader) -> None:
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            await ws_connect(
                lambda _request, _response: reader,
                url,
                socket_factory=reader.dial,
                websocket_handshake_timeout=None,  # ours is for all of it
                max_frame_size=limits.FRAME_BYTES,
                max_redirects=0,  # another host has other cursors
                extra_headers={"User-Agent": USER_AGENT},
                logger_name=_LOG,
                proxy=None,
            )
    except (OSError, TimeoutError, WSError, UnicodeError) as error:
        raise ConnectionLost(url, f"cannot connect: {str(error) or type(error).__name__}") from None
    if reader.transport is None:
        raise ConnectionLost(url, "cannot connect: closed during the handshake")


class _Reader(WSListener):
    """The callbacks of one connection (`on_ws_…`), and the task that does what they put off.

    While `_behind`, reading is paused and the callbacks only keep what comes.
    """

    def __init__(self, url: str, take: Take, opened: Callable[[], None]) -> None:
        self.transport: WSTransport | None = None
        self.reason = ""
        self._url = url
        self._take = take
        self._opened = opened
        self._socket: socket.socket | None = None
        self._wake = asyncio.Event()
        self._behind = False
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0  # that came while reading was to be paused
        self._rest: Rest | None = None
        self._error: Exception | None = None
        self._over = False  # nothing that still comes is a message
        self._lost = False
        self._turn_end = 0.0  # 0: the event loop had a turn since the last message
        self._part: bytearray | None = None  # of a message that is not complete
        self._heard = 0.0
        self._pinged: float | None = None
        self._ponged = 0.0

    async def dial(self, url: WSParsedURL) -> socket.socket:
        """A socket of our own: the library leaves its one open when it is cancelled."""
        loop = asyncio.get_running_loop()
        problem = OSError(f"{url.host} has no address")
        for family, kind, protocol, _, address in await loop.getaddrinfo(
            url.host, url.port, type=socket.SOCK_STREAM
        ):
            dialled = socket.socket(family, kind, protocol)
            dialled.setblocking(False)
            try:
                await loop.sock_connect(dialled, address)
            except OSError as error:
                dialled.close()
                problem = error
            except BaseException:
                dialled.close()
                raise
            else:
                self._socket = dialled
                return dialled
        raise problem

    # Callbacks. None of them raises; errors are raised by `work`.

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        self._heard = monotonic()
        try:
            self._opened()
        except Exception as error:  # noqa: BLE001 - raised by `work`
            self._fail(error)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        # The way of every message: tenths of a microsecond count.
        try:
            if frame.msg_type is _BINARY and frame.fin and not frame.rsv1 and self._part is None:
                raw: bytes | None = frame.get_payload_as_bytes()
            else:
                raw = self._uncommon(frame)
            if raw is not None:
                if self._behind:
                    self._keep(raw)
                    return
                self._kept.append(raw)
                if not self._turn_end:
                    self._start_turn()
                elif len(self._kept) >= GROUP_MESSAGES:
                    self._hand_on()
        except Exception as error:  # noqa: BLE001 - raised by `work`
            self._fail(error)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._over = self._lost = True
        self._wake.set()

    def pause_writing(self) -> None:
        """All we ever write is pings and pongs."""
        self._abort("does not read the answers to its pings")

    def _uncommon(self, frame: WSFrame) -> bytes | None:
        """A message in text or in parts, or a control frame."""
        kind, payload = frame.msg_type, frame.get_payload_as_bytes()
        if frame.rsv1:  # compression; no extension uses the other two
            raise ConnectionLost(self._url, "a frame uses an extension that was not agreed on")
        if kind is WSMsgType.PONG:
            self._pinged, self._ponged = None, monotonic()
        elif kind is WSMsgType.CLOSE:
            self._closed_by_peer(payload)
        elif kind in (_BINARY, _TEXT, _CONTINUATION):
            if (kind is _CONTINUATION) != (self._part is not None):
                raise ConnectionLost(self._url, "the parts of a message are out of order")
            if self._part is None and frame.fin:
                return payload
            part = self._part = bytearray() if self._part is None else self._part
            part += payload
            if len(part) > limits.FRAME_BYTES:
                raise ConnectionLost(self._url, f"a message over {limits.FRAME_BYTES} bytes")
            if frame.fin:
                self._part = None
                return bytes(part)
        return None

    def _closed_by_peer(self, payload: bytes) -> None:
        assert self.transport is not None
        code, reason = int.from_bytes(payload[:2]), payload[2:].decode(errors="replace")
        self.reason = self.reason or f"connection closed: {code or 'no code'} {reason}".rstrip()
        self._over = self._behind = True
        self.transport.send_close(WSCloseCode.OK)
        self.transport.disconnect()

    def _start_turn(self) -> None:
        self._heard = monotonic()
        self._turn_end = self._heard + TURN_SECONDS
        asyncio.get_running_loop().call_soon(self._end_turn)

    def _end_turn(self) -> None:
        while self._kept and not self._behind:
            self._hand_on()
        if not self._behind:
            self._hand_on()  # none
        self._turn_end = 0.0

    def _hand_on(self) -> None:
        last = not self._kept
        try:
            self._rest = self._take(self._kept)
        except Exception as error:  # noqa: BLE001 - raised by `work`
            self._kept.clear()
            self._fail(error)
        else:
            if self._rest is not None or (not last and monotonic() >= self._turn_end):
                self._fall_behind()

    def _keep(self, raw: bytes) -> None:
        if self._over:
            return
        self._kept.append(raw)
        self._kept_bytes += len(raw)
        if self._kept_bytes > _KEPT_BYTES:
            self._over = True
            self._abort("the socket could not be paused")

    def _fall_behind(self) -> None:
        assert self.transport is not None
        self._behind = True
        self._kept_bytes = 0
        self.transport.underlying_transport.pause_reading()
        self._wake.set()

    def _fail(self, error: Exception) -> None:
        if self._error is None:
            self._error = error
        self._over = self._behind = True
        self._wake.set()

    def _abort(self, reason: str) -> None:
        assert self.transport is not None
        self.reason = self.reason or reason
        self.transport.disconnect(graceful=False)

    # The task.

    async def work(self, ping: float, idle: float) -> None:
        """Do what was put off, until the connection is over. Raises what a callback met."""
        assert self.transport is not None
        while True:
            try:
                async with asyncio.timeout(min(ping, idle) / 4):
                    await self._wake.wait()
            except TimeoutError:
                self._watch(ping, idle)
                continue
            self._wake.clear()
            await self._catch_up()
            if self._error is not None:
                raise self._error
            if self._lost:
                return
            if not self._over:
                self._behind = False
                self._heard = monotonic()
                self.transport.underlying_transport.resume_reading()

    async def _catch_up(self) -> None:
        rest, self._rest = self._rest, None
        end = monotonic() + TURN_SECONDS
        last = False
        while rest is not None or not last:
            if rest is not None:
                await rest
                end = monotonic() + TURN_SECONDS
            elif monotonic() >= end:
                await asyncio.sleep(0)
                end = monotonic() + TURN_SECONDS
            last = not self._kept
            rest = self._take(self._kept)

    def _watch(self, ping: float, idle: float) -> None:
        """Nothing was heard for a while: abort when the upstream is gone or silent too long."""
        assert self.transport is not None
        now = monotonic()
        if now - self._heard >= idle:
            self._abort(f"silent for {now - self._heard:.0f} s")
        elif self._pinged is not None and self._heard < self._pinged:
            if now - self._pinged >= ping:
                self._abort(f"no answer to a ping for {ping:.0f} s")
        elif now - max(self._heard, self._ponged) >= ping:
            self._pinged = now
            self.transport.send_ping()

    def discard(self) -> None:
        """Drop what was not done, on the way out."""
        self._over = self._behind = True
        if self._rest is not None:
            self._rest.close()
            self._rest = None
        self._kept.clear()

    async def close(self) -> None:
        """End the connection, if it has not ended, and find out why it did."""
        if self.transport is None:
            await self._hang_up()
            return
        self.transport.send_close(WSCloseCode.GOING_AWAY)
        self.transport.disconnect()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.transport.wait_disconnected()
        except WSError as error:
            self.reason = self.reason or f"the protocol was broken: {error}"
        except TimeoutError:
            pass
        finally:
            self.transport.disconnect(graceful=False)
        self.reason = self.reason or "connection closed without a closing handshake"

    async def _hang_up(self) -> None:
        """The handshake did not succeed: the library closes its side once the socket ends."""
        if self._socket is None:
            return
        try:
            with contextlib.suppress(OSError, TimeoutError):
                self._socket.shutdown(socket.SHUT_RDWR)
                async with asyncio.timeout(CLOSE_SECONDS):
                    while self._socket.fileno() != -1:  # noqa: ASYNC110 - there is no event
                        await asyncio.sleep(0)
        finally:
            self._socket.close()
