"""Records and changes for the tests of the node, made without a network."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from atdex_appview.search.document import SearchDocument
from atdex_appview.store.base import Delete, Put, RepoChange
from atdex_appview.store.columns import datetime_micros, values_of
from atdex_lexicons.datamodel import encode, json_bytes
from atdex_lexicons.model import (
    Dataset,
    HttpShard,
    Kind,
    Label,
    Lens,
    Model,
    Schema,
    Verification,
)

COLLECTIONS: dict[Kind, str] = {
    "schema": "science.alt.dataset.schema",
    "dataset": "science.alt.dataset.entry",
    "lens": "science.alt.dataset.lens",
    "label": "science.alt.dataset.label",
    "verification": "science.alt.dataset.lensVerification",
}

ALICE = "did:plc:alice000000000000000000a"
BOB = "did:plc:bob00000000000000000000b"
SCHEMA = f"at://{ALICE}/science.alt.dataset.schema/3kschema00001"
OTHER_SCHEMA = f"at://{ALICE}/science.alt.dataset.schema/3kschema00002"

_TID_LETTERS = "234567abcdefghijklmnopqrstuvwxyz"


def rev(number: int) -> str:
    """A TID; a larger number is a later one."""
    letters = []
    for _ in range(12):
        number, digit = divmod(number, 32)
        letters.append(_TID_LETTERS[digit])
    return "3" + "".join(reversed(letters))


def uri(did: str, kind: Kind, rkey: str) -> str:
    return f"at://{did}/{COLLECTIONS[kind]}/{rkey}"


def dataset(
    name: str = "a dataset",
    *,
    description: str = "",
    tags: Iterable[str] = (),
    schema: str = SCHEMA,
    samples: int | None = None,
) -> Dataset:
    return Dataset(
        name=name,
        schema_uri=schema,
        shards=(HttpShard("https://shards.example/0.tar"),),
        description=description,
        tags=tuple(tags),
        license="MIT",
        sample_count=samples,
        created_at="2026-01-02T03:04:05Z",
    )


def schema(name: str = "Image", version: str = "1.0.0") -> Schema:
    return Schema(name=name, version=version, fields=())


def lens(source: str = SCHEMA, target: str = OTHER_SCHEMA, name: str = "to_grey") -> Lens:
    return Lens(name=name, source=source, target=target, getter=None, putter=None)


def label(
    dataset_uri: str, name: str = "stable", version: str | None = None, created_at: str = ""
) -> Label:
    return Label(name=name, dataset_uri=dataset_uri, version=version, created_at=created_at)


def verification(lens_uri: str, lens_cid: str = "bafyreia") -> Verification:
    return Verification(lens_uri=lens_uri, lens_cid=lens_cid, method="codeReview")


_KINDS: dict[type[Model], Kind] = {
    Dataset: "dataset",
    Schema: "schema",
    Lens: "lens",
    Label: "label",
    Verification: "verification",
}


def put(did: str, rkey: str, model: Model, *, created: bool = True) -> Put:
    """The bytes stand for the model; the store does not look into what is in them."""
    kind = _KINDS[type(model)]
    record = {"$type": COLLECTIONS[kind], "model": repr(model)}
    body = encode(record)
    return Put(
        uri=uri(did, kind, rkey),
        did=did,
        collection=COLLECTIONS[kind],
        rkey=rkey,
        cid="bafyrei" + hashlib.sha256(body).hexdigest()[:40],
        kind=kind,
        conformance="valid",
        raw=body,
        json=json_bytes(record),
        created_at=datetime_micros(model.created_at),
        values=values_of(kind, model),
        created=created,
    )


def commit(
    did: str,
    number: int,
    *changes: Put | Delete,
    handle: str | None = None,
    pds: str | None = "https://pds.example",
    live: bool = True,
    verified: bool = True,
) -> RepoChange:
    return RepoChange(did, rev(number), changes, handle, pds, live, verified)


def document(
    rkey: str,
    name: str,
    first_seen: int,
    *,
    description: str = "",
    tags: Iterable[str] = (),
    did: str = ALICE,
    schema: str = SCHEMA,
) -> SearchDocument:
    return SearchDocument(
        uri=uri(did, "dataset", rkey),
        did=did,
        name=name,
        description=description,
        tags=tuple(tags),
        schema_uri=schema,
        license=None,
        first_seen=first_seen,
        sample_count=None,
        byte_count=None,
    )
