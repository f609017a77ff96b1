"""Timestamp identifiers (TID): 13 characters that sort by time.

Source: https://atproto.com/specs/tid. A TID is 53 bits of microseconds since the epoch and
10 bits of a clock number, in a base32 alphabet that sorts as ASCII does.
"""

from __future__ import annotations

import os
import threading
import time

from .errors import InvalidSyntax
from .syntax import is_tid

ALPHABET = "234567abcdefghijklmnopqrstuvwxyz"
_VALUES = {letter: value for value, letter in enumerate(ALPHABET)}

CLOCK_BITS = 10
"""Bits of the clock number, by the specification."""

_lock = threading.Lock()
_clock = int.from_bytes(os.urandom(2), "big") % (1 << CLOCK_BITS)
_last = 0


def tid_from_micros(micros: int, clock: int = 0) -> str:
    """The TID of a time in microseconds since the epoch and a clock number below 1024."""
    if not 0 <= micros < 1 << 53 or not 0 <= clock < 1 << CLOCK_BITS:
        raise ValueError("a TID holds 53 bits of microseconds and 10 bits of clock number")
    number = micros << CLOCK_BITS | clock
    return "".join(ALPHABET[number >> shift & 31] for shift in range(60, -1, -5))


def next_tid() -> str:
    """A new TID, greater than every one that this process has made before. Thread-safe.

    When the system clock steps back or stands still, the last time is counted up by 1 µs.
    """
    global _last
    with _lock:
        _last = max(time.time_ns() // 1000, _last + 1)
        return tid_from_micros(_last, _clock)


def tid_micros(tid: str) -> int:
    """Microseconds since the epoch that `tid` claims. Raises `InvalidSyntax`.

    The claim is the author's: never trust it as the time of anything.
    """
    if not is_tid(tid):
        raise InvalidSyntax("tid", tid)
    number = 0
    for letter in tid:
        number = number << 5 | _VALUES[letter]
    return number >> CLOCK_BITS
