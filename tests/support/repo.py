"""Repositories with real keys: commits, CARs and firehose frames, signed and complete.

    repo = Repo("did:plc:…", K256Key())
    frame = repo.commit({"app.test.note/1": {"$type": …}})    # bytes of a #commit frame's body
    raw = frame.encode(seq=1)

Written with cbor2, hashlib and a plain tree, so that the package is tested against other code.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import coincurve
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from libipld import encode_multibase

from tests.support.mst import build_tree, cid_of, encode, link, proof

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
K256_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
TID_LETTERS = "234567abcdefghijklmnopqrstuvwxyz"


class Key(Protocol):
    """A private key. `multikey` is the public one as a DID document holds it."""

    multikey: str

    def sign(self, message: bytes) -> bytes: ...


class K256Key:
    def __init__(self, secret: bytes | None = None) -> None:
        self._key = coincurve.PrivateKey(secret)
        self.point: bytes = self._key.public_key.format(compressed=True)
        self.multikey = encode_multibase("z", b"\xe7\x01" + self.point)

    def sign(self, message: bytes) -> bytes:
        """64 bytes; libsecp256k1 signs low-S."""
        r, s = decode_dss_signature(self._key.sign(message))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


class P256Key:
    def __init__(self, key: ec.EllipticCurvePrivateKey | None = None) -> None:
        self._key = key or ec.generate_private_key(ec.SECP256R1())
        numbers = self._key.public_key().public_numbers()
        self.point = bytes((2 + (numbers.y & 1),)) + numbers.x.to_bytes(32, "big")
        self.multikey = encode_multibase("z", b"\x80\x24" + self.point)

    def sign(self, message: bytes) -> bytes:
        r, s = decode_dss_signature(self._key.sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + min(s, P256_ORDER - s).to_bytes(32, "big")


def high_s(signature: bytes, order: int) -> bytes:
    """The other valid signature of the same message, which the AT Protocol refuses."""
    return signature[:32] + (order - int.from_bytes(signature[32:], "big")).to_bytes(32, "big")


def tid(micros: int) -> str:
    number = micros << 10
    return "".join(TID_LETTERS[number >> shift & 31] for shift in range(60, -1, -5))


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def car(roots: Iterable[bytes], blocks: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A CAR v1 of these (cid, block) pairs, in this order."""
    header = encode({"version": 1, "roots": [link(root) for root in roots]})
    out = [varint(len(header)), header]
    for cid, block in blocks:
        out += [varint(len(cid) + len(block)), cid, block]
    return b"".join(out)


def frame(kind: str, body: Mapping[str, Any]) -> bytes:
    """A message frame."""
    return encode({"op": 1, "t": kind}) + encode(dict(body))


def error_frame(error: str, message: str = "") -> bytes:
    return encode({"op": -1}) + encode({"error": error, "message": message})


def info_frame(name: str, message: str = "") -> bytes:
    return frame("#info", {"name": name, "message": message})


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())


def identity_frame(seq: int, did: str, handle: str | None = None) -> bytes:
    body: dict[str, Any] = {"seq": seq, "did": did, "time": now()}
    return frame("#identity", body if handle is None else body | {"handle": handle})


def account_frame(seq: int, did: str, active: bool, status: str | None = None) -> bytes:
    body: dict[str, Any] = {"seq": seq, "did": did, "time": now(), "active": active}
    return frame("#account", body if status is None else body | {"status": status})


@dataclass
class Body:
    """The body of a `#commit` or `#sync`, to be changed at will before it is encoded."""

    kind: str
    fields: dict[str, Any]

    def encode(self, seq: int, **changes: Any) -> bytes:
        return frame(self.kind, self.fields | {"seq": seq} | changes)


@dataclass
class Repo:
    """One account's repository. `records` maps path to CID, `blocks` holds every record."""

    did: str
    key: Key
    records: dict[str, bytes] = field(default_factory=dict)
    blocks: dict[bytes, bytes] = field(default_factory=dict)
    rev: str | None = None
    data: bytes | None = None
    commit_cid: bytes = b""
    commit_block: bytes = b""
    clock: int = field(default_factory=lambda: time.time_ns() // 1000 - 3_600_000_000)

    def next_rev(self) -> str:
        self.clock += 1_000
        return tid(self.clock)

    def commit(self, writes: Mapping[str, object | None], *, rev: str | None = None) -> Body:
        """Write values (raw bytes are taken as a block as they are), delete where None."""
        ops, changed = [], []
        for path, value in writes.items():
            before = self.records.get(path)
            op: dict[str, Any] = {"path": path, "cid": None}
            if before is not None:
                op["prev"] = link(before)
            if value is None:
                del self.records[path]
                op["action"] = "delete"
            else:
                block = value if isinstance(value, bytes) else encode(value)
                cid = cid_of(block)
                self.blocks[cid] = block
                self.records[path] = cid
                changed.append((cid, block))
                op["action"] = "create" if before is None else "update"
                op["cid"] = link(cid)
            ops.append(op)
        since, previous = self.rev, self.data
        root, nodes = build_tree(self.records)
        self.sign(root, rev or self.next_rev())
        covering = proof(root, nodes, list(writes))
        blocks = [(self.commit_cid, self.commit_block), *covering.items(), *changed]
        fields = {
            "rebase": False,
            "tooBig": False,
            "repo": self.did,
            "commit": link(self.commit_cid),
            "rev": self.rev,
            "since": since,
            "blocks": car([self.commit_cid], blocks),
            "ops": ops,
            "blobs": [],
            "time": now(),
        }
        if previous is not None:
            fields["prevData"] = link(previous)
        return Body("#commit", fields)

    def sync(self, *, rev: str | None = None) -> Body:
        """A `#sync` with the current tree under a new (or this) rev."""
        self.sign(self.data or build_tree(self.records)[0], rev or self.next_rev())
        fields = {
            "did": self.did,
            "rev": self.rev,
            "blocks": car([self.commit_cid], [(self.commit_cid, self.commit_block)]),
            "time": now(),
        }
        return Body("#sync", fields)

    def sign(self, data: bytes, rev: str, **changes: Any) -> None:
        """Make `data` the tree of a new commit at `rev`; `changes` go into what is signed."""
        unsigned = {
            "did": self.did,
            "version": 3,
            "data": link(data),
            "rev": rev,
            "prev": None,
        } | changes
        signature = self.key.sign(encode(unsigned))
        self.commit_block = encode(unsigned | {"sig": signature})
        self.commit_cid = cid_of(self.commit_block)
        self.rev, self.data = rev, data

    def export(self) -> bytes:
        """The whole repository as a CAR, as getRepo answers."""
        root, nodes = build_tree(self.records)
        assert root == self.data
        records = {cid: self.blocks[cid] for cid in self.records.values()}
        return car(
            [self.commit_cid], [(self.commit_cid, self.commit_block), *(nodes | records).items()]
        )

    def prove(self, path: str) -> bytes:
        """The record at `path` with its proof as a CAR, as sync.getRecord answers."""
        root, nodes = build_tree(self.records)
        blocks = [(self.commit_cid, self.commit_block), *proof(root, nodes, [path]).items()]
        if path in self.records:
            blocks.append((self.records[path], self.blocks[self.records[path]]))
        return car([self.commit_cid], blocks)


def did_document(
    did: str, key: Key | None, *, pds: str | None = "https://pds.test", handle: str = "alice.test"
) -> dict[str, Any]:
    """A DID document as the PLC directory serves it."""
    methods = [] if key is None else [
        {
            "id": f"{did}#atproto",
            "type": "Multikey",
            "controller": did,
            "publicKeyMultibase": key.multikey,
        }
    ]  # fmt: skip
    services = [] if pds is None else [
        {
            "id": "#atproto_pds",
            "type": "AtprotoPersonalDataServer",
            "serviceEndpoint": pds,
        }
    ]  # fmt: skip
    return {
        "@context": ["https://www.w3.org/ns/did/v1"],
        "id": did,
        "alsoKnownAs": [f"at://{handle}"],
        "verificationMethod": methods,
        "service": services,
    }


def plc_did(name: str) -> str:
    """A did:plc that is well formed and can be told from others by its start."""
    kept = "".join(
        letter for letter in name.lower() if letter in "abcdefghijklmnopqrstuvwxyz234567"
    )
    return "did:plc:" + (kept + "a" * 24)[:24]
