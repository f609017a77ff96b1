"""Searching through several nodes at once, their answers merged by rank.

Every node is asked at the same time and has the same few seconds. One that is late, gone or wrong
costs its own hits: `nodes` says what came of each, and `partial` whether something may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from atdex.errors import AtdexError, DataError, NoAnswer
from atdex.hits import NodeAnswer, SearchResults, as_hit
from atdex.node import PAGE, Checked, Node
from atdex_xrpc.errors import AddressError, XrpcError
from atdex_xrpc.fusion import ANSWER_BYTES, MAX_SERVICES, SERVICE_SECONDS, fuse

GRACE_SECONDS: Final = 0.2
"""After a node's time, for its thread to say so. Looking up a name can hang for longer."""


@dataclass(frozen=True, slots=True)
class _Said:
    """What a node answered, its records checked: by URI, in its order."""

    found: Mapping[str, Checked]
    total: int
    fuzzy: bool
    refused: Sequence[DataError]


class MergedResults(SearchResults):
    """What several nodes found, best first: one page, asked for when it is first looked at.

    `total` is what the node with the most hits says. A hit's `sources` are the nodes that showed
    this very version of it; where they show different ones, it is the version that more of them
    show, then that of the node that was named first. Raises NoAnswer where no node answered.
    """

    def __init__(
        self,
        urls: Sequence[str],
        params: Mapping[str, Any],
        limit: int | None,
        seconds: float | None,
    ) -> None:
        if len(urls) > MAX_SERVICES:
            raise ValueError(f"{len(urls)} nodes, at most {MAX_SERVICES} are asked at once")
        if limit is None or limit > PAGE:
            raise ValueError(f"several nodes answer one page: limit is at most {PAGE}")
        super().__init__(" and ".join(urls), params, limit)
        self._urls = tuple(urls)
        self._seconds = SERVICE_SECONDS if seconds is None else seconds

    def _more(self) -> bool:
        return self._pages == 0

    def _next_page(self) -> None:
        answers = self._ask_all()
        said = {url: each for url, each in answers.items() if isinstance(each, _Said)}
        self._nodes = tuple(_told(url, each) for url, each in answers.items())
        if not said:
            raise NoAnswer([(each.url, each.message) for each in self._nodes])
        self._pages += 1
        self._total = max(each.total for each in said.values())
        for each in said.values():
            self.refused += each.refused
        exact = {url: each for url, each in said.items() if each.found and not each.fuzzy}
        self._fuzzy = not exact and any(each.fuzzy for each in said.values())
        used = exact or said
        for one in fuse({url: list(each.found) for url, each in used.items()})[: self._limit]:
            versions = {url: used[url].found[one.key] for url in one.sources}
            checked, sources = _version(versions)
            self._hits.append(as_hit(checked, sources, score=one.score))
        self._asked = len(self._hits)

    def _ask_all(self) -> dict[str, _Said | NodeAnswer]:
        nodes = {
            url: Node(url, timeout=self._seconds, max_bytes=ANSWER_BYTES) for url in self._urls
        }
        threads = ThreadPoolExecutor(len(nodes), thread_name_prefix="atdex-search")
        try:
            futures: dict[str, Future[_Said | NodeAnswer]] = {
                url: threads.submit(self._ask, node) for url, node in nodes.items()
            }
            wait(futures.values(), self._seconds + GRACE_SECONDS)
            late = f"no answer within {self._seconds:g} s"
            return {
                url: future.result() if future.done() else NodeAnswer(url, "timeout", None, late)
                for url, future in futures.items()
            }
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def _ask(self, node: Node) -> _Said | NodeAnswer:
        started = monotonic()
        with node:
            try:
                answer = node.ask("searchDatasets", **self._params, limit=self._limit or 1)
            except (XrpcError, AddressError, AtdexError) as error:
                late = monotonic() - started >= self._seconds
                return NodeAnswer(node.url, "timeout" if late else "error", None, str(error))
            found: dict[str, Checked] = {}
            refused: list[DataError] = []
            for view in answer["datasets"][: self._limit]:
                try:
                    checked = node.check(view, "dataset")
                except DataError as error:
                    refused.append(error)
                else:
                    found.setdefault(checked.uri, checked)
        return _Said(found, answer["hitsTotal"], answer.get("fuzzy", False), refused)


def _told(url: str, said: _Said | NodeAnswer) -> NodeAnswer:
    return said if isinstance(said, NodeAnswer) else NodeAnswer(url, "ok", said.total, "")


def _version(versions: Mapping[str, Checked]) -> tuple[Checked, tuple[str, ...]]:
    """The version that most nodes show, of equals the one that is named first; and those nodes."""
    by_cid: dict[str, list[str]] = {}
    for url, checked in versions.items():
        by_cid.setdefault(checked.cid, []).append(url)
    urls = max(by_cid.values(), key=len)
    return versions[urls[0]], tuple(urls)
