"""Declarative lenses held against their schemas, as records come and go.

A lens that does not type-check is part of no path; its view says why. It is checked when it
arrives, when a schema that it names arrives or changes, and when one that their fields refer to
does. While one of those is not there, nothing is held against the lens: it is dangling, as in:
lens L from A to B, where a field of B refers to C, arrives with A and B: it waits for C; C arrives,
L is checked, and fits or does not.

What was found is kept in the store, with the CIDs that it is about, so that a restart checks
nothing again but what a kill has left unchecked: a batch is stored first and checked afterwards.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

import orjson

from atdex_appview.graph.facts import LensFact
from atdex_appview.nested import nesting, schema_model
from atdex_appview.store.base import IndexStore, StoredRecord
from atdex_appview.store.lens_checks import LensCheck
from atdex_appview.views import UNREADABLE
from atdex_lexicons.errors import Problem
from atdex_lexicons.families import project
from atdex_lexicons.fieldops_check import check_lens
from atdex_lexicons.model import FieldOps, Lens, Schema

PART = 200
"""Lenses read and checked at a time: with their schemas up to some hundred MB of records."""

SAVED = 2_000
"""Checks that are saved in one transaction: more than a batch of records has lenses."""

log = logging.getLogger(__name__)


class LensChecks:
    """One thread at a time."""

    def __init__(self, store: IndexStore) -> None:
        self._store = store
        self._wrong: set[str] = set()
        self._waiting: set[str] = set()
        self._nested: dict[str, tuple[str, ...]] = {}
        self._lenses_of: defaultdict[str, set[str]] = defaultdict(set)

    @property
    def wrong(self) -> Collection[str]:
        """The lenses that do not type-check."""
        return self._wrong

    @property
    def waiting(self) -> Collection[str]:
        """Those that cannot be checked before another schema is there."""
        return self._waiting

    def judged(self, lens: LensFact) -> LensFact:
        """The same lens, usable or not."""
        if lens.uri in self._wrong:
            return replace(lens, usable=False)
        if lens.uri in self._waiting:
            return replace(lens, usable=False, waiting=True)
        return lens

    def load(self) -> None:
        """What is kept of earlier checks, and the checks that are missing."""
        through = self._store.change_number()
        faulty = self._store.faulty_lenses()
        for uri, check in self._store.lens_checks(faulty).items():
            self._note(uri, check)
        stale: dict[str, None] = dict.fromkeys(self._store.unchecked_lenses())
        nested = self._store.nested_in_lenses()
        uris = list({uri for cids in nested.values() for uri in cids})
        now = {uri: schema.cid for uri, schema in self._store.schema_summaries(uris).items()}
        for lens, cids in nested.items():
            self._watch(lens, cids)
            if any(now.get(uri) != cid for uri, cid in cids.items()):
                stale[lens] = None
        self._check(list(stale), through)
        if stale:
            log.info("declarative lenses were checked", extra={"lenses": len(stale)})

    def follow(self, schemas: Collection[str], lenses: Collection[str], through: int) -> list[str]:
        """Checks what these records may have changed; returns the lenses that it looked at.

        `through`: the last batch of which all is checked then.
        """
        wanted: dict[str, None] = dict.fromkeys(lenses)
        if schemas:
            wanted.update(dict.fromkeys(self._store.lenses_naming(list(schemas))))
            for uri in schemas:
                wanted.update(dict.fromkeys(self._lenses_of.get(uri, ())))
        self._check(list(wanted), through)
        return list(wanted)

    def _check(self, uris: list[str], through: int) -> None:
        found: dict[str, LensCheck | None] = {}
        for start in range(0, len(uris), PART):
            part = uris[start : start + PART]
            checks: dict[str, LensCheck | None] = dict.fromkeys(part)
            checks.update(_checks(self._store, self._store.declarative_lenses(part)))
            for uri, check in checks.items():
                self._watch(uri, check.nested if check else ())
                self._note(uri, check)
            found.update(checks)
            if len(found) >= SAVED:
                self._store.save_lens_checks(found)
                found = {}
        self._store.save_lens_checks(found, through=through)

    def _note(self, lens: str, check: LensCheck | None) -> None:
        self._wrong.discard(lens)
        self._waiting.discard(lens)
        if check is not None and check.problems:
            (self._wrong if check.is_wrong else self._waiting).add(lens)

    def _watch(self, lens: str, schemas: Iterable[str]) -> None:
        for uri in self._nested.pop(lens, ()):
            self._lenses_of[uri].discard(lens)
            if not self._lenses_of[uri]:
                del self._lenses_of[uri]
        named = tuple(schemas)
        if named:
            self._nested[lens] = named
            for uri in named:
                self._lenses_of[uri].add(lens)


def _checks(store: IndexStore, uris: list[str]) -> Iterator[tuple[str, LensCheck]]:
    lenses = {}
    for uri, record in store.records(uris).items():
        lens = _lens(record)
        if lens is not None:
            lenses[uri] = (record, lens)
    ends = {end for _, lens in lenses.values() for end in (lens.source, lens.target)}
    records = store.records(list(ends))
    models = {
        uri: model
        for uri, record in records.items()
        if record.kind == "schema" and (model := schema_model(record)) is not None
    }
    for uri, (record, lens) in lenses.items():
        source, target = models.get(lens.source), models.get(lens.target)
        if source is None or target is None:
            continue
        inside = nesting(store, (source, target))
        yield (
            uri,
            LensCheck(
                record.cid,
                records[lens.source].cid,
                records[lens.target].cid,
                tuple(check_lens(lens, source, target, inside.schemas)),
                inside.cids,
            ),
        )


def lens_problems(store: IndexStore, lens: Lens) -> list[Problem]:
    """Why a lens that is not published yet would not type-check here; nothing where its schemas
    are not there."""
    ends: list[Schema] = []
    records = store.records([lens.source, lens.target])
    for uri in (lens.source, lens.target):
        record = records.get(uri)
        model = schema_model(record) if record is not None and record.kind == "schema" else None
        if model is None:
            return []
        ends.append(model)
    return check_lens(lens, ends[0], ends[1], nesting(store, ends).schemas)


def _lens(record: StoredRecord) -> Lens | None:
    """The lens in a record, where it is a declarative one that its family can read."""
    try:
        model = project(record.collection, orjson.loads(record.json))
    except UNREADABLE as failure:
        log.error("a stored lens cannot be read: %r", failure, extra={"uri": record.uri})
        return None
    if isinstance(model, Lens) and isinstance(model.getter, FieldOps):
        return model
    return None
