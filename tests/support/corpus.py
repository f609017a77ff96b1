"""A recorded stretch of the network: what a real PDS and its directory said, and how it ended.

`tests.support.corpus_driver` makes one; `tests.support.replay` plays it. A corpus is kept in one
compressed file in the user's cache folder, named by what it was made from.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import libipld
import platformdirs

from atdex_lexicons.tid import tid_micros

HERE = Path(__file__).parent
MAKERS = ("corpus_driver.py", "corpus_values.py")
"""What decides what is in a corpus: a change in one of them makes another file."""
COMPRESSION = 3  # of 9: half the size in 2 s; 6 takes three times as long for 2 % more


@dataclass(frozen=True, slots=True)
class Parameters:
    """`commits` over `accounts`; one account in `share` publishes datasets."""

    commits: int
    accounts: int
    share: int = 30
    seed: int = 1

    @property
    def path(self) -> Path:
        """Where such a corpus is kept."""
        made_from = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode())
        for name in MAKERS:
            made_from.update((HERE / name).read_bytes())
        folder = platformdirs.user_cache_path("atdex") / "corpus"
        return folder / f"{self.commits}-{self.accounts}-{made_from.hexdigest()[:16]}.cbor.gz"


FULL = Parameters(20_000, 200)
"""For benchmarks, and for conformance by hand."""
SMALL = Parameters(1_500, 30, share=3)
"""For `make test`: recorded in half a minute. More publishers, so that each fate meets some."""


@dataclass(frozen=True, slots=True)
class Version:
    """A DID document, as the directory answered it after the frame `after` and until the next
    version. Its PDS is the one that was recorded."""

    after: int
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ending:
    """How an account ended. `status` is `active` or a word of #account.

    `car` is the repo as getRepo gave it at the end, or for an account that is not active, just
    before it went. `records` is what is in it, the text of the CID by path.
    """

    handle: str
    status: str
    car: bytes
    records: dict[str, str]


@dataclass(frozen=True)
class Corpus:
    """`frames` are messages of subscribeRepos in order, byte for byte; the rest is by DID."""

    parameters: Parameters
    frames: list[bytes]
    documents: dict[str, list[Version]]
    endings: dict[str, Ending]

    @cached_property
    def decoded(self) -> list[tuple[str, dict[str, Any]]]:
        """The kind and body of every frame. CIDs are bytes."""
        parts = (libipld.decode_dag_cbor_multi(frame) for frame in self.frames)
        return [(header["t"], body) for header, body in parts]

    @cached_property
    def seqs(self) -> list[int]:
        return [body["seq"] for _kind, body in self.decoded]

    @cached_property
    def dids(self) -> list[str]:
        """The account of every frame."""
        return [body["repo"] if kind == "#commit" else body["did"] for kind, body in self.decoded]

    @cached_property
    def ended_at(self) -> float:
        """When its last commit was made, in seconds since the epoch."""
        last = max(str(body["rev"]) for kind, body in self.decoded if kind == "#commit")
        return tid_micros(last) / 1_000_000

    @classmethod
    def load(cls, path: Path) -> Corpus:
        kept = libipld.decode_dag_cbor(gzip.decompress(path.read_bytes()))
        return cls(
            Parameters(**kept["parameters"]),
            kept["frames"],
            {
                did: [Version(**version) for version in versions]
                for did, versions in kept["documents"].items()
            },
            {did: Ending(**ending) for did, ending in kept["endings"].items()},
        )

    def save(self, path: Path) -> None:
        """Whole or not at all: another process may look for the file meanwhile."""
        content = libipld.encode_dag_cbor(asdict(self))
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_bytes(gzip.compress(content, COMPRESSION, mtime=0))
        part.replace(path)
