"""A corpus as WebSocket messages, encoded once: sending any run of frames is sending one slice.

Source of the framing: RFC 6455, section 5.2; a server's frames are not masked.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import accumulate

import libipld
import numpy as np

BINARY, CLOSE, PING, PONG = 0x82, 0x88, 0x89, 0x8A  # the last fragment of each
SEQ_KEY = b"\x63seq"
SEQ_BYTES = 4
FIRST_WIDE_SEQ = 1 << 24
"""From here to 2^32 the encoding of a seq has one size, so that it can be overwritten."""


def message(payload: bytes, kind: int = BINARY) -> bytes:
    """One unfragmented, unmasked message."""
    size = len(payload)
    if size < 126:
        return bytes((kind, size)) + payload
    if size < 1 << 16:
        return bytes((kind, 126)) + struct.pack(">H", size) + payload
    return bytes((kind, 127)) + struct.pack(">Q", size) + payload


class Wire:
    """`frames` back to back. Slices are views: nothing is copied to send them."""

    def __init__(self, frames: Sequence[bytes]) -> None:
        messages = [message(frame) for frame in frames]
        self._starts = [0, *accumulate(map(len, messages))]
        self._data = bytearray().join(messages)
        self._view = memoryview(self._data)
        self.count = len(frames)

    def run(self, start: int, stop: int) -> memoryview:
        """The messages `start` up to, not including, `stop`."""
        return self._view[self._starts[start] : self._starts[stop]]

    def fitting(self, start: int, size: int) -> int:
        """How far a run from `start` goes within `size` bytes: one message at least."""
        low, high = start + 1, self.count
        limit = self._starts[start] + size
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._starts[middle] <= limit else (low, middle - 1)
        return low


class EndlessWire(Wire):
    """Frames whose seqs can be changed in place, so that one corpus makes a stream of any length.

    Only the seqs rise: a consumer that verifies takes the revs of the second pass for old news.
    """

    def __init__(self, frames: Sequence[bytes]) -> None:
        super().__init__([_widened(frame) for frame in frames])
        # Keys of DAG-CBOR are sorted by length: only `ops` and `rev` stand before it.
        places = [
            self._data.index(SEQ_KEY + b"\x1a", start) + len(SEQ_KEY) + 1
            for start in self._starts[:-1]
        ]
        self._bytes = np.frombuffer(self._data, np.uint8)
        self._places = np.array(places)[:, None] + np.arange(SEQ_BYTES)

    def number(self, first: int) -> None:
        """The frames are `first` and the following. No run may be on its way meanwhile."""
        seqs = np.arange(first, first + self.count, dtype=">u4")
        self._bytes[self._places] = seqs.view(np.uint8).reshape(-1, SEQ_BYTES)


def _widened(frame: bytes) -> bytes:
    """The frame with a seq of four bytes."""
    seq = libipld.decode_dag_cbor_multi(frame)[1]["seq"]
    old = SEQ_KEY + libipld.encode_dag_cbor(seq)
    if frame.count(old) < 1:
        raise ValueError(f"no seq {seq} in the frame")
    new = SEQ_KEY + b"\x1a" + struct.pack(">I", FIRST_WIDE_SEQ)
    wide = frame.replace(old, new, 1)
    if libipld.decode_dag_cbor_multi(wide)[1]["seq"] != FIRST_WIDE_SEQ:
        raise ValueError(f"the seq {seq} is not where it was looked for")
    return wide
