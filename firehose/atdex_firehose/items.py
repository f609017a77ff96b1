"""What waits in a repo's lane: a frame on its way, or other work on the repo."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from atdex_firehose.frames import Body, Kind
from atdex_firehose.upstream import Source
from atdex_firehose.watermark import Watermark


@dataclass(slots=True)
class Item:
    """A frame on its way. `upstream` is None, and `row` its number, where it was parked."""

    source: str
    upstream: Source | None
    kind: Kind
    seq: int
    did: str
    body: Body
    raw: bytes
    row: int | None = None

    def holds(self) -> list[tuple[Watermark, int]]:
        return [] if self.upstream is None else [(self.upstream.watermark, self.seq)]


@dataclass(slots=True)
class Job:
    """Work on a repo that takes its turn in the repo's lane."""

    run: Callable[[], Coroutine[Any, Any, None]]
