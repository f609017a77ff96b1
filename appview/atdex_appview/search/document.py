"""What is indexed of a dataset."""

from __future__ import annotations

from typing import NamedTuple


class SearchDocument(NamedTuple):
    """What the search index needs of one visible dataset.

    `labelled`: its own publisher has put a label on it.
    """

    uri: str
    did: str
    name: str
    description: str
    tags: tuple[str, ...]
    schema_uri: str
    license: str | None
    first_seen: int
    sample_count: int | None
    byte_count: int | None
    labelled: bool = False
