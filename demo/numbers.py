"""Numbers that come out the same on every machine: integers only, no libm, no library's PRNG.

The checksums of the shards stand in signed records, so one differing bit would break the demo.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
TURN = 65536  # a whole turn, in the unit of `sine`'s phase
AMPLITUDE = 32767  # of `sine`


def _hash(seed: int, count: int) -> NDArray[np.uint32]:
    """`count` well mixed 32-bit words: a counter through an integer finaliser."""
    word = np.arange(count, dtype=np.uint32)
    word += np.uint32(seed * 2654435761 % 2**32)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        word ^= word >> np.uint32(shift)
        word *= np.uint32(factor)
    word ^= word >> np.uint32(16)
    return word


def ints(seed: int, count: int, low: int, high: int) -> Ints:
    """`count` integers in low..high-1."""
    return low + (_hash(seed, count).astype(np.int64) % (high - low))


def one(seed: int, low: int, high: int) -> int:
    """One integer in low..high-1."""
    return int(ints(seed, 1, low, high)[0])


def pick(seed: int, options: list[Any]) -> Any:
    return options[one(seed, 0, len(options))]


def sine(phase: Ints) -> Ints:
    """A sine drawn with parabolas: within 6 % of the real one, and exact everywhere."""
    half = phase & (TURN // 2 - 1)
    arc = np.minimum((4 * half * (TURN // 2 - half)) >> 15, AMPLITUDE)
    wave: Ints = np.where(phase & (TURN // 2), -arc, arc)
    return wave


def walk(seed: int, count: int, step: int, pull: int) -> Ints:
    """A random walk that is pulled back to 0: steps within ±`step`, 1/`pull` returned each time."""
    at = 0
    path = []
    for move in ints(seed, count, -step, step + 1).tolist():
        at += move - at // pull
        path.append(at)
    return np.array(path, dtype=np.int64)


def grid(size: int) -> tuple[Ints, Ints]:
    """Row and column of every pixel of a square, counted from its middle."""
    axis = np.arange(size, dtype=np.int64) - size // 2
    row, column = np.meshgrid(axis, axis, indexing="ij")
    return row, column


def to_bytes(values: Ints) -> NDArray[np.uint8]:
    """Clipped to 0..255."""
    return np.clip(values, 0, 255).astype("|u1")
