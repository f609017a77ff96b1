"""The lexicon engine: validating a record, and reading and writing the data model.

Figures are the best of several runs, in µs for one value. The atproto SDK parses into models
what this package checks in place, so both are given a post with the same contents, with string
formats checked; the lexicon below holds what the SDK's models of it hold.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import cbor2
import libipld
import orjson
from atproto_client import models  # type: ignore[import-untyped]  # it ships no types
from atproto_client.models.utils import get_or_create  # type: ignore[import-untyped]  # nor here

from atdex_lexicons import Catalog, InvalidRecord
from atdex_lexicons.datamodel import decode, encode, from_json, json_bytes
from tests.support.paths import FIXTURES

Row = tuple[str, float, str, str]

TARGET = "<= 50"
SECONDS = 0.1
"""Of one run; short, since the best of `RUNS` counts."""
RUNS = 7

POST = "app.bsky.feed.post"
DATETIME = {"type": "string", "format": "datetime"}
URI = {"type": "string", "format": "uri"}


def run() -> list[Row]:
    catalog = Catalog.bundled()
    rows: list[Row] = []
    for name in ("entry_http", "entry_s3", "entry_blobs", "schema", "lens", "label"):
        value = json.loads((FIXTURES / "atdata" / f"{name}.json").read_text("utf-8"))["value"]
        rows.append((f"validate {name} as written", _validation(catalog, value), "µs", TARGET))
    entry = _entry()
    raw = encode(from_json(entry))
    rows.append(("validate an entry of 3 shards, valid", _validation(catalog, entry), "µs", TARGET))
    rows.append(("  the same in data-model form", _validation(catalog, decode(raw)), "µs", TARGET))
    many = copy.deepcopy(entry)
    many["storage"]["shards"] *= 100
    rows.append(("validate an entry of 300 shards", _validation(catalog, many), "µs", ""))
    rows += _against_the_sdk()
    rows += _encodings(raw)
    return rows


def _entry() -> dict[str, Any]:
    path = FIXTURES / "atdata" / "entry_http.json"
    value: dict[str, Any] = json.loads(path.read_text("utf-8"))["value"]
    del value["metadata"]  # a plain object there, bytes in the lexicon
    return value


def _validation(catalog: Catalog, value: Any) -> float:
    collection = value["$type"]

    def validate() -> None:
        with suppress(InvalidRecord):
            catalog.validate_record(value, collection=collection, rkey="3jzfcijpj2z2a")

    return _best(validate)


def _against_the_sdk() -> list[Row]:
    catalog = Catalog.from_documents(_post_documents())
    post = _post()
    catalog.validate_record(post, collection=POST)

    def parse() -> object:
        return get_or_create(post, models.AppBskyFeedPost.Record, strict_string_format=True)

    assert parse() is not None
    ours = _best(lambda: catalog.validate_record(post, collection=POST))
    return [
        ("validate a post with reply, facets and embed", ours, "µs", ""),
        ("  the same, parsed by the atproto SDK", _best(parse), "µs", ""),
    ]


def _encodings(raw: bytes) -> list[Row]:
    value = decode(raw)
    linked = encode({"entry": value, "links": [from_json(_post())["reply"]["root"]]} | _blob())
    with_link = decode(linked)
    assert cbor2.loads(raw) == libipld.decode_dag_cbor(raw) == value
    return [
        ("decode the entry, strictly", _best(lambda: decode(raw)), "µs", ""),
        (
            "  by libipld, which lets more through",
            _best(lambda: libipld.decode_dag_cbor(raw)),
            "µs",
            "",
        ),
        ("  by cbor2, which lets more through", _best(lambda: cbor2.loads(raw)), "µs", ""),
        ("decode the entry with a link beside it", _best(lambda: decode(linked)), "µs", ""),
        ("encode the entry", _best(lambda: encode(value)), "µs", ""),
        ("  by cbor2, canonical", _best(lambda: cbor2.dumps(value, canonical=True)), "µs", ""),
        ("JSON text of the entry with a link", _best(lambda: json_bytes(with_link)), "µs", ""),
        (
            "JSON form read back",
            _best(lambda: from_json(orjson.loads(json_bytes(value)))),
            "µs",
            "",
        ),
    ]


def _blob() -> dict[str, Any]:
    link = {"$link": "bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity"}
    return from_json({"blob": {"$type": "blob", "ref": link, "mimeType": "a/b", "size": 1}})


def _post() -> dict[str, Any]:
    root = {
        "uri": "at://did:plc:z72i7hdynmk6r22z27h6tvur/app.bsky.feed.post/3jzfcijpj2z2a",
        "cid": "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a",
    }
    link = {"$type": "app.bsky.richtext.facet#link", "uri": "https://example.com/data"}
    facet = {"index": {"byteStart": 5, "byteEnd": 12}, "features": [link]}
    card = {"uri": "https://example.com/data", "title": "Retina", "description": "OCT scans"}
    return {
        "$type": POST,
        "text": "See this set of 10,000 retina scans",
        "createdAt": "2026-11-20T15:10:34.103Z",
        "langs": ["en", "pt-BR"],
        "tags": ["oct", "retina"],
        "facets": [facet, facet, facet],
        "reply": {"root": root, "parent": root},
        "embed": {"$type": "app.bsky.embed.external", "external": card},
    }


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties}


def _document(nsid: str, **defs: Any) -> dict[str, Any]:
    return {"lexicon": 1, "id": nsid, "defs": defs}


def _post_documents() -> list[dict[str, Any]]:
    facets = {"type": "array", "items": {"type": "ref", "ref": "app.bsky.richtext.facet"}}
    strong = {"type": "ref", "ref": "com.atproto.repo.strongRef"}
    number = {"type": "integer", "minimum": 0}
    langs = {"type": "array", "maxLength": 3, "items": {"type": "string", "format": "language"}}
    tags = {"type": "array", "maxLength": 8, "items": {"type": "string", "maxLength": 640}}
    record = _object(
        ["text", "createdAt"],
        text={"type": "string", "maxLength": 3000, "maxGraphemes": 300},
        createdAt=DATETIME,
        langs=langs,
        tags=tags,
        facets=facets,
        reply={"type": "ref", "ref": "#replyRef"},
        embed={"type": "union", "refs": ["app.bsky.embed.external"]},
    )
    features = {"type": "array", "items": {"type": "union", "refs": ["#link", "#tag"]}}
    return [
        _document(
            POST,
            main={"type": "record", "key": "tid", "record": record},
            replyRef=_object(["root", "parent"], root=strong, parent=strong),
        ),
        _document(
            "com.atproto.repo.strongRef",
            main=_object(
                ["uri", "cid"],
                uri={"type": "string", "format": "at-uri"},
                cid={"type": "string", "format": "cid"},
            ),
        ),
        _document(
            "app.bsky.richtext.facet",
            main=_object(
                ["index", "features"], index={"type": "ref", "ref": "#slice"}, features=features
            ),
            slice=_object(["byteStart", "byteEnd"], byteStart=number, byteEnd=number),
            link=_object(["uri"], uri=URI),
            tag=_object(["tag"], tag={"type": "string", "maxLength": 640, "maxGraphemes": 64}),
        ),
        _document(
            "app.bsky.embed.external",
            main=_object(["external"], external={"type": "ref", "ref": "#external"}),
            external=_object(
                ["uri", "title", "description"],
                uri=URI,
                title={"type": "string"},
                description={"type": "string"},
                thumb={"type": "blob", "accept": ["image/*"], "maxSize": 1_000_000},
            ),
        ),
    ]


def _best(work: Callable[[], object]) -> float:
    """µs of one call."""
    started = time.perf_counter()
    work()
    count = max(1, int(SECONDS / RUNS / max(time.perf_counter() - started, 1e-7)))
    best = float("inf")
    for _ in range(RUNS):
        started = time.perf_counter()
        for _ in range(count):
            work()
        best = min(best, (time.perf_counter() - started) / count)
    return best * 1e6
