"""The tree of a repo (a Merkle search tree): its root, its entries, and undoing a commit. No I/O.

    tree_root({"app.test.note/1": cid, …})      the root of a whole tree
    invert(root, ops, blocks)                   the root before a commit, from its blocks
    walk(did, root, block_of)                   every path and CID of a whole tree, checked
    invert_ops(did, root, ops, blocks)          invert, for blocks and ops that were checked before

Everything raises InvalidCommit where the tree, or what is said about it, is not as the
specification asks, and nothing else, for any input; nothing recurses, and time and memory are
bounded by the size of what is given.

Source: https://atproto.com/specs/repository, "MST Structure", and https://atproto.com/specs/sync,
"Commit Validation: MST Operation Inversion".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, cast

import libipld

from atdex_firehose.car import is_cid
from atdex_firehose.errors import InvalidCommit
from atdex_firehose.events import Action
from atdex_firehose.frames import Op
from atdex_firehose.mst_invert import invert_ops
from atdex_firehose.mst_nodes import cid_of
from atdex_firehose.mst_walk import build, walk
from atdex_firehose.shown import shown
from atdex_lexicons.cid import Cid
from atdex_lexicons.errors import InvalidSyntax

__all__ = ["EMPTY_ROOT", "invert", "invert_ops", "tree_root", "walk"]

EMPTY_ROOT = cid_of(b"\xa2\x61e\x80\x61l\xf6")
"""The root of a tree without records: the one node that may have no entries and no subtree."""

CidT = TypeVar("CidT", bytes, str)

_ACTIONS = frozenset({"create", "update", "delete"})


def tree_root(records: Mapping[str, CidT]) -> CidT:
    """The root of the tree that maps each path to a CID.

    It answers in the form that the CIDs have, bytes or text; as text for no records at all.
    Raises InvalidCommit where a path is not `collection/rkey` or a CID is none of a record.
    """
    entries = sorted((_path(path), _cid(cid, path)) for path, cid in records.items())
    as_bytes = bool(records) and all(type(cid) is bytes for cid in records.values())
    answer: CidT = _like(build("", entries), as_bytes)
    return answer


def invert(root: CidT, ops: Iterable[Op | Mapping[str, Any]], blocks: Mapping[CidT, bytes]) -> CidT:
    """The root before a commit, from the root after it, its ops, and the blocks that it carries.

    Ops are those of a frame, parsed or not. CIDs are bytes or text anywhere; the answer has the
    form of `root`. Blocks that do not have the hash of their CID are refused.
    Raises InvalidCommit, for any input.
    """
    found: dict[bytes, bytes] = {}
    for cid, block in blocks.items():
        name = _cid(cid, "a block")
        if type(block) is not bytes or cid_of(block)[4:] != name[4:]:
            raise InvalidCommit("", f"the block {name.hex()} does not have the hash that it claims")
        found[name] = block
    before = invert_ops("", _cid(root, "the root"), [_op(op) for op in ops], found)
    answer: CidT = _like(before, type(root) is bytes)
    return answer


def _like(cid: bytes, as_bytes: bool) -> Any:
    return cid if as_bytes else libipld.encode_cid(cid)


def _op(op: object) -> Op:
    action: Any
    path: Any
    if isinstance(op, Op):
        action, path, cid, prev = op.action, op.path, op.cid, op.prev
    elif isinstance(op, Mapping):
        action, path, cid, prev = (op.get(name) for name in ("action", "path", "cid", "prev"))
    else:
        raise InvalidCommit("", f"an op is a {type(op).__name__}")
    if type(action) is not str or action not in _ACTIONS or type(path) is not str:
        raise InvalidCommit("", "an op lacks its action or its path")
    return Op(
        cast(Action, action),
        path,
        None if cid is None else _cid(cid, path),
        None if prev is None else _cid(prev, path),
    )


def _path(path: object) -> bytes:
    if type(path) is str and path.isascii():
        return path.encode()
    raise InvalidCommit("", f"the path {shown(path)} is not collection/rkey")


def _cid(cid: object, owner: object) -> bytes:
    """A CID as bytes: version 1, DAG-CBOR or raw, sha-256."""
    raw = cid
    if type(cid) is str:
        try:
            raw = bytes(Cid.parse(cid))
        except InvalidSyntax:
            raw = None
    if type(raw) is bytes and is_cid(raw):
        return raw
    raise InvalidCommit("", f"{shown(cid)} of {shown(owner)} is not a CID of a repo")
