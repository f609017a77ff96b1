"""A circuit breaker: a peer that fails again and again is left alone for a while.

    closed ──FAILURES in a row──> open ──its seconds are over──> half-open (one question goes)
      ^                                                            │ success     │ failure
      └────────────────────────────────────────────────────────────┘             └──> open, longer

Our own: the libraries for this wrap the call and raise errors of theirs, count in wall-clock time
or need a store, and what is left of them for one event loop is this.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

FAILURES = 3
"""In a row: one is an accident, and a peer that restarts is back within two questions."""

FIRST_SECONDS, CAP_SECONDS = 10.0, 300.0
"""How long a peer is left alone at first, and at most; doubled each time that it fails again."""


class Breaker:
    """Of one peer. For one event loop; `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._opened = 0
        self._until = 0.0
        self._trying = False

    def admits(self) -> bool:
        """Whether the peer may be asked now. Whoever asks says afterwards what came of it."""
        if self._failures < FAILURES:
            return self._clock() >= self._until
        if self._trying or self._clock() < self._until:
            return False
        self._trying = True
        return True

    def succeeded(self) -> None:
        self._failures = self._opened = 0
        self._until = 0.0
        self._trying = False

    def failed(self) -> None:
        self._failures += 1
        self._trying = False
        if self._failures >= FAILURES:
            self.pause(FIRST_SECONDS * 2.0**self._opened)
            self._opened = min(self._opened + 1, 16)

    def gave_up(self) -> None:
        """The question was withdrawn: that says nothing of the peer."""
        self._trying = False

    def pause(self, seconds: float) -> None:
        """Leave the peer alone for so long, at most CAP_SECONDS: it asked for that."""
        self._until = max(self._until, self._clock() + min(seconds, CAP_SECONDS))
