"""A record store that is gone, or older than what is kept beside it.

What the firehose has in `state.sqlite` says which records it has delivered, and it delivers only
what differs from that. So where the store no longer has them, the firehose is told to forget it:
every repo is then fetched again, and compared with what the store does hold. Until a repo's turn
comes, its records are missing; queries are answered meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from pathlib import Path

from atdex_appview.state import State
from atdex_appview.store.base import IndexStore, StatusChange
from atdex_firehose.state import State as FirehoseState

log = logging.getLogger(__name__)

PARTS = 5  # at://DID/COLLECTION/RKEY, split at slashes


async def is_behind(store: IndexStore, state: State) -> bool:
    """Whether the search index was further than the store: it is made from it, so the store was
    lost, or an older one was put in its place."""
    reached = await state.search_change()
    return reached is not None and reached > store.change_number()


async def fetch_anew(store: IndexStore, firehose: Path) -> None:
    """Has every repo fetched again by the `Consumer` that opens the state at `firehose` next.

    Accounts that are not active any more are hidden or removed in `store` right away. Repeating
    it changes nothing, so a kill in the middle is made up for at the next start.
    """
    log.warning(
        "the record store is older than what was known of it: every repo is fetched again, and"
        " what is missing appears as that goes on"
    )
    uris = await asyncio.to_thread(lambda: list(store.all_uris()))
    known = await FirehoseState.open(firehose)
    try:
        await known.forget_records(_paths(uris))
        changes = []
        for did in dict.fromkeys(did for did, _ in _paths(uris)):
            standing = await known.standing(did)
            if not standing.active:
                changes.append(StatusChange(did, active=False, status=standing.status))
    finally:
        await known.close()
    if changes:
        now = int(time.time() * 1_000_000)
        await asyncio.to_thread(store.apply, changes, now)


def _paths(uris: list[str]) -> Iterator[tuple[str, str]]:
    """(DID, path in the repo) of each."""
    for uri in uris:
        parts = uri.split("/")
        if len(parts) == PARTS:
            yield parts[2], f"{parts[3]}/{parts[4]}"
