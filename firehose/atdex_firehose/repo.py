"""What is known of one repo between two of its events.

    untracked ──first wanted record, or discovered──> incomplete ──fetched──> synchronized
        │                                                 ^                       │
        └─first wanted record, nothing before it──────────│──> synchronized       │ chain broken,
                                                          │                       │ #sync, refused
    desynchronized <──────────────────────────────────────┴───────────────────────┘
        └──taken up──> in-progress ──fetched, verified, compared, drained──> synchronized

- `incomplete`: the chain of commits is whole since the first one taken; records from before it
  are yet to be fetched. Commits are delivered as they come.
- `desynchronized`: something was missed. Nothing of the repo is delivered before it was fetched
  whole; its commits are parked on disk.
- `in-progress`: being fetched, or compared; commits are parked too. Saved as what it was before,
  so that a restart takes it up again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from atdex_firehose.ledger import Delivery

RepoState = Literal["untracked", "incomplete", "desynchronized", "in-progress", "synchronized"]
PARKING: frozenset[RepoState] = frozenset({"desynchronized", "in-progress"})
"""The states in which commits wait."""
NEVER = 1e15
"""A time to try again at that does not come: the account is not active."""
DELETED = "deleted"
"""The account status after which nothing of a repo is kept."""


@dataclass(frozen=True, slots=True)
class Head:
    """The last commit taken of a repo: its rev, and the root of its tree."""

    rev: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Standing:
    """The account's status upstream. An account that nobody has spoken of is active."""

    active: bool = True
    status: str | None = None


ACTIVE = Standing()


@dataclass(slots=True)
class RepoRow:
    """A repo as it is saved.

    `epoch` is the generation of wanted collections that it was last fetched for. `attempts` to
    fetch it have failed since the last success; the next is due at `retry_at` (s since the
    epoch). `min_rev`: a fetched repo must be at least this new. `strikes` counts how often it
    lost synchronization lately, as of `struck_at`.
    """

    did: str
    state: RepoState
    head: Head | None = None
    epoch: int = 0
    reason: str = ""
    attempts: int = 0
    retry_at: float = 0.0
    min_rev: str | None = None
    strikes: float = 0.0
    struck_at: float = 0.0


@dataclass(slots=True)
class Repo:
    """One repo as far as events were verified, acknowledged or not.

    `head` is the last commit taken, `acked` the last one acknowledged. `resyncs_out` are fetched
    states that were delivered and not acknowledged yet: until then the repo is saved as it was.
    `parked` are the commits that wait on disk.
    """

    did: str
    state: RepoState = "untracked"
    head: Head | None = None
    acked: Head | None = None
    standing: Standing = ACTIVE
    out: deque[Delivery] = field(default_factory=deque)
    epoch: int = 0
    reason: str = ""
    attempts: int = 0
    retry_at: float = 0.0
    min_rev: str | None = None
    strikes: float = 0.0
    struck_at: float = 0.0
    resyncs_out: int = 0
    parked: int = 0
    before: RepoState = "incomplete"
    """What the state was before it became `in-progress`: `incomplete` or `desynchronized`."""

    @property
    def tracked(self) -> bool:
        return self.state != "untracked"

    def is_at(self, rev: str) -> bool:
        """Whether that is the rev of the last commit taken."""
        return self.head is not None and self.head.rev == rev

    def row(self) -> RepoRow:
        """What may be saved now: never more than was acknowledged."""
        state = self.before if self.state == "in-progress" else self.state
        if state == "synchronized" and (self.resyncs_out or self.acked is None):
            state = "desynchronized" if self.before == "desynchronized" else "incomplete"
        return RepoRow(
            self.did,
            state,
            self.acked,
            self.epoch,
            self.reason,
            self.attempts,
            self.retry_at,
            self.min_rev,
            self.strikes,
            self.struck_at,
        )
