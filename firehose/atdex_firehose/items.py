"""What waits in a repo's lane: a frame on its way, or other work on the repo."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from atdex_firehose.evidence import Evidence
from atdex_firehose.frames import Body, Kind
from atdex_firehose.watermark import Watermark

if TYPE_CHECKING:
    from atdex_firehose.upstream import Source


@dataclass(slots=True)
class Item:
    """A frame on its way. `upstream` is None, and `row` its number, where it was parked.
    `evidence` is what was found out of a commit before its turn."""

    source: str
    upstream: Source | None
    kind: Kind
    seq: int
    did: str
    body: Body
    raw: bytes
    row: int | None = None
    evidence: Evidence | None = None

    def holds(self) -> list[tuple[Watermark, int]]:
        return [] if self.upstream is None else [(self.upstream.watermark, self.seq)]


@dataclass(slots=True)
class Job:
    """Work on a repo that takes its turn in the repo's lane."""

    run: Callable[[], Coroutine[Any, Any, None]]
