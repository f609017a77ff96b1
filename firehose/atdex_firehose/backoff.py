"""How long to wait before the next attempt: exponential with full jitter and a cap."""

from __future__ import annotations

import random

FIRST_SECONDS = 1.0
"""Upper end of the first wait: a restarted upstream is back within seconds."""
CAP_SECONDS = 60.0
"""Upper end of the longest wait: an outage ends unnoticed for at most a minute."""


class Backoff:
    """Waits grow from 0..first to 0..cap. Jitter is full so that many clients spread out."""

    def __init__(self, first: float = FIRST_SECONDS, cap: float = CAP_SECONDS) -> None:
        self._first = first
        self._cap = cap
        self.attempts = 0

    def next_delay(self) -> float:
        """Seconds to wait now; counts the attempt."""
        ceiling = min(self._cap, self._first * 2.0 ** min(self.attempts, 32))
        self.attempts += 1
        return random.uniform(0.0, ceiling)  # noqa: S311 - spreading load, not a secret

    def reset(self) -> None:
        """The last attempt was a success."""
        self.attempts = 0
