"""The node in numbers, for Prometheus: what the firehose, the writer and the store count.

Everything is read at the moment of a scrape, so that nothing is counted twice and a node that
nobody scrapes does no work for it. Counters start at 0 with the process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from atdex_appview.store.base import IndexStore
from atdex_appview.writer import Writer
from atdex_firehose.stats import Stats, UpstreamStats
from atdex_lexicons.model import KINDS

PATH = "/metrics"


@dataclass(frozen=True, slots=True)
class Serving:
    """How it goes with those who ask. `slow` counts by method, the others as their metrics say."""

    limited: int = 0
    slow: Mapping[str, int] = field(default_factory=dict)
    streams: int = 0
    stream_seq: int = 0
    stream_kept: int = 0


class Metrics(Collector):
    """Reads `stats`, `writer`, `store` and `serving` anew at each `collect`; on their event loop
    only."""

    def __init__(
        self,
        stats: Callable[[], Stats],
        writer: Writer,
        store: IndexStore,
        serving: Callable[[], Serving],
    ) -> None:
        self._serving = serving
        self._stats = stats
        self._writer = writer
        self._store = store

    def collect(self) -> Iterator[Metric]:
        stats = self._stats()
        yield from _firehose(stats)
        yield from _upstreams(stats.upstreams)
        yield from _repos(stats)
        yield from self._index()
        yield from _answering(self._serving())

    def app(self) -> Starlette:
        """`GET /metrics`, in the text format that the scraper asks for."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)

        async def scrape(request: Request) -> Response:
            encode, content_type = choose_encoder(request.headers.get("accept", ""))
            return Response(encode(registry), headers={"content-type": content_type})

        return Starlette(routes=[Route(PATH, scrape, methods=["GET"])])

    def _index(self) -> Iterator[Metric]:
        counters, counts = self._writer.counters, self._store.counts()
        yield _gauge(
            "writer_waiting", "Changes submitted and not durable yet", self._writer.waiting
        )
        yield _counter("writer_changes", "Changes made durable", counters.changes)
        yield _counter("writer_batches", "Batches that they were written in", counters.batches)
        yield _counter("writer_stale_changes", "Changes passed over as old", counters.stale)
        written = {
            "stored": counters.stored,
            "deleted": counters.deleted,
            "quarantined": counters.quarantined,
        }
        yield _counters("writer_records", "Records of those changes", "outcome", written)
        held: dict[str, int] = {kind: counts[kind] for kind in KINDS}
        yield _gauges("records", "Records that are served", "kind", held)
        yield _gauge("publishers", "Active accounts with records", counts["publishers"])


def _answering(serving: Serving) -> Iterator[Metric]:
    yield _counter("requests_limited", "Requests refused by the rate limit", serving.limited)
    yield _counters("slow_queries", "Queries that took long", "method", serving.slow)
    yield _gauge("stream_followers", "Who follows the change stream now", serving.streams)
    yield _gauge("stream_seq", "Number of the last change told", serving.stream_seq)
    yield _gauge("stream_kept", "Changes that can be told again", serving.stream_kept)


def _firehose(stats: Stats) -> Iterator[Metric]:
    yield _counter("firehose_events", "Events delivered", stats.events)
    yield _counter("firehose_commits_verified", "Commits verified", stats.commits_verified)
    yield _counter("firehose_syncs_verified", "#sync verified", stats.syncs_verified)
    yield _counters(
        "firehose_rejected", "Frames refused, by reason", "reason", stats.rejected_by_reason
    )
    yield _counter(
        "firehose_desynchronized", "Times that a repo lost its chain", stats.desynchronized
    )
    yield _counter("firehose_ignored", "Commits repeated, or of inactive accounts", stats.ignored)
    yield _counter("firehose_identity_fetches", "DID documents fetched", stats.identity_fetches)
    yield _counter(
        "firehose_identity_refreshes", "Of those, after a bad signature", stats.refreshes
    )
    yield _gauge("firehose_waiting", "Frames and events that wait to be dealt with", stats.waiting)
    yield _gauge("firehose_unacked", "Events delivered and not durable yet", stats.unacked)


def _upstreams(upstreams: tuple[UpstreamStats, ...]) -> Iterator[Metric]:
    def of(read: Callable[[UpstreamStats], float]) -> dict[str, float]:
        return {upstream["url"]: read(upstream) for upstream in upstreams}

    def counters(name: str, help_: str, read: Callable[[UpstreamStats], float]) -> Metric:
        return _counters(f"upstream_{name}", help_, "upstream", of(read))

    def gauges(name: str, help_: str, read: Callable[[UpstreamStats], float]) -> Metric:
        return _gauges(f"upstream_{name}", help_, "upstream", of(read))

    yield counters("frames", "Frames read", lambda up: up["frames"])
    yield counters("connections", "Connections made", lambda up: up["connections"])
    yield counters(
        "outdated", "Times that it said that events were missed", lambda up: up["outdated"]
    )
    yield gauges("connected", "1 while there is a connection", lambda up: up["connected"])
    yield gauges("seq", "Sequence number read last", lambda up: up["seq"])
    yield gauges("cursor", "Sequence number up to which all is durable", lambda up: up["cursor"])
    # A number that is not known yet is left out, not zero: zero would say "up to date".
    lags = {up["url"]: up["lag_seconds"] for up in upstreams if up["lag_seconds"] is not None}
    help_ = "Age of the last frame when it arrived"
    yield _gauges("upstream_lag_seconds", help_, "upstream", lags)


def _repos(stats: Stats) -> Iterator[Metric]:
    backfill = stats.backfill
    yield _gauges("repos", "Repos kept up with, by state", "state", backfill.repos)
    yield _gauge("repos_remaining", "Repos yet to be fetched or checked", backfill.remaining)
    yield _gauge("repos_running", "Repos being fetched", backfill.running)
    yield _counters("resyncs", "What came of fetching repos", "outcome", backfill.outcomes)
    yield _counter("resync_records", "Records delivered from fetched repos", backfill.records)
    yield _counter("repos_listed", "Repos met in listings", backfill.listed)
    yield _gauges(
        "listing",
        "1 while a listing of the host is read",
        "upstream",
        dict.fromkeys(backfill.listing, 1),
    )


def _counter(name: str, help_: str, value: float) -> Metric:
    return CounterMetricFamily(f"atdex_{name}", f"{help_}.", value=value)


def _gauge(name: str, help_: str, value: float) -> Metric:
    return GaugeMetricFamily(f"atdex_{name}", f"{help_}.", value=value)


def _counters(name: str, help_: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(f"atdex_{name}", f"{help_}.", labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _gauges(name: str, help_: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"atdex_{name}", f"{help_}.", labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family
