"""Trees that can be broken: taken apart into nodes, changed at will, and hashed again from the
bottom up, so that what is wrong with them is not their hashes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeAlias

import cbor2

from tests.firehose.fuzz_scenes import new_path
from tests.support.mst import cid_of, common_prefix, encode, link

CHAIN = 1_500
"""The longest chain of nodes without entries: more than Python recurses."""


@dataclass
class Entry:
    shared: int
    suffix: bytes
    value: bytes
    right: Link = None


@dataclass
class Node:
    left: Link = None
    entries: list[Entry] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class Block:
    """A node as raw bytes."""

    raw: bytes


Link: TypeAlias = Node | Block | bytes | None
"""A subtree, or a CID without one."""

Change: TypeAlias = Callable[[Random, Node], None]


def read(root: bytes, blocks: Mapping[bytes, bytes]) -> Node:
    """The whole tree, which is right."""
    value = cbor2.loads(blocks[root])
    node = Node(_read(value["l"], blocks))
    for entry in value["e"]:
        right = _read(entry["t"], blocks)
        node.entries.append(Entry(entry["p"], entry["k"], entry["v"].value[1:], right))
    return node


def _read(value: Any, blocks: Mapping[bytes, bytes]) -> Link:
    return None if value is None else read(value.value[1:], blocks)


def write(root: Link) -> tuple[bytes, dict[bytes, bytes]]:
    """The CID of a tree and its blocks. Nodes may stand in several places; nothing recurses."""
    done: dict[int, bytes] = {}
    blocks: dict[bytes, bytes] = {}
    stack: list[Link] = [root]
    while stack:
        node = stack[-1]
        if not isinstance(node, Node | Block) or id(node) in done:
            stack.pop()
            continue
        if isinstance(node, Node):
            below = [node.left, *(entry.right for entry in node.entries)]
            waiting = [
                each for each in below if isinstance(each, Node | Block) and id(each) not in done
            ]
            if waiting:
                stack += waiting
                continue
            raw = _encode(node, done)
        else:
            raw = node.raw
        done[id(node)] = cid_of(raw)
        blocks[cid_of(raw)] = raw
        stack.pop()
    return _link(root, done) or b"", blocks


def _link(to: Link, done: Mapping[int, bytes]) -> bytes | None:
    return done[id(to)] if isinstance(to, Node | Block) else to


def _encode(node: Node, done: Mapping[int, bytes]) -> bytes:
    def tagged(to: Link) -> Any:
        cid = _link(to, done)
        return None if cid is None else link(cid)

    entries = [
        {"p": entry.shared, "k": entry.suffix, "v": link(entry.value), "t": tagged(entry.right)}
        for entry in node.entries
    ]
    return encode({"e": entries, "l": tagged(node.left)} | node.extra)


def nodes_of(root: Link) -> list[Node]:
    """Every node once, the top first."""
    found: list[Node] = []
    seen: set[int] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, Node) and id(node) not in seen:
            seen.add(id(node))
            found.append(node)
            stack += [node.left, *(entry.right for entry in node.entries)]
    return found


def keys_of(node: Node) -> list[bytes]:
    keys, previous = [], b""
    for entry in node.entries:
        previous = previous[: min(entry.shared, 2_000)] + entry.suffix
        keys.append(previous)
    return keys


def rekey(node: Node, keys: list[bytes]) -> None:
    """Give the entries these keys, written as they must be."""
    previous = b""
    for entry, key in zip(node.entries, keys, strict=True):
        entry.shared = common_prefix(previous, key)
        entry.suffix = key[entry.shared :]
        previous = key


# The ways to break a tree. Each takes any tree, and may leave it as it is.


def drop_entry(rolls: Random, root: Node) -> None:
    node = rolls.choice(nodes_of(root))
    keys = keys_of(node)
    if keys:
        at = rolls.randrange(len(keys))
        gone = node.entries.pop(at)
        del keys[at]
        rekey(node, keys)
        if gone.right is not None and rolls.random() < 0.5:
            if at:
                node.entries[at - 1].right = gone.right
            else:
                node.left = gone.right


def add_entry(rolls: Random, root: Node) -> None:
    node = rolls.choice(nodes_of(root))
    keys = keys_of(node)
    key = new_path(rolls).encode()
    at = sum(each < key for each in keys) if rolls.random() < 0.8 else rolls.randint(0, len(keys))
    node.entries.insert(at, Entry(0, b"", cid_of(rolls.randbytes(2))))
    rekey(node, [*keys[:at], key, *keys[at:]])


def repeat_entry(rolls: Random, root: Node) -> None:
    node = rolls.choice(nodes_of(root))
    if node.entries:
        keys = keys_of(node)
        at = rolls.randrange(len(keys))
        old = node.entries[at]
        node.entries.insert(at, Entry(0, b"", old.value, old.right))
        rekey(node, [*keys[: at + 1], *keys[at:]])


def swap_entries(rolls: Random, root: Node) -> None:
    node = rolls.choice(nodes_of(root))
    if len(node.entries) > 1:
        at = rolls.randrange(len(node.entries) - 1)
        keys = keys_of(node)
        keys[at], keys[at + 1] = keys[at + 1], keys[at]
        node.entries[at], node.entries[at + 1] = node.entries[at + 1], node.entries[at]
        if rolls.random() < 0.7:
            rekey(node, keys)


def change_value(rolls: Random, root: Node) -> None:
    node = rolls.choice(nodes_of(root))
    if node.entries:
        others = [entry.value for each in nodes_of(root) for entry in each.entries]
        rolls.choice(node.entries).value = rolls.choice(
            [*others, cid_of(b"x"), b"\x01\x55" + cid_of(b"x")[2:], b"\x01\x71\x12\x20", b""]
        )


def change_prefix(rolls: Random, root: Node) -> None:
    node = rolls.choice(nodes_of(root))
    if node.entries:
        entry = rolls.choice(node.entries)
        step = rolls.choice((-1, 1, 2, 7, 255, 65_536, 2**40, 2**63))
        entry.shared = max(0, entry.shared + step)
        if step == -1 and rolls.random() < 0.7:
            entry.suffix = keys_of(node)[node.entries.index(entry)][:1] + entry.suffix


def change_key(rolls: Random, root: Node) -> None:
    node = rolls.choice(nodes_of(root))
    if not node.entries:
        return
    keys = keys_of(node)
    at = rolls.randrange(len(keys))
    key = keys[at]
    keys[at] = rolls.choice(
        (
            key + b"a",
            key[:-1],
            key.replace(b"/", b""),
            key + b"/x",
            key + b"\x00",
            b"",
            b"app.test.note/" + b"k" * rolls.choice((512, 513, 1_000, 1_100, 70_000)),
            new_path(rolls).encode(),
            key[:-1] + bytes([key[-1] ^ 1 << rolls.randrange(8)]) if key else b"\xff",
        )
    )
    rekey(node, keys)


def move_entry(rolls: Random, root: Node) -> None:
    """Into another node, in order: a key in a layer that is not its own."""
    nodes = nodes_of(root)
    here, there = rolls.choice(nodes), rolls.choice(nodes)
    if here.entries and here is not there:
        keys = keys_of(here)
        at = rolls.randrange(len(keys))
        entry, key = here.entries.pop(at), keys.pop(at)
        rekey(here, keys)
        others = keys_of(there)
        to = sum(each < key for each in others)
        there.entries.insert(to, Entry(0, b"", entry.value))
        rekey(there, [*others[:to], key, *others[to:]])


def change_link(rolls: Random, root: Node) -> None:
    """To nothing, to another node (which then stands in two places), or to what is not there."""
    node = rolls.choice(nodes_of(root))
    some = nodes_of(root)
    some = rolls.sample(some, min(4, len(some)))
    below = [each for each in some if not any(n is node for n in nodes_of(each))]  # no cycles
    to: Link = rolls.choice([None, cid_of(b"absent"), b"\x01", *below])
    if node.entries and rolls.random() < 0.7:
        rolls.choice(node.entries).right = to
    else:
        node.left = to


def insert_chain(rolls: Random, root: Node) -> None:
    """Nodes without entries where there was one link."""
    node = rolls.choice(nodes_of(root))
    tree: Link = node.left
    for _ in range(rolls.choice((1, 1, 1, 2, 5, 130, CHAIN))):
        tree = Node(tree)
    node.left = tree


def skip_level(rolls: Random, root: Node) -> None:
    """A node in the place of the one above it."""
    for node in rolls.sample(nodes_of(root), min(4, len(nodes_of(root)))):
        if isinstance(node.left, Node) and not node.left.entries:
            node.left = node.left.left
            return


def raise_top(rolls: Random, root: Node) -> None:
    below = Node(root.left, root.entries, root.extra)
    root.left, root.entries, root.extra = below, [], {}


def merge_child(rolls: Random, root: Node) -> None:
    """The entries of the first child in its parent: two layers in one node."""
    node = rolls.choice(nodes_of(root))
    child = node.left
    if isinstance(child, Node):
        keys = keys_of(child) + keys_of(node)
        if child.entries:
            child.entries[-1].right = child.entries[-1].right or None
        node.entries = child.entries + node.entries
        node.left = child.left
        rekey(node, keys)


def split_node(rolls: Random, root: Node) -> None:
    """The first half of a node's entries one layer below the others."""
    node = rolls.choice(nodes_of(root))
    if len(node.entries) > 1:
        keys = keys_of(node)
        at = rolls.randrange(1, len(keys))
        below = Node(node.left, node.entries[:at])
        rekey(below, keys[:at])
        node.left, node.entries = below, node.entries[at:]
        rekey(node, keys[at:])


def widen(rolls: Random, root: Node) -> None:
    """More entries than any node has."""
    node = rolls.choice(nodes_of(root))
    count = rolls.choice((300, 1_001, 2_000))
    keys = [f"app.test.note/{n:08d}".encode() for n in range(count)]
    node.entries = [Entry(0, b"", cid_of(b"x")) for _ in keys]
    rekey(node, keys)


def add_field(rolls: Random, root: Node) -> None:
    node = rolls.choice(nodes_of(root))
    node.extra = rolls.choice(({"x": 1}, {"l": 1}, {"e": 1}, {"e": [{}]}, {"l": b"x"}, {"e": None}))


def raw_block(rolls: Random, root: Node) -> None:
    """The bytes of a node, a little changed."""
    node = rolls.choice(nodes_of(root))
    if isinstance(node.left, Node):
        _, blocks = write(node.left)
        raw = bytearray(list(blocks.values())[-1])
        raw[rolls.randrange(len(raw))] ^= 1 << rolls.randrange(8)
        node.left = Block(bytes(raw))


CHANGES: tuple[Change, ...] = (
    drop_entry,
    add_entry,
    repeat_entry,
    swap_entries,
    change_value,
    change_prefix,
    change_key,
    move_entry,
    change_link,
    insert_chain,
    skip_level,
    raise_top,
    merge_child,
    split_node,
    widen,
    add_field,
    raw_block,
)
