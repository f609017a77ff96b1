"""Record families: which record types are indexed, and what model each record maps to.

A record is first held against its lexicon as it is. Where it fails, its family may bring a copy
into the lexicon's form by the dialects that it knows; that copy is held against the same lexicon,
so that a dialect never hides another fault, and what is still wrong is reported with the paths
of the original. The record itself is never changed.

To add a family: its documents, one module with a `base.Family`, and its place in `FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atdex_lexicons.catalog import Catalog
from atdex_lexicons.checks import PROBLEMS_MAX
from atdex_lexicons.errors import InvalidRecord, NotRepresentable, Problem, UnknownLexicon
from atdex_lexicons.model import Kind, Model

from .app_bsky_atdata import FAMILY as APP_BSKY_ATDATA
from .base import Family, Rewritten
from .science_alt_dataset import FAMILY as SCIENCE_ALT_DATASET

__all__ = [
    "FAMILIES",
    "VALID",
    "Checked",
    "Family",
    "NotRepresentable",
    "check_record",
    "collections",
    "dialects_of",
    "family_of",
    "kind_of",
    "project",
    "to_record",
]

FAMILIES: tuple[Family, ...] = (SCIENCE_ALT_DATASET, APP_BSKY_ATDATA)

VALID = "valid"
"""The conformance of a record that keeps to its lexicon to the letter."""

_FAMILY_OF = {nsid: family for family in FAMILIES for nsid in family.kinds}
_DIALECT = "dialect:"


@dataclass(frozen=True, slots=True)
class Checked:
    """An accepted record. `conformance` is `valid`, or `dialect:` and names joined by `+`."""

    kind: Kind
    conformance: str
    model: Model


def collections() -> tuple[str, ...]:
    """The NSIDs of all record types of all families, in the families' order."""
    return tuple(_FAMILY_OF)


def family_of(collection: str) -> Family | None:
    """The family that a record type belongs to."""
    return _FAMILY_OF.get(collection)


def kind_of(collection: str) -> Kind | None:
    """The kind of model that records of this type map to."""
    family = _FAMILY_OF.get(collection)
    return None if family is None else family.kinds[collection]


def dialects_of(conformance: str) -> tuple[str, ...]:
    """The names of the dialects in a `conformance`; none where it is `valid`."""
    names = conformance.removeprefix(_DIALECT)
    return () if names == conformance else tuple(names.split("+"))


def check_record(catalog: Catalog, collection: str, rkey: str | None, value: object) -> Checked:
    """The model of a record in either form, and how it keeps to its lexicon.

    `rkey` is checked where it is given. Raises `InvalidRecord` with everything that is wrong,
    `UnknownLexicon` where no family has this collection.
    """
    family, kind = _place(collection)
    rewritten = None
    if isinstance(value, dict) and family.breaks(kind, value):
        rewritten = family.rewrite(kind, value)
    if rewritten is None:
        try:
            catalog.validate_record(value, collection=collection, rkey=rkey)
        except InvalidRecord:
            rewritten = family.rewrite(kind, value) if isinstance(value, dict) else None
            if rewritten is None:
                raise
    if rewritten is not None:
        _check_shadow(catalog, collection, rkey, rewritten)
    assert isinstance(value, dict)
    record = value if rewritten is None else rewritten.record
    problems: list[Problem] = []
    model = family.read(kind, record, problems)
    if problems:
        if len(problems) > PROBLEMS_MAX:
            more = Problem("", f"more problems than the {PROBLEMS_MAX} listed")
            problems = [*problems[:PROBLEMS_MAX], more]
        if rewritten is not None:
            problems = [rewritten.original(problem) for problem in problems]
        raise InvalidRecord(collection, problems)
    found = family.marks(kind, record)
    if rewritten is not None:
        found |= rewritten.dialects
    return Checked(kind, _conformance(family, found), model)


def project(collection: str, value: Mapping[str, Any]) -> Model:
    """The model of a record that `check_record` has accepted before, without checking it again.

    Raises `InvalidRecord` or a lookup error on anything else, `UnknownLexicon` where no family
    has this collection.
    """
    family, kind = _place(collection)
    rewritten = family.rewrite(kind, value)
    problems: list[Problem] = []
    model = family.read(kind, value if rewritten is None else rewritten.record, problems)
    if problems:
        raise InvalidRecord(collection, problems)
    return model


def to_record(model: Model, family: str = SCIENCE_ALT_DATASET.name) -> dict[str, Any]:
    """The record of a model, in JSON form, for publishing.

    It has the lexicon's shape; the lexicon's limits are checked by `check_record`. Raises
    `NotRepresentable` where the family has no way to say what the model says, `UnknownLexicon`
    where there is no such family.
    """
    for known in FAMILIES:
        if known.name == family:
            return known.write(model)
    raise UnknownLexicon(family, "family of records")


def _place(collection: str) -> tuple[Family, Kind]:
    family = _FAMILY_OF.get(collection)
    if family is None:
        raise UnknownLexicon(collection, "record type of a known family")
    return family, family.kinds[collection]


def _check_shadow(
    catalog: Catalog, collection: str, rkey: str | None, rewritten: Rewritten
) -> None:
    try:
        catalog.validate_record(dict(rewritten.shadow), collection=collection, rkey=rkey)
    except InvalidRecord as error:
        problems = [rewritten.original(problem) for problem in error.problems]
        raise InvalidRecord(collection, problems) from None


def _conformance(family: Family, found: frozenset[str]) -> str:
    if not found:
        return VALID
    return _DIALECT + "+".join(name for name in family.dialects if name in found)
