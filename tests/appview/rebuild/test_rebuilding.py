"""Everything that is derived is made anew, while the node goes on."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from atdex_appview.graph.facts import GraphChange
from atdex_appview.rebuild.progress import PROGRESS_JOB, REQUEST_JOB
from atdex_appview.search.document import SearchDocument
from atdex_lexicons.families import to_record
from tests.appview.index import dataset
from tests.appview.rebuild.world import (
    ENTRY,
    LENS,
    SCHEMA,
    entry,
    fill,
    op,
    opened,
)
from tests.appview.records import ALICE, BOB, rev, uri
from tests.appview.running import DEADLINE


async def test_reading_anew_what_is_right_changes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        await fill(world)
        before, number = world.everything(), world.store.change_number()
        progress = await world.ask()
        assert world.everything() == before
        assert world.store.change_number() == number
        assert (progress.done, progress.total) == (13, 13)
        assert (progress.changed, progress.set_aside, progress.restored) == (0, 0, 0)
        assert await world.rebuild.due() is None


async def test_what_is_derived_is_made_right_from_the_bytes_that_were_signed(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as world:
        await fill(world)
        before, shown = world.everything(), world.served()
        # From within: DuckDB lets nobody else open the file.
        cursor = world.store._connection.cursor()
        cursor.execute("UPDATE dataset SET name = 'wrong', tags = ['wrong']")
        cursor.execute("UPDATE schema SET version = '9.9.9', conformance = 'dialect:none'")
        cursor.execute("UPDATE lens SET source_version = '>=9'")
        cursor.close()
        stranger = SearchDocument(
            uri(BOB, "dataset", "zz"), BOB, "eye of nobody", "", (), SCHEMA, None, 5, None, None
        )
        found = world.search.search("", limit=10).hits
        wrong = SearchDocument(found[0].uri, ALICE, "wrong", "", (), SCHEMA, None, 7, None, None)
        world.search.update([stranger, wrong], [found[1].uri])
        world.graph.update(GraphChange(lenses={LENS: None}))
        rows = world.store._rows._writer
        rows.execute('UPDATE dataset SET json = \'{"name": "wrong"}\'')
        rows.execute("DELETE FROM schema")
        assert world.everything() != before
        progress = await world.ask()
        assert world.everything() == before
        assert progress.changed == 7 + 2 + 1
        assert world.served() == shown
        assert len(world.store.list_records("schema", limit=10)) == 2


async def test_an_interrupted_rebuild_goes_on_where_it_was(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        await fill(world)
        before = world.everything()
        await world.state.save_job(REQUEST_JOB, {"request": "long"})
        progress = await world.rebuild.due()
        assert progress is not None
        running = asyncio.create_task(world.rebuild.run(progress))
        async with asyncio.timeout(DEADLINE):
            while True:
                kept = await world.state.job(PROGRESS_JOB)
                assert kept is not None
                if kept["done"] >= 5:
                    break
                await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        kept = await world.state.job(PROGRESS_JOB)
        assert kept is not None
        assert (kept["finished"], kept["request"]) == (False, "long")
    async with opened(tmp_path) as world:
        progress = await world.rebuild.due()
        assert progress is not None
        assert (progress.request, progress.done) == ("long", kept["done"])
        progress = await world.rebuild.run(progress)
        assert (progress.done, progress.total) == (13, 13)
        assert world.everything() == before


async def test_searches_and_lists_are_whole_all_the_time(tmp_path: Path) -> None:
    async with opened(tmp_path, part=2) as world:
        world.source.publish(ALICE, 1, *(entry(100 + n, f"eye {n}") for n in range(40)))
        await world.source.durable()
        ended = False
        looks = 0

        def look() -> None:
            nonlocal looks
            while not ended:
                assert world.search.search("eye", limit=100).total == 40
                assert len(world.store.list_records("dataset", limit=100)) == 40
                looks += 1

        looking = asyncio.create_task(asyncio.to_thread(look))
        try:
            for n in range(3):
                cursor = world.store._connection.cursor()
                cursor.execute("UPDATE dataset SET description = ?", [f"wrong {n}"])
                cursor.close()
                assert (await world.ask(f"{n}")).changed == 40
        finally:
            ended = True
            await looking
        assert looks > 3


async def test_the_firehose_goes_on_and_nothing_of_it_is_lost_or_undone(tmp_path: Path) -> None:
    async with opened(tmp_path, part=2, rest=0.2) as world:
        model: dict[str, str] = {}
        world.source.publish(ALICE, 1, *(entry(100 + n, f"eye {n}") for n in range(30)))
        model |= {rev(100 + n): f"eye {n}" for n in range(30)}
        world.source.publish(
            ALICE, 2, *(op("create", ENTRY, rev(200 + n), {"$type": ENTRY}) for n in range(10))
        )
        await world.source.durable()
        cursor = world.store._connection.cursor()
        cursor.execute("UPDATE dataset SET description = 'wrong'")
        cursor.close()
        running = asyncio.create_task(world.ask())
        for n in range(30):
            number = 10 + n
            match n % 4:
                case 0:  # a record that is read anew is deleted
                    world.source.publish(ALICE, number, op("delete", ENTRY, rev(100 + n)))
                    del model[rev(100 + n)]
                case 1:  # updated
                    changed_to = op("update", ENTRY, rev(100 + n), to_record(dataset("x", SCHEMA)))
                    world.source.publish(ALICE, number, changed_to)
                    model[rev(100 + n)] = "x"
                case 2:  # one in quarantine is deleted
                    world.source.publish(ALICE, number, op("delete", ENTRY, rev(200 + n // 4)))
                case 3:  # a new one
                    world.source.publish(ALICE, number, entry(300 + n, f"new {n}"))
                    model[rev(300 + n)] = f"new {n}"
            await asyncio.sleep(0.003)
        await running
        await world.source.durable()
        assert world.served() == model
        assert "wrong" not in {
            json.loads(record.json).get("description")
            for record in world.store.list_records("dataset", limit=100)
        }
