"""The references of a record: do they lead to what they should?"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice

from atdex_appview.lookup import NOUNS, canonical_uri
from atdex_appview.store.base import IndexStore
from atdex_lexicons.compare import nested_uris
from atdex_lexicons.errors import Problem, step_path
from atdex_lexicons.model import (
    Dataset,
    Kind,
    Label,
    Lens,
    Model,
    Schema,
    Verification,
)
from atdex_xrpc.errors import InvalidRequest

MAX_REFERENCES = 100
"""References of one record that are looked up: more than any real schema nests."""


def check_references(
    store: IndexStore, model: Model, record: object
) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """(references to records of a wrong kind, references to records that are not indexed here).

    `record` is what `model` was read from, in JSON form: a problem's path is where it has the
    URI.
    """
    wanted = dict(islice(_references(model), MAX_REFERENCES))
    paths = _paths(record, wanted.keys())
    wrong: list[Problem] = []
    unknown: list[Problem] = []
    keys: dict[str, str] = {}
    for text in wanted:
        try:
            keys[text] = canonical_uri(store, text)
        except InvalidRequest as unusable:
            unknown.append(Problem(paths.get(text, ""), unusable.message))
    found = store.records(list(dict.fromkeys(keys.values())))
    for text, key in keys.items():
        target = found.get(key)
        path, kind = paths.get(text, ""), wanted[text]
        if target is None:
            unknown.append(Problem(path, f"{key} is not indexed here (yet)"))
        elif target.kind != kind:
            wrong.append(Problem(path, f"{key} is {NOUNS[target.kind]}, not {NOUNS[kind]}"))
    return tuple(wrong), tuple(unknown)


def _paths(record: object, texts: Collection[str]) -> dict[str, str]:
    """Where each of the texts is first in a record. Its nesting was bounded when it was checked."""
    paths: dict[str, str] = {}
    pending: list[tuple[str, object]] = [("", record)]
    while pending:
        path, value = pending.pop()
        if isinstance(value, str) and value in texts:
            paths[value] = path
        elif isinstance(value, dict):
            pending += [(path + step_path(key), value[key]) for key in reversed(value)]
        elif isinstance(value, list):
            pending += [(path + step_path(n), value[n]) for n in reversed(range(len(value)))]
    return paths


def _references(model: Model) -> Iterator[tuple[str, Kind]]:
    match model:
        case Schema(fields=fields):
            for uri in nested_uris(fields):
                yield uri, "schema"
        case Dataset(schema_uri=uri, previous_version=previous):
            yield uri, "schema"
            if previous is not None:
                yield previous, "dataset"
        case Lens(source=source, target=target):
            yield source, "schema"
            yield target, "schema"
        case Label(dataset_uri=uri):
            yield uri, "dataset"
        case Verification(lens_uri=uri):
            yield uri, "lens"
