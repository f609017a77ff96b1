"""What every method of the node works on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from atdex_appview.federation.search import Federation
from atdex_appview.feeds.definition import DEFAULT_FEEDS, Feed
from atdex_appview.feeds.posts import Posts
from atdex_appview.graph.graph import LensGraph
from atdex_appview.graph.reach import Reaches
from atdex_appview.network.lexicons import NetworkLexicons
from atdex_appview.search.index import SearchIndex
from atdex_appview.slow import SlowQueries
from atdex_appview.state import State
from atdex_appview.status import Upstream
from atdex_appview.store.base import IndexStore
from atdex_appview.stream.changes import ChangeStream
from atdex_firehose.stats import Backfill
from atdex_lexicons import Catalog
from atdex_lexicons.families import collections as family_collections

MAX_INPUT_BYTES = 2_000_000
"""Bytes of a request's body. A record has at most 1,000,000 as DAG-CBOR, and its JSON form, with
bytes as base64, is at most a third larger or so."""

PAGE_SIZE = 100
"""Entries on a page, as the documents of the lists declare."""

URIS_AT_ONCE = 25
"""Records in one getDatasets, as its document declares."""


def _limits() -> Mapping[str, int]:
    return {"pageSize": PAGE_SIZE, "uris": URIS_AT_ONCE, "inputBytes": MAX_INPUT_BYTES}


def _feeds() -> Mapping[str, Feed]:
    return {feed.name: feed for feed in DEFAULT_FEEDS}


def _none() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Context:
    """The parts of one running node, as its methods see them.

    `did` and `origin` are what the node is called from outside. `upstreams` answers anew at each
    call; a node without a firehose has none. `backfill` is how fetching repos goes, None without a
    firehose. `collections` are those that it indexes. `limits`
    is what describeNode states. `federation` asks other nodes, None where no others can be asked.
    `network` has the collections that no family knows.
    `allow_private_hosts`: in a sandbox, where they are public.
    """

    catalog: Catalog
    store: IndexStore
    search: SearchIndex
    state: State
    graph: LensGraph
    reaches: Reaches
    did: str
    origin: str
    upstreams: Callable[[], Sequence[Upstream]] = tuple
    backfill: Callable[[], Backfill | None] = _none
    collections: Collection[str] = field(default_factory=family_collections)
    limits: Mapping[str, int] = field(default_factory=_limits)
    federation: Federation | None = None
    network: NetworkLexicons | None = None
    feeds: Mapping[str, Feed] = field(default_factory=_feeds)
    """By name, in the operator's order."""
    feed_publisher: str | None = None
    posts: Posts | None = None
    """The account that declares the feeds on Bluesky, and the posts for them: both, or neither."""
    allow_private_hosts: bool = False
    stream: ChangeStream | None = None
    """What subscribeRecords tells; None for an application over stores that nobody writes."""
    slow: SlowQueries = field(default_factory=SlowQueries)
