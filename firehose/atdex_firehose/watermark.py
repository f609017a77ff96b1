"""How far a stream has been dealt with, when its events are finished in any order.

Guarantee: `value` never passes an event that is held. A cursor saved at `value` therefore
replays every event that was not finished, and perhaps some that were.

    seen 1, hold 2, seen 3, hold 4   value 1
    release 4                        value 1   (2 is still held)
    release 2                        value 4
"""

from __future__ import annotations

from collections import OrderedDict


class Watermark:
    """One stream's watermark. Sequence numbers come in growing order."""

    __slots__ = ("_held", "top")

    def __init__(self, start: int = 0) -> None:
        self.top = start
        self._held: OrderedDict[int, None] = OrderedDict()

    @property
    def value(self) -> int:
        """The highest number up to which everything seen is finished."""
        if self._held:
            return next(iter(self._held)) - 1
        return self.top

    @property
    def held(self) -> int:
        """How many events are not finished."""
        return len(self._held)

    def seen(self, seq: int) -> None:
        """An event that needs nothing more."""
        self.top = seq

    def hold(self, seq: int) -> None:
        """An event that will be released later."""
        self.top = seq
        self._held[seq] = None

    def release(self, seq: int) -> None:
        """A held event is finished. Releasing twice, or what was never held, changes nothing."""
        self._held.pop(seq, None)
