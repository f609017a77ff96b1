"""Datasets as Croissant documents, for their tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlcroissant

from atdex_appview.croissant.document import Described, croissant
from atdex_lexicons import Catalog
from atdex_lexicons.model import (
    Checksum,
    Dataset,
    Field,
    HttpShard,
    Primitive,
    Schema,
)
from tests.appview.index import ALICE, CLASSIC, CREATED

CATALOG = Catalog.bundled()
EXAMPLES = Path(__file__).resolve().parents[3] / "lexicons" / "atdex_lexicons" / "examples"
SHA = Checksum("sha256", "ab" * 32)
SCHEMA_URI = f"at://{ALICE}/{CLASSIC}.schema/3kschema00001"
PLAIN = Dataset(
    "Cats", SCHEMA_URI, (HttpShard("https://a.example/0.tar", SHA),), created_at=CREATED
)


def described(of: Dataset, schema: Schema | None = None, **more: Any) -> Described:
    facts: dict[str, Any] = {
        "uri": f"at://{ALICE}/{CLASSIC}.entry/3kdataset0001",
        "did": ALICE,
        "rev": "3l3abcdefgh2x",
        "first_seen": 1_700_000_000_000_000,
        "page": "https://index.example/xrpc/of.it",
        "pds": "https://pds.example",
    }
    return Described(dataset=of, schema=schema, **(facts | more))


def accepted(document: dict[str, Any]) -> mlcroissant.Dataset:
    """The document, through its JSON, as mlcroissant reads it: it raises for any error."""
    read = mlcroissant.Dataset(jsonld=json.loads(json.dumps(document)))
    assert not read.metadata.ctx.issues.errors
    return read


def field_of(kind: Any) -> dict[str, Any] | None:
    """The Croissant field of a sample's only field of that type; None where it is left out."""
    schema = Schema("S", "1.0.0", (Field("x", kind), Field("y", Primitive("int"))))
    document = croissant(described(PLAIN, schema))
    accepted(document)
    found = [each for each in document["recordSet"][0]["field"] if each["name"] == "x"]
    return found[0] if found else None
