"""Asking hosts for repos over HTTP: getRepo into a file, getRecord, getLatestCommit, the listings.

An upstream's URL is the operator's and is asked as it is. A PDS is named by whoever made the DID
document, and a redirect by whoever answers: both are asked through a client that checks every
address it connects to. Answers are bounded while they stream, in bytes and in time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import orjson

from atdex_firehose.errors import FetchFailed, NotServed, RateLimited
from atdex_firehose.hosts import Hosts
from atdex_firehose.rates import retry_after
from atdex_firehose.shown import text_of
from atdex_xrpc.addresses import AddressPolicy, guarded_async_client
from atdex_xrpc.errors import AddressError

REPO_BYTES = 4_000_000_000
"""A repo as a file: the largest known are some hundred MB."""
REPO_SECONDS = 3_600.0
"""For one repo, from connecting to its last byte."""
SLOWEST_BYTES = 4_096
SLOWEST_SECONDS = 30.0
"""A host that sends less than so many bytes in so many seconds is given up."""
ANSWER_SECONDS = 30.0
"""For a short answer."""
ANSWER_BYTES = 4_000_000
"""A page of 1,000 repos is some 200 KB."""
SHORT_BYTES = 500_000
"""What is said of one repo. Four million bytes of JSON can hold the event loop up for a second."""
PROOF_BYTES = 2_000_000
"""A record with its proof: a million bytes, and a node for each of some ten layers."""
REDIRECTS = 3
"""Relays send getRepo on to the PDS."""
_HEADERS = {"accept-encoding": "identity", "user-agent": "atdex-firehose"}
_UNKNOWN_METHOD = frozenset({401, 404, 405, 501})
"""401: a PDS passes on what it does not know, and asks for an account to do that for."""


class RepoHosts:
    """Asks hosts. `operators` are the base URLs that the operator named."""

    def __init__(self, operators: frozenset[str], hosts: Hosts, *, local: bool = False) -> None:
        self._operators = operators
        self._hosts = hosts
        timeout = httpx.Timeout(SLOWEST_SECONDS, connect=10.0)
        self._plain = httpx.AsyncClient(timeout=timeout, trust_env=False)
        self._guarded = guarded_async_client(AddressPolicy(allow_private=local), timeout=timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._plain.aclose()
        await self._guarded.aclose()

    def waiting(self, host: str) -> float:
        """Seconds for which the host wants to be left alone."""
        return self._hosts.waiting(host)

    async def get_repo(self, host: str, did: str, path: Path) -> None:
        """The repo as a CAR, into `path`. Raises FetchFailed."""
        async with self._get(host, "com.atproto.sync.getRepo", {"did": did}, REPO_SECONDS) as got:
            size = 0
            window, since = 0, asyncio.get_running_loop().time()
            with path.open("wb") as file:
                async for chunk in got.aiter_raw():
                    size += len(chunk)
                    if size > REPO_BYTES:
                        raise FetchFailed(host, f"a repo of more than {REPO_BYTES} bytes")
                    file.write(chunk)
                    window += len(chunk)
                    now = asyncio.get_running_loop().time()
                    if now - since >= SLOWEST_SECONDS:
                        if window < SLOWEST_BYTES:
                            raise FetchFailed(host, f"{window} bytes in {now - since:.0f} s")
                        window, since = 0, now

    async def get_record(self, host: str, did: str, path: str) -> bytes:
        """The CAR that proves what `path` (`collection/rkey`) holds, unread. Raises FetchFailed."""
        collection, _, rkey = path.partition("/")
        params = {"did": did, "collection": collection, "rkey": rkey}
        method = "com.atproto.sync.getRecord"
        async with self._get(host, method, params, ANSWER_SECONDS) as got:
            return await _body(host, got, PROOF_BYTES)

    async def latest_rev(self, host: str, did: str) -> str:
        """The rev of the repo's last commit, by the host's word. Raises FetchFailed."""
        answer = await self._ask(
            host, "com.atproto.sync.getLatestCommit", {"did": did}, SHORT_BYTES
        )
        rev = answer.get("rev")
        if type(rev) is not str:
            raise FetchFailed(host, "an answer without a rev")
        return rev

    async def collections(self, host: str, did: str) -> list[str]:
        """The collections that the repo has, by the host's word. Raises FetchFailed."""
        answer = await self._ask(host, "com.atproto.repo.describeRepo", {"repo": did}, SHORT_BYTES)
        found = answer.get("collections")
        if type(found) is not list:
            raise FetchFailed(host, "an answer without collections")
        return [each for each in found if type(each) is str]

    async def list_repos(
        self, host: str, cursor: str | None, limit: int, collection: str | None = None
    ) -> tuple[list[str], str | None]:
        """A page of DIDs, all or those with a collection, and where the next one starts.

        Raises FetchFailed; NotServed where the host has no such listing.
        """
        params: dict[str, str] = {"limit": str(limit)}
        if cursor is not None:
            params["cursor"] = cursor
        method = "com.atproto.sync.listRepos"
        if collection is not None:
            method = "com.atproto.sync.listReposByCollection"
            params["collection"] = collection
        answer = await self._ask(host, method, params, ANSWER_BYTES)
        repos, following = answer.get("repos"), answer.get("cursor")
        if type(repos) is not list:
            raise FetchFailed(host, "an answer without repos")
        dids = [each.get("did") for each in repos if type(each) is dict]
        return [did for did in dids if type(did) is str], (
            following if type(following) is str and following else None
        )

    async def _ask(
        self, host: str, method: str, params: Mapping[str, str], most: int
    ) -> dict[str, Any]:
        async with self._get(host, method, params, ANSWER_SECONDS) as got:
            raw = await _body(host, got, most)
        try:
            answer = orjson.loads(raw)
        except ValueError:
            answer = None
        if type(answer) is not dict:
            raise FetchFailed(host, "an answer that is no JSON object")
        return answer

    @contextlib.asynccontextmanager
    async def _get(
        self, host: str, method: str, params: Mapping[str, str], seconds: float
    ) -> AsyncIterator[httpx.Response]:
        """The answer, with status 200. Raises FetchFailed, also for what goes wrong inside."""
        async with self._hosts.request(host):
            try:
                async with asyncio.timeout(seconds):
                    response = await self._open(host, method, params)
                    try:
                        if response.headers.get("content-encoding", "identity") != "identity":
                            raise FetchFailed(host, "a compressed answer that nobody asked for")
                        await _check_status(host, response)
                        yield response
                    finally:
                        await response.aclose()
            except TimeoutError:
                raise FetchFailed(host, f"not done within {seconds:.0f} s") from None
            except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, AddressError) as error:
                # UnicodeError: a host `xn--…` that does not decode, where httpx looks at it.
                raise FetchFailed(host, str(error) or type(error).__name__) from None

    async def _open(self, host: str, method: str, params: Mapping[str, str]) -> httpx.Response:
        client = self._plain if host in self._operators else self._guarded
        url = httpx.URL(f"{host}/xrpc/{method}", params=dict(params))
        for _ in range(REDIRECTS + 1):
            request = client.build_request("GET", url, headers=_HEADERS)
            response = await client.send(request, stream=True, follow_redirects=False)
            location = response.headers.get("location")
            if response.status_code not in (301, 302, 303, 307, 308) or location is None:
                return response
            await response.aclose()
            url = url.join(location)
            client = self._guarded
        raise FetchFailed(host, f"more than {REDIRECTS} redirects")


async def _body(host: str, response: httpx.Response, most: int) -> bytes:
    raw = bytearray()
    async for chunk in response.aiter_raw():
        raw += chunk
        if len(raw) > most:
            raise FetchFailed(host, f"an answer of more than {most} bytes")
    return bytes(raw)


async def _check_status(host: str, response: httpx.Response) -> None:
    status = response.status_code
    if status == 200:
        return
    if status == 429:
        raise RateLimited(host, retry_after(response.headers.get("retry-after")))
    word = ""
    raw = bytearray()
    async for chunk in response.aiter_raw():
        raw += chunk
        if len(raw) > 4_096:
            break
    try:
        said = orjson.loads(raw)
    except ValueError:
        said = None
    if type(said) is dict:
        word = text_of(said.get("error") or "", 80)
    if status in _UNKNOWN_METHOD or status == 400:
        raise NotServed(host, word or f"status {status}")
    raise FetchFailed(host, f"status {status} {word}".rstrip())
