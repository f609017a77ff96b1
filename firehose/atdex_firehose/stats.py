"""What a consumer counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypedDict


class UpstreamStats(TypedDict):
    """One upstream. `cursor` is the watermark: everything up to it was acknowledged.

    `lag_seconds` is how old the last frame was when it came; None before the first.
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
    ignored: int = 0
    refreshes: int = 0
    rejected: dict[str, int] = field(default_factory=dict)

    def reject(self, error: str) -> None:
        self.rejected[error] = self.rejected.get(error, 0) + 1


@dataclass(frozen=True, slots=True)
class Stats:
    """A consumer's numbers since it was opened.

    `rejected_by_reason` counts by error class. `ignored` are commits of inactive accounts and
    repeated ones. `waiting` frames are in lanes, `unacked` events were delivered and not
    acknowledged. `refreshes` counts identities renewed because a signature failed.
    """

    frames: int
    events: int
    commits_verified: int
    syncs_verified: int
    rejected: int
    rejected_by_reason: dict[str, int]
    ignored: int
    refreshes: int
    identity_fetches: int
    waiting: int
    unacked: int
    upstreams: tuple[UpstreamStats, ...]
