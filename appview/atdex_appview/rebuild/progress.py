"""How far a rebuild is: what a restart goes on from, and what the command shows."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal, Self

from atdex_lexicons.model import KINDS

Phase = Literal["schema", "dataset", "lens", "label", "verification", "quarantine", "search"]

PHASES: Final[tuple[str, ...]] = (*KINDS, "quarantine", "search")
"""In this order: the records of each kind, what was set aside, and the search index as a whole."""

REQUEST_JOB: Final = "rebuild.request"
PROGRESS_JOB: Final = "rebuild"
READING_JOB: Final = "rebuild.reading"
"""The names under which `State` keeps them: what was asked for, how far that is, and the
fingerprint of the documents and code that everything was read by last."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One rebuild. `request` tells it from others; `reading` is the fingerprint that it reads by.

    Of the phase, `after` is where it stands and `upto` where it ends. `done` of `total` records are
    done. `changed` had something else derived from them before, `set_aside` became invalid,
    `restored` became valid, `incomplete` are kept in part and have to be fetched to be judged.
    """

    request: str
    reason: str
    reading: str
    phase: str = PHASES[0]
    after: int = 0
    upto: int | None = None
    done: int = 0
    total: int = 0
    changed: int = 0
    set_aside: int = 0
    restored: int = 0
    incomplete: int = 0
    finished: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Self | None:
        """None for what another version wrote: the rebuild starts over."""
        names = {field.name for field in fields(cls)}
        if set(body) != names or body["phase"] not in PHASES:
            return None
        return cls(**body)
