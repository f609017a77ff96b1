"""What every hit of a search must have, exactly. All filters must fit."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from tantivy import FieldType, Query

from atdex_appview.search.fields import MAX_SIZE, license_key, schema_key, size
from atdex_appview.search.query import clean

MAX_MOMENT = 2**62 - 1
"""The last µs since the epoch that the index tells apart."""


@dataclass(frozen=True, slots=True)
class SchemaSet:
    """Any of these schemas. Two sets are equal by their `key`, whatever they hold."""

    key: Hashable
    uris: tuple[str, ...] = field(compare=False)


@dataclass(frozen=True, slots=True)
class Filters:
    """All the tags, one schema, a publisher (a DID), a licence in upper or lower case.

    `min_samples` and `max_samples` are inclusive, and leave out datasets that state no number.
    `since` is inclusive, `until` is not: µs since the epoch, of the moment at which the node first
    saw the dataset. `schemas`: its schema is one of them. `uris`: it is one of these datasets.
    `collection`: its record is in that one.
    """

    tags: tuple[str, ...] = ()
    schema: str | None = None
    publisher: str | None = None
    license: str | None = None
    min_samples: int | None = None
    max_samples: int | None = None
    since: int | None = None
    until: int | None = None
    schemas: SchemaSet | None = None
    uris: tuple[str, ...] | None = None
    collection: str | None = None

    def clauses(self, fields: Any) -> list[Query]:
        """`fields` is the schema of the index."""
        wanted = [("tag", tag) for tag in dict.fromkeys(self.tags)]
        if self.schema is not None:
            wanted.append(("schema", self.schema))
        if self.publisher is not None:
            wanted.append(("publisher", self.publisher))
        if self.license is not None:
            wanted.append(("license_key", license_key(self.license)))
        if self.collection is not None:
            wanted.append(("collection", self.collection))
        made = [Query.term_query(fields, name, clean(value)) for name, value in wanted]
        if self.min_samples is not None or self.max_samples is not None:
            low, high = size(self.min_samples or 0), self.max_samples
            made.append(between(fields, "size", low, MAX_SIZE + 2 if high is None else high + 2))
        if self.since is not None or self.until is not None:
            until = MAX_MOMENT if self.until is None else self.until
            made.append(between(fields, "first_seen", self.since or 0, until))
        if self.schemas is not None:
            keys = [schema_key(uri) for uri in self.schemas.uris]
            made.append(Query.term_set_query(fields, "schema_key", keys))
        if self.uris is not None:
            made.append(Query.term_set_query(fields, "uri", [clean(uri) for uri in self.uris]))
        return made


NO_FILTERS = Filters()


def between(fields: Any, name: str, low: int, high: int) -> Query:
    """The values of a number from `low` up to `high`, which is left out."""
    low, high = max(low, 0), min(max(high, 0), 2**63)
    if low >= high:
        return Query.empty_query()
    return Query.range_query(
        fields, name, FieldType.Unsigned, lower_bound=low, upper_bound=high, include_upper=False
    )
