"""Asking several services one question: the budgets, and how their ranked answers become one.

Reciprocal rank fusion: an item's score is the sum of 1 / (K + rank) over the answers that have it,
ranks counted from 1. It needs no scores that could be compared, and no service can lift an item
above what two others agree on.

Source: Cormack, Clarke, Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual
Rank Learning Methods", SIGIR 2009.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

K: Final = 60
"""How much the first ranks stand out; the paper's value."""

MAX_SERVICES: Final = 8
"""Services that one question goes to: each costs its share of the asker's sockets and patience."""

SERVICE_SECONDS: Final = 0.8
"""For one service, from resolving its name to the last byte of its answer."""

TOTAL_SECONDS: Final = 1.5
"""For the whole answer: what a person waits for without leaving."""

ANSWER_BYTES: Final = 4_000_000
"""Of one service's answer: a page of 100 ordinary datasets has 300,000."""

Outcome = Literal["ok", "timeout", "error"]
"""What came of asking one service."""


@dataclass(frozen=True, slots=True)
class Fused:
    """An item, and the services whose answers had it, in the order in which they were given."""

    key: str
    score: float
    sources: tuple[str, ...]


def fuse(answers: Mapping[str, Sequence[str]]) -> list[Fused]:
    """The items of ranked answers, by service, as one ranking, best first.

    An item that one answer has twice counts where it is first. Equal scores are ordered by the
    best rank, then by the key, so that the same answers always make the same ranking.
    """
    scores: dict[str, float] = {}
    best: dict[str, int] = {}
    sources: dict[str, list[str]] = {}
    for service, keys in answers.items():
        for rank, key in enumerate(dict.fromkeys(keys), 1):
            scores[key] = scores.get(key, 0.0) + 1.0 / (K + rank)
            best[key] = min(rank, best.get(key, rank))
            sources.setdefault(key, []).append(service)
    # Sums of the same numbers in another order differ in their last bits.
    ordered = sorted(scores, key=lambda key: (-round(scores[key], 9), best[key], key))
    return [Fused(key, scores[key], tuple(sources[key])) for key in ordered]
