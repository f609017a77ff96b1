"""When there is something to make anew."""

from __future__ import annotations

from pathlib import Path

from atdex_appview.rebuild.fingerprint import fingerprint_of
from atdex_appview.rebuild.progress import PROGRESS_JOB, REQUEST_JOB, Progress
from atdex_lexicons.model import KINDS
from tests.appview.rebuild.world import (
    fill,
    opened,
)


async def test_a_new_store_and_one_that_was_read_by_the_present_documents_need_nothing(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as world:
        assert await world.rebuild.due() is None
        await fill(world)
    async with opened(tmp_path) as world:
        assert await world.rebuild.due() is None


async def test_a_store_from_before_this_was_kept_is_read_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        await fill(world)
        progress = await world.rebuild.due()
        assert progress is not None
        await world.rebuild.run(progress)
        assert await world.rebuild.due() is None


async def test_a_rebuild_that_documents_overtake_starts_over(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        await fill(world)
        kept = Progress("long", "it was asked for", "first", "lens", after=5, done=9, total=13)
        await world.state.save_job(PROGRESS_JOB, kept.to_json())
        await world.state.save_job(REQUEST_JOB, {"request": "long"})
        assert await world.rebuild.due() == kept
    async with opened(tmp_path, reading="second") as world:
        progress = await world.rebuild.due()
        assert progress is not None
        assert (progress.request, progress.done, progress.phase) == ("long", 0, KINDS[0])
        await world.rebuild.run(progress)
        assert await world.rebuild.due() is None
    async with opened(tmp_path, reading="second") as world:
        await world.state.save_job(PROGRESS_JOB, {"of": "another version"})
        progress = await world.rebuild.due()
        assert progress is not None
        assert progress.done == 0


def test_the_fingerprint_is_of_what_records_are_read_by() -> None:
    assert fingerprint_of() == fingerprint_of()
    assert len({fingerprint_of(), fingerprint_of(b"a"), fingerprint_of(b"a", b"b")}) == 3
    assert fingerprint_of(b"ab") != fingerprint_of(b"a", b"b")
