"""Walk a whole tree in the order of its keys, and build one; every rule of its form is checked.
No I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from atdex_firehose.errors import InvalidCommit
from atdex_firehose.mst_nodes import (
    NULL,
    Node,
    Tree,
    cid_in,
    head_of,
    is_key,
    is_tree_cid,
    key_layer,
    parse_node,
    tail_of,
)

_Pending = tuple[Tree, int, bytes, bytes, bytes]
"""A subtree that waits: its link, its layer, the keys on both sides, and the CID of the record of
the first of them, which comes before it; b"" where that record is none of this node."""

_HIGHEST = b"\xff"
"""Behind every key, as b"" is before every key."""


def walk(
    did: str, root: bytes, block_of: Callable[[bytes], bytes | None]
) -> Iterator[tuple[bytes, bytes]]:
    """Every (path, CID of the record) of the tree at `root`, in order of the paths.

    `block_of` gives the block of a CID, whose hash is right, or None where it is missing. The
    form of the whole tree is checked on the way: whoever stops early knows only what came so far.
    Raises InvalidCommit, for any input; takes time and memory by the size of what it yields, as
    no node can stand in two places.
    """
    node = parse_node(did, _block(did, root, block_of), 0)
    if node.keys:
        node.layer = key_layer(node.keys[0])
    elif node.links[0] == NULL:
        return
    else:
        raise InvalidCommit(did, "the top node of the tree is empty")
    low, high = b"", _HIGHEST
    waiting: list[_Pending] = []
    while True:
        keys, links, layer = node.keys, node.links, node.layer
        if keys:
            if keys[0] <= low or keys[-1] >= high:
                raise InvalidCommit(did, f"keys of the tree are out of order at {keys[0][:80]!r}")
            for key in keys:
                if not is_key(key):
                    raise InvalidCommit(did, f"{key[:80]!r} in the tree is not collection/rkey")
                if key_layer(key) != layer:
                    raise InvalidCommit(
                        did, f"{key.decode()} is not in the layer that it belongs in"
                    )
        elif links[0] == NULL:
            raise InvalidCommit(did, "a node of the tree is empty")
        if layer == 0:
            if any(link != NULL for link in links):
                raise InvalidCommit(did, "the tree has nodes below layer 0")
            for i, key in enumerate(keys):
                yield key, node.value(i)
        else:
            for i in range(len(keys), 0, -1):
                after = keys[i] if i < len(keys) else high
                waiting.append((links[i], layer - 1, keys[i - 1], after, node.value(i - 1)))
            waiting.append((links[0], layer - 1, low, keys[0] if keys else high, b""))
        while True:
            if not waiting:
                return
            link, layer, low, high, value = waiting.pop()
            if value:
                yield low, value
            if link != NULL:
                break
        assert type(link) is bytes
        node = parse_node(did, _block(did, cid_in(link), block_of), layer)


def _block(did: str, cid: bytes, block_of: Callable[[bytes], bytes | None]) -> bytes:
    block = block_of(cid)
    if block is None:
        raise InvalidCommit(did, f"a node of the tree is missing: {cid.hex()}")
    return block


def build(did: str, entries: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The CID of the tree of these (path, CID), which come in order of their paths.

    Raises InvalidCommit where a path is no path, or where they are not in order.
    """
    open_nodes = [Node(0, [], [], [], [])]
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
            open_nodes.append(Node(len(open_nodes), [], [], [], []))
        node = open_nodes[layer]
        node.links.append(_close(open_nodes[:layer]))
        node.heads.append(head_of(node.keys[-1] if node.keys else b"", key))
        node.keys.append(key)
        node.tails.append(tail_of(cid))
        previous = key
    top = open_nodes.pop()
    top.links.append(_close(open_nodes))
    return cid_in(top.seal())


def _close(nodes: list[Node]) -> bytes:
    """Write the nodes that are open from the bottom up, make them new, and give the highest."""
    link = NULL
    for node in nodes:
        node.links.append(link)
        if node.keys or link != NULL:
            link = node.seal()
        node.keys, node.heads, node.links, node.tails = [], [], [], []
    return link
