"""The address of an upstream, by base URL or by its subscription URL: a relay or PDS, or a
Jetstream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from atdex_firehose import limits
from atdex_firehose.errors import ConfigError

SUBSCRIBE_PATH = "/xrpc/com.atproto.sync.subscribeRepos"
JETSTREAM_PATH = "/subscribe"
JETSTREAM_COLLECTIONS = 100
"""Patterns that a Jetstream takes in one subscription (its documentation)."""
_SCHEMES = {"http": "http", "ws": "http", "https": "https", "wss": "https"}


@dataclass(frozen=True, slots=True)
class Relay:
    """`base` is `http(s)://host[:port]`: the name under which cursors are kept, and `source` of
    every event. However the URL was written, one host has one base."""

    base: str

    def subscription(self, cursor: int) -> str:
        """The WebSocket URL that continues after `cursor`."""
        return f"ws{self.base.removeprefix('http')}{SUBSCRIBE_PATH}?cursor={cursor}"


@dataclass(frozen=True, slots=True)
class Jetstream:
    """`base` is `http(s)://host[:port]/subscribe`, so that a host that is a relay as well keeps
    the cursors of both. For the rest see `Relay`."""

    base: str

    def subscription(self, cursor: int | None, collections: Sequence[str]) -> str:
        """The WebSocket URL that starts at `cursor` (microseconds since the epoch, inclusive),
        or live where it is None, with commits of `collections` only, if there are any.

        Messages that `subscribe` would refuse are left out by the server: each would end every
        connection at its place. Only a record of control characters, six bytes of JSON each,
        comes to that size.
        """
        query = [f"maxMessageSizeBytes={limits.FRAME_BYTES}"]
        query += [f"wantedCollections={quote(pattern)}" for pattern in collections]
        query += [] if cursor is None else [f"cursor={cursor}"]
        return f"ws{self.base.removeprefix('http')}?{'&'.join(query)}"


def parse_relay(url: str) -> Relay:
    """http(s) or ws(s), without a path or with that of subscribeRepos. Raises ConfigError."""
    origin, path = _parse("relay", url)
    if path not in ("", SUBSCRIBE_PATH):
        raise ConfigError("relay", url, f"the path must be empty or {SUBSCRIBE_PATH}")
    return Relay(origin)


def parse_jetstream(url: str) -> Jetstream:
    """http(s) or ws(s), without a path or with one that ends in /subscribe. Raises ConfigError."""
    origin, path = _parse("jetstream", url)
    if path and not path.endswith(JETSTREAM_PATH):
        raise ConfigError("jetstream", url, f"the path must be empty or end in {JETSTREAM_PATH}")
    return Jetstream(origin + (path or JETSTREAM_PATH))


def _parse(name: str, url: str) -> tuple[str, str]:
    """`http(s)://host[:port]`, and the path without a slash at its end."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(name, url, str(error)) from None
    scheme = _SCHEMES.get(parts.scheme)
    if scheme is None or not host:
        raise ConfigError(name, url, "not a URL of a host with http, https, ws or wss")
    if parts.query or parts.fragment or parts.username is not None:
        raise ConfigError(name, url, "no query, fragment or user: the cursor is kept in the state")
    authority = f"[{host}]" if ":" in host else host
    origin = f"{scheme}://{authority}" + (f":{port}" if port is not None else "")
    return origin, parts.path.rstrip("/")
