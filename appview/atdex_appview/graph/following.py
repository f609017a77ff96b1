"""Keeps the lens graph equal to the visible records of the store.

`load` reads everything once, at the start, before anything is served or written. After that
`follow` is called with each batch that the store has applied, in the order of the batches.

A batch says which records it may have touched, never what has become of them: the store's rev guard
passes over stale commits, and a batch may put a record, delete it and delete its account. So what
is told to the graph is read from the store, and telling it twice changes nothing. Example: a batch
puts lens L and hides its account; the store has no visible L; the graph drops L if it had it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from atdex_appview.graph.checking import LensChecks
from atdex_appview.graph.facts import (
    GraphChange,
    LensColumns,
    LensFact,
    SchemaFact,
    Verifiers,
)
from atdex_appview.graph.graph import LensGraph
from atdex_appview.store.base import Change, HandleChange, IndexStore, StatusChange
from atdex_appview.store.graph_rows import COLUMNS
from atdex_appview.store.schema import arrow_schema
from atdex_lexicons.families import collections as family_collections
from atdex_lexicons.families import kind_of
from atdex_lexicons.model import Kind

Usable = Callable[[LensFact], bool]
"""Says of a lens whether it may be part of a path."""

PART = 1000
"""Records told to the graph at a time: some 10 ms in which no path is answered."""


def any_lens(lens: LensFact) -> bool:
    """The test that every lens passes."""
    return True


class GraphFollower:
    """Tells a graph what the store has. One thread at a time.

    With `checks`, lenses are checked before the graph is told of them, and those with problems are
    left out of paths.
    """

    def __init__(
        self,
        store: IndexStore,
        graph: LensGraph,
        *,
        usable: Usable = any_lens,
        checks: LensChecks | None = None,
    ) -> None:
        if checks is not None and usable is not any_lens:
            raise ValueError("either checks say which lenses are usable, or another test")
        self._store = store
        self._graph = graph
        self._checks = checks
        self._usable = usable

    def load(self) -> None:
        """Fills the graph, which is empty. Raises StoreUnavailable."""
        if self._checks is not None:
            self._checks.load()
        schemas = (
            fact for part in self._store.graph_rows("schema") for fact in _schema_facts(part)
        )
        self._graph.load(
            schemas,
            _columns(list(self._store.graph_rows("lens")), self._usable, self._checks),
            _by_lens(self._store.verifiers()).items(),
        )

    def follow(self, changes: Sequence[Change], number: int | None = None) -> None:
        """Brings the graph to what the store has after these. `number` is the store's after them;
        None where it has been given nothing since. Raises StoreUnavailable.
        """
        uris: dict[Kind, dict[str, None]] = {"schema": {}, "lens": {}, "verification": {}}
        accounts: dict[str, None] = {}
        for change in changes:
            if isinstance(change, StatusChange):
                accounts[change.did] = None
            elif not isinstance(change, HandleChange):
                for op in change.changes:
                    kind = kind_of(op.uri.split("/", 4)[3])
                    if kind in uris:
                        uris[kind][op.uri] = None
        if accounts:
            self._add_accounts(list(accounts), uris)
        if self._checks is not None and (uris["schema"] or uris["lens"]):
            through = self._store.change_number() if number is None else number
            checked = self._checks.follow(uris["schema"], uris["lens"], through)
            uris["lens"].update(dict.fromkeys(checked))
        if any(uris.values()):
            self._refresh(**{kind: list(found) for kind, found in uris.items()})

    def recheck(self, lenses: Iterable[str]) -> None:
        """Asks again whether these lenses are usable. Raises StoreUnavailable."""
        self._refresh(schema=[], lens=list(lenses), verification=[])

    def _add_accounts(self, dids: list[str], uris: dict[Kind, dict[str, None]]) -> None:
        """All that the graph or the store has of an account: it was hidden, restored or removed."""
        for kind, found in uris.items():
            for part in self._store.graph_rows(kind, dids=dids):
                found.update(dict.fromkeys(part["uri"].to_pylist()))
        prefixes = [f"at://{did}/{nsid}/" for did in dids for nsid in family_collections()]
        schemas, lenses = self._graph.held(prefixes)
        uris["schema"].update(dict.fromkeys(schemas))
        uris["lens"].update(dict.fromkeys(lenses))
        for did in dids:
            uris["lens"].update(dict.fromkeys(self._graph.verified_by(did)))

    def _refresh(self, schema: list[str], lens: list[str], verification: list[str]) -> None:
        for part in _parts(schema):
            schemas: dict[str, SchemaFact | None] = dict.fromkeys(part)
            for rows in self._store.graph_rows("schema", uris=part):
                schemas.update((fact.uri, fact) for fact in _schema_facts(rows))
            self._graph.update(GraphChange(schemas=schemas))
        # What a verification is about now, and what it was about before.
        verified = {self._graph.verified_lens(uri): None for uri in verification}
        for part in _parts(verification):
            for rows in self._store.graph_rows("verification", uris=part):
                verified.update(dict.fromkeys(rows["lens_uri"].to_pylist()))
        about = [uri for uri in verified if uri is not None]
        told = set(lens)
        for part in _parts([*lens, *(uri for uri in about if uri not in told)]):
            lenses: dict[str, LensFact | None] = dict.fromkeys(uri for uri in part if uri in told)
            for rows in self._store.graph_rows("lens", uris=list(lenses)):
                lenses.update((fact.uri, fact) for fact in self._lens_facts(rows))
            verifiers: dict[str, Verifiers] = {key: {} for key in part}
            verifiers.update(_by_lens(self._store.verifiers(part)))
            self._graph.update(GraphChange(lenses=lenses, verifiers=verifiers))

    def _lens_facts(self, rows: pa.RecordBatch) -> Iterator[LensFact]:
        facts = _lens_facts(rows, self._usable)
        return facts if self._checks is None else map(self._checks.judged, facts)


def _parts(uris: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(uris), PART):
        yield uris[start : start + PART]


def _by_lens(rows: Iterable[tuple[str, str, str]]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for lens, verification, did in rows:
        found.setdefault(lens, {})[verification] = did
    return found


def _schema_facts(rows: pa.RecordBatch) -> Iterator[SchemaFact]:
    columns = (rows[name].to_pylist() for name in ("uri", "name", "version", "first_seen"))
    return map(SchemaFact, *columns)


_LENS_SCHEMA = pa.schema(
    [(name, arrow_schema("lens").field(name).type) for name in COLUMNS["lens"]]
)
_LENS_COLUMNS = (
    "uri",
    "source",
    "target",
    "first_seen",
    "source_version",
    "target_version",
    "declarative",
)


def _lens_facts(rows: pa.RecordBatch, usable: Usable) -> Iterator[LensFact]:
    columns = [rows[name].to_pylist() for name in _LENS_COLUMNS]
    for values in zip(*columns, strict=True):
        fact = LensFact(*values)
        yield fact if usable(fact) else replace(fact, usable=False)


def _columns(parts: list[pa.RecordBatch], usable: Usable, checks: LensChecks | None) -> LensColumns:
    rows = pa.Table.from_batches(parts, _LENS_SCHEMA)
    column = {name: rows[name].combine_chunks() for name in rows.column_names}
    repos = pc.binary_join_element_wise(
        "at:/", column["did"], column["collection"], "", "/"
    ).dictionary_encode()
    usables = np.ones(rows.num_rows, np.bool_)
    waiting = None
    if checks is not None:
        waiting = _among(column["uri"], checks.waiting)
        usables = ~(waiting | _among(column["uri"], checks.wrong))
    elif usable is not any_lens:
        facts = (fact for part in parts for fact in _lens_facts(part, usable))
        usables = np.fromiter((fact.usable for fact in facts), np.bool_, rows.num_rows)
    return LensColumns(
        prefixes=repos.dictionary.to_pylist(),
        prefix_codes=repos.indices.to_numpy(),
        rkeys=column["rkey"],
        source=column["source"],
        target=column["target"],
        source_version=column["source_version"],
        target_version=column["target_version"],
        declarative=column["declarative"].to_numpy(zero_copy_only=False),
        usable=usables,
        first_seen=column["first_seen"].to_numpy(),
        waiting=waiting,
    )


def _among(uris: pa.StringArray, some: Collection[str]) -> NDArray[np.bool_]:
    found = pc.is_in(uris, pa.array(list(some), pa.string()))
    return np.asarray(found.to_numpy(zero_copy_only=False), np.bool_)
