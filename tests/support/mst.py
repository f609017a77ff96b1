"""A Merkle search tree written the plain way: build the whole tree of a repo, as blocks.

Independent of the package's own code, and slow: it is what the package is tested against.
Source: https://atproto.com/specs/repository, "MST Structure".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256

import cbor2

CID_PREFIX = bytes((0x01, 0x71, 0x12, 0x20))


def cid_of(block: bytes) -> bytes:
    """The CID of a DAG-CBOR block."""
    return CID_PREFIX + sha256(block).digest()


def link(cid: bytes) -> cbor2.CBORTag:
    """A CID as DAG-CBOR writes it."""
    return cbor2.CBORTag(42, b"\x00" + cid)


def encode(value: object) -> bytes:
    """DAG-CBOR by the second library (canonical form: keys by length, then bytes)."""
    return cbor2.dumps(value, canonical=True)


def key_height(key: bytes) -> int:
    """The layer of a key: how many pairs of zero bits its sha256 starts with."""
    bits = "".join(f"{byte:08b}" for byte in sha256(key).digest())
    zeros = len(bits) - len(bits.lstrip("0"))
    return zeros // 2


def common_prefix(left: bytes, right: bytes) -> int:
    """How many bytes both start with."""
    count = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        count += 1
    return count


def build_tree(records: Mapping[str, bytes]) -> tuple[bytes, dict[bytes, bytes]]:
    """The root's CID and every node, of the tree that maps each path to its CID."""
    entries = sorted((path.encode(), cid) for path, cid in records.items())
    blocks: dict[bytes, bytes] = {}
    top = max((key_height(key) for key, _ in entries), default=0)
    root = _node(entries, top, blocks)
    if root is None:  # the empty tree is a node without entries
        block = encode({"e": [], "l": None})
        root = cid_of(block)
        blocks[root] = block
    return root, blocks


def _node(
    entries: Sequence[tuple[bytes, bytes]], layer: int, blocks: dict[bytes, bytes]
) -> bytes | None:
    if not entries:
        return None
    here = [n for n, (key, _) in enumerate(entries) if key_height(key) == layer]
    runs = [
        entries[start + 1 : stop]
        for start, stop in zip([-1, *here], [*here, len(entries)], strict=True)
    ]
    children = [_node(run, layer - 1, blocks) for run in runs]
    written, previous = [], b""
    for n, right in zip(here, children[1:], strict=True):
        key, cid = entries[n]
        shared = common_prefix(previous, key)
        written.append(
            {
                "p": shared,
                "k": key[shared:],
                "v": link(cid),
                "t": None if right is None else link(right),
            }
        )
        previous = key
    left = children[0]
    block = encode({"e": written, "l": None if left is None else link(left)})
    cid = cid_of(block)
    blocks[cid] = block
    return cid


def proof(root: bytes, blocks: Mapping[bytes, bytes], paths: Sequence[str]) -> dict[bytes, bytes]:
    """The nodes on the way to each path, and to its neighbours on both sides: what a commit must
    carry so that its ops can be inverted."""
    wanted = [path.encode() for path in paths]
    found: dict[bytes, bytes] = {}

    def visit(cid: bytes, low: bytes | None, high: bytes | None) -> None:
        found[cid] = blocks[cid]
        node = cbor2.loads(blocks[cid])
        keys, previous = [], b""
        for entry in node["e"]:
            previous = previous[: entry["p"]] + entry["k"]
            keys.append(previous)
        links = [node["l"], *(entry["t"] for entry in node["e"])]
        edges = [low, *keys, high]
        for n, child in enumerate(links):
            if child is None:
                continue
            left, right = edges[n], edges[n + 1]
            if any(
                (left is None or left <= path) and (right is None or path <= right)
                for path in wanted
            ):
                visit(child.value[1:], left, right)

    visit(root, None, None)
    return found
