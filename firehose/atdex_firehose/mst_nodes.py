"""Nodes of a repo's tree (a Merkle search tree): one block in, its entries out, and back. No I/O.

    {"e": [{"k": suffix, "p": prefix length, "t": link | null, "v": link}, …], "l": link | null}

A node is written in exactly one way. A pattern holds the block against that way, libipld takes it
apart, and a changed node is put together again from the bytes that did not change: written anew
is only what is new.

Source: https://atproto.com/specs/repository, "MST Structure".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, TypeAlias

from libipld import decode_dag_cbor

from atdex_firehose.errors import InvalidCommit

NODE_BYTES: Final = 250_000
"""One node block. Those of a usual repo have a few hundred bytes, 60 entries of the longest keys
have 57,000."""

NODE_ENTRIES: Final = 1_000
"""Entries in one node. The mean is 3 and chance makes fewer than 60 in the largest repo; keys
that were mined to fall together stop here."""

KEY_BYTES: Final = 1_024
"""A whole key, `collection/rkey`, and so also the prefix that it may share with the one before."""

CID_HEAD: Final = b"\x01\x71\x12\x20"
"""CIDv1, DAG-CBOR, sha-256: what every CID in a tree starts with."""

FIRST: Final = b""
LAST: Final = b"\xff"
"""What stands before and behind every key."""

TOP: Final = 1_000
"""The layer of a node whose layer is not known yet: above every layer that a key can have."""

_BELOW: Final = "the tree has nodes below layer 0"

_NULL: Final = b"\xf6"
_LINK: Final = b"\xd8\x2a\x58\x25\x00"  # tag 42, 37 bytes, the identity multibase
_VALUE: Final = b"\x61v" + _LINK
_TREE: Final = b"\x61t" + _LINK
_CID_BYTES: Final = 36


def _head(major: int, value: int) -> bytes:
    """The first bytes of a CBOR item: `value` in the shortest form."""
    if value < 24:
        return bytes((major | value,))
    if value < 256:
        return bytes((major | 24, value))
    return bytes((major | 25, value >> 8, value & 0xFF))


_SUFFIXES: Final = tuple(b"\xa4\x61k" + _head(0x40, n) for n in range(KEY_BYTES + 1))
_PREFIXES: Final = tuple(b"\x61p" + _head(0x00, n) + b"\x61t" for n in range(KEY_BYTES + 1))

_CID_PATTERN: Final = rb"\xd8\x2a\x58\x25\x00\x01\x71\x12\x20.{32}"
_HEAD_PATTERN: Final = (
    rb"\xa4\x61k(?:[\x41-\x57]|\x58[\x18-\xff]|\x59[\x01-\x04].)[A-Za-z0-9_~.:/-]+"
    rb"\x61p(?:[\x00-\x17]|\x18[\x18-\xff]|\x19[\x01-\x04].)\x61t"
)
_TAIL_PATTERN: Final = rb"\x61v" + _CID_PATTERN
_ENTRY: Final = re.compile(
    rb"(%b)(?:\xf6|%b)(%b)" % (_HEAD_PATTERN, _CID_PATTERN, _TAIL_PATTERN), re.DOTALL
)
"""One entry: its head, which is all up to its link, and its tail, which is all behind it."""

_is_node: Final = re.compile(
    rb"\xa2\x61e(?:[\x80-\x97]|\x98[\x18-\xff]|\x99[\x01-\x03].)(?:%b(?:\xf6|%b)%b)*+"
    rb"\x61l(?:\xf6|%b)" % (_HEAD_PATTERN, _CID_PATTERN, _TAIL_PATTERN, _CID_PATTERN),
    re.DOTALL,
).fullmatch
"""A whole node, every number in its shortest form. Characters of keys and CBOR heads of numbers
do not overlap, so there is one way to read it; that the lengths are right is left to libipld."""

_KEY: Final = re.compile(rb"[A-Za-z0-9.-]+/(?!\.\.?\Z)[A-Za-z0-9_~.:-]{1,512}", re.DOTALL)

_ZERO_PAIRS: Final = tuple(4 if n == 0 else (8 - n.bit_length()) // 2 for n in range(256))


def key_layer(key: bytes) -> int:
    """The layer that a key belongs in: the pairs of zero bits that its sha256 starts with."""
    layer = 0
    for byte in sha256(key).digest():
        layer += _ZERO_PAIRS[byte]
        if byte:
            break
    return layer


layer_of_top = lru_cache(16_384)(key_layer)
"""The layer of a key that stands in the top node, which is in every commit of its repo; 3 MB."""


def is_key(key: bytes) -> bool:
    """Whether this can be the key of a record: `collection/rkey`, at most KEY_BYTES."""
    return len(key) <= KEY_BYTES and _KEY.fullmatch(key) is not None


def is_tree_cid(cid: object) -> bool:
    """Whether this is a CID that a tree may name: CIDv1, DAG-CBOR, sha-256, as bytes."""
    return type(cid) is bytes and len(cid) == 36 and cid[:4] == CID_HEAD


def cid_of(block: bytes) -> bytes:
    """The CID of a DAG-CBOR block."""
    return CID_HEAD + sha256(block).digest()


class Node:
    """A node in memory.

    `kids[i]` is the tree before the key i and `kids[i + 1]` the one behind it: None, a CID, or
    the loaded Node. Either `raw` is its block, but for the links of subtrees that changed, or that
    is empty and the entries are in `heads` and `tails`, free to change. `cid` is the node's own,
    or empty from `touch` to `seal`; then `was` is what it was.
    """

    __slots__ = ("cid", "entries", "heads", "keys", "kids", "layer", "raw", "tails", "was")

    heads: list[bytes]
    tails: list[bytes]
    was: bytes

    def __init__(
        self,
        layer: int,
        keys: list[bytes],
        kids: list[Tree],
        raw: bytes,
        cid: bytes,
        entries: Sequence[Mapping[str, Any]],
    ) -> None:
        self.layer = layer
        self.keys = keys
        self.kids = kids
        self.raw = raw
        self.cid = cid
        self.entries = entries

    @classmethod
    def of(
        cls,
        layer: int,
        keys: list[bytes],
        kids: list[Tree],
        heads: list[bytes],
        tails: list[bytes],
    ) -> Node:
        """A node that is in no block yet."""
        node = cls(layer, keys, kids, b"", b"", ())
        node.heads = heads
        node.tails = tails
        return node

    def value(self, i: int) -> bytes:
        """The CID of the record of key i."""
        if self.raw:
            value: bytes = self.entries[i]["v"]
            return value
        return self.tails[i][-_CID_BYTES:]

    def open(self) -> None:
        """Get ready for a change of the entries, or of where there are trees between them."""
        if self.raw:
            rows = _ENTRY.findall(self.raw)
            self.heads = [head for head, _ in rows]
            self.tails = [tail for _, tail in rows]
            self.raw = b""

    def touch(self) -> None:
        """Something in the node or below it has changed."""
        if self.cid:
            self.was = self.cid
            self.cid = b""

    def seal(self) -> bytes:
        """The CID of the node as it is, with its subtrees: what was touched is written, once."""
        if self.cid:
            return self.cid
        raw = self.raw
        if raw:
            for i, kid in enumerate(self.kids):
                if type(kid) is Node and not kid.cid:
                    raw = _relinked(raw, i, kid.was, kid.seal())
            self.raw = raw
        else:
            raw = self._written()
        self.cid = cid = CID_HEAD + sha256(raw).digest()
        return cid

    def _written(self) -> bytes:
        n = len(self.keys)
        links = [
            _NULL if kid is None else _LINK + (kid if type(kid) is bytes else kid.seal())  # type: ignore[union-attr]
            for kid in self.kids
        ]
        parts = [b""] * (3 * n + 3)
        parts[0] = b"\xa2\x61e" + _head(0x80, n)
        parts[1:-2:3] = self.heads
        parts[2:-2:3] = links[1:]
        parts[3:-2:3] = self.tails
        parts[-2:] = b"\x61l", links[0]
        return b"".join(parts)


Tree: TypeAlias = Node | bytes | None
"""A subtree: loaded, its CID, or none."""


def _relinked(raw: bytes, i: int, old: bytes, new: bytes) -> bytes:
    """A block after the subtree i of its node, with the CID `old`, got the CID `new`.

    Of two subtrees with one CID, which no valid tree has, it may be the other one.
    """
    return raw.replace(_TREE + old, _TREE + new, 1) if i else raw[:-_CID_BYTES] + new


def head_of(previous: bytes, key: bytes) -> bytes:
    """An entry's bytes up to its link; `previous` is the key before it, b"" for the first."""
    n = min(len(previous), len(key))
    apart = int.from_bytes(previous[:n]) ^ int.from_bytes(key[:n])
    shared = n - (apart.bit_length() + 7) // 8
    suffix = key[shared:]
    return b"%b%b%b" % (_SUFFIXES[len(suffix)], suffix, _PREFIXES[shared])


def tail_of(cid: bytes) -> bytes:
    """An entry's bytes behind its link."""
    return _VALUE + cid


def load_root(did: str, raw: bytes, cid: bytes) -> Node:
    """Read the top node of a tree, or the only one of an empty tree. Raises InvalidCommit."""
    node = load_node(did, raw, cid, TOP, FIRST, LAST)
    if node.keys:
        node.layer = layer_of_top(node.keys[0])
        # All of them: a key that is put beside the top ones would make its own layer the top.
        for key in node.keys[1:]:
            if layer_of_top(key) != node.layer:
                raise InvalidCommit(did, f"{key[:80]!r} is not in the layer that it belongs in")
    elif node.kids[0] is None:
        node.layer = 0
    else:
        raise InvalidCommit(did, "the top node of the tree is empty")
    if not node.layer and node.kids.count(None) != len(node.kids):
        raise InvalidCommit(did, _BELOW)
    return node


def load_node(did: str, raw: bytes, cid: bytes, layer: int, low: bytes, high: bytes) -> Node:
    """Read a node block that belongs to `layer`, with keys between `low` and `high`.

    It is written as it must be: canonical DAG-CBOR, keys in order, every prefix as long as it can
    be, sizes within the limits; it is not empty, and nothing is below layer 0. As its keys lie
    where they must, no node that has some can stand in two places of a tree, or above itself.
    Not checked are the form and the layer of each key. Raises InvalidCommit, for any input.
    """
    if len(raw) > NODE_BYTES:
        raise InvalidCommit(did, f"a node of the tree has {len(raw)} bytes, over {NODE_BYTES}")
    if not _is_node(raw):
        raise InvalidCommit(did, f"not a node of a tree in canonical DAG-CBOR: {raw[:40].hex()}")
    try:
        value = decode_dag_cbor(raw)
    except ValueError as error:
        raise InvalidCommit(did, f"a node of the tree is not DAG-CBOR: {error}") from None
    entries = value["e"]
    keys: list[bytes] = []
    kids: list[Tree] = [value["l"]]
    key = b""
    length = 0
    for entry in entries:
        suffix = entry["k"]
        shared = entry["p"]
        if key[shared] >= suffix[0] if shared < length else shared > length:
            raise InvalidCommit(did, _why(key, shared, suffix))
        key = key[:shared] + suffix
        length = len(key)
        keys.append(key)
        kids.append(entry["t"])
    if not keys:
        if kids[0] is None and layer != TOP:
            raise InvalidCommit(did, "a node of the tree is empty")
    elif keys[0] <= low or key >= high:
        raise InvalidCommit(did, f"keys of the tree are out of order at {keys[0][:80]!r}")
    elif len(raw) > KEY_BYTES and _too_much(keys):
        raise InvalidCommit(
            did,
            f"a node of the tree has over {NODE_ENTRIES} entries or a key over {KEY_BYTES} bytes",
        )
    if layer <= 0 and (layer < 0 or kids.count(None) != len(kids)):
        raise InvalidCommit(did, _BELOW)
    return Node(layer, keys, kids, raw, cid, entries)


def _too_much(keys: list[bytes]) -> bool:
    return len(keys) > NODE_ENTRIES or max(map(len, keys)) > KEY_BYTES


def _why(key: bytes, shared: int, suffix: bytes) -> str:
    """What is wrong with an entry behind `key`."""
    if shared > len(key):
        return f"a key of the tree shares {shared} bytes with one of {len(key)}"
    if key[shared : shared + 1] == suffix[:1]:
        return f"a prefix in the tree is shorter than it can be, behind {key[:80]!r}"
    return f"the key {(key[:shared] + suffix)[:80]!r} of the tree stands behind {key[:80]!r}"
