"""How large a page may become: records that anybody publishes are up to a megabyte each.

A page ends early where its records would be too many bytes, and its cursor goes on from there, so
that a walk loses nothing. It always has one record at least.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from atdex_appview.search.index import Hit, SearchPage
from atdex_appview.store.base import IndexStore, StoredRecord
from atdex_xrpc.errors import InvalidRequest

MAX_PAGE_BYTES = 8_000_000
"""Of the records on one page, as JSON: half of what this project's client takes in one answer, and
a hundred records of usual size twenty times over."""


def fitting(sizes: Iterable[int]) -> int:
    """How many of the first records, by their bytes, fit on a page; the first one always does."""
    total = count = 0
    for size in sizes:
        total += size
        if total > MAX_PAGE_BYTES and count:
            break
        count += 1
    return count


def searched(
    store: IndexStore, search: Callable[[int], SearchPage], limit: int
) -> tuple[SearchPage, dict[str, StoredRecord]]:
    """The page of at most `limit` hits that `search` finds, and the records of its hits that there
    are. Where they are too large, the page is asked for again, as long as it may be."""
    found = search(limit)
    records = store.datasets_seen([hit.first_seen for hit in found.hits])
    kept = fitting(_sizes(found.hits, records))
    if kept < len(found.hits):
        found = search(kept)
        records = store.datasets_seen([hit.first_seen for hit in found.hits])
    return found, records


def refuse_if_too_large(records: Iterable[StoredRecord], *, parameter: str) -> None:
    """Raises InvalidRequest where records that were asked for by name are too much at once."""
    total = sum(len(record.json) for record in records)
    if total > MAX_PAGE_BYTES:
        raise InvalidRequest(
            f"{parameter}: these records have {total} bytes, more than the {MAX_PAGE_BYTES} of one "
            "answer; ask for fewer at a time"
        )


def _sizes(hits: Sequence[Hit], records: Mapping[str, StoredRecord]) -> Iterable[int]:
    return (len(records[hit.uri].json) if hit.uri in records else 0 for hit in hits)
