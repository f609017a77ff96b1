"""Repositories out of recorded blocks: the plain way, by a library that the package's own reading
of trees does not share.

    repos = Repositories(corpus)
    repos.car(did, seq)        # what getRepo would have answered just after the frame `seq`
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import libipld

from tests.support.corpus import Corpus
from tests.support.repo import car

CID_BYTES = 36  # version, codec, hash, length, and 32 bytes of sha-256


def text(cid: bytes) -> str:
    """The base32 form."""
    found: str = libipld.encode_cid(cid)
    return found


def split_car(data: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """The first root and the blocks, as bytes. Nothing is checked."""
    length, at = _varint(data, 0)
    (root,) = libipld.decode_dag_cbor(data[at : at + length])["roots"]
    blocks: dict[bytes, bytes] = {}
    at += length
    while at < len(data):
        length, at = _varint(data, at)
        blocks[data[at : at + CID_BYTES]] = data[at + CID_BYTES : at + length]
        at += length
    return root, blocks


def records_of(root: bytes, blocks: Mapping[bytes, bytes]) -> dict[str, str]:
    """The text of the CID of every record below a commit, by path, in the order of the tree."""
    data = libipld.decode_dag_cbor(blocks[root])["data"]
    return {key.decode(): text(cid) for key, cid in _leaves(data, blocks)}


def car_of(root: bytes, blocks: Mapping[bytes, bytes]) -> bytes:
    """Everything below a commit, as getRepo answers it."""
    data = libipld.decode_dag_cbor(blocks[root])["data"]
    needed = [root, *_nodes(data, blocks), *(cid for _key, cid in _leaves(data, blocks))]
    return car([root], ((cid, blocks[cid]) for cid in dict.fromkeys(needed)))


def _leaves(node: bytes, blocks: Mapping[bytes, bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of every entry below a node, in order."""
    content: dict[str, Any] = libipld.decode_dag_cbor(blocks[node])
    if content["l"] is not None:
        yield from _leaves(content["l"], blocks)
    key = b""
    for entry in content["e"]:
        key = key[: entry["p"]] + entry["k"]
        yield key, entry["v"]
        if entry["t"] is not None:
            yield from _leaves(entry["t"], blocks)


def _nodes(node: bytes, blocks: Mapping[bytes, bytes]) -> Iterator[bytes]:
    content: dict[str, Any] = libipld.decode_dag_cbor(blocks[node])
    yield node
    below = [content["l"], *(entry["t"] for entry in content["e"])]
    for child in below:
        if child is not None:
            yield from _nodes(child, blocks)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


@dataclass(slots=True)
class _History:
    """One account: its heads in the order of the stream, and every block that it ever sent."""

    seqs: list[int] = field(default_factory=list)
    heads: list[tuple[bytes, str]] = field(default_factory=list)
    blocks: dict[bytes, bytes] = field(default_factory=dict)
    standings: list[tuple[int, str]] = field(default_factory=list)


class Repositories:
    """Every repo at every moment. Possible because a corpus has each of them from its creation."""

    def __init__(self, corpus: Corpus) -> None:
        self._histories: dict[str, _History] = {}
        for (kind, body), did in zip(corpus.decoded, corpus.dids, strict=True):
            history = self._histories.setdefault(did, _History())
            if kind == "#account":
                status = "active" if body["active"] else body["status"]
                history.standings.append((body["seq"], status))
            elif kind in ("#commit", "#sync"):
                root, blocks = split_car(body["blocks"])
                history.blocks |= blocks
                history.seqs.append(body["seq"])
                history.heads.append((root, body["rev"]))

    def known(self, seq: int) -> list[str]:
        """The accounts that have a repo by then, in the order in which they came."""
        return [did for did in self._histories if self.head(did, seq) is not None]

    def head(self, did: str, seq: int, *, ago: int = 0) -> tuple[bytes, str] | None:
        """The commit's CID and rev; the `ago`-th before the last. None: no repo yet."""
        history = self._histories.get(did)
        if history is None:
            return None
        at = bisect_right(history.seqs, seq) - 1 - ago
        return history.heads[at] if at >= 0 else None

    def status(self, did: str, seq: int) -> str:
        """`active`, or the word of the last #account by then."""
        past = [status for at, status in self._histories[did].standings if at <= seq]
        return past[-1] if past else "active"

    def car(self, did: str, seq: int, *, ago: int = 0) -> bytes | None:
        """The repo just after the frame `seq`, or `ago` commits before that."""
        head = self.head(did, seq, ago=ago)
        return None if head is None else car_of(head[0], self._histories[did].blocks)

    def records(self, did: str, seq: int) -> dict[str, str]:
        """The text of the CID of every record by path, as of then."""
        head = self.head(did, seq)
        return {} if head is None else records_of(head[0], self._histories[did].blocks)

    def collections(self, did: str, seq: int) -> set[str]:
        return {path.partition("/")[0] for path in self.records(did, seq)}
