"""What a node does about a search index that a kill left behind its store."""

from __future__ import annotations

import asyncio
import logging

from atdex_appview.search.index import SearchIndex
from atdex_appview.state import Notes, State
from atdex_appview.store.base import IndexStore

log = logging.getLogger(__name__)

CATCH_UP_PART = 10_000
"""Documents indexed at a time: some 10 MB of them."""


async def catch_up(store: IndexStore, search: SearchIndex, state: State) -> int:
    """Brings the search index up to the store, before anything is served or written.

    Returns how many documents it indexed. The index is rebuilt where it is new, where it is
    ahead of the store (another store was put beside it), or where it does not hold as many
    datasets as the store has visible ones.
    """
    reached, number = await state.search_change(), store.change_number()
    indexed = 0
    rebuild = search.fresh or reached is None or reached > number
    if not rebuild and reached is not None and reached < number:
        missed = await asyncio.to_thread(store.changed_since, reached)
        documents = missed.upserted
        await asyncio.to_thread(search.update, (), missed.removed)
        for start in range(0, len(documents), CATCH_UP_PART):
            part = documents[start : start + CATCH_UP_PART]
            await asyncio.to_thread(search.update, part, ())
        indexed = len(documents)
    if not rebuild and search.count() != store.counts()["dataset"]:
        log.warning(
            "the search index has %d datasets, the store %d: rebuilding",
            search.count(),
            store.counts()["dataset"],
        )
        rebuild = True
    if rebuild:
        indexed = await asyncio.to_thread(search.rebuild, store.all_search_documents())
    if rebuild or reached != number:
        await state.save([Notes(search_change=number)])
        await asyncio.to_thread(store.forget_removed, number)
    return indexed
