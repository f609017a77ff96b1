"""subscribeRecords: every change of the index as it happens, and those of the last days again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from atdex_appview.context import Context
from atdex_appview.errors import FellBehind, StreamUnavailable
from atdex_appview.stream.entries import OUTDATED, Entry, info_frame, without_record
from atdex_xrpc import Request
from atdex_xrpc.errors import InvalidRequest, NodeUnavailable
from atdex_xrpc.subscription import too_slow

FUTURE = "FutureCursor"


async def subscribe_records(context: Context, request: Request) -> AsyncIterator[bytes]:
    """The frames. A record is told without its content while its account is not active, whatever
    was known when it changed."""
    stream = context.stream
    assert stream is not None
    cursor: int | None = request.params.get("cursor")
    wanted = frozenset(request.params.get("collections") or ())
    if cursor is not None and cursor > stream.last:
        raise InvalidRequest(
            f"the cursor is ahead of this node's last sequence number, {stream.last}", error=FUTURE
        )
    if cursor is not None and cursor < stream.floor:
        yield info_frame(
            OUTDATED, "what came first after this cursor is not kept any more: some is missing"
        )
        cursor = stream.floor
    try:
        async with aclosing(stream.follow(cursor)) as parts:
            async for part in parts:
                for entry in part:
                    if not wanted or entry.collection is None or entry.collection in wanted:
                        yield _shown(context, entry).frame
    except FellBehind:
        raise too_slow() from None
    except StreamUnavailable as failure:
        raise NodeUnavailable("the stream cannot be read.") from failure


def _shown(context: Context, entry: Entry) -> Entry:
    if entry.collection is None:
        return entry
    publisher = context.store.publishers([entry.did]).get(entry.did)
    if publisher is not None and publisher.active:
        return entry
    return without_record(entry)
