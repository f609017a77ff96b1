"""Views: stored records as the JSON that the node serves.

The record itself is spliced in as it is stored, never decoded and encoded again. A stored record
that its family can no longer read is left out of a list, with a line in the log: one bad row must
not take a whole answer down.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, TypeVar

import orjson

from atdex_appview.store.base import IndexStore, Publisher, StoredRecord
from atdex_appview.store.lens_checks import LensCheck
from atdex_lexicons.errors import LexiconsError
from atdex_lexicons.families import project
from atdex_lexicons.model import CodeReference, Dataset, FieldOps, Label, Lens, PythonCode, Schema

log = logging.getLogger(__name__)

View = dict[str, Any]
M = TypeVar("M", Schema, Dataset, Lens, Label)

UNREADABLE = (LexiconsError, LookupError, TypeError, ValueError, AttributeError)
"""What a family raises on JSON that it has never accepted: it does not check types again."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def dataset_views(store: IndexStore, records: Sequence[StoredRecord]) -> list[View]:
    """`#datasetView` of each, in order. Three reads of the store, however many records."""
    rows = [(record, record.summary) for record in records if record.summary is not None]
    publishers = _publishers(store, records)
    schemas = store.schema_summaries(list({summary.schema_uri for _, summary in rows}))
    labels = store.labels_of([record.uri for record, _ in rows])
    views = []
    for record, summary in rows:
        view = _common(record, publishers)
        schema = schemas.get(summary.schema_uri)
        if schema is not None:
            view["schema"] = {
                "uri": schema.uri,
                "cid": schema.cid,
                "name": schema.name,
                "version": schema.version,
            }
        view["shardCount"] = summary.shards
        view["checksummed"] = summary.checksummed
        view["labels"] = [
            _given(uri=label.uri, name=label.name, version=label.version)
            for label in labels.get(record.uri, ())
        ]
        views.append(view)
    return views


def schema_views(store: IndexStore, records: Sequence[StoredRecord]) -> list[View]:
    """`#schemaView` of each, in order."""
    publishers = _publishers(store, records)
    return [
        _common(record, publishers) | {"name": model.name, "version": model.version}
        for record, model in _read(records, Schema)
    ]


def lens_views(store: IndexStore, records: Sequence[StoredRecord]) -> list[View]:
    """`#lensView` of each, in order.

    A verification is about one version of a lens, so those of another CID are left out, as is a
    check.
    """
    publishers = _publishers(store, records)
    uris = [record.uri for record in records]
    verifications = store.verifications_of(uris)
    lenses = list(_read(records, Lens))
    declarative = [record.uri for record, model in lenses if isinstance(model.getter, FieldOps)]
    checks = store.lens_checks(declarative) if declarative else {}
    return [
        _common(record, publishers)
        | {
            "code": _code_word(model),
            "source": model.source,
            "target": model.target,
            "verifications": [
                {"uri": v.uri, "verifier": v.verifier, "method": v.method}
                for v in verifications.get(record.uri, ())
                if v.lens_cid == record.cid
            ],
        }
        | _check_view(record, model, checks.get(record.uri))
        for record, model in lenses
    ]


def label_views(store: IndexStore, records: Sequence[StoredRecord]) -> list[View]:
    """`#labelView` of each, in order."""
    publishers = _publishers(store, records)
    return [
        _common(record, publishers)
        | _given(name=model.name, version=model.version, dataset=model.dataset_uri)
        for record, model in _read(records, Label)
    ]


def datetime_text(micros: int) -> str:
    """µs since the epoch as a lexicon datetime in UTC."""
    seconds, rest = divmod(micros, 1_000_000)
    return f"{_second_text(seconds)}.{rest:06}Z"


@lru_cache(4096)
def _second_text(seconds: int) -> str:
    """Records come in crowds, and a page shows two times of each."""
    moment = _EPOCH + timedelta(seconds=seconds)
    return moment.isoformat(timespec="seconds").removesuffix("+00:00")


def _read(records: Sequence[StoredRecord], expected: type[M]) -> Iterator[tuple[StoredRecord, M]]:
    for record in records:
        try:
            model = project(record.collection, orjson.loads(record.json))
        except UNREADABLE as failure:
            log.error("left out a stored record: %r", failure, extra={"uri": record.uri})
            continue
        if isinstance(model, expected):
            yield record, model
        else:
            log.warning("left out a record of another kind", extra={"uri": record.uri})


def _publishers(store: IndexStore, records: Sequence[StoredRecord]) -> dict[str, Publisher]:
    return store.publishers(sorted({record.did for record in records}))


def _common(record: StoredRecord, publishers: dict[str, Publisher]) -> View:
    known = publishers.get(record.did)
    view: View = {
        "uri": record.uri,
        "cid": record.cid,
        "rev": record.rev,
        "publisher": _given(did=record.did, handle=known.handle if known else None),
        "record": orjson.Fragment(record.json),
        "firstSeen": datetime_text(record.first_seen),
        "indexedAt": datetime_text(record.indexed_at),
        "conformance": record.conformance,
    }
    if not record.verified:
        view["verified"] = False
    return view


def _code_word(lens: Lens) -> str:
    match lens.getter:
        case CodeReference():
            return "reference"
        case PythonCode():
            return "python"
        case FieldOps():
            return "fieldOps"
        case None:
            return "none"


def _check_view(record: StoredRecord, lens: Lens, check: LensCheck | None) -> View:
    """Whether a declarative lens type-checks. While a schema is missing, that is all there is to
    say."""
    if check is None or check.cid != record.cid or not isinstance(lens.getter, FieldOps):
        return {}
    view: View = {}
    if not check.problems or check.is_wrong:
        view["typeChecks"] = not check.problems
    if check.problems:
        view["problems"] = [{"path": p.path, "reason": p.reason} for p in check.problems]
    return view


def _given(**values: Any) -> View:
    """Without what is None: an optional field is left out, never null."""
    return {name: value for name, value in values.items() if value is not None}
