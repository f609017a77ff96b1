"""Whether a name may be one of many, without asking a disk: a Bloom filter with one hash."""

from __future__ import annotations

from zlib import crc32

BITS_A_NAME = 13
"""Of a sieve with as many names in it as it is for, seven of a hundred others pass as well."""


class Sieve:
    """Everything that was added passes, and little else. Nothing can be taken out."""

    def __init__(self, names: int) -> None:
        """`names`: about how many there will be at most."""
        self._size = names * BITS_A_NAME
        self._bits = bytearray(self._size // 8 + 1)

    def add(self, name: str) -> None:
        at = crc32(name.encode()) % self._size
        self._bits[at >> 3] |= 1 << (at & 7)

    def passes(self, name: str) -> bool:
        at = crc32(name.encode()) % self._size
        return bool(self._bits[at >> 3] & 1 << (at & 7))
