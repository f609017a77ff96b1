"""One page of a listing, newest first, and the cursor for the next.

Order: `first_seen`, which every record has for itself alone and keeps for ever. A record that
arrives during a walk is newer than where the walk stands, so a full walk meets every record that
was there all the time exactly once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from atdex_appview import cursors
from atdex_appview.page_bytes import fitting
from atdex_appview.store.base import IndexStore, Position, StoredRecord
from atdex_appview.views import View
from atdex_lexicons.model import Kind
from atdex_xrpc import Request


def page(
    store: IndexStore,
    request: Request,
    kind: Kind,
    filters: Mapping[str, Any],
    *,
    views: Callable[[IndexStore, Sequence[StoredRecord]], list[View]],
    name: str,
) -> dict[str, Any]:
    """`{name: views, cursor?}` of the records that fit `filters`, no cursor at the end.

    `filters` are those of `IndexStore.list_records`, None where not given; the request adds
    `limit` and `cursor`. Raises InvalidRequest for a cursor of another listing.
    """
    limit: int = request.params["limit"]
    position = cursors.decode(request.nsid, filters, request.params.get("cursor"), shape=(int,))
    # The store's positions have a URI to break ties, and there are none to break.
    after: Position | None = None if position is None else (int(position[0]), "")
    # One more than asked for tells whether another page follows.
    records = store.list_records(kind, **filters, limit=limit + 1, after=after)
    count = min(limit, fitting(len(record.json) for record in records))
    answer: dict[str, Any] = {name: views(store, records[:count])}
    if len(records) > count:
        last = records[count - 1]
        answer["cursor"] = cursors.encode(request.nsid, filters, (last.first_seen,))
    return answer
