"""The shards behind the demo's datasets: generated where they are needed, the same everywhere.

A shard is a tar of `{key}.msgpack`, each one flat map from field to value with arrays in the
library's ndarray bytes. The records in the recording carry the checksums of exactly these
bytes, and their URLs name this machine at `PORT`: a signed record cannot be rewritten.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from demo.recipes import RECIPES, Sample

PORT = 29590
"""Where the demo serves shards, for ever: it stands in signed records."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One tar file with what a record says about it."""

    name: str
    content: bytes
    samples: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{PORT}/{self.name}"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def array_bytes(array: NDArray[Any]) -> bytes:
    """`u8 length of dtype | dtype | u8 ndim | shape as i64 LE | data in C order`."""
    dtype = array.dtype.str.encode("ascii")
    shape = np.array(array.shape, dtype="<i8").tobytes()
    return bytes([len(dtype)]) + dtype + bytes([array.ndim]) + shape + array.tobytes()


def encode(sample: Sample) -> bytes:
    fields = {k: array_bytes(v) if isinstance(v, np.ndarray) else v for k, v in sample.items()}
    return msgspec.msgpack.encode(fields)


def tar(members: Iterable[tuple[str, bytes]]) -> bytes:
    """A tar without anything of the machine or the moment in it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            header.mode = 0o644
            archive.addfile(header, io.BytesIO(content))
    return buffer.getvalue()


def make(recipe: str) -> list[Shard]:
    """The shards of a recipe, in order."""
    recipe_ = RECIPES[recipe]
    made: list[Shard] = []
    number = 0
    for index, group in enumerate(_batched(recipe_.make(), recipe_.per_shard)):
        members = []
        for sample in group:
            members.append((f"{recipe}-{number:05d}.msgpack", encode(sample)))
            number += 1
        made.append(Shard(f"{recipe}-{index:06d}.tar", tar(members), len(group)))
    return made


def write_all(folder: Path) -> None:
    """Every shard of every recipe, as files in `folder`."""
    for recipe in RECIPES:
        for shard in make(recipe):
            (folder / shard.name).write_bytes(shard.content)


def _batched(samples: Iterator[Sample], size: int) -> Iterator[list[Sample]]:
    group: list[Sample] = []
    for sample in samples:
        group.append(sample)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
