"""Searching datasets through a node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from atdex.errors import DataError
from atdex.node import MAX_PAGES, PAGE, Checked, Node, default_node
from atdex_lexicons.model import Dataset as DatasetRecord

Sort = Literal["relevance", "newest", "largest"]

MICRO: Final = 1_000_000
"""Scores travel as whole millionths: lexicons have no fractions."""


@dataclass(frozen=True, slots=True)
class SchemaSummary:
    """The schema of a hit, as the node names it."""

    uri: str
    name: str
    version: str


@dataclass(frozen=True, slots=True)
class DatasetHit:
    """One dataset that a search found. `record` was checked against its CID and lexicon; `schema`,
    `labels`, `score`, `highlights` and `first_seen` are the node's word."""

    uri: str
    cid: str
    record: DatasetRecord
    publisher: str
    handle: str | None
    schema: SchemaSummary | None
    labels: tuple[tuple[str, str | None], ...]
    """Names and versions that the publisher gave it."""
    score: float | None
    highlights: Mapping[str, str]
    first_seen: str
    conformance: str
    verified: bool
    """Whether a signature of the publisher stands behind it: by the node's word, like the rest."""
    path: tuple[str, ...] | None
    """With `viewable_as`: the lenses that lead to that schema, in order; none where it has it."""
    sources: tuple[str, ...]
    """The nodes that found it, by their base URLs."""
    view: Mapping[str, Any]
    """The node's answer as it came."""

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def description(self) -> str:
        return self.record.description

    @property
    def tags(self) -> tuple[str, ...]:
        return self.record.tags

    @property
    def shard_count(self) -> int:
        return len(self.record.shards)

    @property
    def checksummed(self) -> bool:
        return self.record.checksummed

    def __repr__(self) -> str:
        return f"<DatasetHit {self.name!r} {self.uri}>"


@dataclass(frozen=True, slots=True)
class NodeAnswer:
    """What came of asking one node. `total` is how many hits it says it has, None where it did not
    answer; `message` then says why."""

    url: str
    status: Literal["ok", "timeout", "error"] | str
    total: int | None
    message: str


class SearchResults:
    """What a search found, best first. Pages are asked for while it is iterated, each once.

    A record that does not hash to its CID or breaks its lexicon is left out, and the reason is in
    `refused`: one bad record never stops the others.
    """

    def __init__(
        self,
        node: str,
        params: Mapping[str, Any],
        limit: int | None,
        timeout: float | None = None,
    ) -> None:
        self.node = node
        self._timeout = timeout
        self.refused: list[DataError] = []
        self._params = dict(params)
        self._limit = limit
        self._hits: list[DatasetHit] = []
        self._total: int | None = None
        self._fuzzy = False
        self._asked = 0
        self._pages = 0
        self._cursor: str | None = None
        self._nodes: tuple[NodeAnswer, ...] = ()
        self._partial = False

    @property
    def nodes(self) -> tuple[NodeAnswer, ...]:
        """The nodes that were asked, and what came of each."""
        if self._total is None:
            self._next_page()
        return self._nodes

    @property
    def partial(self) -> bool:
        """Whether something may be missing, because a node did not answer in time or rightly."""
        return self._partial or any(node.status != "ok" for node in self.nodes)

    @property
    def total(self) -> int:
        """How many datasets match in all, as the node says."""
        if self._total is None:
            self._next_page()
        return self._total or 0

    @property
    def fuzzy(self) -> bool:
        """Whether nothing matched the words as they are, so that these are near them, as the node
        says."""
        if self._total is None:
            self._next_page()
        return self._fuzzy

    def __iter__(self) -> Iterator[DatasetHit]:
        at = 0
        while True:
            while at < len(self._hits):
                yield self._hits[at]
                at += 1
            if not self._more():
                return
            self._next_page()

    def __repr__(self) -> str:
        return f"<SearchResults of {self._params.get('q', '')!r} at {self.node}>"

    def _more(self) -> bool:
        if self._limit is not None and self._asked >= self._limit:
            return False
        return self._pages == 0 or (self._cursor is not None and self._pages < MAX_PAGES)

    def _next_page(self) -> None:
        left = PAGE if self._limit is None else min(PAGE, self._limit - self._asked)
        with Node(self.node, timeout=self._timeout) as node:
            answer = node.ask(
                "searchDatasets", **self._params, limit=max(left, 1), cursor=self._cursor
            )
            views = answer["datasets"][:left]
            for view in views:
                try:
                    sources = tuple(view.get("sources", (node.url,)))
                    self._hits.append(as_hit(node.check(view, "dataset"), sources))
                except DataError as error:
                    self.refused.append(error)
        self._pages += 1
        self._asked += len(views)
        self._total = answer["hitsTotal"]
        asked = answer.get("nodes", [{"url": node.url, "status": "ok", "hitsTotal": self._total}])
        self._nodes = tuple(
            NodeAnswer(each["url"], each["status"], each.get("hitsTotal"), each.get("message", ""))
            for each in asked
        )
        self._partial = answer.get("partial", False)
        self._fuzzy = answer.get("fuzzy", False)
        self._cursor = answer.get("cursor")


def search(
    q: str = "",
    *,
    tags: Sequence[str] = (),
    schema: str | None = None,
    viewable_as: str | None = None,
    publisher: str | None = None,
    license: str | None = None,  # noqa: A002 - the word that users know it by
    min_samples: int | None = None,
    max_samples: int | None = None,
    since: str | None = None,
    until: str | None = None,
    sort: Sort = "relevance",
    limit: int | None = 25,
    node: str | Sequence[str] | None = None,
    federate: bool = False,
    node_timeout: float | None = None,
) -> SearchResults:
    """Datasets whose name, description or tags match `q`; without `q` the newest.

    All filters must hold: every tag of `tags`, the AT-URI of a `schema`, a `publisher` by handle or
    DID, a `license`, bounds of the number of samples (inclusive), and of the moment at which the
    node first saw the dataset (ISO 8601, `until` exclusive). With `viewable_as` a dataset has the
    schema with that AT-URI, or lenses lead to it: `hit.path`. `limit` is the number of hits at
    most, None for all. `node` is a URL, or else the default node. The node is asked when the
    results are first looked at; what fails raises there.

    With several nodes, all of them are asked at once and their answers merged by rank: one page, so
    that `limit` is at most 100. With `federate`, the node asks its peers as well and does the same.
    What is missing is told by `nodes` and `partial`. `node_timeout` is in seconds, for each node:
    0.8 where there are several, 30 where there is one.
    """
    if isinstance(tags, str):
        raise TypeError("tags is a sequence of tags, not one text")
    if limit is not None and limit < 0:
        raise ValueError(f"limit is {limit}")
    if node_timeout is not None and not node_timeout > 0:
        raise ValueError(f"node_timeout is {node_timeout}")
    if federate and (limit is None or limit > PAGE):
        raise ValueError(f"a federated answer is one page: limit is at most {PAGE}")
    params = {
        "q": q or None,
        "tags": list(tags) or None,
        "schema": schema,
        "viewableAs": viewable_as,
        "publisher": publisher,
        "license": license,
        "minSamples": min_samples,
        "maxSamples": max_samples,
        "since": since,
        "until": until,
        "sort": sort,
        "federate": federate or None,
    }
    urls = [node] if isinstance(node, str) else list(dict.fromkeys(node or ()))
    if len(urls) > 1:
        if federate:
            raise ValueError("federate asks the peers of one node: name one, or leave it out")
        # Not before: threads are for those who need them.
        from atdex.several import MergedResults

        return MergedResults(urls, params, limit, node_timeout)
    return SearchResults(urls[0] if urls else default_node(), params, limit, node_timeout)


def as_hit(checked: Checked, sources: tuple[str, ...], *, score: float | None = None) -> DatasetHit:
    """`score` takes the place of the node's own."""
    view = checked.view
    schema = view.get("schema")
    if score is None and "score" in view:
        score = view["score"] / MICRO
    return DatasetHit(
        uri=checked.uri,
        cid=checked.cid,
        record=checked.model,
        publisher=checked.publisher,
        handle=checked.handle,
        schema=SchemaSummary(schema["uri"], schema["name"], schema["version"]) if schema else None,
        labels=tuple((label["name"], label.get("version")) for label in view["labels"]),
        score=score,
        highlights=view.get("highlights", {}),
        first_seen=view["firstSeen"],
        conformance=view["conformance"],
        verified=view.get("verified", True),
        path=tuple(view["path"]["lenses"]) if "path" in view else None,
        sources=sources,
        view=view,
    )
