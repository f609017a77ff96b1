"""WebSockets as uvicorn serves them, with an end that does not depend on the other side.

uvicorn.Config(app, ws=StreamSockets, ws_per_message_deflate=False, ws_max_size=MAX_IN_BYTES)
"""

from __future__ import annotations

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

MAX_IN_BYTES = 1_024
"""Of a message of a client: they have no meaning."""

ABORT_SECONDS = 10.0
"""From the application's end to that of the connection. A client that has stopped reading never
takes the last bytes, and the kernel would wait for it as long as it likes."""

_REFUSED = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class StreamSockets(WebSocketsSansIOProtocol):
    """Ends connections that the application is done with, and handshakes that cannot be read."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            # A line or a number of headers beyond the library's limits: it answers nothing.
            self.transport.write(_REFUSED)
            self.transport.close()

    async def run_asgi(self) -> None:
        try:
            await super().run_asgi()
        finally:
            self.loop.call_later(ABORT_SECONDS, self.transport.abort)
