"""Fetching shards: over HTTP, into the cache, with the checksum computed on the way.

A shard's address comes from a stranger's record. It is opened only when it is http or https, and
only at hosts that the address policy allows, redirects included (`atdex_xrpc.addresses`). Bytes,
time and attempts are bounded. A download that breaks off is continued where it ended, provided
that the server still has the same version (`If-Range`), or that the checksum will tell.
"""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import httpx

from atdex.cache import Partial, Seen, ShardCache, Validators
from atdex.checksum import Expected
from atdex.errors import CacheError, ChecksumMismatch, FetchFailed, ShardTooLarge, UnsafeShard
from atdex_xrpc.addresses import AddressPolicy, check_url, guarded_client
from atdex_xrpc.errors import AddressError

if TYPE_CHECKING:
    from hashlib import _Hash

MAX_SHARD_BYTES: Final = 16 * 1024**3
"""Bytes of one shard unless the caller says otherwise. WebDataset's advice is 1 GB; the bound
keeps one record from filling a disk."""

PROGRESS_BYTES: Final = 1024 * 1024
"""Bytes beyond the furthest point so far that make a broken attempt worth another: with less, a
server could break off for ever."""

CHUNK_BYTES: Final = 1024 * 1024
"""Bytes read at once when a partial file is hashed again."""

CONNECT_SECONDS: Final = 10.0
READ_SECONDS: Final = 30.0
"""Seconds without a single byte before an attempt is given up."""

SLOW_AFTER_SECONDS: Final = 60.0
MIN_BYTES_PER_SECOND: Final = 1024
"""A server that is slower than this for SLOW_AFTER_SECONDS on average is given up: it would
otherwise hold the download for as long as it likes, a byte at a time."""

_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


class Progress(NamedTuple):
    """How far a download is. `total` is None where the server does not say."""

    url: str
    done: int
    total: int | None


@dataclass(frozen=True, slots=True)
class Retry:
    """How often, and how long between: doubling from `first_wait` to `max_wait` seconds.

    An attempt that came PROGRESS_BYTES further than any before is not counted as failed. `sleep`
    is what waits.
    """

    attempts: int = 5
    first_wait: float = 0.5
    max_wait: float = 30.0
    sleep: Callable[[float], None] = time.sleep


class _TryAgain(Exception):
    """This attempt failed and another may succeed."""

    def __init__(self, reason: str, status: int | None = None, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.wait = wait


class _NotModified(Exception):
    """The version that is here is still the current one."""


class Fetcher:
    """Fetches shards into a cache. Safe to share between threads; close it when done."""

    def __init__(
        self,
        cache: ShardCache,
        *,
        allow_private_hosts: bool = False,
        max_shard_bytes: int = MAX_SHARD_BYTES,
        progress: Callable[[Progress], None] | None = None,
        retry: Retry | None = None,
    ) -> None:
        self.cache = cache
        self._max_bytes = max_shard_bytes
        self._progress = progress
        self._retry = retry or Retry()
        self._policy = AddressPolicy(allow_private=allow_private_hosts)
        self._client: httpx.Client | None = None
        self._lock = threading.Lock()

    def fetch(self, url: str, expected: Expected | None) -> Path:
        """The shard at `url` as a file, from the cache where it is there.

        With `expected`, the file has that digest. Without, it is what the server gives now: the
        copy that is here is used again only when the server says that it is still current.
        Raises UnsafeShard, FetchFailed, ShardTooLarge, ChecksumMismatch, CacheError.
        """
        check_shard_url(url)
        try:
            if expected is None:
                with self.cache.lock(url):
                    return self._fetch_unverified(url)
            found = self.cache.find(expected)
            if found is not None:
                return found
            key = f"{url} {expected.algorithm}:{expected.digest}"
            with self.cache.lock(key):
                # Whoever held the lock before may have fetched it.
                return self.cache.find(expected) or self._fetch_verified(url, expected, key)
        except OSError as error:
            raise CacheError(str(self.cache.root), str(error)) from error

    @property
    def _http(self) -> httpx.Client:
        """Made when a shard is fetched: those who read from the cache need none."""
        with self._lock:
            if self._client is None:
                self._client = guarded_client(
                    self._policy,
                    timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
                    # No connection is kept: a dataset holds its fetcher for as long as it lives.
                    limits=httpx.Limits(max_keepalive_connections=0),
                    follow_redirects=True,
                    headers={"accept-encoding": "identity", "user-agent": "atdex"},
                )
            return self._client

    def _fetch_verified(self, url: str, expected: Expected, key: str) -> Path:
        partial, whole = self.cache.partial(key), False
        while True:
            download = _Download(url, partial, expected, Validators())
            got = self._run(download)
            if got.digest == expected.digest:
                return self.cache.keep(partial, expected)
            partial.discard()
            if not download.resumed or whole:
                raise ChecksumMismatch(url, expected.algorithm, expected.digest, got.digest)
            whole = True  # its first part may have been of another version: once more, from 0

    def _fetch_unverified(self, url: str) -> Path:
        partial = self.cache.partial(url)
        seen = self.cache.seen(url)
        current = seen.validators if seen else Validators()
        download = _Download(url, partial, None, current)
        try:
            got = self._run(download)
        except _NotModified:
            assert seen is not None
            return self.cache.path(Expected("sha256", seen.digest))
        path = self.cache.keep(partial, got)
        self.cache.remember(url, Seen(got.digest, download.validators))
        return path

    def _run(self, download: _Download) -> Expected:
        """Attempts until one reaches the end. Raises FetchFailed when they are used up."""
        failures, furthest = 0, download.partial.size()
        while True:
            try:
                return self._attempt(download)
            except _TryAgain as failure:
                # Only new ground counts: a server that takes back what it gave gains nothing.
                reached = download.partial.size()
                failures = 0 if reached >= furthest + PROGRESS_BYTES else failures + 1
                furthest = max(furthest, reached)
                if failures >= self._retry.attempts:
                    reason = f"{failure.reason} (after {failures} attempts)"
                    raise FetchFailed(download.url, reason, failure.status) from failure
                wait = min(self._retry.first_wait * 2**failures, self._retry.max_wait)
                wait *= 0.5 + random.random() / 2  # noqa: S311 - spreads clients, hides nothing
                if failure.wait is not None:
                    wait = max(wait, min(failure.wait, self._retry.max_wait))
                self._retry.sleep(wait)

    def _attempt(self, download: _Download) -> Expected:
        try:
            with self._http.stream("GET", download.url, headers=download.headers()) as response:
                hasher = download.accept(response)
                self._read(download, response, hasher)
        except AddressError as error:
            raise UnsafeShard(download.url, str(error)) from error
        except httpx.TooManyRedirects as error:
            raise FetchFailed(download.url, "too many redirects") from error
        except httpx.InvalidURL as error:
            raise FetchFailed(download.url, f"a redirect to no URL: {error}") from error
        except httpx.TransportError as error:
            reason = str(error) or "no answer"
            raise _TryAgain(f"{type(error).__name__}: {reason}") from error
        return Expected(download.algorithm, hasher.hexdigest())

    def _read(self, download: _Download, response: httpx.Response, hasher: _Hash) -> None:
        done, total = download.partial.size(), download.total
        if total is not None and total > self._max_bytes:
            download.partial.discard()
            raise ShardTooLarge(download.url, self._max_bytes)
        started, received = time.monotonic(), 0
        with download.partial.path.open("ab") as file:
            for chunk in response.iter_raw():
                done += len(chunk)
                received += len(chunk)
                if done > self._max_bytes:
                    download.partial.discard()
                    raise ShardTooLarge(download.url, self._max_bytes)
                file.write(chunk)
                hasher.update(chunk)
                if self._progress is not None:
                    self._progress(Progress(download.url, done, total))
                elapsed = time.monotonic() - started
                if elapsed > SLOW_AFTER_SECONDS and received < elapsed * MIN_BYTES_PER_SECOND:
                    raise _TryAgain(f"only {received} bytes in {elapsed:.0f} s")
            file.flush()
            os.fsync(file.fileno())
        if total is not None and done != total:
            raise _TryAgain(f"the body ended after {done} of {total} bytes")

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Download:
    """One shard on its way: what to ask for, and whether the answer continues what is here."""

    def __init__(
        self, url: str, partial: Partial, expected: Expected | None, current: Validators
    ) -> None:
        self.url = url
        self.partial = partial
        self.expected = expected
        self.current = current  # of the copy in the cache, where there is no checksum
        self.algorithm = expected.algorithm if expected else "sha256"
        self.validators = Validators()
        self.total: int | None = None
        self.resumed = False

    def headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        have, version = self.partial.size(), self.partial.validators().strong
        if have and (version or self.expected):
            headers["range"] = f"bytes={have}-"
            if version:
                headers["if-range"] = version
        elif self.current.etag:
            headers["if-none-match"] = self.current.etag
        elif self.current.modified:
            headers["if-modified-since"] = self.current.modified
        return headers

    def accept(self, response: httpx.Response) -> _Hash:
        """Make the partial file ready for the body; the hash of what is in it already.

        Raises _TryAgain, _NotModified, FetchFailed.
        """
        status = response.status_code
        if status == 304 and (self.current.etag or self.current.modified):
            raise _NotModified
        if status == 416:
            self.partial.discard()
            raise _TryAgain("the server has no such range", status)
        if status == 429 or status >= 500:
            raise _TryAgain(f"HTTP {status}", status, _seconds(response.headers.get("retry-after")))
        if status not in (200, 206):
            raise FetchFailed(self.url, f"HTTP {status}", status)
        if response.headers.get("content-encoding", "identity") != "identity":
            raise FetchFailed(self.url, "the server compresses what was asked for as it is", status)
        hasher = Expected(self.algorithm, "").hasher()
        if status == 206:
            self._continue(response, hasher)
        else:
            self.validators = Validators.told(
                response.headers.get("etag"), response.headers.get("last-modified")
            )
            self.partial.begin(self.validators)
            self.total = _length(response.headers.get("content-length"))
        return hasher

    def _continue(self, response: httpx.Response, hasher: _Hash) -> None:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
        have = self.partial.size()
        if match is None or int(match[1]) != have or have == 0:
            self.partial.discard()
            raise _TryAgain("the server sent another range than asked for", 206)
        self.total = None if match[3] == "*" else int(match[3])
        self.validators = self.partial.validators()
        self.resumed = True
        with self.partial.path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                hasher.update(chunk)


def check_shard_url(url: str) -> None:
    """Refuse everything but plain http and https. Nothing is opened. Raises UnsafeShard."""
    try:
        check_url(url)
    except AddressError as error:
        raise UnsafeShard(url, getattr(error, "reason", str(error))) from error


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after and re.fullmatch(r"\d{1,6}", retry_after) else None


def _length(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"\d{1,18}", text) else None
