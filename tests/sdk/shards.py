"""Shards made for tests, with the standard library's tar writer as the second opinion."""

from __future__ import annotations

import io
import json
import tarfile
from base64 import b64decode
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

import atdex
from tests.support.paths import FIXTURES

ATDATA = FIXTURES / "atdata"
SHARDS = sorted(ATDATA.glob("fix-*.tar"))


@atdex.packable
class Fix:
    """The sample type that wrote the fixture's shards."""

    name: str
    count: int
    score: float
    flag: bool
    raw: bytes
    image: np.ndarray[Any, Any]
    mask: np.ndarray[Any, Any] | None
    tags: list[str]
    nums: list[int]


@atdex.packable
class Digit:
    """What most generated shards of the tests hold."""

    image: np.ndarray[Any, np.dtype[np.uint8]]
    label: int


def fixture(name: str) -> Any:
    return json.loads((ATDATA / name).read_bytes())


def expected_samples() -> list[dict[str, Any]]:
    """What another implementation read from the fixture's shards, arrays rebuilt."""
    return [
        {name: _rebuilt(value) for name, value in entry["sample"].items()}
        for entry in fixture("expected.json")
    ]


def _rebuilt(value: Any) -> Any:
    if isinstance(value, dict) and "__b64__" in value:
        return b64decode(value["__b64__"])
    if isinstance(value, dict) and "__nd__" in value:
        dtype, content = np.dtype(value["dtype"]), value["__nd__"]
        if dtype.kind == "c":  # JSON has pairs of real and imaginary part
            content = np.array(content, np.float64).reshape(-1, 2) @ np.array([1, 1j])
        return np.array(content, dtype).reshape(value["shape"])
    return value


def tar_bytes(members: Iterable[tuple[str, bytes]], *, form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar file with these members, as the standard library writes it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def shard_bytes(samples: Iterable[Mapping[str, Any]]) -> bytes:
    """A shard of msgpack samples; arrays are written as ndarray bytes."""
    return tar_bytes((f"{i:06d}.msgpack", pack(sample)) for i, sample in enumerate(samples))


def pack(sample: Mapping[str, Any]) -> bytes:
    plain = {
        name: atdex.encode_array(value) if isinstance(value, np.ndarray) else value
        for name, value in sample.items()
    }
    packed: bytes = msgpack.packb(plain)
    return packed


def digits(count: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {"image": rng.integers(0, 256, (4, 4), np.uint8), "label": i % 10} for i in range(count)
    ]


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
