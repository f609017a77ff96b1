"""Nodes of a repo's tree (a Merkle search tree): one block in, its entries out, and back. No I/O.

A node is written in exactly one way, so it is read by pattern and not by a general decoder: what
the pattern leaves over is not a node. Every entry keeps the bytes that it came in, and a changed
node is put together again from them.

    {"e": [{"k": suffix, "p": prefix length, "t": link | null, "v": link}, …], "l": link | null}

Source: https://atproto.com/specs/repository, "MST Structure".
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any, Final, TypeAlias

from atdex_firehose.errors import InvalidCommit

NODE_BYTES: Final = 1_000_000
"""One node block. A node of a usual repo has a few hundred bytes; a record may have this many."""

NODE_ENTRIES: Final = 1_000
"""Entries in one node. The mean is 3 and chance makes fewer than 60 in the largest repo; keys
that were mined to fall together stop here."""

KEY_BYTES: Final = 1_024
"""A whole key, `collection/rkey`, and so also the prefix that it may share with the one before."""

NULL: Final = b"\xf6"
LINK: Final = b"\xd8\x2a\x58\x25\x00"
"""Tag 42, 37 bytes, the identity multibase: what stands before a CID in DAG-CBOR."""

CID_HEAD: Final = b"\x01\x71\x12\x20"
_LINK_HEAD: Final = LINK + CID_HEAD
_VALUE_HEAD: Final = b"\x61v" + LINK
_CID_AT: Final = len(LINK)
_CID_IN_TAIL: Final = len(_VALUE_HEAD)
_TAIL_BYTES: Final = len(_VALUE_HEAD) + 36


def _head(major: int, value: int) -> bytes:
    """The first bytes of a CBOR item: `value` in the shortest form."""
    if value < 24:
        return bytes((major | value,))
    if value < 256:
        return bytes((major | 24, value))
    return bytes((major | 25, value >> 8, value & 0xFF))


_LENGTHS: Final = 0x500
"""Lengths that the pattern of an entry can match are below this; KEY_BYTES is checked by itself."""

_SUFFIX_LENGTHS: Final = {_head(0x40, n): n for n in range(1, _LENGTHS)}
_PREFIX_LENGTHS: Final = {_head(0x00, n): n for n in range(_LENGTHS)}
_SUFFIXES: Final = tuple(b"\xa4\x61k" + _head(0x40, n) for n in range(KEY_BYTES + 1))
_PREFIXES: Final = tuple(b"\x61p" + _head(0x00, n) + b"\x61t" for n in range(KEY_BYTES + 1))
_STARTS: Final = tuple(b"\xa2\x61e" + _head(0x80, n) for n in range(NODE_ENTRIES + 1))

_ENTRY: Final = re.compile(
    rb"(\xa4\x61k([\x41-\x57]|\x58[\x18-\xff]|\x59[\x01-\x04].)([A-Za-z0-9_~.:/-]+)"
    rb"\x61p([\x00-\x17]|\x18[\x18-\xff]|\x19[\x01-\x04].)\x61t)"
    rb"(\xf6|\xd8\x2a\x58\x25\x00\x01\x71\x12\x20.{32})"
    rb"(\x61v\xd8\x2a\x58\x25\x00\x01\x71\x12\x20.{32})",
    re.DOTALL,
)
"""One entry: all up to its link, the head of the suffix, the suffix, the prefix length, the link
to the tree on its right, the value. Characters of keys and CBOR heads of lengths do not overlap,
so there is one way to read it; the head of the suffix is held against the suffix afterwards."""

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
    """A node in memory: columns with one item an entry, and the links around the entries.

    `links[i]` is the tree before entry i and `links[i + 1]` the one behind it: NULL, a link in
    DAG-CBOR, or the loaded Node. `link` is the node's own, None from a change until `seal`.
    """

    __slots__ = ("heads", "keys", "layer", "link", "links", "tails")

    def __init__(
        self,
        layer: int,
        keys: list[bytes],
        heads: list[bytes],
        links: list[Tree],
        tails: list[bytes],
        link: bytes | None = None,
    ) -> None:
        self.layer = layer
        self.keys = keys
        self.heads = heads
        self.links = links
        self.tails = tails
        self.link = link

    def value(self, i: int) -> bytes:
        """The CID of the record of entry i."""
        return self.tails[i][_CID_IN_TAIL:]

    def seal(self) -> bytes:
        """Write the node, whose loaded subtrees are sealed, and give its link."""
        n = len(self.keys)
        links: list[Any] = [x.link if isinstance(x, Node) else x for x in self.links]
        parts = [b""] * (3 * n)
        parts[0::3] = self.heads
        parts[1::3] = links[1:]
        parts[2::3] = self.tails
        start = _STARTS[n] if n <= NODE_ENTRIES else b"\xa2\x61e" + _head(0x80, n)
        raw = b"%b%b\x61l%b" % (start, b"".join(parts), links[0])
        self.link = link = _LINK_HEAD + sha256(raw).digest()
        return link


Tree: TypeAlias = bytes | Node
"""A subtree: NULL, a link in DAG-CBOR, or a loaded node."""


def head_of(previous: bytes, key: bytes) -> bytes:
    """An entry's bytes up to its link; `previous` is the key before it, b"" for the first."""
    n = min(len(previous), len(key))
    apart = int.from_bytes(previous[:n]) ^ int.from_bytes(key[:n])
    shared = n - (apart.bit_length() + 7) // 8
    suffix = key[shared:]
    return b"%b%b%b" % (_SUFFIXES[len(suffix)], suffix, _PREFIXES[shared])


def tail_of(cid: bytes) -> bytes:
    """An entry's bytes behind its link."""
    return _VALUE_HEAD + cid


def cid_in(link: bytes) -> bytes:
    """The CID of a link in DAG-CBOR."""
    return link[_CID_AT:]


def parse_node(did: str, raw: bytes, layer: int) -> Node:
    """Read a node block, which is written as it must be: canonical DAG-CBOR, keys in order, every
    prefix as long as it can be, sizes within the limits. Raises InvalidCommit, for any input.

    That the keys belong in `layer` is not checked here.
    """
    size = len(raw)
    if size > NODE_BYTES:
        raise InvalidCommit(did, f"a node of the tree has {size} bytes, more than {NODE_BYTES}")
    if raw[:3] != b"\xa2\x61e" or size < 7:
        raise InvalidCommit(did, _unreadable(raw))
    count, start = raw[3] - 0x80, 4
    if count >= 24:
        count, start = (raw[4], 5) if count == 24 else (int.from_bytes(raw[4:6]), 6)
    if not 0 <= count <= NODE_ENTRIES:
        if raw[3] == 0x99:
            raise InvalidCommit(
                did, f"a node of the tree has {count} entries, more than {NODE_ENTRIES}"
            )
        raise InvalidCommit(did, _unreadable(raw))
    end = size - 1
    if raw[end - 2 :] == b"\x61l\xf6":
        left = NULL
    else:
        end = size - 41
        left = raw[end:]
        if left[:9] != _LINK_HEAD or raw[end - 2 : end] != b"\x61l":
            raise InvalidCommit(did, _unreadable(raw))
    end -= 2
    if raw[:start] != _STARTS[count]:
        raise InvalidCommit(did, _unreadable(raw))
    keys: list[bytes] = []
    heads: list[bytes] = []
    tails: list[bytes] = []
    links: list[Tree] = [left]
    key = b""
    for head, length, suffix, prefix, tree, tail in _ENTRY.findall(raw, start, end):
        shared = _PREFIX_LENGTHS[prefix]
        if (
            shared > len(key)
            or key[shared : shared + 1] >= suffix[:1]
            or _SUFFIX_LENGTHS[length] != len(suffix)
        ):
            raise InvalidCommit(did, _why(key, shared, suffix))
        key = key[:shared] + suffix
        start += len(head) + len(tree)
        keys.append(key)
        heads.append(head)
        links.append(tree)
        tails.append(tail)
    if len(keys) != count or start + count * _TAIL_BYTES != end:
        raise InvalidCommit(did, _unreadable(raw))
    if count and max(map(len, keys)) > KEY_BYTES:
        raise InvalidCommit(did, f"a key of the tree has more than {KEY_BYTES} bytes")
    return Node(layer, keys, heads, links, tails)


def _why(key: bytes, shared: int, suffix: bytes) -> str:
    """What is wrong with an entry behind `key`."""
    if shared > len(key):
        return f"a key of the tree shares {shared} bytes with one of {len(key)}"
    if key[shared : shared + 1] == suffix[:1]:
        return f"a prefix in the tree is shorter than it can be, behind {key[:80]!r}"
    if key[shared : shared + 1] > suffix[:1]:
        return f"the key {(key[:shared] + suffix)[:80]!r} of the tree stands behind {key[:80]!r}"
    return f"a key of the tree has another length than it says, behind {key[:80]!r}"


def _unreadable(raw: bytes) -> str:
    return f"not a node of a tree in canonical DAG-CBOR: {raw[:40].hex()}"
