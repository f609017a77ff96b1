"""One WebSocket connection to an upstream. The only file that knows the WebSocket library.

Nothing is parsed here. Backpressure is TCP's: while nobody receives, the library stops reading
after a few frames. Its own keepalive would then miss the pongs and cut a connection that is merely
unread, so it is off; a watchdog pings only while somebody waits for a frame.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from atdex_firehose import limits
from atdex_firehose.errors import ConnectionLost

USER_AGENT = "atdex-firehose"
OPEN_SECONDS = 15.0
"""For DNS, TCP, TLS and the handshake together."""
CLOSE_SECONDS = 2.0
"""For the closing handshake: an upstream that does not answer it is not waited for."""
PING_SECONDS = 20.0
"""Silence after which the upstream is asked whether it is there, and the time to answer."""
IDLE_SECONDS = 300.0
"""Silence after which the connection is dropped although pings are answered: a relay is never
silent for so long; a PDS may be, and then reconnecting costs nothing."""
_BUFFERED_FRAMES = 16
"""Frames the library reads ahead: at most 80 MB at the frame limit, 50 KB in practice. More do
not make it faster."""


class Connection:
    """An open connection. Receive from one task."""

    def __init__(self, url: str, socket: ClientConnection) -> None:
        self._url = url
        self._socket = socket
        self._clock = asyncio.get_running_loop().time
        self._waiting_since: float | None = None
        self._reason = ""

    async def receive(self) -> bytes:
        """The next frame. Raises ConnectionLost at the end, clean or not.

        A text message comes as its bytes: no text is a frame, so parsing it says so.
        """
        self._waiting_since = self._clock()
        try:
            return await self._socket.recv(decode=False)
        except ConnectionClosed as error:
            raise ConnectionLost(self._url, self._reason or f"connection closed: {error}") from None
        finally:
            self._waiting_since = None

    async def watch(self, ping: float, idle: float) -> None:
        """Abort the connection when the upstream is gone or silent for too long."""
        while True:
            await asyncio.sleep(min(ping, idle) / 4)
            waited = 0.0 if self._waiting_since is None else self._clock() - self._waiting_since
            if waited >= idle:
                return self._abort(f"silent for {waited:.0f} s")
            if waited >= ping:
                try:
                    async with asyncio.timeout(ping):
                        await (await self._socket.ping())
                except TimeoutError:
                    return self._abort(f"no answer to a ping for {ping:.0f} s")
                except ConnectionClosed:
                    return None

    def _abort(self, reason: str) -> None:
        self._reason = reason
        self._socket.transport.abort()


@contextlib.asynccontextmanager
async def open_connection(
    url: str, *, ping: float = PING_SECONDS, idle: float = IDLE_SECONDS
) -> AsyncIterator[Connection]:
    """Connect to a full WebSocket URL. Raises ConnectionLost where that fails."""
    try:
        socket = await connect(
            url,
            max_size=limits.FRAME_BYTES,
            max_queue=_BUFFERED_FRAMES,
            compression=None,  # frames are dense; inflating costs more than it saves
            proxy=None,  # never taken from the environment
            user_agent_header=USER_AGENT,
            open_timeout=OPEN_SECONDS,
            close_timeout=CLOSE_SECONDS,
            ping_interval=None,
        )
    except (OSError, TimeoutError, WebSocketException) as error:
        raise ConnectionLost(url, f"cannot connect: {str(error) or type(error).__name__}") from None
    connection = Connection(url, socket)
    watchdog = asyncio.create_task(connection.watch(ping, idle))
    try:
        yield connection
    finally:
        watchdog.cancel()
        await socket.close()
