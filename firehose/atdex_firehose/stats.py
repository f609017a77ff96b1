"""What a consumer counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypedDict


class UpstreamStats(TypedDict):
    """One upstream. `cursor` is the watermark: everything up to it was acknowledged.

    `lag_seconds` is how old the last frame was when it came; None before the first.
    `seq` is the last one read, so `seq - cursor` is how far dealing with events is behind reading.
    `outdated` counts the times that the upstream said that events were missed.
    """

    url: str
    connected: bool
    cursor: int
    seq: int
    lag_seconds: float | None
    frames: int
    connections: int
    outdated: int
    last_error: str | None


@dataclass(slots=True)
class Counters:
    """Counted as it happens."""

    events: int = 0
    commits_verified: int = 0
    syncs_verified: int = 0
    desynchronized: int = 0
    ignored: int = 0
    refreshes: int = 0
    rejected: dict[str, int] = field(default_factory=dict)

    def reject(self, error: str) -> None:
        self.rejected[error] = self.rejected.get(error, 0) + 1


@dataclass(frozen=True, slots=True)
class Backfill:
    """Repos that are fetched whole. `repos` counts the tracked ones by state (see `repo`);
    `remaining` of them wait to be fetched (those whose account is not active are not counted),
    `running` are being fetched now.

    `outcomes` counts what came of fetching: `done`, `unchanged` (nothing was missing), `checked`
    (no fetch was needed), or the class of the error. `records` were delivered from fetched repos,
    `records_per_second` over the last minute. `listed` repos were met in listings; `listing` is
    what is being read now, by host.
    """

    repos: dict[str, int]
    remaining: int
    running: int
    outcomes: dict[str, int]
    records: int
    records_per_second: float
    listed: int
    listing: dict[str, str]

    @property
    def resyncs(self) -> int:
        """Repos that were fetched and brought up to date."""
        return self.outcomes.get("done", 0) + self.outcomes.get("unchanged", 0)


@dataclass(frozen=True, slots=True)
class Stats:
    """A consumer's numbers since it was opened.

    `rejected_by_reason` counts by error class. `ignored` are commits of inactive accounts and
    repeated ones. `waiting` frames are in lanes, `unacked` events were delivered and not
    acknowledged. `refreshes` counts identities renewed because a signature failed.
    `desynchronized` counts how often a repo lost its chain, `backfill` what was done about it.
    """

    frames: int
    events: int
    commits_verified: int
    syncs_verified: int
    rejected: int
    rejected_by_reason: dict[str, int]
    desynchronized: int
    ignored: int
    refreshes: int
    identity_fetches: int
    waiting: int
    unacked: int
    upstreams: tuple[UpstreamStats, ...]
    backfill: Backfill
