"""The boundary between the node and its record store.

`IndexStore` is what a backend implements: DuckDB today, anything that speaks
PostgreSQL's protocol tomorrow. Writes come from one writer; reads from any thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from atdex_lexicons.model import Kind, Model

Position = tuple[int, str]
"""Where a listing stopped: (first_seen in µs since the epoch, URI). Listings run newest first."""


@dataclass(frozen=True, slots=True)
class Publisher:
    """An account that the node knows. `handle` is None where none is claimed."""

    did: str
    handle: str | None
    pds: str | None = None
    active: bool = True
    status: str | None = None
    rev: str | None = None


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record as it is served: the signed bytes, their JSON form, and the node's own facts.

    `json` is the record in JSON form (`$link`, `$bytes`), ready to be spliced into an answer.
    Times are µs since the epoch.
    """

    uri: str
    cid: str
    rev: str
    did: str
    collection: str
    rkey: str
    kind: Kind
    conformance: str
    first_seen: int
    indexed_at: int
    json: bytes


@dataclass(frozen=True, slots=True)
class SchemaSummary:
    uri: str
    cid: str
    name: str
    version: str


@dataclass(frozen=True, slots=True)
class LabelSummary:
    uri: str
    name: str
    version: str | None


@dataclass(frozen=True, slots=True)
class VerificationSummary:
    uri: str
    verifier: str
    method: str
    lens_cid: str


@dataclass(frozen=True, slots=True)
class Put:
    """Store or replace a record. `raw` is its DAG-CBOR as signed."""

    uri: str
    did: str
    collection: str
    rkey: str
    cid: str
    kind: Kind
    conformance: str
    raw: bytes
    json: bytes
    model: Model


@dataclass(frozen=True, slots=True)
class Delete:
    uri: str


@dataclass(frozen=True, slots=True)
class RepoChange:
    """All that one commit changes; applied whole, and only if `rev` is newer than the repo's."""

    did: str
    rev: str
    changes: tuple[Put | Delete, ...]
    handle: str | None
    pds: str | None


@dataclass(frozen=True, slots=True)
class HandleChange:
    did: str
    handle: str | None
    pds: str | None


@dataclass(frozen=True, slots=True)
class StatusChange:
    """Hides (`active` false), restores (`active` true) or, with status `deleted`, removes."""

    did: str
    active: bool
    status: str | None


Change = RepoChange | HandleChange | StatusChange


@dataclass(frozen=True, slots=True)
class Applied:
    """What a batch did, in the words of the search index.

    `upserted` are URIs to (re)index, `removed` URIs to drop; disjoint.
    `stale` counts the commits that the rev guard passed over.
    """

    upserted: tuple[str, ...]
    removed: tuple[str, ...]
    stale: int


@dataclass(frozen=True, slots=True)
class SearchDocument:
    """What the search index needs of one visible dataset."""

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


class IndexStore(Protocol):
    """Reads return visible records only: not hidden, not removed."""

    def apply(self, changes: Sequence[Change], now: int) -> Applied:
        """Applies a batch in one transaction, in order. Idempotent; guarded by `rev`."""
        ...

    def records(self, uris: Sequence[str]) -> dict[str, StoredRecord]: ...

    def list_records(
        self,
        kind: Kind,
        *,
        publisher: str | None = None,
        schema: str | None = None,
        tag: str | None = None,
        name: str | None = None,
        source: str | None = None,
        target: str | None = None,
        dataset: str | None = None,
        limit: int,
        after: Position | None = None,
    ) -> list[StoredRecord]:
        """A page, newest first. Filters that do not fit the kind raise ValueError."""
        ...

    def resolve_label(self, did: str, name: str, version: str | None) -> StoredRecord | None:
        """The label record; without `version`, the newest by semver, then by creation."""
        ...

    def dataset_named(self, did: str, name: str) -> StoredRecord | None:
        """The newest visible dataset of that publisher with exactly that name."""
        ...

    def schema_summaries(self, uris: Sequence[str]) -> dict[str, SchemaSummary]: ...

    def labels_of(self, dataset_uris: Sequence[str]) -> dict[str, list[LabelSummary]]: ...

    def verifications_of(
        self, lens_uris: Sequence[str]
    ) -> dict[str, list[VerificationSummary]]: ...

    def publishers(self, dids: Sequence[str]) -> dict[str, Publisher]: ...

    def did_of_handle(self, handle: str) -> str | None: ...

    def search_documents(self, uris: Sequence[str] | None = None) -> list[SearchDocument]:
        """The documents of those datasets that are visible; all of them for None."""
        ...

    def counts(self) -> Mapping[Kind | Literal["publishers"], int]: ...

    def check(self) -> None:
        """Raises StoreUnavailable where the store cannot answer a trivial read."""
        ...

    def checkpoint(self) -> None: ...

    def close(self) -> None: ...
