"""The fields of the search index, and how a dataset is put into them.

`text` holds the words of name, description and tags, `head` those of name and tags: one walk
through one posting list a word, where a union of fields takes several. A gap of positions lies
between two texts of a field, so that no phrase spans them. The `exact` fields have the words as
they are written, for prefixes and typos.

`place` orders the hits of one rank: a dataset that its publisher has labelled goes before the
others, and a newer one before an older one. `size` orders by the number of samples.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import tantivy

from atdex_appview.search.document import SearchDocument
from atdex_appview.search.query import ANALYZER, EXACT_ANALYZER, clean

MAX_TEXT_BYTES = 100_000
"""Bytes of one text that are indexed. Lexicons bound names and descriptions far below."""

MAX_SIZE = 2**62
"""Samples above which no order is kept: positions in cursors have to fit 63 bits."""

LABELLED = 2**62
"""What a label adds to a `place`: more than any time in µs."""


def index_schema() -> Any:
    fields = tantivy.SchemaBuilder()
    fields.add_text_field("uri", stored=True, tokenizer_name="raw", index_option="basic")
    fields.add_text_field("name", stored=True, tokenizer_name=ANALYZER)
    for name in ("head", "text"):
        fields.add_text_field(name, tokenizer_name=ANALYZER)
    for name in ("exact", "name_exact", "head_exact"):
        fields.add_text_field(name, tokenizer_name=EXACT_ANALYZER, index_option="basic")
    # Kept for highlights; its words are in `text`.
    fields.add_bytes_field("description", stored=True)
    fields.add_text_field("name_key", tokenizer_name="raw", index_option="basic")
    # Filters, exact; fast for facets.
    for name in ("tag", "publisher", "license"):
        fields.add_text_field(name, tokenizer_name="raw", index_option="basic", fast=True)
    fields.add_text_field(
        "schema", stored=True, tokenizer_name="raw", index_option="basic", fast=True
    )
    for name in ("license_key", "collection"):
        fields.add_text_field(name, tokenizer_name="raw", index_option="basic")
    fields.add_unsigned_field("schema_key", indexed=True)
    fields.add_unsigned_field("first_seen", indexed=True, fast=True)
    for name in ("place", "size"):
        fields.add_unsigned_field(name, fast=True)
    return fields.build()


def index_document(document: SearchDocument, name_key: str) -> Any:
    name, description = _bounded(document.name), _bounded(document.description)
    tags = [_bounded(tag) for tag in document.tags]
    made = tantivy.Document()
    made.add_text("uri", document.uri)
    made.add_text("name", name)
    made.add_bytes("description", description.encode())
    for tag in dict.fromkeys(tags):
        made.add_text("tag", tag)
    made.add_text("name_exact", name)
    for text in (name, *tags):
        made.add_text("head", text)
        made.add_text("head_exact", text)
    for text in (name, description, *tags):
        made.add_text("text", text)
        made.add_text("exact", text)
    if name_key:
        made.add_text("name_key", name_key)
    made.add_text("schema", document.schema_uri)
    made.add_unsigned("schema_key", schema_key(document.schema_uri))
    made.add_text("publisher", document.did)
    made.add_text("collection", clean(document.uri.removeprefix("at://").split("/")[1]))
    if document.license:
        made.add_text("license", document.license)
        made.add_text("license_key", license_key(document.license))
    made.add_unsigned("first_seen", document.first_seen)
    made.add_unsigned("place", document.first_seen + LABELLED * document.labelled)
    made.add_unsigned("size", size(document.sample_count))
    return made


def schema_key(uri: str) -> int:
    """A schema as a number: of thousands at once, numbers are found several times faster."""
    return int.from_bytes(blake2b(clean(uri).encode(), digest_size=8).digest())


def license_key(name: str) -> str:
    """SPDX identifiers are the same in upper and lower case."""
    return clean(name).strip().casefold()


def size(samples: int | None) -> int:
    """0 where the number of samples is not stated, else one more than it."""
    return 0 if samples is None or samples < 0 else min(samples, MAX_SIZE) + 1


def _bounded(text: str) -> str:
    raw = clean(text).encode()
    return raw[:MAX_TEXT_BYTES].decode(errors="ignore")
