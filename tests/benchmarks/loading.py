"""Samples a second from shards on disk: this loader beside webdataset and the standard library.

All three read the same generated shards (32x32x3 images with a label, msgpack, ustar) in one run
and give the same thing for each sample: an array and an int. The page cache is warm. Each figure
is the best of ROUNDS, since whatever else the machine does can only slow a round down.
"""

from __future__ import annotations

import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import webdataset
from numpy.typing import NDArray
from webdataset.tariterators import group_by_keys, tar_file_iterator

import atdex

SHARDS = 3
SAMPLES = 4000  # of one shard
ROUNDS = 3


@atdex.packable
class Image:
    """What the shards hold."""

    image: NDArray[np.uint8]
    label: int


Read = Callable[[list[Path]], Iterator[tuple[np.ndarray[Any, Any], int]]]


def write_shards(folder: Path) -> list[Path]:
    """The shards that all readers get; written by webdataset, the reference."""
    rng = np.random.default_rng(0)
    paths = [folder / f"bench-{i}.tar" for i in range(SHARDS)]
    for path in paths:
        with webdataset.TarWriter(str(path)) as writer:
            for i in range(SAMPLES):
                image = rng.integers(0, 256, (32, 32, 3), np.uint8)
                sample = {"image": atdex.encode_array(image), "label": i}
                writer.write({"__key__": f"{i:06d}", "msgpack": msgpack.packb(sample)})
    return paths


def by_atdex(paths: list[Path]) -> Iterator[tuple[np.ndarray[Any, Any], int]]:
    for path in paths:
        for sample in atdex.load_dataset(path, Image):
            yield sample.image, sample.label


def by_webdataset(paths: list[Path]) -> Iterator[tuple[np.ndarray[Any, Any], int]]:
    for path in paths:
        with path.open("rb") as file:
            members = ({"__url__": "bench"} | member for member in tar_file_iterator(file))
            for group in group_by_keys(members):
                yield _decoded(group["msgpack"])


def by_tarfile(paths: list[Path]) -> Iterator[tuple[np.ndarray[Any, Any], int]]:
    for path in paths:
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                yield _decoded(file.read())


def _decoded(raw: bytes) -> tuple[np.ndarray[Any, Any], int]:
    sample = msgpack.unpackb(raw)
    data = sample["image"]
    at = 1 + data[0]
    ndim = data[at]
    shape = np.frombuffer(data, "<i8", ndim, at + 1)
    array = np.frombuffer(data, data[1:at].decode(), offset=at + 1 + 8 * ndim)
    return array.reshape(shape), sample["label"]


def rate(read: Read, paths: list[Path]) -> float:
    """Samples a second, the best round."""
    best = 0.0
    for _ in range(ROUNDS):
        started = time.perf_counter()
        count = sum(1 for _ in read(paths))
        best = max(best, count / (time.perf_counter() - started))
        assert count == SHARDS * SAMPLES
    return best


def indexed_rate(paths: list[Path]) -> float:
    """The same with shards that are open already: their headers have been walked."""
    datasets = [atdex.load_dataset(path, Image) for path in paths]
    for dataset in datasets:
        dataset.fetch()
    return rate(lambda _: ((s.image, s.label) for d in datasets for s in d), paths)


def run() -> list[tuple[str, float, str, str]]:
    """The table: name, figure, unit, target."""
    with tempfile.TemporaryDirectory() as folder:
        paths = write_shards(Path(folder))
        theirs, stdlib = rate(by_webdataset, paths), rate(by_tarfile, paths)
        ours, indexed = rate(by_atdex, paths), indexed_rate(paths)
    return [
        ("load 32x32x3, atdex, first pass over a shard", ours, "samples/s", ""),
        ("load 32x32x3, atdex, shard open", indexed, "samples/s", ""),
        ("load 32x32x3, webdataset", theirs, "samples/s", ""),
        ("load 32x32x3, tarfile", stdlib, "samples/s", ""),
        ("load 32x32x3, atdex over webdataset", ours / theirs, "ratio", ">= 4"),
        ("load 32x32x3, atdex open over webdataset", indexed / theirs, "ratio", ">= 10"),
        ("load 32x32x3, atdex over tarfile", ours / stdlib, "ratio", ""),
    ]


if __name__ == "__main__":
    for name, figure, unit, target in run():
        print(f"{name:45} {figure:14,.1f} {unit:10} {target}")
