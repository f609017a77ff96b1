"""The references of a record: do they lead to what they should?"""

from __future__ import annotations

from collections.abc import Iterator

from atdex_appview.lookup import NOUNS, canonical_uri
from atdex_appview.store.base import IndexStore
from atdex_lexicons.errors import Problem
from atdex_lexicons.model import (
    Dataset,
    Field,
    FieldType,
    Kind,
    Label,
    Lens,
    ListOf,
    MapOf,
    Model,
    Nested,
    Record,
    Schema,
    Verification,
)
from atdex_xrpc.errors import InvalidRequest

MAX_REFERENCES = 100
"""References of one record that are looked up: more than any real schema nests."""


def check_references(
    store: IndexStore, model: Model
) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """(references to records of a wrong kind, references to records that are not indexed here).

    A problem's path is the model's name of the field, which is the same in every family.
    """
    wrong: list[Problem] = []
    unknown: list[Problem] = []
    wanted: list[tuple[str, str, Kind]] = []
    for path, text, kind in _references(model):
        if len(wanted) == MAX_REFERENCES:
            break
        try:
            wanted.append((path, canonical_uri(store, text, parameter=path), kind))
        except InvalidRequest as unusable:
            unknown.append(Problem(f"/{path}", unusable.message))
    found = store.records(list(dict.fromkeys(uri for _, uri, _ in wanted)))
    for path, uri, kind in wanted:
        record = found.get(uri)
        if record is None:
            unknown.append(Problem(f"/{path}", f"{uri} is not indexed here (yet)"))
        elif record.kind != kind:
            wrong.append(Problem(f"/{path}", f"{uri} is {NOUNS[record.kind]}, not {NOUNS[kind]}"))
    return tuple(wrong), tuple(unknown)


def _references(model: Model) -> Iterator[tuple[str, str, Kind]]:
    match model:
        case Schema(fields=fields):
            for path, uri in _nested(fields):
                yield path, uri, "schema"
        case Dataset(schema_uri=uri, previous_version=previous):
            yield "schemaRef", uri, "schema"
            if previous is not None:
                yield "previousVersion", previous, "dataset"
        case Lens(source=source, target=target):
            yield "sourceSchema", source, "schema"
            yield "targetSchema", target, "schema"
        case Label(dataset_uri=uri):
            yield "datasetUri", uri, "dataset"
        case Verification(lens_uri=uri):
            yield "lens", uri, "lens"


def _nested(fields: tuple[Field, ...]) -> Iterator[tuple[str, str]]:
    # The catalog bounds the nesting of a record's value, and with it that of its model.
    pending: list[tuple[str, FieldType]] = [(f"fields/{f.name}", f.type) for f in fields]
    while pending:
        path, type_ = pending.pop()
        match type_:
            case Nested(schema_uri=uri):
                yield path, uri
            case ListOf(items=items):
                pending.append((path, items))
            case MapOf(values=values):
                pending.append((path, values))
            case Record(fields=inner):
                pending.extend((f"{path}/{f.name}", f.type) for f in inner)
