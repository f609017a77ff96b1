"""What is fuzzed, and what must hold: a target takes bytes, and says whether they were accepted.

A target raises `Wrong` where what was accepted is not consistent, and lets through whatever is
raised that is not declared. An accepted commit's ops are the difference of the full trees, which
`tests.support.mst` builds; an accepted tree is the one of its records.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import cbor2
import libipld

from atdex_firehose import mst
from atdex_firehose.car import is_cid, read_car
from atdex_firehose.commit import parse_commit_object
from atdex_firehose.crypto import parse_did_key
from atdex_firehose.did import parse_document
from atdex_firehose.errors import (
    BadSignature,
    Desynchronized,
    FutureRev,
    InvalidCar,
    InvalidCommit,
    InvalidEvent,
    InvalidFrame,
    InvalidIdentity,
    StaleRev,
    UpstreamError,
)
from atdex_firehose.evidence import Evidence, prepare
from atdex_firehose.frames import (
    CommitFrame,
    did_of,
    parse_account,
    parse_commit,
    parse_identity,
    parse_sync,
    seq_of,
    split,
    upstream_error,
)
from atdex_firehose.jetstream import LightCommit, parse_message, read_message
from atdex_firehose.patterns import CollectionPatterns
from atdex_firehose.repo import Head
from atdex_firehose.repo_car import open_repo
from atdex_firehose.verify import Verified, stated_records, verify_commit, verify_sync
from tests.firehose import fuzz_inputs
from tests.firehose.fuzz_scenes import NOW, Scene, scene, scenes
from tests.support.mst import build_tree, cid_of, encode
from tests.support.repo import tid

WANTED = CollectionPatterns(["app.test.*"])
_REFUSALS = (
    StaleRev,
    Desynchronized,
    FutureRev,
    InvalidCar,
    InvalidCommit,
    InvalidEvent,
    InvalidIdentity,
    BadSignature,
)
"""All that `verify_commit` and `verify_sync` say they raise."""


class Wrong(Exception):
    """Something was accepted that should not have been."""


def ensure(holds: bool, what: str) -> None:
    if not holds:
        raise Wrong(what)


@dataclass(frozen=True)
class Target:
    make: Callable[[Random], bytes]
    check: Callable[[bytes], bool]


# Frames


def check_frame(raw: bytes) -> bool:
    try:
        kind, body = split(raw)
        if kind == "error":
            ensure(isinstance(upstream_error("u", body), UpstreamError), "an error of its class")
            return True
        if kind in ("", "#info"):
            return False
        seq_of(body)
        did_of(kind, body)
        WANTED.wants(body)
        if kind == "#account":
            ensure(type(parse_account(body).active) is bool, "active")
        elif kind == "#identity":
            parse_identity(body)
        elif kind == "#sync":
            return _check_sync(body)
        else:
            return _check_commit(body)
    except (InvalidFrame, InvalidEvent):
        return False
    return True


def _scene(did: str) -> Scene:
    return scenes().get(did) or scene(0)


def _check_sync(body: Mapping[str, Any]) -> bool:
    frame = parse_sync(body)
    known = _scene(frame.did)
    try:
        head = verify_sync(frame, known.identity, known.head, NOW)
    except _REFUSALS:
        return False
    ensure(head.rev == frame.rev, "the head's rev")
    _check_rev(frame.rev, known.head)
    return True


def _check_rev(rev: str, last: Head | None) -> None:
    ensure(rev <= tid(int(NOW + 301) * 1_000_000), "a rev from the future")
    ensure(last is None or rev > last.rev, "a rev that is not newer")


def _check_commit(body: Mapping[str, Any]) -> bool:
    frame = parse_commit(body)
    with suppress(InvalidCar, InvalidCommit, InvalidEvent):
        stated_records(frame, WANTED)
    known = _scene(frame.did)
    evidence = Evidence(frame)
    prepare([(evidence, known.identity)], WANTED)
    for head in (known.head, None):
        verified = _verified(frame, known, head, None)
        ensure(verified == _verified(frame, known, head, evidence), "checks made ahead")
        if not isinstance(verified, Verified):
            continue
        _check_verified(frame, known, head, verified)
        if head is not None:
            return True
    return False


def _verified(
    frame: CommitFrame, known: Scene, head: Head | None, evidence: Evidence | None
) -> Verified | str:
    """What a commit shows, or why it is refused."""
    try:
        return verify_commit(frame, known.identity, head, WANTED, NOW, evidence)
    except _REFUSALS as error:
        return f"{type(error).__name__}: {error}"


def _check_verified(
    frame: CommitFrame, known: Scene, head: Head | None, verified: Verified
) -> None:
    ensure(frame.did == known.did, "a commit of another account")
    ensure(verified.head.rev == frame.rev, "the head's rev")
    _check_rev(frame.rev, head)
    blocks = read_car(frame.blocks, frame.did).blocks
    signed = cbor2.loads(blocks[frame.commit])
    signature = signed.pop("sig")
    key = parse_did_key(known.identity.signing_key or "")
    ensure(key.verify(signature, encode(signed)), "the signature is over other bytes")
    ensure(signed["data"].value[1:] == verified.head.data, "the tree is not the signed one")
    for op, stated in zip(
        verified.ops, [op for op in frame.ops if op.path.partition("/")[0] in WANTED], strict=True
    ):
        ensure(f"{op.collection}/{op.rkey}" == stated.path, "an op's path")
        ensure(op.action == stated.action, "an op's action")
        ensure((op.raw is None) == (stated.cid is None), "an op's record")
        ensure(op.raw is None or cid_of(op.raw) == stated.cid, "a record with another hash")
    if head is None and not verified.first:
        return  # what was there before is not known
    after = dict(known.records) if head is not None else {}
    ensure(head is None or frame.since == head.rev, "a commit that continues another one")
    for op_ in frame.ops:
        ensure(after.get(op_.path) == op_.prev, f"{op_.action} of {op_.path}: prev")
        ensure((op_.prev is None) == (op_.action == "create"), f"{op_.action} of {op_.path}")
        if op_.cid is None:
            del after[op_.path]
        else:
            after[op_.path] = op_.cid
    ensure(
        build_tree(after)[0] == verified.head.data, "the ops are not the difference of the trees"
    )


# CARs and trees


def check_car(raw: bytes) -> bool:
    try:
        car = read_car(raw, "did:x")
    except InvalidCar:
        return False
    ensure(all(map(is_cid, car.roots)) and bool(car.roots), "roots")
    for cid, block in car.blocks.items():
        ensure(is_cid(cid) and cid_of(block)[4:] == cid[4:], "a block's hash")
    return True


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="atdex-fuzz-")


def check_repo(raw: bytes) -> bool:
    path = Path(_folder().name) / "repo.car"
    path.write_bytes(raw)
    try:
        with open_repo(path, fuzz_inputs.REPO_DID) as repo:
            records = dict(repo.records())
            for cid in records.values():
                ensure(cid_of(repo.block(cid)) == cid, "a record's hash")
    except (InvalidCar, InvalidCommit):
        return False
    ensure(build_tree(records)[0] == repo.commit.data, "the tree is not the one of its records")
    if records:
        ensure(mst.tree_root(records) == repo.commit.data, "tree_root says otherwise")
    return True


def check_tree(raw: bytes) -> bool:
    """`[root, [[cid, block], …], ops]`."""
    parsed = _tree_input(raw)
    if parsed is None:
        return False
    root, blocks, ops = parsed
    honest = all(cid == cid_of(block) for cid, block in blocks.items())
    accepted = False
    try:
        entries = list(mst.walk("did:x", root, blocks.get))
    except InvalidCommit:
        pass
    else:
        accepted = True
        keys = [key for key, _ in entries]
        ensure(keys == sorted(set(keys)), "paths out of order")
        if honest:
            records = {key.decode(): cid for key, cid in entries}
            ensure(build_tree(records)[0] == root, "the tree is not the one of its records")
    try:
        mst.invert(root, ops, blocks)
    except InvalidCommit:
        pass
    else:
        ensure(honest, "a block that is not what it says was used")
    return accepted


def _tree_input(raw: bytes) -> tuple[bytes, dict[bytes, bytes], list[Any]] | None:
    try:
        value = libipld.decode_dag_cbor(raw)
    except (ValueError, RecursionError):
        return None
    if type(value) is not list or len(value) != 3:
        return None
    root, pairs, ops = value
    if type(root) is not bytes or type(pairs) is not list or type(ops) is not list:
        return None
    blocks = {}
    for pair in pairs:
        if type(pair) is not list or list(map(type, pair)) != [bytes, bytes]:
            return None
        blocks[pair[0]] = pair[1]
    return root, blocks, ops


def check_object(raw: bytes) -> bool:
    try:
        commit = parse_commit_object(raw, fuzz_inputs.REPO_DID)
    except InvalidCommit:
        return False
    value = cbor2.loads(raw)
    ensure(encode(value) == raw, "a commit object that is not canonical")
    ensure(value["version"] == 3 and value["did"] == fuzz_inputs.REPO_DID, "version and did")
    ensure(value["rev"] == commit.rev and value["data"].value[1:] == commit.data, "rev and data")
    ensure(value.pop("sig") == commit.sig, "sig")
    ensure(encode(value) == commit.signed, "what is signed is not all but `sig`")
    return True


# JSON


def check_document(raw: bytes) -> bool:
    try:
        identity = parse_document(fuzz_inputs.REPO_DID, raw)
    except InvalidIdentity:
        return False
    ensure(identity.did == fuzz_inputs.REPO_DID, "did")
    if identity.signing_key is not None:
        parse_did_key(identity.signing_key)
    ensure(identity.pds is None or identity.pds.startswith(("http://", "https://")), "pds")
    return True


def check_message(raw: bytes) -> bool:
    try:
        time_us, message = read_message(raw)
        item = parse_message(message, time_us)
    except (InvalidFrame, InvalidEvent):
        return False
    if isinstance(item, LightCommit) and item.op.raw is not None:
        ensure(libipld.encode_cid(cid_of(item.op.raw)) == item.op.cid, "a record's CID")
    return item is not None


TARGETS: dict[str, Target] = {
    "commit": Target(fuzz_inputs.commit_frame, check_frame),
    "frame": Target(fuzz_inputs.other_frame, check_frame),
    "repo": Target(fuzz_inputs.repo_car, check_repo),
    "tree": Target(fuzz_inputs.lying_tree, check_tree),
    "car": Target(fuzz_inputs.repo_car, check_car),
    "object": Target(fuzz_inputs.commit_object, check_object),
    "document": Target(fuzz_inputs.did_doc, check_document),
    "message": Target(fuzz_inputs.message, check_message),
}
