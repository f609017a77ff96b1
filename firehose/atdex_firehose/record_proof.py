"""One record of a repo with its proof, as com.atproto.sync.getRecord answers it. No I/O.

    proof = read_proof(car, did, "app.test.note/1")
    check_signature(proof.commit, identity)
    proof.raw                                    the record's DAG-CBOR, None where there is none

The CAR holds the commit, the nodes of the tree from its root to where the path is or would be,
and the record. So it proves what the path holds at the commit's rev, absence included, and needs
nothing else of the repo.

Source: https://atproto.com/specs/sync and https://atproto.com/specs/repository, "MST Structure".
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from atdex_firehose import limits
from atdex_firehose.car import read_car
from atdex_firehose.commit import Commit, parse_commit_object
from atdex_firehose.errors import InvalidCommit
from atdex_firehose.mst_nodes import FIRST, LAST, is_key, key_layer, load_node, load_root


@dataclass(frozen=True, slots=True)
class RecordProof:
    """What a path of a repo holds at `commit`, whose signature is not checked here.

    `cid` and `raw` are None where the repo has no such record.
    """

    commit: Commit
    cid: bytes | None
    raw: bytes | None


def read_proof(car: bytes, did: str, path: str) -> RecordProof:
    """The proof in a CAR, for `path` (`collection/rkey`). Raises InvalidCar, InvalidCommit."""
    found = read_car(car, did)
    block = found.blocks.get(found.roots[0])
    if block is None:
        raise InvalidCommit(did, "the commit block is missing")
    commit = parse_commit_object(block, did)
    key = path.encode()
    if not is_key(key):
        raise InvalidCommit(did, f"{path[:80]!r} is not collection/rkey")
    cid = _find(found.blocks, did, commit.data, key)
    if cid is None:
        return RecordProof(commit, None, None)
    raw = found.blocks.get(cid)
    if raw is None:
        raise InvalidCommit(did, f"the block of {path} is missing")
    if len(raw) > limits.RECORD_BYTES:
        raise InvalidCommit(did, f"{path} has {len(raw)} bytes, over {limits.RECORD_BYTES}")
    return RecordProof(commit, cid, raw)


def _find(blocks: dict[bytes, bytes], did: str, root: bytes, key: bytes) -> bytes | None:
    """The CID under a key, None where the tree does not have it. Raises InvalidCommit.

    A key has one layer in which it can be: below it, and where a tree ends, it is absent.
    """
    layer = key_layer(key)
    node = load_root(did, _block(blocks, did, root), root)
    low, high = FIRST, LAST
    while True:
        place = bisect_left(node.keys, key)
        if place < len(node.keys) and node.keys[place] == key:
            if node.layer != layer:
                raise InvalidCommit(did, f"{key.decode()} is not in the layer that it belongs in")
            return node.value(place)
        kid = node.kids[place]
        if not isinstance(kid, bytes) or node.layer <= layer:
            return None
        low = node.keys[place - 1] if place else low
        high = node.keys[place] if place < len(node.keys) else high
        node = load_node(did, _block(blocks, did, kid), kid, node.layer - 1, low, high)


def _block(blocks: dict[bytes, bytes], did: str, cid: bytes) -> bytes:
    block = blocks.get(cid)
    if block is None:
        raise InvalidCommit(did, f"a node of the tree is missing: {cid.hex()}")
    return block
