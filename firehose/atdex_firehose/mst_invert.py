"""Undo the ops of a commit in the partial tree that it carries: the root before it. No I/O.

    the tree after the commit, as far as the commit has it ── ops undone ──> the tree before it

If the tree before is known to be right (it was walked once, and every commit since was undone to
it), the tree after is what the ops make of it. All of the form of the nodes on the way is checked
here, and the layer of the first key and of the ops' keys; the layers of other keys follow from the
tree before. Without that, only walking the whole tree shows them.

Nodes are loaded on the way to an op's path, and for a create the nodes between its two neighbours
where they have to be joined; the proof that the specification asks for holds at least those. Of a
tree that becomes less high, the node that is the new root is not needed if it is not there, and
of a commit without ops, none is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from atdex_firehose.errors import InvalidCommit
from atdex_firehose.frames import Op
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


def invert_ops(did: str, root: bytes, ops: Sequence[Op], blocks: Mapping[bytes, bytes]) -> bytes:
    """The CID of the tree before `ops`, from the tree at `root` after them.

    `blocks` have the hashes that their CIDs say; all CIDs are bytes. Every node that is used is
    checked. Created and updated paths stood in the tree under their op's CID, deleted ones did
    not. Raises InvalidCommit, for any input.
    """
    if not ops:
        return root
    tree = _PartialTree(did, root, blocks)
    if len(ops) == 1:
        tree.undo(ops[0])
    else:
        paths = {op.path for op in ops}
        if len(paths) != len(ops):
            raise InvalidCommit(did, "a path occurs twice in one commit")
        for op in sorted(ops, key=_order):
            tree.undo(op)
    return tree.top()


def _order(op: Op) -> tuple[bool, str]:
    """Deletes first, then by path: no node is given away before it is needed."""
    return op.action != "delete", op.path


_Way = tuple[list[Node], list[int], bytes, bytes, bool]
"""The nodes on the way to a key, and in each the place where it stands or the way goes on; the
keys around the last node; whether that has the key."""


class _PartialTree:
    """The nodes that were loaded so far, changed in place; `top` writes what has changed, once."""

    __slots__ = ("blocks", "did", "root")

    def __init__(self, did: str, root: bytes, blocks: Mapping[bytes, bytes]) -> None:
        self.did = did
        self.blocks = blocks
        self.root = load_root(did, self._block(root), root)

    def undo(self, op: Op) -> None:
        """Take one op back."""
        path = op.path
        key = path.encode() if path.isascii() else b""
        if not is_key(key):
            raise InvalidCommit(self.did, f"the path {path[:80]!r} is not collection/rkey")
        if op.action == "create":
            self._remove(key, self._cid(op, op.cid))
        elif op.action == "update":
            self._replace(key, self._cid(op, op.cid), self._cid(op, op.prev))
        else:
            self._insert(key, self._cid(op, op.prev))

    def top(self) -> bytes:
        """The root's CID, when what is empty above it is taken away."""
        top = self.root
        while not top.keys and top.kids[0] is not None:
            below = top.kids[0]
            if not isinstance(below, Node):
                if below not in self.blocks:
                    return below
                below = self._load(below, top.layer - 1, FIRST, LAST)
            top = below
        return top.seal()

    def _cid(self, op: Op, cid: bytes | None) -> bytes:
        if cid is None or not is_tree_cid(cid):
            raise InvalidCommit(
                self.did, f"{op.action} of {op.path} lacks the CID of a record, before or after it"
            )
        return cid

    def _block(self, cid: bytes) -> bytes:
        block = self.blocks.get(cid)
        if block is None:
            raise self._missing(cid)
        return block

    def _missing(self, cid: bytes) -> InvalidCommit:
        return InvalidCommit(self.did, f"a node of the tree is missing: {cid.hex()}")

    def _load(self, kid: Node | bytes, layer: int, low: bytes, high: bytes) -> Node:
        """A subtree's top."""
        if isinstance(kid, Node):
            return kid
        return load_node(self.did, self._block(kid), kid, layer, low, high)

    def _descend(self, key: bytes, layer: int) -> _Way:
        """The way to `key`, down to the node that has it, or to the one at `layer` that would, or
        to where the tree has nothing."""
        node = self.root
        low, high = FIRST, LAST
        nodes, places = [], []
        while True:
            keys = node.keys
            i = bisect_left(keys, key)
            nodes.append(node)
            places.append(i)
            if i < len(keys) and keys[i] == key:
                return nodes, places, low, high, True
            kid = node.kids[i]
            if kid is None or node.layer <= layer:
                return nodes, places, low, high, False
            if i < len(keys):
                high = keys[i]
            if i:
                low = keys[i - 1]
            if not isinstance(kid, Node):
                block = self.blocks.get(kid)
                if block is None:
                    raise self._missing(kid)
                kid = load_node(self.did, block, kid, node.layer - 1, low, high)
                node.kids[i] = kid
            node = kid

    def _find(self, key: bytes, cid: bytes) -> _Way:
        """The way to a key that is there with this CID."""
        way = self._descend(key, 0)
        nodes, places, _, _, found = way
        if not found:
            raise InvalidCommit(self.did, f"{key.decode()} is not in the tree")
        if nodes[-1].value(places[-1]) != cid:
            raise InvalidCommit(self.did, f"{key.decode()} has another CID in the tree")
        return way

    def _replace(self, key: bytes, cid: bytes, prev: bytes) -> None:
        nodes, places, _, _, _ = self._find(key, cid)
        node = nodes[-1]
        node.open()
        node.tails[places[-1]] = tail_of(prev)
        _touch(nodes)

    def _remove(self, key: bytes, cid: bytes) -> None:
        nodes, places, low, high, _ = self._find(key, cid)
        node, i = nodes[-1], places[-1]
        if key_layer(key) != node.layer:
            raise InvalidCommit(self.did, f"{key.decode()} is not in the layer that it belongs in")
        node.open()
        keys, kids = node.keys, node.kids
        left, right = kids[i], kids[i + 1]
        if left is not None and right is not None:
            low = keys[i - 1] if i else low
            high = keys[i + 1] if i + 1 < len(keys) else high
            kids[i : i + 2] = [self._join(left, right, node.layer - 1, low, key, high)]
        else:
            kids[i : i + 2] = [right if left is None else left]
        del keys[i], node.heads[i], node.tails[i]
        if i < len(keys):
            node.heads[i] = head_of(keys[i - 1] if i else FIRST, keys[i])
        while not node.keys and node.kids[0] is None:  # what is empty goes, upwards
            nodes.pop()
            if not nodes:
                self.root = _new(0, [], [None], [], [])
                return
            node = nodes[-1]
            node.open()
            node.kids[places[len(nodes) - 1]] = None
        _touch(nodes)

    def _join(
        self,
        left: Node | bytes,
        right: Node | bytes,
        layer: int,
        low: bytes,
        key: bytes,
        high: bytes,
    ) -> Tree:
        """One tree of the two beside `key`, which goes."""
        a = self._load(left, layer, low, key)
        joined = [a]
        while True:
            b = self._load(right, layer, key, high)
            a.open()
            b.open()
            inner, outer = a.kids[-1], b.kids[0]
            low = a.keys[-1] if a.keys else low
            if b.keys:
                high = b.keys[0]
                b.heads[0] = head_of(a.keys[-1] if a.keys else FIRST, high)
            at = len(a.keys)
            a.keys += b.keys
            a.heads += b.heads
            a.tails += b.tails
            a.kids += b.kids[1:]
            if inner is None or outer is None:
                a.kids[at] = outer if inner is None else inner
                _touch(joined)
                return joined[0]
            layer -= 1
            right = outer
            a.kids[at] = a = self._load(inner, layer, low, key)
            joined.append(a)

    def _insert(self, key: bytes, cid: bytes) -> None:
        layer = key_layer(key)
        root = self.root
        if not root.keys and root.kids[0] is None:
            self.root = _alone(layer, key, cid, None, None)
            return
        if layer > root.layer:
            left, right = self._split(root, root.layer, FIRST, key, LAST)
            left = _raise(left, root.layer, layer - 1)
            right = _raise(right, root.layer, layer - 1)
            self.root = _alone(layer, key, cid, left, right)
            return
        nodes, places, low, high, found = self._descend(key, layer)
        if found:
            raise self._present(key)
        node, i = nodes[-1], places[-1]
        node.open()
        keys, kids = node.keys, node.kids
        if node.layer > layer:
            kids[i] = _raise(_alone(layer, key, cid, None, None), layer, node.layer - 1)
        else:
            low = keys[i - 1] if i else low
            high = keys[i] if i < len(keys) else high
            kids[i : i + 1] = self._split(kids[i], layer - 1, low, key, high)
            keys.insert(i, key)
            node.heads.insert(i, head_of(keys[i - 1] if i else FIRST, key))
            node.tails.insert(i, tail_of(cid))
            if i + 1 < len(keys):
                node.heads[i + 1] = head_of(key, keys[i + 1])
        _touch(nodes)

    def _present(self, key: bytes) -> InvalidCommit:
        return InvalidCommit(self.did, f"{key.decode()} was deleted and is in the tree")

    def _split(
        self, kid: Tree, layer: int, low: bytes, key: bytes, high: bytes
    ) -> tuple[Tree, Tree]:
        """The two trees beside `key`, which comes."""
        cuts = []
        while kid is not None:
            node = self._load(kid, layer, low, high)
            keys = node.keys
            i = bisect_left(keys, key)
            if i < len(keys):
                high = keys[i]
                if high == key:
                    raise self._present(key)
            if i:
                low = keys[i - 1]
            cuts.append((node, i))
            kid = node.kids[i]
            layer -= 1
        left: Tree = None
        right: Tree = None
        for node, i in reversed(cuts):
            node.open()
            keys, kids, heads, tails = node.keys, node.kids, node.heads, node.tails
            if i < len(keys):
                heads[i] = head_of(FIRST, keys[i])
            if i < len(keys) or right is not None:
                right = _new(node.layer, keys[i:], [right, *kids[i + 1 :]], heads[i:], tails[i:])
            if i or left is not None:
                left = _new(node.layer, keys[:i], [*kids[:i], left], heads[:i], tails[:i])
        return left, right


def _touch(nodes: list[Node]) -> None:
    """The last of the nodes on a way has changed, and so have all above it."""
    for node in nodes:
        node.touch()


def _new(
    layer: int, keys: list[bytes], kids: list[Tree], heads: list[bytes], tails: list[bytes]
) -> Node:
    return Node.of(layer, keys, kids, heads, tails)


def _alone(layer: int, key: bytes, cid: bytes, left: Tree, right: Tree) -> Node:
    """A node of one entry."""
    return _new(layer, [key], [left, right], [head_of(FIRST, key)], [tail_of(cid)])


def _raise(tree: Tree, layer: int, to: int) -> Tree:
    """A tree whose top is in `layer`, below as many nodes without entries as bring it `to`."""
    if tree is not None:
        while layer < to:
            layer += 1
            tree = _new(layer, [], [tree], [], [])
    return tree
