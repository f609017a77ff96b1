"""One shard on disk, mapped into memory, with the places of its samples."""

from __future__ import annotations

import contextlib
import hashlib
import mmap
from array import array
from pathlib import Path
from typing import Final

import msgspec

from atdex.cache import write_whole
from atdex.errors import BadShard, BadSource
from atdex.tar import SampleIndex, index_samples

INDEX_FORMAT: Final = 1
"""Raised whenever the stored index changes its meaning; others are made again."""

_DIGEST_BYTES: Final = 16


class _Stored(msgspec.Struct, array_like=True, frozen=True):
    format: int
    shard: str
    shard_bytes: int
    keys: list[str]
    offsets: bytes
    sizes: bytes


class Shard:
    """A tar file of samples, open for reading.

    Samples are slices of the mapped file: they stay valid as long as they are held, also after
    the file is removed. A file must not be shortened while it is open (the operating system
    answers that with a signal, not with an error). `index_path` is where the places of the
    samples are kept between runs; None keeps them nowhere. Raises BadShard, BadSource.
    """

    def __init__(self, path: Path, name: str, index_path: Path | None = None) -> None:
        self.name = name
        self._data: mmap.mmap | bytes
        try:
            with path.open("rb") as file:
                if path.stat().st_size == 0:
                    raise BadShard(name, 0, "the file is empty")
                self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise BadSource(str(path), error.strerror or str(error)) from error
        self.view = memoryview(self._data)
        """The whole file, read-only."""
        self.index = self._load(index_path) or self._make(index_path)

    def __len__(self) -> int:
        return len(self.index.keys)

    def raw(self, i: int) -> memoryview:
        """The bytes of sample `i`, as they are in the file."""
        offset = self.index.offsets[i]
        return self.view[offset : offset + self.index.sizes[i]]

    def _load(self, path: Path | None) -> SampleIndex | None:
        if path is None:
            return None
        try:
            content = path.read_bytes()
            if content[:_DIGEST_BYTES] != _digest(content[_DIGEST_BYTES:]):
                return None
            stored = msgspec.msgpack.decode(content[_DIGEST_BYTES:], type=_Stored)
        except (OSError, msgspec.DecodeError):
            return None
        if (stored.format, stored.shard, stored.shard_bytes) != self._identity(path):
            return None
        return SampleIndex(stored.keys, _integers(stored.offsets), _integers(stored.sizes))

    def _identity(self, index_path: Path) -> tuple[int, str, int]:
        """What an index must be of: in the cache, the name is the digest of the shard."""
        return INDEX_FORMAT, index_path.stem, len(self._data)

    def _make(self, path: Path | None) -> SampleIndex:
        index = index_samples(self._data, self.name)
        if path is not None:
            stored = _Stored(
                *self._identity(path),
                index.keys,
                array("q", index.offsets).tobytes(),
                array("q", index.sizes).tobytes(),
            )
            content = msgspec.msgpack.encode(stored)
            with contextlib.suppress(OSError):  # it only saves the next walk
                write_whole(path, _digest(content) + content)
        return index


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()


def _integers(packed: bytes) -> list[int]:
    numbers = array("q")
    numbers.frombytes(packed)
    return numbers.tolist()
