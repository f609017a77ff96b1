"""Queries that took long: counted, and logged by the shape of what was asked, never its text.

    app.bsky.atdata.searchDatasets took 812 ms: q=text(31), tags=array(2 of text 4..7)

What people search for is theirs. Of each parameter the log has its name, which is the document's,
its type and its length.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from atdex_xrpc import Request

log = logging.getLogger(__name__)

DEFAULT_MS = 500
"""Milliseconds from which on a query is slow: half of what feels immediate, ten times an ordinary
search."""


class SlowQueries:
    """`threshold` is in seconds. `counts` are the slow ones of each method since the start."""

    def __init__(self, threshold: float = DEFAULT_MS / 1000) -> None:
        self._threshold = threshold
        self.counts: Counter[str] = Counter()

    def took(self, request: Request, seconds: float) -> None:
        """A query that was answered, or refused, after so long."""
        if seconds < self._threshold:
            return
        self.counts[request.nsid] += 1
        log.warning(
            "%s took %.0f ms: %s",
            request.nsid,
            seconds * 1000,
            described(request),
            extra={"method": request.nsid, "milliseconds": round(seconds * 1000)},
        )


def described(request: Request) -> str:
    """The shapes of the parameters and of the members of the input."""
    parts = [f"{name}={shape(value)}" for name, value in sorted(request.params.items())]
    if isinstance(request.input, Mapping):
        parts += [f"{name}:{shape(value)}" for name, value in sorted(request.input.items())]
    elif request.input is not None:
        parts.append(f"input:{shape(request.input)}")
    return ", ".join(parts) or "no parameters"


def shape(value: Any) -> str:
    """The type of a value with its length or number, and nothing of what it says."""
    match value:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case str():
            return f"text({len(value)})"
        case bytes():
            return f"bytes({len(value)})"
        case Mapping():
            return f"object({len(value)})"
        case Sequence():
            return f"array({len(value)}{_lengths(value)})"
        case None:
            return "null"
        case _:
            return type(value).__name__


def _lengths(values: Sequence[Any]) -> str:
    lengths = [len(value) for value in values if isinstance(value, str)]
    if not lengths or len(lengths) < len(values):
        return ""
    least, most = min(lengths), max(lengths)
    return f" of text {least}" if least == most else f" of text {least}..{most}"
