"""Hostile inputs, made from honest ones: frames, CARs, trees, documents and messages.

Every function takes its chances from a `Random`, so that whoever drives it (a seed, hypothesis,
atheris) decides what comes out. What is signed is signed with the right key, mostly: the
signature keeps nobody out who attacks with an account of their own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from random import Random
from typing import Any

from libipld import encode_cid

from tests.firehose.fuzz_scenes import (
    KEY,
    MICROS,
    SIZES,
    STRANGER,
    TIME,
    VARIANTS,
    Honest,
    honest,
    new_path,
    record,
    scene,
)
from tests.firehose.fuzz_trees import CHANGES, Node, read, write
from tests.support.mst import build_tree, cid_of, encode, link, proof
from tests.support.repo import K256_ORDER, car, did_document, frame, high_s, plc_did, tid

REPO_DID = plc_did("fuzzrepo")
"""Whose every whole repo is."""
DEPTHS = (10, 500, 950, 1_000, 5_000, 100_000)
"""Levels of nesting, around where decoders and Python give up."""


@dataclass
class Draft:
    """A commit before it is signed and packed."""

    base: Honest
    unsigned: dict[str, Any]
    nodes: dict[bytes, bytes]
    records: dict[bytes, bytes]
    ops: list[dict[str, Any]]
    fields: dict[str, Any] = field(default_factory=dict)
    rev: str = ""
    sloppy: bool = False
    key: Any = KEY
    mirrored: bool = False
    blocks: list[tuple[bytes, bytes]] | None = None

    def sign(self) -> tuple[bytes, bytes]:
        """The commit's CID and block."""
        signature = self.key.sign(encode(self.unsigned))
        if self.mirrored:
            signature = high_s(signature, K256_ORDER)
        block = encode({"sig": signature} | self.unsigned)
        return cid_of(block), block

    def set_tree(self, root: Node) -> None:
        cid, self.nodes = write(root)
        self.unsigned["data"] = link(cid)


def draft_of(number: int, variant: int, *, whole: bool) -> Draft:
    """An honest commit, with the whole tree or with the part of it that proves the ops."""
    made = honest(number, variant)
    nodes = dict(made.nodes)
    if not whole:
        nodes = proof(made.root, nodes, [op["path"] for op in made.ops])
    rev = tid(MICROS + 1_000_000)
    unsigned = {
        "did": made.scene.did,
        "version": 3,
        "data": link(made.root),
        "rev": rev,
        "prev": None,
    }
    ops = [dict(op) for op in made.ops]
    return Draft(made, unsigned, nodes, dict(made.written), ops, rev=rev)


def draft(rolls: Random) -> Draft:
    return draft_of(
        rolls.randrange(len(SIZES)), rolls.randrange(VARIANTS), whole=rolls.random() < 0.5
    )


def pack(rolls: Random, made: Draft) -> bytes:
    cid, block = made.sign()
    blocks = [(cid, block), *made.nodes.items(), *made.records.items()]
    if made.sloppy:
        for _ in range(rolls.randint(1, 3)):
            at = rolls.randrange(len(blocks))
            match rolls.randrange(6):
                case 0:
                    del blocks[at]
                    blocks = blocks or [(cid, block)]
                case 1:
                    blocks.append(blocks[at])
                case 2:
                    rolls.shuffle(blocks)
                case 3:
                    blocks[at] = (blocks[at][0], blocks[rolls.randrange(len(blocks))][1])
                case 4:
                    blocks.append((cid_of(b"more"), b"more"))
                case _:
                    blocks[at] = (blocks[at][0][:-1] + b"\x00", blocks[at][1])
    fields = {
        "rebase": False,
        "tooBig": False,
        "repo": made.base.scene.did,
        "commit": link(cid),
        "rev": made.rev,
        "since": made.base.scene.head.rev,
        "prevData": link(made.base.scene.head.data),
        "blocks": car([cid], blocks),
        "ops": made.ops,
        "blobs": [],
        "time": TIME,
        "seq": 1,
    } | made.fields
    return frame("#commit", {name: value for name, value in fields.items() if value != "absent"})


# What can be wrong with a commit


def _tree(rolls: Random, made: Draft) -> None:
    root = read(made.base.root, made.base.nodes)
    for _ in range(rolls.choice((1, 1, 2, 4))):
        rolls.choice(CHANGES)(rolls, root)
    made.set_tree(root)


def _other_tree(rolls: Random, made: Draft) -> None:
    """The ops of one commit with the tree of another one."""
    other = honest(made.base.scene.number, rolls.randrange(VARIANTS))
    made.nodes = dict(other.nodes)
    made.records |= other.written
    made.unsigned["data"] = link(other.root)


def _extra_record(rolls: Random, made: Draft) -> None:
    """The tree has one record more, or less, or otherwise than the ops say."""
    after = dict(made.base.after)
    match rolls.randrange(3):
        case 0:
            after[new_path(rolls)] = cid_of(record(rolls))
        case 1 if after:
            del after[rolls.choice(sorted(after))]
        case _ if after:
            after[rolls.choice(sorted(after))] = cid_of(record(rolls))
    root, made.nodes = build_tree(after)
    made.unsigned["data"] = link(root)


def _ops(rolls: Random, made: Draft) -> None:
    ops = made.ops
    at = rolls.randrange(len(ops)) if ops else 0
    before = made.base.scene.records
    cids = [link(cid) for cid in (*before.values(), *made.records, cid_of(b"absent"))]
    match rolls.randrange(9):
        case 0 if ops:
            del ops[at]
        case 1 if ops:
            ops.append(dict(ops[at]))
        case 2:
            rolls.shuffle(ops)
        case 3 if ops:
            ops[at]["action"] = rolls.choice(("create", "update", "delete", "Create", 1, None))
        case 4 if ops:
            ops[at]["cid"] = rolls.choice([None, b"x", *cids])
        case 5 if ops:
            ops[at]["prev"] = rolls.choice([None, b"x", *cids])
        case 6 if ops:
            ops[at]["path"] = rolls.choice(
                [new_path(rolls), *before, *made.base.after, "a/b", "", "x", 7, "app.test.note/\n"]
            )
        case 7:
            path = rolls.choice([new_path(rolls), *before])
            action = rolls.choice(("create", "update", "delete"))
            ops.append({"path": path, "action": action, "cid": None})
            if action != "delete":
                ops[-1]["cid"] = rolls.choice(cids)
            if action != "create":
                ops[-1]["prev"] = rolls.choice(cids)
        case _:
            # An update in the place of a delete and a create, and the other way round.
            for op in ops:
                if op["action"] == "update" and rolls.random() < 0.5:
                    op["action"] = "create"
                    op.pop("prev", None)


def _chain(rolls: Random, made: Draft) -> None:
    other = scene(rolls.randrange(len(SIZES)))
    match rolls.randrange(6):
        case 0:
            made.fields["since"] = rolls.choice((None, tid(MICROS - 1), "absent", made.rev, 5))
        case 1:
            made.fields["prevData"] = rolls.choice(
                (link(other.head.data), link(made.base.root), "absent", None, b"x", "x")
            )
        case 2:
            made.rev = made.unsigned["rev"] = rolls.choice(
                (tid(MICROS), tid(MICROS - 1), tid(MICROS + 10**11), "", "zzzzzzzzzzzzz", "3" * 13)
            )
        case 3:
            made.rev = rolls.choice((tid(MICROS + 2_000_000), tid(0), "x"))
        case 4:
            made.fields["repo"] = rolls.choice((other.did, REPO_DID, "did:web:x.test", "x", 1))
        case _:
            made.fields["commit"] = rolls.choice((link(made.base.root), b"x", "absent", None))


def _object(rolls: Random, made: Draft) -> None:
    """The commit object: its fields, and who signed it."""
    unsigned = made.unsigned
    match rolls.randrange(9):
        case 0:
            unsigned["version"] = rolls.choice((2, 4, 0, True, "3", 3.0, None))
        case 1:
            unsigned["did"] = rolls.choice((scene(3).did, REPO_DID, "", 1, None))
        case 2:
            unsigned["rev"] = rolls.choice((tid(MICROS + 9), "", None, 5))
        case 3:
            data = rolls.choice((b"\x01\x55" + made.base.root[2:], b"\x01", made.base.root[:-1]))
            unsigned["data"] = link(data)
        case 4:
            unsigned["data"] = rolls.choice((made.base.root, None, "x"))
        case 5:
            unsigned["prev"] = rolls.choice((link(made.base.root), link(b"x"), made.base.root, 1))
        case 6:
            unsigned.pop(rolls.choice(sorted(unsigned)), None)
        case 7:
            unsigned[rolls.choice(("more", "sig", "a", "z" * 30))] = anything(rolls)
        case _:
            made.key = STRANGER if rolls.random() < 0.5 else made.key
            made.mirrored = made.key is KEY


def _blocks(rolls: Random, made: Draft) -> None:
    made.sloppy = True


def _fields(rolls: Random, made: Draft) -> None:
    name = rolls.choice(
        ("blocks", "ops", "rev", "since", "repo", "commit", "time", "seq", "prevData", "blobs", "x")
    )
    made.fields[name] = anything(rolls)


FAULTS = (_tree, _tree, _tree, _other_tree, _extra_record, _ops, _ops, _chain, _object, _blocks)


def commit_frame(rolls: Random) -> bytes:
    made = draft(rolls)
    for _ in range(rolls.choice((0, 1, 1, 1, 1, 2, 3))):
        rolls.choice(FAULTS)(rolls, made)
    if rolls.random() < 0.1:
        _fields(rolls, made)
    return pack(rolls, made)


def other_frame(rolls: Random) -> bytes:
    """A `#sync`, or a frame of another kind, with anything in it."""
    made = draft(rolls)
    if rolls.random() < 0.5:
        rolls.choice((_object, _chain))(rolls, made)
    cid, block = made.sign()
    body: dict[str, Any] = {
        "seq": rolls.choice((1, 0, -1, 2**53, 2**63, "1")),
        "did": made.base.scene.did,
        "rev": made.rev,
        "blocks": car([cid], [(cid, block)]),
        "time": TIME,
        "active": True,
        "status": "deactivated",
        "handle": "alice.test",
    }
    for _ in range(rolls.choice((0, 1, 2))):
        body[rolls.choice(sorted(body))] = anything(rolls)
    return frame(rolls.choice(("#sync", "#sync", "#account", "#identity", "#info", "#x")), body)


def repo_car(rolls: Random) -> bytes:
    """A whole repo, broken in its tree, its commit or its blocks."""
    made = draft(rolls)
    made.nodes = dict(made.base.nodes)
    made.unsigned["did"] = REPO_DID
    made.records = {
        cid: block
        for cid, block in (made.base.scene.blocks | made.base.written).items()
        if cid in made.base.after.values()
    }
    for _ in range(rolls.choice((0, 1, 1, 2))):
        rolls.choice((_tree, _tree, _extra_record, _object, _other_tree))(rolls, made)
    cid, block = made.sign()
    blocks = [(cid, block), *made.nodes.items(), *made.records.items()]
    if rolls.random() < 0.3:
        rolls.shuffle(blocks)
        blocks = blocks[: rolls.randint(0, len(blocks))] + blocks[: rolls.choice((0, 0, 3))]
    roots = rolls.choice(([cid], [cid], [cid], [cid, cid], [], [made.base.root]))
    return car(roots, blocks)


def lying_tree(rolls: Random) -> bytes:
    """`[root, [[cid, block], …], ops]`: blocks under names that are not theirs, so that a tree can
    lead back to itself."""
    made = draft(rolls)
    if rolls.random() < 0.5:
        _tree(rolls, made)
    if rolls.random() < 0.5:
        _ops(rolls, made)
    nodes = list(made.nodes.items())
    root = made.unsigned["data"].value[1:]
    for _ in range(rolls.choice((0, 1, 2))):
        at, other = rolls.randrange(len(nodes)), rolls.randrange(len(nodes))
        if rolls.random() < 0.5:
            nodes[at] = (nodes[at][0], nodes[other][1])
        else:  # a link to any node, itself and those above it too
            cid, block = nodes[at]
            start = block.find(b"\xd8\x2a\x58\x25\x00")
            if start >= 0:
                nodes[at] = (cid, block[: start + 5] + nodes[other][0] + block[start + 41 :])
    return encode([root, [list(pair) for pair in nodes], made.ops])


def commit_object(rolls: Random) -> bytes:
    made = draft(rolls)
    made.unsigned["did"] = REPO_DID
    for _ in range(rolls.choice((0, 1, 1, 2))):
        _object(rolls, made)
    return made.sign()[1]


def did_doc(rolls: Random) -> bytes:
    document = did_document(REPO_DID, KEY)
    for _ in range(rolls.choice((0, 1, 2))):
        _spoil(rolls, document)
    return _json(rolls, document)


def message(rolls: Random) -> bytes:
    """Of a Jetstream."""
    value = {"$type": "app.test.note", "text": "hello", "n": rolls.randrange(9)}
    commit = {
        "rev": tid(MICROS),
        "operation": rolls.choice(("create", "update", "delete")),
        "collection": "app.test.note",
        "rkey": "one",
        "record": value,
        "cid": _cid_text(encode(value)),
    }
    body: dict[str, Any] = {
        "did": REPO_DID,
        "time_us": MICROS,
        "kind": rolls.choice(("commit", "commit", "commit", "identity", "account")),
        "commit": commit,
        "identity": {"did": REPO_DID, "handle": "alice.test", "seq": 1, "time": TIME},
        "account": {"did": REPO_DID, "active": True, "seq": 1, "time": TIME},
    }
    for _ in range(rolls.choice((0, 1, 1, 2))):
        _spoil(rolls, body)
    return _json(rolls, body)


def _cid_text(block: bytes) -> str:
    text: str = encode_cid(cid_of(block))
    return text


def _spoil(rolls: Random, value: Any) -> None:
    """Replace, remove or repeat one thing somewhere in it."""
    while True:
        if isinstance(value, dict) and value:
            key: Any = rolls.choice(sorted(value))
        elif isinstance(value, list) and value:
            key = rolls.randrange(len(value))
        else:
            return
        if rolls.random() < 0.5 and isinstance(value[key], dict | list) and value[key]:
            value = value[key]
            continue
        match rolls.randrange(4):
            case 0:
                del value[key]
            case 1 if isinstance(value, list):
                value *= rolls.choice((2, 100))
            case _:
                value[key] = plain(rolls)
        return


def _json(rolls: Random, value: Any) -> bytes:
    text = json.dumps(value)
    if rolls.random() < 0.1:
        depth = rolls.choice(DEPTHS)
        target = rolls.choice(('"alice.test"', f'"{REPO_DID}"', '"hello"', '"commit"', "true"))
        text = text.replace(target, "[" * depth + "]" * depth, 1)
    return text.encode()


def plain(rolls: Random) -> Any:
    """Any value of JSON."""
    return rolls.choice(
        (
            None,
            True,
            0,
            -1,
            2**53,
            2**64,
            -(2**63),
            1.5,
            1e300,
            "",
            "x",
            "\x00",
            "\u00e4" * 50,
            "a" * 5_000,
            "did:web:xn--aaaaaaaaaa.com",
            "https://xn--aaaaaaaaaa.com",
            "http://[::1",
            "at://",
            "at://UPPER.test",
            [],
            {},
            [[]],
            {"$link": "x"},
            {"$link": "bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"},
            {"$bytes": "!!"},
            {"$bytes": "AAAA"},
            {"id": "#atproto", "type": "Multikey", "publicKeyMultibase": "z" + "1" * 127},
            {
                "id": "#atproto",
                "type": "Multikey",
                "publicKeyMultibase": "zQ3shokFTS3brHcDQrn82RUD",
            },
            {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": "//"},
        )
    )


def anything(rolls: Random) -> Any:
    """Any value of DAG-CBOR, and some that it does not have."""
    if rolls.random() < 0.6:
        return plain(rolls)
    if rolls.random() < 0.5:
        value: Any = []
        for _ in range(rolls.choice((10, 300, 900))):
            value = [value]
        return value
    return rolls.choice(
        (b"", b"x" * 100, link(cid_of(b"x")), link(b""), float("nan"), -(2**64), 2**64, {1: 2})
    )


def scramble(rolls: Random, raw: bytes) -> bytes:
    """Bytes flipped, cut out, put in, repeated; counts made huge; nesting made deep."""
    out = bytearray(raw)
    for _ in range(rolls.randint(1, 4)):
        at = rolls.randrange(len(out) + 1)
        match rolls.randrange(9):
            case 0 | 1 if at < len(out):
                out[at] ^= 1 << rolls.randrange(8)
            case 2 if at < len(out):
                out[at] = rolls.randrange(256)
            case 3:
                del out[at : at + rolls.choice((1, 2, 30, 10_000))]
            case 4:
                out[at:at] = rolls.randbytes(rolls.choice((1, 4, 40)))
            case 5:
                out[at:at] = out[at : at + rolls.choice((1, 37, 200))]
            case 6:
                head = rolls.choice((b"\x9b", b"\xbb", b"\x5b", b"\x7b", b"\x9a", b"\xba", b"\x5a"))
                out[at : at + 1] = head + b"\x00\x00\x00\x00\x7f\xff\xff\xff"[-8:]
            case 7:
                out[at:at] = rolls.choice((b"\x81", b"[", b"\xa1\x61a", b"\xff", b"\xd8\x2a")) * (
                    rolls.choice(DEPTHS)
                )
            case _:
                other = rolls.randrange(len(out) + 1)
                out[at : at + 40] = out[other : other + 40]
    return bytes(out)
