"""Record URIs as small numbers, a million of them in some 20 MB.

A URI is kept as the number of its prefix (`at://did/collection/`, one for each repo and type) and
its record key, which is nearly always a TID and so fits 63 bits (all TIDs before 2255 do). They are
found again through a hash table of numbers alone: a dict of a million strings would take ten times
as much. Any other URI is kept as the text that it is.

The hash is keyed by the process, because strangers choose the record keys.
"""

from __future__ import annotations

import re
import secrets
from array import array
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from atdex_lexicons.tid import ALPHABET

_EMPTY, _LEFT = -1, -2
_NO_TID = -1
_WORD = (1 << 64) - 1
_FIRST_CAPACITY = 1024
_MAX_LOAD = 0.6
"""Part of the table that is in use before it grows; past it, probing gets long."""

_TID = re.compile("[2-7ab][2-7a-z]{12}")
_TID_CHARS = 13
_DIGITS = str.maketrans(ALPHABET, "0123456789abcdefghijklmnopqrstuv")
_SHIFTS = tuple(range(60, -1, -5))

_VALUES: NDArray[np.uint8] = np.full(256, 255, np.uint8)
_VALUES[np.frombuffer(ALPHABET.encode(), np.uint8)] = np.arange(32, dtype=np.uint8)

Ids = NDArray[np.int32]


class RecordKeys:
    """URIs and their numbers. A number that was removed is given again later.

    Not for two threads at once.
    """

    def __init__(self) -> None:
        self._prefixes: list[str] = []
        self._prefix_numbers: dict[str, int] = {}
        self._prefix = array("i")
        self._rkey = array("q")
        self._odd: dict[str, int] = {}
        self._odd_texts: dict[int, str] = {}
        self._free: list[int] = []
        self._secrets = secrets.randbits(64) | 1, secrets.randbits(64) | 1
        self._clear_table(_FIRST_CAPACITY)

    def __len__(self) -> int:
        return len(self._prefix) - len(self._free)

    @property
    def size(self) -> int:
        """One past the highest number that was ever given."""
        return len(self._prefix)

    def find(self, uri: str) -> int | None:
        prefix, rkey = _split(uri)
        if rkey == _NO_TID:
            return self._odd.get(uri)
        number = self._prefix_numbers.get(prefix)
        if number is None:
            return None
        found = self._slots[self._probe(number, rkey)]
        return None if found == _EMPTY else found

    def add(self, uri: str) -> int:
        """The number of `uri`, a new one where it has none."""
        prefix, rkey = _split(uri)
        number = self._number_of(prefix)
        if rkey == _NO_TID:
            found = self._odd.get(uri)
            if found is None:
                found = self._odd[uri] = self._new(number, rkey)
                self._odd_texts[found] = uri
            return found
        slot = self._probe(number, rkey)
        if self._slots[slot] != _EMPTY:
            return self._slots[slot]
        made = self._new(number, rkey)
        self._slots[slot] = made
        self._used += 1
        if self._used > _MAX_LOAD * len(self._slots):
            self._rehash()
        return made

    def remove(self, key: int) -> None:
        """Forgets the URI of a number that is in use."""
        text = self._odd_texts.pop(key, None)
        if text is not None:
            del self._odd[text]
        else:
            self._slots[self._probe(self._prefix[key], self._rkey[key])] = _LEFT
        self._prefix[key] = -1
        self._free.append(key)

    def uri(self, key: int) -> str:
        """The URI of a number that is in use."""
        text = self._odd_texts.get(key)
        return self._prefixes[self._prefix[key]] + _tid(self._rkey[key]) if text is None else text

    def uris(self, keys: Ids) -> list[str]:
        """The same for many."""
        prefixes = np.frombuffer(self._prefix, np.int32)[keys].tolist()
        rkeys = np.frombuffer(self._rkey, np.int64)[keys]
        digits = (rkeys[:, None] >> np.array(_SHIFTS)) & 31
        letters = np.frombuffer(ALPHABET.encode(), np.uint8)[digits]
        texts = letters.view(f"S{_TID_CHARS}").ravel().astype(str).tolist() if len(keys) else []
        names = self._prefixes
        made = [names[prefix] + text for prefix, text in zip(prefixes, texts, strict=True)]
        if self._odd_texts:
            for at in np.flatnonzero(rkeys == _NO_TID).tolist():
                made[at] = self._odd_texts[int(keys[at])]
        return made

    def prefix_of(self, key: int) -> str:
        """`at://did/collection/` of a number that is in use."""
        return self._prefixes[self._prefix[key]]

    def with_prefix(self, prefixes: Sequence[str]) -> list[int]:
        """The numbers of all URIs that begin with one of `at://did/collection/`."""
        wanted = [self._prefix_numbers[text] for text in prefixes if text in self._prefix_numbers]
        if not wanted:
            return []
        return np.flatnonzero(np.isin(np.frombuffer(self._prefix, np.int32), wanted)).tolist()

    def load(self, prefixes: Sequence[str], codes: Ids, rkeys: pa.StringArray) -> Ids:
        """Adds many URIs, all different and none known yet: `prefixes[code] + rkey` each.

        The numbers, in the same order. Where this is empty, they are 0, 1, 2 and so on.
        """
        numbers = np.array([self._number_of(text) for text in prefixes], np.int32)
        tids = _tids(rkeys)
        first = self.size
        self._prefix.frombytes(numbers[codes].tobytes())
        self._rkey.frombytes(tids.tobytes())
        made = np.arange(first, self.size, dtype=np.int32)
        for at in np.flatnonzero(tids == _NO_TID).tolist():
            text = prefixes[codes[at]] + rkeys[at].as_py()
            self._odd[text] = first + at
            self._odd_texts[first + at] = text
        self._rehash()
        return made

    # Numbers

    def _number_of(self, prefix: str) -> int:
        number = self._prefix_numbers.get(prefix)
        if number is None:
            number = self._prefix_numbers[prefix] = len(self._prefixes)
            self._prefixes.append(prefix)
        return number

    def _new(self, prefix: int, rkey: int) -> int:
        if self._free:
            key = self._free.pop()
            self._prefix[key], self._rkey[key] = prefix, rkey
            return key
        self._prefix.append(prefix)
        self._rkey.append(rkey)
        return len(self._prefix) - 1

    # The table: open addressing, linear probing

    def _clear_table(self, capacity: int) -> None:
        self._slots = array("i", [_EMPTY]) * capacity
        self._shift = 64 - (capacity.bit_length() - 1)
        self._used = 0

    def _probe(self, prefix: int, rkey: int) -> int:
        """The slot that holds this key, or the empty one that ends its chain."""
        slots, mask = self._slots, len(self._slots) - 1
        one, two = self._secrets
        slot = ((prefix * one + rkey * two) & _WORD) >> self._shift
        while (key := slots[slot]) != _EMPTY:
            if key >= 0 and self._rkey[key] == rkey and self._prefix[key] == prefix:
                return slot
            slot = (slot + 1) & mask
        return slot

    def _rehash(self) -> None:
        """A new table for what is in use, at most a third full."""
        prefix = np.frombuffer(self._prefix, np.int32)
        rkey = np.frombuffer(self._rkey, np.int64)
        pending = np.flatnonzero((prefix >= 0) & (rkey != _NO_TID)).astype(np.int32)
        capacity = max(_FIRST_CAPACITY, 1 << (3 * len(pending)).bit_length())
        self._clear_table(capacity)
        self._used = len(pending)
        one, two = (np.uint64(secret) for secret in self._secrets)
        mixed = prefix[pending].astype(np.uint64) * one + rkey[pending].astype(np.uint64) * two
        slot = (mixed >> np.uint64(self._shift)).astype(np.int64)
        slots = np.frombuffer(self._slots, np.int32)
        while len(pending):
            # Of those that want one empty slot the last one gets it, the others move on.
            wants = np.flatnonzero(slots[slot] == _EMPTY)
            slots[slot[wants]] = pending[wants]
            left = slots[slot] != pending
            pending, slot = pending[left], (slot[left] + 1) & (capacity - 1)


def _split(uri: str) -> tuple[str, int]:
    """(prefix with its slash, record key as a number or _NO_TID)."""
    prefix, slash, rkey = uri.rpartition("/")
    return prefix + slash, int(rkey.translate(_DIGITS), 32) if _TID.fullmatch(rkey) else _NO_TID


def _tid(number: int) -> str:
    return "".join([ALPHABET[number >> shift & 31] for shift in _SHIFTS])


def _tids(rkeys: pa.StringArray) -> NDArray[np.int64]:
    """Record keys as numbers; _NO_TID for those that are no TIDs."""
    if not len(rkeys):
        return np.empty(0, np.int64)
    _, offsets, data = rkeys.buffers()
    bounds = np.frombuffer(offsets, np.int32)[rkeys.offset : rkeys.offset + len(rkeys) + 1]
    letters = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    at = np.flatnonzero(np.diff(bounds) == _TID_CHARS)
    numbers = np.full(len(rkeys), _NO_TID, np.int64)
    found = np.zeros(len(at), np.int64)
    good = np.ones(len(at), np.bool_)
    for place in range(_TID_CHARS):
        values = _VALUES[letters[bounds[at] + place]]
        good &= values < (8 if place == 0 else 32)
        found = (found << 5) | values
    numbers[at[good]] = found[good]
    return numbers
