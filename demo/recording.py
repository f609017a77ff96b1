"""What was recorded of the demo's world: frames, DID documents and repos, in one file."""

from __future__ import annotations

import gzip
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cbor2
import libipld

FILE = Path(__file__).parent / "recording" / "world.cbor.gz"


@dataclass(frozen=True, slots=True)
class Recording:
    """`frames` are subscribeRepos messages in order, byte for byte as the PDS sent them.

    `documents` are DID documents by DID; their PDS is the one of the day. `repos` are CARs by
    DID. `inactive` are the accounts that were not active at the end, with the status.
    `counts` is how many records of each kind a node should show after all of it.
    """

    frames: list[bytes]
    documents: dict[str, dict[str, Any]]
    repos: dict[str, bytes]
    inactive: dict[str, str]
    counts: dict[str, int]
    seqs: list[int] = field(default_factory=list, compare=False)

    @classmethod
    def load(cls, path: Path = FILE) -> Recording:
        recording = cls(**cbor2.loads(gzip.decompress(path.read_bytes())))
        recording.seqs.extend(seq_of(frame) for frame in recording.frames)
        return recording

    def save(self, path: Path = FILE) -> None:
        content = asdict(self)
        del content["seqs"]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress(cbor2.dumps(content), compresslevel=9, mtime=0))

    @property
    def last_seq(self) -> int:
        return self.seqs[-1]

    def handle(self, did: str) -> str:
        alias: str = self.documents[did]["alsoKnownAs"][0]
        return alias.removeprefix("at://")

    def did_of(self, handle: str) -> str | None:
        return next((did for did in self.documents if self.handle(did) == handle), None)


def seq_of(frame: bytes) -> int:
    """The sequence number of a message frame."""
    _header, body = libipld.decode_dag_cbor_multi(frame)
    seq: int = body["seq"]
    return seq
