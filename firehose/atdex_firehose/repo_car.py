"""A whole repo as getRepo answers it, read from a file on disk.

    with open_repo(path, did) as repo:
        check_signature(repo.commit, identity)
        for path, cid in repo.records():
            raw = repo.block(cid)

`open_repo` reads the file once, checks every block against its hash, and keeps where each one
lies: some 160 bytes a block, nothing of the blocks themselves. The signature, and whether the rev
is new enough, are left to the caller. The file may be unlinked while it is open.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from atdex_firehose import limits
from atdex_firehose.car import (
    CID_BYTES,
    DAG_CBOR_PREFIX,
    VARINT_BYTES,
    check_block,
    read_header,
    read_length,
)
from atdex_firehose.commit import Commit, parse_commit_object
from atdex_firehose.errors import InvalidCar, InvalidCommit
from atdex_firehose.mst import walk

READ_BYTES: Final = 4_000_000
"""Read at a time; more than the largest block."""

SECTION_BYTES: Final = CID_BYTES + limits.RECORD_BYTES
"""The longest CID and block: no block of a repo is larger than a record may be."""

REPO_BLOCKS: Final = 2_500_000
"""Blocks of one repo, a fifth of them nodes: their index takes 400 MB. Hostile repos stop here."""

_LENGTH_BITS: Final = 20
"""A block's place is one integer, offset and length: half the memory of a tuple."""
_LENGTH_MASK: Final = (1 << _LENGTH_BITS) - 1


class RepoCar:
    """An open repo. `commit` is its commit object, whose signature is not checked here."""

    def __init__(self, file: BinaryIO, did: str) -> None:
        """Raises InvalidCar, InvalidCommit. The file is closed by `close`, not here."""
        self._file = file
        self._did = did
        root, self._places = _index(file, did)
        block = self._block_of(root)
        if block is None:
            raise InvalidCommit(did, "the commit block is missing")
        self.commit: Commit = parse_commit_object(block, did)

    def records(self) -> Iterator[tuple[str, bytes]]:
        """Every path with the CID of its record, in order; the whole tree is checked on the way,
        and that the record's block is there. Raises InvalidCommit, which can be after some."""
        places = self._places
        for key, cid in walk(self._did, self.commit.data, self._block_of):
            path = key.decode()
            if cid not in places:
                raise InvalidCommit(self._did, f"the block of {path} is missing")
            yield path, cid

    def block(self, cid: bytes) -> bytes:
        """The block with this CID. Raises InvalidCommit where there is none."""
        block = self._block_of(cid)
        if block is None:
            raise InvalidCommit(self._did, f"the block {cid.hex()} is missing")
        return block

    def close(self) -> None:
        """Close the file; blocks can no longer be read."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _block_of(self, cid: bytes) -> bytes | None:
        place = self._places.get(cid)
        if place is None:
            return None
        length = place & _LENGTH_MASK
        block = os.pread(self._file.fileno(), length, place >> _LENGTH_BITS)
        if len(block) != length:
            raise InvalidCar(self._did, "the file became shorter while it was read")
        return block


def open_repo(path: Path, did: str) -> RepoCar:
    """Open the CAR of the repo of `did`; use it in `with`, or close it.

    All of the file is read here, which takes time: call it in a thread. Raises InvalidCar where it
    is not a CAR within the limits or a block lies about its hash, InvalidCommit where its first
    root is not a commit of `did`, OSError where the file cannot be read.
    """
    file = path.open("rb", buffering=0)
    try:
        return RepoCar(file, did)
    except BaseException:
        file.close()
        raise


def _index(file: BinaryIO, did: str) -> tuple[bytes, dict[bytes, int]]:
    """The first root, and where every block lies."""
    data = file.read(READ_BYTES)
    roots, at = read_header(data, did)
    places: dict[bytes, int] = {}
    base = 0  # where `data` starts in the file
    while True:
        more = file.read(READ_BYTES)
        at = _split(data, at, base, bool(more), places, did)
        if len(places) > REPO_BLOCKS:
            raise InvalidCar(did, f"a repo of more than {REPO_BLOCKS} blocks")
        if not more:
            return roots[0], places
        base += at
        data = data[at:] + more
        at = 0


def _split(data: bytes, at: int, base: int, more: bool, places: dict[bytes, int], did: str) -> int:
    """Note the blocks from `at` on, all of them if there is not `more`; where the rest starts."""
    total = len(data)
    stop = total - SECTION_BYTES - VARINT_BYTES if more else total
    prefix = DAG_CBOR_PREFIX
    while at < stop:
        start = at
        length = data[at]
        at += 1
        if length > 0x7F:
            high = data[at] if at < total else 0x80
            if high < 0x80:  # as in `read_car`
                length += (high << 7) - 0x80
                at += 1
            else:
                length, at = read_length(data, start, did)
                if length > SECTION_BYTES:
                    raise InvalidCar(did, f"a block of {length} bytes at byte {base + start}")
        body = at + CID_BYTES
        end = at + length
        cid = data[at:body]
        block = data[body:end]
        if end > total or body > end or cid != prefix + sha256(block).digest():
            check_block(cid, block, length, base + start, did)
        places[cid] = (base + body) << _LENGTH_BITS | (end - body)
        at = end
    return at
