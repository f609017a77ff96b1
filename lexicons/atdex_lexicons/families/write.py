"""What writing a record has in common across families."""

from __future__ import annotations

from typing import Any

from atdex_lexicons.errors import NotRepresentable
from atdex_lexicons.model import Schema

from .values import data_form


def record_of(nsid: str, **fields: Any) -> dict[str, Any]:
    """The record of type `nsid` without the fields that are unset: None, empty text or container.

    Raises `NotRepresentable` without `createdAt`, which every record kind requires.
    """
    if not fields["createdAt"]:
        raise NotRepresentable("/createdAt", "a record says when it was created")
    set_fields = {key: value for key, value in fields.items() if value not in (None, "", [], {})}
    return {"$type": nsid, **set_fields}


def schema_metadata(model: Schema) -> dict[str, Any]:
    """A schema's metadata with its licence and tags, which both families keep in there."""
    metadata = dict(data_form(model.metadata, "/metadata"))
    for key in ("license", "tags"):
        if key in metadata:
            raise NotRepresentable(f"/metadata/{key}", f"the model has a field for the {key}")
    if model.license is not None:
        metadata["license"] = model.license
    if model.tags:
        metadata["tags"] = list(model.tags)
    return metadata
