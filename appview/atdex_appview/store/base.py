"""The boundary between the node and its record store.

`IndexStore` is what a backend implements: DuckDB today, anything that speaks
PostgreSQL's protocol tomorrow. Writes come from one writer; reads from any thread.

Order: every record has a `first_seen` of its own within the store (the clock, or one µs past
the last one given), it never changes when the record is updated, and listings run by it.
So a page that continues after a position neither repeats nor leaves out a record that was
there all the time, whatever is inserted, updated or deleted between pages.

What is made for every record is a NamedTuple: a frozen dataclass of its size takes five times as
long (1.4 for 0.3 µs).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import pyarrow as pa

from atdex_appview.search.document import SearchDocument
from atdex_appview.store.columns import Values
from atdex_appview.store.lens_checks import LensCheck
from atdex_lexicons.model import Kind

if TYPE_CHECKING:
    from atdex_appview.store.rereading import HeldRecord

Position = tuple[int, str]
"""Where a listing stopped: (first_seen in µs since the epoch, URI). Listings run newest first."""


class Publisher(NamedTuple):
    """An account that the node knows.

    `handle` is the verified one, `handle.invalid` where the claimed one failed, and None where
    none is claimed or checked yet.
    """

    did: str
    handle: str | None
    pds: str | None = None
    active: bool = True
    status: str | None = None
    rev: str | None = None


class DatasetSummary(NamedTuple):
    """What a view says of a dataset that is not in its record as it stands."""

    schema_uri: str
    shards: int
    checksummed: bool


class StoredRecord(NamedTuple):
    """A record as it is served: the signed bytes, their JSON form, and the node's own facts.

    `json` is the record in JSON form (`$link`, `$bytes`), ready to be spliced into an answer.
    Times are µs since the epoch. `verified` is False where no signature stands behind it.
    `summary` is a dataset's.
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
    verified: bool = True
    summary: DatasetSummary | None = None


class SchemaSummary(NamedTuple):
    uri: str
    cid: str
    name: str
    version: str


class LabelSummary(NamedTuple):
    uri: str
    name: str
    version: str | None


class VerificationSummary(NamedTuple):
    uri: str
    verifier: str
    method: str
    lens_cid: str


class Put(NamedTuple):
    """Store or replace a record. `raw` is its DAG-CBOR as signed.

    `created_at` is when it says that it was made (µs since the epoch), `values` are its typed
    columns (`columns.values_of`). `created` says that the commit created the record: a hint that
    saves a look-up, never trusted (a replay creates what is already there).
    """

    uri: str
    did: str
    collection: str
    rkey: str
    cid: str
    kind: Kind
    conformance: str
    raw: bytes
    json: bytes
    created_at: int | None
    values: Values
    created: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a record.

    `keep_place`: the record left because its new version is invalid; if a valid one follows,
    it takes its old place in the listings. A true delete forgets the place.
    """

    uri: str
    keep_place: bool = False


@dataclass(frozen=True, slots=True)
class RepoChange:
    """Changes to the records of one repo at one rev, applied whole or passed over as old.

    - A `live` and `verified` commit is all that changed at `rev`: applied where `rev` is newer
      than the last commit's.
    - `live` and not `verified`: a part of a commit. Not `live`: a part of a repo that was fetched
      whole at `rev`. The other parts have the same `rev`, so each is applied where it is older
      neither than the last commit nor than the repo as it was fetched last. While the account is
      deleted it has to be newer: a replay must not bring back what went with the account.
    - What was fetched does not count as a commit: those up to `rev` may still come, because a
      repo of which some parts are missing is fetched again. Until the last of them has, a record
      may be at an older version again; the parts, where they are repeated, mend that too.
    """

    did: str
    rev: str
    changes: tuple[Put | Delete, ...]
    handle: str | None
    pds: str | None
    live: bool = True
    verified: bool = True


@dataclass(frozen=True, slots=True)
class Reread:
    """Records of one account read anew from what is held of them, or kept aside of them.

    Nothing was published: no rev is looked at, `revs` are those of the versions that were read, by
    URI. Whoever submits it sees to it that no other change of these records is under way. A `Put`
    replaces what was derived of the version that is held, in its place; a `Delete` keeps the place.
    `verified`: a signature stands behind them; False leaves what is known of what is held.
    """

    did: str
    changes: tuple[Put | Delete, ...]
    revs: Mapping[str, str]
    verified: bool = False


@dataclass(frozen=True, slots=True)
class HandleChange:
    did: str
    handle: str | None
    pds: str | None


@dataclass(frozen=True, slots=True)
class StatusChange:
    """Hides (`active` false), restores (`active` true) or, with status `deleted`, removes.

    `at` is when it was said, in µs since the epoch; 0 is unknown, and always new. A change that
    is older than the last one of the account, or that one again, is passed over: a replayed
    deletion does not take what was written since.
    """

    did: str
    active: bool
    status: str | None
    at: int = 0


Change = RepoChange | Reread | HandleChange | StatusChange


@dataclass(slots=True)
class RecordEvent:
    """What a batch made of one record. To be read, not changed.

    `raw` and `conformance` are None for a delete; `raw` also while the account is not active: its
    records are not served.
    """

    did: str
    rev: str
    collection: str
    rkey: str
    action: Literal["create", "update", "delete"]
    cid: str | None = None
    raw: bytes | None = None
    conformance: str | None = None


@dataclass(frozen=True, slots=True)
class AccountEvent:
    """An account's records were hidden, shown again or removed (status `deleted`)."""

    did: str
    active: bool
    status: str | None = None


StoreEvent = RecordEvent | AccountEvent


class Journal(Protocol):
    """Is told what every batch did. For the writer's thread.

    `prepare` is called before the batch is committed, then either `committed` or `take_back`.
    Where the process is killed in between, whether the batch is there is what `change_number`
    says at the next start.
    """

    def prepare(self, change: int, events: Sequence[StoreEvent], now: int) -> None:
        """`change` is the number that the store is about to reach. Raising prevents that."""
        ...

    def committed(self) -> None: ...

    def take_back(self) -> None:
        """Nothing, where nothing was prepared."""
        ...


@dataclass(frozen=True, slots=True)
class Applied:
    """What a batch did, in the words of the search index.

    `number` is the change number that the store has reached: it grows by one with each batch
    that changed something. `upserted` are the visible datasets to (re)index, `removed` the
    URIs to drop; disjoint. `stale` counts the commits that the rev guard passed over.
    """

    number: int
    upserted: tuple[SearchDocument, ...]
    removed: tuple[str, ...]
    stale: int


class IndexStore(Protocol):
    """Reads return visible records only: not hidden, not removed.

    Any method may raise StoreUnavailable.
    """

    def apply(self, changes: Sequence[Change], now: int) -> Applied:
        """Applies a batch in one transaction, in order. Idempotent; guarded by `rev`.

        `now` is µs since the epoch. When this returns, the batch survives a kill.
        """
        ...

    def tell(self, journal: Journal) -> None:
        """From here on, `journal` is told of every batch that changes something.

        Events of one batch: accounts that are shown again or removed, then records as the last
        word on each of them was, then accounts that are hidden.
        """
        ...

    def change_number(self) -> int:
        """The number of the last batch that changed something; 0 for an empty store."""
        ...

    def changed_since(self, number: int) -> Applied:
        """What a search index that has applied up to `number` has missed."""
        ...

    def forget_removed(self, number: int) -> None:
        """The search index has durably applied up to `number`: older removals need no memory."""
        ...

    def knows(self, did: str) -> bool:
        """Whether a commit or status of this account was ever applied."""
        ...

    def records(self, uris: Sequence[str]) -> dict[str, StoredRecord]: ...

    def datasets_seen(self, times: Sequence[int]) -> dict[str, StoredRecord]:
        """The visible datasets that were first seen then, by URI: `records` in half the time."""
        ...

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
        collection: str | None = None,
        limit: int,
        after: Position | None = None,
    ) -> list[StoredRecord]:
        """A page, newest first, filters ANDed. One that does not fit the kind raises ValueError.

        `publisher` is a DID; `schema`, `source`, `target` and `dataset` are AT-URIs; `tag`,
        `name` and `collection` match exactly.
        """
        ...

    def resolve_label(self, did: str, name: str, version: str | None) -> StoredRecord | None:
        """The label record; without `version`, the newest by semver, then by creation."""
        ...

    def schema_summaries(self, uris: Sequence[str]) -> dict[str, SchemaSummary]: ...

    def labels_of(self, dataset_uris: Sequence[str]) -> dict[str, list[LabelSummary]]:
        """The labels that a dataset's own publisher gave it, highest version first, bounded."""
        ...

    def verifications_of(self, lens_uris: Sequence[str]) -> dict[str, list[VerificationSummary]]:
        """What verifiers (anyone) said of a lens, newest first, bounded."""
        ...

    def publishers(self, dids: Sequence[str]) -> dict[str, Publisher]: ...

    def did_of_handle(self, handle: str) -> str | None:
        """The active account that the handle was verified for last.

        Two are possible only while a handle moves: the one before is yet to be checked again.
        """
        ...

    def all_search_documents(self) -> Iterator[SearchDocument]:
        """The document of every visible dataset, as of one moment, a part at a time."""
        ...

    def cids_of(self, did: str) -> dict[str, str]:
        """The CID of every record that is held of the account, by its path, visible or not; empty
        where no signature stands behind the record."""
        ...

    def all_uris(self) -> Iterator[str]:
        """The URI of every record that is held, visible or not, a part at a time."""
        ...

    def graph_rows(
        self,
        kind: Kind,
        *,
        uris: Sequence[str] | None = None,
        dids: Sequence[str] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """What the lens graph needs of the visible records of a kind, see `graph_rows.COLUMNS`.

        All of them, or those of `uris`, or those of the accounts `dids`; in no order.
        """
        ...

    def verifiers(self, lens_uris: Sequence[str] | None = None) -> list[tuple[str, str, str]]:
        """(lens, verification, DID that verified) of lenses at their present CID; all visible."""
        ...

    def lens_checks(self, lens_uris: Sequence[str]) -> dict[str, LensCheck]:
        """What was found when these declarative lenses were checked; none of those that were not.

        See `graph.checking`, which keeps it: the store derives nothing from it.
        """
        ...

    def save_lens_checks(
        self, checks: Mapping[str, LensCheck | None], *, through: int | None = None
    ) -> None:
        """Keeps what was found, None for nothing any more. For the one writer, beside `apply`.

        `through`: with these, all is checked that the batches up to this one have brought.
        """
        ...

    def declarative_lenses(self, lens_uris: Sequence[str]) -> list[str]:
        """Those of them that are visible, and declarative."""
        ...

    def faulty_lenses(self) -> list[str]:
        """The lenses of whose check problems are kept."""
        ...

    def nested_in_lenses(self) -> dict[str, dict[str, str | None]]:
        """The `nested` of every check that has one."""
        ...

    def unchecked_lenses(self) -> list[str]:
        """The declarative lenses that may have been checked as they were before, or not at all."""
        ...

    def lenses_naming(self, schema_uris: Sequence[str]) -> list[str]:
        """The declarative lenses with one of these schemas as source or target."""
        ...

    def counts(self) -> Mapping[Kind | Literal["publishers"], int]: ...

    def collection_counts(self) -> Mapping[str, int]:
        """Visible records of each collection, from counters like `counts`."""
        ...

    def held_page(self, kind: Kind, *, after: int, upto: int, limit: int) -> Sequence[HeldRecord]:
        """Records that are held, visible or not, by `first_seen`, from behind `after` up to
        `upto`."""
        ...

    def held_span(self, kind: Kind) -> tuple[int, int]:
        """How many records of a kind are held, and the highest `first_seen` among them."""
        ...

    def refresh_rows(self, uris: Sequence[str]) -> None:
        """Makes anew whatever the store keeps twice of these records, for the one writer."""
        ...

    def documents_of(self, uris: Sequence[str]) -> Sequence[SearchDocument]:
        """The search documents of datasets that are known to be visible."""
        ...

    def check(self) -> None:
        """Raises StoreUnavailable where the store cannot answer a trivial read."""
        ...

    def checkpoint(self) -> bool:
        """Shortens what a restart has to replay; False where a reader is in the way."""
        ...

    def close(self) -> None: ...
