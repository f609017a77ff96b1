"""The fields of the search index, and the queries that put a hit into its rank.

`text` holds the words of name, description and tags, `head` those of name and tags: one walk
through one posting list a word, where a union of fields takes several. A gap of positions lies
between two texts of a field, so that no phrase spans them. The `exact` fields have the words as
they are written, for prefixes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tantivy
from tantivy import FieldType, Occur, Query

from atdex_appview.search_query import ANALYZER, EXACT_ANALYZER, ParsedQuery, Term, clean
from atdex_appview.store.base import SearchDocument

RANKS = (5, 4, 3, 2, 1)
"""Best first; their meaning is in `search`."""

LISTING_RANK = 0

MAX_TEXT_BYTES = 100_000
"""Bytes of one text that are indexed. Lexicons bound names and descriptions far below."""

PREFIX_HIGHLIGHTS = 50
"""Words that a prefix stands for in highlights; matching itself has no such bound."""


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
    # Filters, exact; fast, so that facets and other orders need no new format.
    for name in ("tag", "schema", "publisher", "license"):
        fields.add_text_field(name, tokenizer_name="raw", index_option="basic", fast=True)
    fields.add_unsigned_field("first_seen", indexed=True, fast=True)
    fields.add_unsigned_field("sample_count", fast=True)
    fields.add_unsigned_field("byte_count", fast=True)
    return fields.build()


def index_document(document: SearchDocument, name_key: str) -> Any:
    name, description = _bounded(document.name), _bounded(document.description)
    tags = [_bounded(tag) for tag in document.tags]
    made = tantivy.Document()
    made.add_text("uri", document.uri)
    made.add_text("name", name)
    made.add_bytes("description", description.encode())
    for tag in tags:
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
    made.add_text("publisher", document.did)
    if document.license is not None:
        made.add_text("license", document.license)
    made.add_unsigned("first_seen", document.first_seen)
    for field in ("sample_count", "byte_count"):
        count = getattr(document, field)
        if count is not None and count >= 0:
            made.add_unsigned(field, count)
    return made


@dataclass(frozen=True, slots=True)
class Filters:
    """What every hit must have, exactly: all the tags, this schema, this publisher (a DID)."""

    tags: tuple[str, ...] = ()
    schema: str | None = None
    publisher: str | None = None

    def clauses(self, schema: Any) -> list[Query]:
        wanted = [("tag", tag) for tag in self.tags]
        wanted += [
            (name, value)
            for name, value in (("schema", self.schema), ("publisher", self.publisher))
            if value is not None
        ]
        return [Query.term_query(schema, name, clean(value)) for name, value in wanted]


class RankedQuery:
    """A query as one question a rank. The questions of two ranks have no hit in common."""

    def __init__(self, schema: Any, parsed: ParsedQuery, filters: Filters) -> None:
        self._schema = schema
        self._terms = parsed.terms
        self._filters = filters.clauses(schema)
        self._conditions = self._rank_conditions(parsed) if parsed.terms else {}
        self.ranks: tuple[int, ...] = tuple(self._conditions) or (LISTING_RANK,)

    def all_hits(self) -> Query:
        """Matches what any rank does."""
        required = [self._anywhere(term) for term in self._terms] + self._filters
        return _all_of(required) if required else Query.all_query()

    def of_rank(self, rank: int, before: int | None) -> Query:
        """The hits of one rank, those with a lower `first_seen` than `before`."""
        clauses = [(Occur.Must, self.all_hits())]
        if rank != LISTING_RANK:
            clauses += [(Occur.Must, condition) for condition in self._conditions[rank]]
            for higher, conditions in self._conditions.items():
                if higher > rank:
                    clauses.append((Occur.MustNot, _all_of(conditions)))
        if before is not None:
            below = Query.range_query(
                self._schema,
                "first_seen",
                FieldType.Unsigned,
                upper_bound=before,
                include_upper=False,
            )
            clauses.append((Occur.Must, below))
        return Query.boolean_query(clauses)

    def marked(self, field: str, searcher: Any) -> Query:
        """Matches each word of the query in `field` by itself: what a highlight marks."""
        words = {word for term in self._terms if term.kind != "prefix" for word in term.words}
        for term in self._terms:
            if term.kind == "prefix":
                found = searcher.terms_with_prefix(field, term.words[0], limit=PREFIX_HIGHLIGHTS)
                words.update(word for word, _ in found)
        return Query.boolean_query(
            [(Occur.Should, self._term(field, word)) for word in sorted(words)]
        )

    def _rank_conditions(self, parsed: ParsedQuery) -> dict[int, list[Query]]:
        in_name = [self._in_name(term) for term in self._terms]
        ranks = {
            5: [self._term("name_key", parsed.key)],
            4: in_name,
            3: [self._in_head(term) for term in self._terms],
            2: [_any_of(in_name)],
            1: [],
        }
        if len(self._terms) == 1:
            # "One of them in the name" is all of them.
            del ranks[2]
        return ranks

    def _anywhere(self, term: Term) -> Query:
        return self._in(term, "text", "exact")

    def _in_head(self, term: Term) -> Query:
        return self._in(term, "head", "head_exact")

    def _in_name(self, term: Term) -> Query:
        return self._in(term, "name", "name_exact")

    def _in(self, term: Term, field: str, exact: str) -> Query:
        match term.kind:
            case "word":
                return self._term(field, term.words[0])
            case "prefix":
                # Folding to ASCII turns some letters into punctuation, which a pattern reads.
                pattern = f"{re.escape(term.words[0])}.*"
                return Query.regex_query(self._schema, exact, pattern)
            case "phrase":
                return Query.phrase_query(self._schema, field, list(term.words))

    def _term(self, field: str, word: str) -> Query:
        return Query.term_query(self._schema, field, word)


def _all_of(queries: Sequence[Query]) -> Query:
    if len(queries) == 1:
        return queries[0]
    return Query.boolean_query([(Occur.Must, query) for query in queries])


def _any_of(queries: Sequence[Query]) -> Query:
    if len(queries) == 1:
        return queries[0]
    return Query.boolean_query([(Occur.Should, query) for query in queries])


def _bounded(text: str) -> str:
    raw = clean(text).encode()
    return raw[:MAX_TEXT_BYTES].decode(errors="ignore")
