"""Undo the ops of a commit in the partial tree that it carries: the root before it. No I/O.

    the tree after the commit, as far as the commit has it ── ops undone ──> the tree before it

If the tree before is known to be right (it was walked once, and every commit since was undone to
it), the tree after is what the ops make of it. Nodes are loaded on the way to an op's path, and
for a create the nodes between its two neighbours where they have to be joined; the proof that the
specification asks for holds at least those. Of a tree that becomes less high, the node that is
the new root is not needed if it is not there.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from atdex_firehose.errors import InvalidCommit
from atdex_firehose.frames import Op
from atdex_firehose.mst_nodes import (
    LINK,
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


def invert_ops(did: str, root: bytes, ops: Sequence[Op], blocks: Mapping[bytes, bytes]) -> bytes:
    """The CID of the tree before `ops`, from the tree at `root` after them.

    `blocks` have the hashes that their CIDs say; all CIDs are bytes. Every node that is used is
    checked. Created and updated paths stood in the tree under their op's CID, deleted ones did
    not. Raises InvalidCommit, for any input.
    """
    tree = _PartialTree(did, root, blocks)
    if len(ops) == 1:
        tree.undo(ops[0])
    else:
        paths = {op.path for op in ops}
        if len(paths) != len(ops):
            raise InvalidCommit(did, "a path occurs twice in one commit")
        for op in sorted(ops, key=_order):
            tree.undo(op)
    return tree.seal()


def _order(op: Op) -> tuple[bool, str]:
    """Deletes first, then by path: no node is given away before it is needed."""
    return op.action != "delete", op.path


class _PartialTree:
    """The nodes that were loaded so far, changed in place."""

    __slots__ = ("blocks", "did", "root")

    def __init__(self, did: str, root: bytes, blocks: Mapping[bytes, bytes]) -> None:
        self.did = did
        self.blocks = blocks
        node = parse_node(did, self._block(root), 0)
        if node.keys:
            node.layer = key_layer(node.keys[0])
        elif node.links[0] != NULL:
            raise InvalidCommit(did, "the top node of the tree is empty")
        node.link = LINK + root
        self.root = node

    def undo(self, op: Op) -> None:
        """Take one op back."""
        try:
            key = op.path.encode("ascii")
        except UnicodeEncodeError:
            key = b""
        if not is_key(key):
            raise InvalidCommit(self.did, f"the path {op.path[:80]!r} is not collection/rkey")
        if op.action == "create":
            self._remove(key, self._cid(op, op.cid))
        elif op.action == "delete":
            self._insert(key, self._cid(op, op.prev))
        elif op.action == "update":
            self._replace(key, self._cid(op, op.cid), self._cid(op, op.prev))
        else:
            raise InvalidCommit(self.did, f"{op.path} with the action {op.action!r}")

    def seal(self) -> bytes:
        """Take away what is empty at the top, write the changed nodes, and give the root's CID."""
        top = self.root
        while not top.keys and top.links[0] != NULL:
            below = top.links[0]
            if not isinstance(below, Node):
                if cid_in(below) not in self.blocks:
                    return cid_in(below)
                below = self._load(below, top.layer - 1, None, None)
            top = below
        changed = [top] if top.link is None else []
        for node in changed:
            changed += [x for x in node.links if isinstance(x, Node) and x.link is None]
        link = top.link
        for node in reversed(changed):
            link = node.seal()
        assert link is not None
        return cid_in(link)

    def _cid(self, op: Op, cid: bytes | None) -> bytes:
        if not is_tree_cid(cid):
            raise InvalidCommit(
                self.did, f"{op.action} of {op.path} lacks the CID of a record, before or after it"
            )
        assert cid is not None
        return cid

    def _block(self, cid: bytes) -> bytes:
        block = self.blocks.get(cid)
        if block is None:
            raise InvalidCommit(self.did, f"a node of the tree is missing: {cid.hex()}")
        return block

    def _load(self, link: Tree, layer: int, low: bytes | None, high: bytes | None) -> Node:
        """The node behind a link that is not NULL: it belongs to `layer`, and its keys between
        `low` and `high`, so that no node can stand in two places."""
        if isinstance(link, Node):
            return link
        node = parse_node(self.did, self._block(cid_in(link)), layer)
        keys = node.keys
        if not keys:
            if node.links[0] == NULL:
                raise InvalidCommit(self.did, "a node of the tree is empty")
        elif (low is not None and keys[0] <= low) or (high is not None and keys[-1] >= high):
            raise InvalidCommit(self.did, f"keys of the tree are out of order at {keys[0][:80]!r}")
        if layer <= 0 and (layer < 0 or any(link != NULL for link in node.links)):
            raise InvalidCommit(self.did, "the tree has nodes below layer 0")
        node.link = link
        return node

    def _descend(self, key: bytes, layer: int) -> tuple[list[tuple[Node, int]], bool]:
        """The nodes on the way to `key`, each with the place where it stands or where the way
        goes on, down to the node that has it (True), or to the one at `layer` that would (False),
        or to where the tree has nothing."""
        way = []
        node = self.root
        low = high = None
        while True:
            keys = node.keys
            i = bisect_left(keys, key)
            way.append((node, i))
            if i < len(keys):
                high = keys[i]
                if high == key:
                    return way, True
            if i:
                low = keys[i - 1]
            link = node.links[i]
            if node.layer <= layer or link == NULL:
                return way, False
            child = self._load(link, node.layer - 1, low, high)
            node.links[i] = child
            node = child

    def _replace(self, key: bytes, cid: bytes, prev: bytes) -> None:
        way, found = self._descend(key, 0)
        node, i = way[-1]
        self._expect(key, cid, node, i, found)
        for passed, _ in way:
            passed.link = None
        node.tails[i] = tail_of(prev)

    def _remove(self, key: bytes, cid: bytes) -> None:
        way, found = self._descend(key, 0)
        node, i = way[-1]
        self._expect(key, cid, node, i, found)
        if key_layer(key) != node.layer:
            raise InvalidCommit(self.did, f"{key.decode()} is not in the layer that it belongs in")
        for passed, _ in way:
            passed.link = None
        keys, links = node.keys, node.links
        joined = self._join(links[i], links[i + 1], node.layer - 1, key)
        links[i : i + 2] = [joined]
        del keys[i], node.heads[i], node.tails[i]
        if i < len(keys):
            node.heads[i] = head_of(keys[i - 1] if i else b"", keys[i])
        while not node.keys and node.links[0] == NULL:  # what is empty goes, upwards
            way.pop()
            if not way:
                self.root = Node(0, [], [], [NULL], [])
                break
            node, i = way[-1]
            node.links[i] = NULL

    def _expect(self, key: bytes, cid: bytes, node: Node, i: int, found: bool) -> None:
        if not found:
            raise InvalidCommit(self.did, f"{key.decode()} is not in the tree")
        if node.value(i) != cid:
            raise InvalidCommit(self.did, f"{key.decode()} has another CID in the tree")

    def _join(self, left: Tree, right: Tree, layer: int, key: bytes) -> Tree:
        """One tree of the two beside `key`, which goes."""
        if left == NULL:
            return right
        if right == NULL:
            return left
        top = None
        while True:
            a = self._load(left, layer, None, key)
            b = self._load(right, layer, key, None)
            if top is None:
                top = a
            a.link = None
            left, right = a.links[-1], b.links[0]
            if b.keys:
                b.heads[0] = head_of(a.keys[-1] if a.keys else b"", b.keys[0])
            at = len(a.keys)
            a.keys += b.keys
            a.heads += b.heads
            a.tails += b.tails
            a.links += b.links[1:]
            if left == NULL or right == NULL:
                a.links[at] = right if left == NULL else left
                return top
            layer -= 1
            a.links[at] = left = self._load(left, layer, None, key)

    def _insert(self, key: bytes, cid: bytes) -> None:
        layer = key_layer(key)
        root = self.root
        if not root.keys and root.links[0] == NULL:
            self.root = _alone(layer, key, cid, NULL, NULL)
            return
        if layer > root.layer:
            left, right = self._split(root, root.layer, key)
            left = _raise(left, root.layer, layer - 1)
            right = _raise(right, root.layer, layer - 1)
            self.root = _alone(layer, key, cid, left, right)
            return
        way, found = self._descend(key, layer)
        if found:
            raise InvalidCommit(self.did, f"{key.decode()} was deleted and is in the tree")
        for passed, _ in way:
            passed.link = None
        node, i = way[-1]
        if node.layer > layer:
            node.links[i] = _raise(_alone(layer, key, cid, NULL, NULL), layer, node.layer - 1)
            return
        keys = node.keys
        node.links[i : i + 1] = self._split(node.links[i], layer - 1, key)
        keys.insert(i, key)
        node.heads.insert(i, head_of(keys[i - 1] if i else b"", key))
        node.tails.insert(i, tail_of(cid))
        if i + 1 < len(keys):
            node.heads[i + 1] = head_of(key, keys[i + 1])

    def _split(self, link: Tree, layer: int, key: bytes) -> tuple[Tree, Tree]:
        """The two trees beside `key`, which comes."""
        cuts = []
        low = high = None
        while link != NULL:
            node = self._load(link, layer, low, high)
            keys = node.keys
            i = bisect_left(keys, key)
            if i < len(keys):
                high = keys[i]
                if high == key:
                    raise InvalidCommit(self.did, f"{key.decode()} was deleted and is in the tree")
            if i:
                low = keys[i - 1]
            cuts.append((node, i))
            link = node.links[i]
            layer -= 1
        left: Tree = NULL
        right: Tree = NULL
        for node, i in reversed(cuts):
            keys, heads, links, tails = node.keys, node.heads, node.links, node.tails
            if i < len(keys) or right != NULL:
                if i < len(keys):
                    heads[i] = head_of(b"", keys[i])
                right = Node(node.layer, keys[i:], heads[i:], [right, *links[i + 1 :]], tails[i:])
            if i or left != NULL:
                left = Node(node.layer, keys[:i], heads[:i], [*links[:i], left], tails[:i])
        return left, right


def _alone(layer: int, key: bytes, cid: bytes, left: Tree, right: Tree) -> Node:
    """A node of one entry."""
    return Node(layer, [key], [head_of(b"", key)], [left, right], [tail_of(cid)])


def _raise(tree: Tree, layer: int, to: int) -> Tree:
    """A tree whose top is in `layer`, below as many nodes without entries as bring it `to`."""
    if tree != NULL:
        while layer < to:
            layer += 1
            tree = Node(layer, [], [], [tree], [])
    return tree
