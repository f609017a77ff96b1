"""What `atdex node reindex` does: it asks the node that runs on a data folder, or does the work.

The node is asked through its state file, which whoever may change its stores can write to, and
nobody else: there is no address that a stranger could have a node work from.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from secrets import token_hex

from atdex_appview.catch_up import catch_up
from atdex_appview.config import NodeConfig
from atdex_appview.errors import NotTakenUp, StoreInUse
from atdex_appview.graph.checking import LensChecks
from atdex_appview.graph.following import GraphFollower
from atdex_appview.graph.graph import LensGraph
from atdex_appview.places import RECORDS_FILE, SEARCH_FOLDER, STATE_FILE, STREAM_FILE
from atdex_appview.rebuild.progress import PROGRESS_JOB, REQUEST_JOB, Progress
from atdex_appview.rebuild.rebuilding import Rebuild
from atdex_appview.search.index import SearchIndex
from atdex_appview.state import State
from atdex_appview.store.duckdb import DuckDBStore
from atdex_appview.stream.changes import ChangeStream
from atdex_appview.writer import Writer
from atdex_lexicons import Catalog

TAKEN_UP_SECONDS = 30.0
"""A node looks every second, and between two parts of a rebuild that it is at already."""

LOOK_SECONDS = 0.2

Say = Callable[[Progress], None]


async def reindex(config: NodeConfig, *, say: Say, wait: bool = True) -> Progress | None:
    """Rebuilds what is in the data folder; `say` is told how far it is, now and then.

    Without `wait`, a node that runs is asked and not waited for: None. Raises StoreError,
    StateError, SearchError, WriteFailed, and NotTakenUp where a node does not react.
    """
    folder = config.data_dir
    try:
        store = await asyncio.to_thread(
            DuckDBStore.open, folder / RECORDS_FILE, memory_limit_mb=config.memory_limit_mb
        )
    except StoreInUse:
        return await _ask(folder, say, wait)
    async with AsyncExitStack() as stack:
        stack.callback(store.close)
        # Who follows the changes of the index hears of these at the node's next start.
        stream = await ChangeStream.open(
            folder / STREAM_FILE,
            store,
            max_events=config.stream_events,
            max_hours=config.stream_hours,
        )
        stack.callback(stream.close)
        return await _work(folder, store, say, stack)


async def _ask(folder: Path, say: Say, wait: bool) -> Progress | None:
    state = await State.open(folder / STATE_FILE)
    try:
        request = token_hex(8)
        await state.save_job(REQUEST_JOB, {"request": request})
        if not wait:
            return None
        started = time.monotonic()
        while True:
            kept = await state.job(PROGRESS_JOB)
            progress = None if kept is None else Progress.from_json(kept)
            if progress is not None and progress.request == request:
                say(progress)
                if progress.finished:
                    return progress
            elif time.monotonic() - started > TAKEN_UP_SECONDS:
                raise NotTakenUp(folder, TAKEN_UP_SECONDS)
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        await state.close()


async def _work(folder: Path, store: DuckDBStore, say: Say, stack: AsyncExitStack) -> Progress:
    """Without a node: nothing else changes the stores."""
    search = await asyncio.to_thread(SearchIndex.open, folder / SEARCH_FOLDER)
    stack.callback(search.close)
    state = await State.open(folder / STATE_FILE)
    stack.push_async_callback(state.close)
    await catch_up(store, search, state)
    follower = GraphFollower(store, LensGraph(), checks=LensChecks(store))
    await asyncio.to_thread(follower.load)
    writer = Writer(store, search, state, max_delay=0.0, follow=follower.follow)
    rebuild = Rebuild(
        store,
        search,
        state,
        writer,
        await asyncio.to_thread(Catalog.bundled),
        follow=follower.follow,
        rest=0.0,
    )
    await state.save_job(REQUEST_JOB, {"request": token_hex(8)})
    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(writer.run())
        progress = await rebuild.due()
        assert progress is not None
        showing = tasks.create_task(_show(state, say))
        progress = await rebuild.run(progress)
        showing.cancel()
        await writer.close()
        await writing
    say(progress)
    return progress


async def _show(state: State, say: Say) -> None:
    while True:
        kept = await state.job(PROGRESS_JOB)
        progress = None if kept is None else Progress.from_json(kept)
        if progress is not None:
            say(progress)
        await asyncio.sleep(LOOK_SECONDS)
