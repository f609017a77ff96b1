"""A search over this node's index and those of its peers, as one page.

Of a peer only the order of its hits is believed, and the less so the more disagree. What a hit is
comes from this node's own index, or, where that does not have it, from its publisher's repo,
verified; then every hit is held against the question once more, so that a peer cannot put a
dataset before people that they did not ask for.

- At most one page: the answer has no cursor.
- In time, whatever peers do: each has its own time, and the answer as a whole has one. What is
  not there by then is missing, and the answer says so (`partial`).
- Peers answer from their own index: no question is passed on twice.
- Nothing is shown that this node hides, whoever names it.

Example: this node finds A, B; peer P says B, C, and X, which does not exist; peer Q is silent.
Merged by rank: B (both), then A, C, X. C is not in this index and is read from its publisher's
repo, which has no X. The page: B (this node, P), A (this node), C (P); partial, as Q timed out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from time import monotonic
from types import TracebackType
from typing import Any, Self

import orjson

from atdex_appview.federation.peers import PeerAnswer, Peers
from atdex_appview.federation.repos import RepoReader
from atdex_appview.search.document import SearchDocument
from atdex_appview.search.filters import Filters
from atdex_appview.search.index import Hit, SearchIndex, SearchPage
from atdex_appview.store.base import IndexStore, StoredRecord
from atdex_appview.views import UNREADABLE
from atdex_lexicons.families import project
from atdex_lexicons.model import Dataset
from atdex_xrpc.errors import NodeUnavailable
from atdex_xrpc.fusion import TOTAL_SECONDS, Fused, fuse

log = logging.getLogger(__name__)

AT_ONCE = 32
"""Federated searches under way at once: each has a question at every peer, and some records in
memory. The next one is told to come again."""

RETRY_SECONDS = 1
"""Seconds after which somebody who was sent away may ask again: one is done by then."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. `params` is the same in the words of the method `nsid`, for the peers."""

    nsid: str
    params: Mapping[str, Any]
    q: str
    filters: Filters
    limit: int


@dataclass(frozen=True, slots=True)
class Found:
    """One dataset of the page. `fetched`: it is not in this node's index. `handle` is its
    publisher's, for those that were fetched. `hit` is how it matches."""

    record: StoredRecord
    score: float
    sources: tuple[str, ...]
    hit: Hit
    fetched: bool = False
    handle: str | None = None


@dataclass(frozen=True, slots=True)
class FederatedPage:
    """`nodes` has this node first. `partial`: something may be missing."""

    found: list[Found]
    nodes: list[PeerAnswer]
    fuzzy: bool
    partial: bool


@dataclass(slots=True)
class _Candidates:
    """Datasets that some node named, by URI, with what is known of them."""

    records: dict[str, StoredRecord] = field(default_factory=dict)
    documents: dict[str, SearchDocument] = field(default_factory=dict)
    handles: dict[str, str | None] = field(default_factory=dict)

    def add(self, record: StoredRecord, model: Dataset) -> None:
        self.records[record.uri] = record
        self.documents[record.uri] = SearchDocument(
            uri=record.uri,
            did=record.did,
            name=model.name,
            description=model.description,
            tags=model.tags,
            schema_uri=model.schema_uri,
            license=model.license,
            first_seen=record.first_seen,
            sample_count=model.sample_count,
            byte_count=model.byte_count,
        )


class Federation:
    """`origin` is what this node is called in answers. `seconds` are for a whole answer.

    `async with` closes the connections to the peers.
    """

    def __init__(
        self,
        origin: str,
        peers: Peers,
        reader: RepoReader,
        *,
        seconds: float = TOTAL_SECONDS,
    ) -> None:
        self._origin = origin
        self._peers = peers
        self._reader = reader
        self._seconds = seconds
        self._under_way = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._peers.close()

    @property
    def peers(self) -> tuple[str, ...]:
        """The base URLs of the nodes that are asked as well."""
        return self._peers.urls

    async def search(
        self, store: IndexStore, question: Question, own: Callable[[], SearchPage]
    ) -> FederatedPage:
        """The page. `own` searches this node's index, for the thread that it is called on.

        Raises NodeUnavailable where too many are under way, and what `own` and `store` raise.
        """
        if self._under_way >= AT_ONCE:
            raise NodeUnavailable(
                "too many federated searches are under way here.", retry_after=RETRY_SECONDS
            )
        self._under_way += 1
        try:
            return await self._search(store, question, own)
        finally:
            self._under_way -= 1

    async def _search(
        self, store: IndexStore, question: Question, own: Callable[[], SearchPage]
    ) -> FederatedPage:
        end = monotonic() + self._seconds
        asking = asyncio.create_task(self._peers.ask(question.nsid, question.params))
        try:
            page = await asyncio.to_thread(own)
            peers = await asking
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        mine = PeerAnswer(self._origin, "ok", tuple(h.uri for h in page.hits), page.total)
        nodes = [mine, *peers]
        fused = fuse({node.url: node.uris for node in nodes if node.outcome == "ok"})
        known = await asyncio.to_thread(_known, store, [each.key for each in fused])
        missing = _missing(fused, known, question.limit)
        read, unknown = await self._reader.read(missing, max(end - monotonic(), 0.0))
        for each in read.values():
            known.add(each.record, each.model)
            known.handles[each.record.uri] = each.handle
        found, fuzzy = await asyncio.to_thread(_matching, question, fused, known)
        partial = bool(unknown) or any(node.outcome != "ok" for node in nodes)
        return FederatedPage(found, nodes, fuzzy, partial)


def _known(store: IndexStore, uris: list[str]) -> _Candidates:
    """Those that this node has and shows."""
    known = _Candidates()
    for record in store.records(uris).values():
        try:
            model = project(record.collection, orjson.loads(record.json))
        except UNREADABLE as failure:
            log.error("left out a stored record: %r", failure, extra={"uri": record.uri})
            continue
        if isinstance(model, Dataset):
            known.add(record, model)
    return known


def _missing(fused: list[Fused], known: _Candidates, limit: int) -> list[str]:
    """Those to be read from their repos: none that would come after a page of what is known."""
    return [each.key for each in fused[:limit] if each.key not in known.records]


def _matching(
    question: Question, fused: list[Fused], known: _Candidates
) -> tuple[list[Found], bool]:
    """The page of what answers the question, and whether that is by words that are only near."""
    # A record that was fetched has not been seen here before: its moment is the peer's to judge.
    filters = replace(question.filters, since=None, until=None)
    index = SearchIndex.in_memory(list(known.documents.values()))
    try:
        page = index.search(question.q, filters, limit=max(len(known.documents), 1))
    finally:
        index.close()
    hits = {hit.uri: hit for hit in page.hits}
    found = [
        Found(
            record=known.records[each.key],
            score=each.score,
            sources=each.sources,
            hit=hits[each.key],
            fetched=each.key in known.handles,
            handle=known.handles.get(each.key),
        )
        for each in fused
        if each.key in hits
        and (each.key in known.handles or _seen_then(known.records[each.key], question.filters))
    ]
    return found[: question.limit], page.fuzzy


def _seen_then(record: StoredRecord, filters: Filters) -> bool:
    after = filters.since is None or record.first_seen >= filters.since
    return after and (filters.until is None or record.first_seen < filters.until)
