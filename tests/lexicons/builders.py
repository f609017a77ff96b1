"""Small lexicon documents for tests."""

from __future__ import annotations

from typing import Any

from atdex_lexicons import Catalog

NSID = "com.example.thing"


def document(nsid: str = NSID, **defs: Any) -> dict[str, Any]:
    return {"lexicon": 1, "id": nsid, "defs": defs}


def object_of(**properties: Any) -> dict[str, Any]:
    """An object whose fields are all optional."""
    return {"type": "object", "properties": properties}


def record_of(*required: str, key: str = "any", **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "required": list(required), "properties": properties}
    return {"type": "record", "key": key, "record": schema}


def catalog_of(*documents: dict[str, Any]) -> Catalog:
    return Catalog.from_documents(documents)


def record_catalog(**properties: Any) -> Catalog:
    """A catalog with one record type, `NSID`."""
    return catalog_of(document(main=record_of(**properties)))
