"""Repos at a known state, and honest commits on top of them: what the fuzzer mutates.

Everything here is the same in every run, and every scene has a DID of its own, so a frame alone
says against which state it is to be judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any

from atdex_firehose.crypto import parse_multikey
from atdex_firehose.events import Identity
from atdex_firehose.repo import Head
from tests.support.mst import build_tree, cid_of, encode, key_height, link
from tests.support.repo import K256Key, plc_did, tid

SIZES = (0, 1, 2, 3, 5, 8, 13, 20, 40, 90)
"""Records of each scene before the commit."""
VARIANTS = 8
"""Honest commits of each scene."""
MICROS = 1_750_000_000_000_000
NOW = MICROS / 1e6 + 3_600
"""The clock: an hour after the newest honest commit."""
KEY = K256Key(b"\x01" * 32)
STRANGER = K256Key(b"\x02" * 32)
TIME = "2026-01-01T00:00:00.000Z"
LETTERS = "abcdefghijklmnopqrstuvwxyz234567"

Records = Mapping[str, bytes]


@dataclass
class Scene:
    """A repo before a commit: its records, and the head that the verifier knows."""

    number: int
    did: str
    records: dict[str, bytes]
    head: Head
    identity: Identity
    blocks: dict[bytes, bytes] = field(default_factory=dict)


@dataclass
class Honest:
    """A commit: the records after it, its ops, the whole tree, and the blocks of its records."""

    scene: Scene
    after: dict[str, bytes]
    ops: list[dict[str, Any]]
    root: bytes
    nodes: dict[bytes, bytes]
    written: dict[bytes, bytes]


@cache
def high_paths() -> list[str]:
    """Paths that belong in layers 4 to 7: above a small tree, they make chains of empty nodes."""
    found: list[str] = []
    n = 0
    while len(found) < 12:
        path = f"app.test.note/high{n}"
        if key_height(path.encode()) >= 4:
            found.append(path)
        n += 1
    return found


def new_path(rolls: Random) -> str:
    match rolls.randrange(8):
        case 0:
            return rolls.choice(high_paths())
        case 1:
            return f"app.other.thing/{rolls.choice(LETTERS)}"
        case 2:
            return f"app.test.note/{rolls.choice(LETTERS) * rolls.randint(1, 40)}"
        case _:
            return f"app.test.note/{rolls.choice(LETTERS)}{rolls.choice(LETTERS)}"


def record(rolls: Random) -> bytes:
    return encode({"$type": "app.test.note", "n": rolls.randrange(1_000)})


@cache
def scene(number: int) -> Scene:
    number %= len(SIZES)
    rolls = Random(number)
    did = plc_did(f"scene{LETTERS[number]}")
    records: dict[str, bytes] = {}
    blocks: dict[bytes, bytes] = {}
    while len(records) < SIZES[number]:
        block = record(rolls)
        records[new_path(rolls)] = cid_of(block)
        blocks[cid_of(block)] = block
    root, _ = build_tree(records)
    known = parse_multikey(KEY.multikey).did_key
    identity = Identity(did, "alice.test", "https://pds.test", known)
    return Scene(number, did, records, Head(tid(MICROS), root), identity, blocks)


@cache
def scenes() -> dict[str, Scene]:
    return {each.did: each for each in map(scene, range(len(SIZES)))}


@cache
def honest(number: int, variant: int) -> Honest:
    """One of the commits that the owner of the scene's repo may make."""
    before = scene(number)
    rolls = Random(f"{number} {variant}")
    after = dict(before.records)
    ops: dict[str, dict[str, Any]] = {}
    written: dict[bytes, bytes] = {}
    for _ in range(rolls.choice((1, 1, 1, 2, 3, 6, 12))):
        path = (
            rolls.choice(sorted(before.records))
            if before.records and rolls.random() < 0.6
            else new_path(rolls)
        )
        if path in ops:
            continue
        old = after.get(path)
        op: dict[str, Any] = {"path": path, "cid": None}
        if old is not None:
            op["prev"] = link(old)
        if old is not None and rolls.random() < 0.6:
            op["action"] = "delete"
            del after[path]
        else:
            block = record(rolls)
            written[cid_of(block)] = block
            after[path] = cid_of(block)
            op |= {"action": "update" if old else "create", "cid": link(cid_of(block))}
        ops[path] = op
    root, nodes = build_tree(after)
    return Honest(before, after, list(ops.values()), root, nodes, written)
