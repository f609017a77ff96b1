"""The address of an upstream: a relay or a PDS, by base URL or by its subscription URL."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from atdex_firehose.errors import ConfigError

SUBSCRIBE_PATH = "/xrpc/com.atproto.sync.subscribeRepos"
_SCHEMES = {"http": "http", "ws": "http", "https": "https", "wss": "https"}


@dataclass(frozen=True, slots=True)
class Relay:
    """`base` is `http(s)://host[:port]`: the name under which cursors are kept, and `source` of
    every event. However the URL was written, one host has one base."""

    base: str

    def subscription(self, cursor: int) -> str:
        """The WebSocket URL that continues after `cursor`."""
        return f"ws{self.base.removeprefix('http')}{SUBSCRIBE_PATH}?cursor={cursor}"


def parse_relay(url: str) -> Relay:
    """http(s) or ws(s), without a path or with that of subscribeRepos. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError("relay", url, str(error)) from None
    scheme = _SCHEMES.get(parts.scheme)
    if scheme is None or not host:
        raise ConfigError("relay", url, "not a URL of a host with http, https, ws or wss")
    if parts.path.rstrip("/") not in ("", SUBSCRIBE_PATH):
        raise ConfigError("relay", url, f"the path must be empty or {SUBSCRIBE_PATH}")
    if parts.query or parts.fragment or parts.username is not None:
        raise ConfigError(
            "relay", url, "no query, fragment or user: the cursor is kept in the state"
        )
    name = f"[{host}]" if ":" in host else host
    return Relay(f"{scheme}://{name}" + (f":{port}" if port is not None else ""))
