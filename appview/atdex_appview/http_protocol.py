"""What is no HTTP request, refused in the shape of every other refusal, and before it grows.

uvicorn answers what its parser cannot read, such as a URL of more than 64 KiB, by itself and as
plain text; and it waits for the end of a request's head however long that becomes.
"""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from atdex_xrpc.answers import error_answer
from atdex_xrpc.errors import InvalidRequest

MAX_HEAD_BYTES = 131_072
"""Of one request before its body: twice the longest URL that the parser takes. Proxies stop at 8 to
32 KB."""


class HttpProtocol(HttpToolsProtocol):
    """One connection. For `uvicorn.Config(http=…)`."""

    _head_bytes = 0
    """Received of a head that has not ended yet."""

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"the head of the request is longer than {MAX_HEAD_BYTES} bytes")

    def on_headers_complete(self) -> None:
        # What came after the head in the same piece is counted anew with the next one.
        self._head_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Answers and closes the connection: after this, nothing on it can be understood."""
        answer = error_answer(InvalidRequest(msg))
        head = [(b"connection", b"close"), *answer.all_headers()]
        lines = [b"HTTP/1.1 400 Bad Request", *(b"%s: %s" % header for header in head), b"", b""]
        self.transport.write(b"\r\n".join(lines) + answer.body)
        self.transport.close()
