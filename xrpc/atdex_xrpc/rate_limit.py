"""How much each caller may ask for: points in a window of time, and what is left of them.

A window begins with a caller's first request and ends `seconds` later; what is left then is
gone, and the next window is full. A request that is refused costs nothing.

    limit of 3 points in 60 s
    t=0   1 point      2 left, full again at t=60
    t=5   2 points     0 left
    t=6   1 point      refused: wait 54 s
    t=60  1 point      2 left, full again at t=120

Written for this package because the memory must be bounded: the library that is commonly used
(limits) keeps every key until it expires and walks through all of them after each request, which
is what somebody with a network of addresses would wish for.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.types import Scope

from atdex_xrpc.callers import Callers, bucket
from atdex_xrpc.errors import RateLimitExceeded

if TYPE_CHECKING:
    from atdex_xrpc.method import Request

MAX_CALLERS = 100_000
"""Remembered at once, some 25 MB. The one that has asked for nothing for longest goes first, and
begins with a full window if it comes back."""

SHARED_ADDRESS = 20
"""How many signed-in accounts' worth of points one address has: a PDS forwards the calls of all
its accounts from its own. Without it, accounts that cost nothing to make would have no limit."""

Cost = int | Callable[["Request"], int]
"""Points of a request, or what gives them once its parameters and input are read."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a caller has left. `reset` is when the window ends, in seconds since the epoch."""

    limit: int
    remaining: int
    reset: int
    seconds: int

    def headers(self) -> dict[str, str]:
        return {
            "ratelimit-limit": str(self.limit),
            "ratelimit-remaining": str(self.remaining),
            "ratelimit-reset": str(self.reset),
            "ratelimit-policy": f"{self.limit};w={self.seconds}",
        }


class Windows:
    """The windows of all callers, by any key. `clock` gives seconds since the epoch.

    A clock that is set back makes windows longer at most by as much.
    """

    def __init__(
        self,
        points: int,
        seconds: int,
        *,
        max_callers: int = MAX_CALLERS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if points < 1 or seconds < 1:
            raise ValueError("a limit is at least one point in at least one second")
        self.points = points
        self._seconds = seconds
        self._max_callers = max_callers
        self._clock = clock
        self._open: OrderedDict[str, tuple[float, int]] = OrderedDict()  # end, points used

    def __len__(self) -> int:
        return len(self._open)

    def take(self, key: str, cost: int) -> Allowance:
        """Raises RateLimitExceeded where `cost` is more than what is left.

        One that is more than a whole window has costs a whole window.
        """
        now = self._clock()
        end, used = self._open.get(key, (0.0, 0))
        if end <= now:
            end, used = now + self._seconds, 0
        cost = min(cost, self.points)
        if used + cost > self.points:
            wait = max(1, math.ceil(end - now))
            raise RateLimitExceeded(
                f"{self.points} points in {self._seconds} s are used up, or less than the "
                f"{cost} of this request are left",
                retry_after=wait,
            ).with_headers(self._left(end, used).headers())
        used += cost
        self._open[key] = end, used
        self._open.move_to_end(key)
        if len(self._open) > self._max_callers:
            self._open.popitem(last=False)
        return self._left(end, used)

    def _left(self, end: float, used: int) -> Allowance:
        return Allowance(self.points, self.points - used, math.ceil(end), self._seconds)


class RateLimit:
    """`points` in `seconds` for each caller, told apart as `callers` says.

    Who calls with a token is counted by account, and its address by SHARED_ADDRESS times as much.
    A process of this machine that asks for itself is not limited. `refused` counts since the start.
    """

    def __init__(
        self,
        points: int,
        seconds: int,
        *,
        callers: Callers,
        max_callers: int = MAX_CALLERS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._callers = callers
        self._windows = Windows(points, seconds, max_callers=max_callers, clock=clock)
        self._shared = Windows(
            points * SHARED_ADDRESS, seconds, max_callers=max_callers, clock=clock
        )
        self.refused = 0

    def take(self, scope: Scope, cost: int, *, viewer: str | None = None) -> Mapping[str, str]:
        """The headers that tell a caller what is left. Raises RateLimitExceeded."""
        if self._callers.is_local(scope):
            return {}
        address = bucket(self._callers.address(scope))
        try:
            if viewer is None:
                return self._windows.take(address, cost).headers()
            own = self._windows.take(viewer, cost)
            self._shared.take(address, cost)
            return own.headers()
        except RateLimitExceeded:
            self.refused += 1
            raise
