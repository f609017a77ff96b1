"""Walk a whole tree in the order of its keys, and build one; every rule of its form is checked.
No I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from atdex_firehose.errors import InvalidCommit
from atdex_firehose.mst_nodes import (
    FIRST,
    LAST,
    Node,
    Tree,
    head_of,
    is_key,
    is_tree_cid,
    key_layer,
    load_node,
    load_root,
    tail_of,
)

_Pending = tuple[Tree, int, bytes, bytes, bytes]
"""A subtree that waits: its CID, its layer, the keys on both sides, and the CID of the record of
the first of them, which comes before it; b"" where that record is none of this node."""


def walk(
    did: str, root: bytes, block_of: Callable[[bytes], bytes | None]
) -> Iterator[tuple[bytes, bytes]]:
    """Every (path, CID of the record) of the tree at `root`, in order of the paths.

    `block_of` gives the block of a CID, whose hash is right, or None where it is missing. The
    form of the whole tree is checked on the way: whoever stops early knows only what came so far.
    Raises InvalidCommit, for any input; takes time and memory by the size of what it yields, as
    no node can stand in two places.
    """
    node = load_root(did, _block(did, root, block_of), root)
    low, high = FIRST, LAST
    waiting: list[_Pending] = []
    while True:
        keys, kids, layer = node.keys, node.kids, node.layer
        for key in keys:
            if not is_key(key):
                raise InvalidCommit(did, f"{key[:80]!r} in the tree is not collection/rkey")
            if key_layer(key) != layer:
                raise InvalidCommit(did, f"{key.decode()} is not in the layer that it belongs in")
        if layer == 0:
            for key, entry in zip(keys, node.entries, strict=True):
                yield key, entry["v"]
        else:
            edges = [low, *keys, high]
            values = [b"", *(entry["v"] for entry in node.entries)]
            for i in range(len(keys), -1, -1):
                waiting.append((kids[i], layer - 1, edges[i], edges[i + 1], values[i]))
        while True:
            if not waiting:
                return
            kid, layer, low, high, value = waiting.pop()
            if value:
                yield low, value
            if isinstance(kid, bytes):
                break
        node = load_node(did, _block(did, kid, block_of), kid, layer, low, high)


def _block(did: str, cid: bytes, block_of: Callable[[bytes], bytes | None]) -> bytes:
    block = block_of(cid)
    if block is None:
        raise InvalidCommit(did, f"a node of the tree is missing: {cid.hex()}")
    return block


def build(did: str, entries: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The CID of the tree of these (path, CID), which come in order of their paths.

    Raises InvalidCommit where a path is no path, or where they are not in order.
    """
    open_nodes = [Node.of(0, [], [], [], [])]
    previous = b""
    for key, cid in entries:
        if not is_key(key):
            raise InvalidCommit(did, f"the path {key[:80]!r} is not collection/rkey")
        if key <= previous:
            raise InvalidCommit(did, f"the path {key.decode()} is out of order")
        if not is_tree_cid(cid):
            raise InvalidCommit(did, f"the CID of {key.decode()} is not that of a record")
        layer = key_layer(key)
        while len(open_nodes) <= layer:
            open_nodes.append(Node.of(len(open_nodes), [], [], [], []))
        node = open_nodes[layer]
        node.kids.append(_close(open_nodes[:layer]))
        node.heads.append(head_of(node.keys[-1] if node.keys else b"", key))
        node.keys.append(key)
        node.tails.append(tail_of(cid))
        previous = key
    top = open_nodes.pop()
    top.kids.append(_close(open_nodes))
    return top.seal()


def _close(nodes: list[Node]) -> Tree:
    """Write the nodes that are open from the bottom up, make them new, and give the highest."""
    tree: Tree = None
    for node in nodes:
        node.kids.append(tree)
        tree = node.seal() if node.keys or tree is not None else None
        node.cid = b""
        node.keys, node.kids, node.heads, node.tails = [], [], [], []
    return tree
