"""Lexicon documents that change: what they set aside and what they let in."""

from __future__ import annotations

from pathlib import Path

from atdex_appview.rebuild.progress import Progress
from atdex_firehose.errors import FetchFailed
from atdex_firehose.events import Identity
from atdex_firehose.fetch_record import FetchedRecord
from atdex_lexicons import Catalog
from atdex_lexicons.families import to_record
from tests.appview.index import dataset
from tests.appview.rebuild.world import (
    BUNDLED,
    ENTRY,
    LENIENT,
    SCHEMA,
    STRICT,
    TOO_LONG,
    entry,
    op,
    opened,
)
from tests.appview.records import ALICE, BOB, rev, uri


async def reread(folder: Path, catalog: Catalog, reading: str) -> tuple[dict[str, str], Progress]:
    """A start with these documents: what is due is done; what is served then."""
    async with opened(folder, catalog, reading=reading) as world:
        progress = await world.rebuild.due()
        assert progress is not None
        progress = await world.rebuild.run(progress)
        assert await world.rebuild.due() is None
        return world.served(), progress


async def test_what_new_documents_forbid_is_set_aside_and_served_again_when_they_allow_it(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as world:
        assert await world.rebuild.due() is None
        world.source.publish(ALICE, 1, *(entry(10 + n, "eye" + n * " eye") for n in range(6)))
        await world.source.durable()
        before = world.everything()
    served, progress = await reread(tmp_path, STRICT, "second")
    assert served == {rev(10): "eye", rev(11): "eye eye"}
    assert (progress.set_aside, progress.restored) == (4, 0)
    async with opened(tmp_path, STRICT, reading="second") as world:
        kept = await world.state.get(uri(ALICE, "dataset", rev(13)))
        assert kept is not None
        assert [problem.path for problem in kept.problems] == ["/name"]
        assert kept.rev == rev(1)
    served, progress = await reread(tmp_path, BUNDLED, "third")
    assert (len(served), progress.restored) == (6, 4)
    async with opened(tmp_path, reading="third") as world:
        assert world.everything() == before  # in the places that they had
        assert await world.state.count() == 0


async def test_what_was_quarantined_is_served_once_new_documents_allow_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        assert await world.rebuild.due() is None
        world.source.publish(ALICE, 1, entry(10, "eye"), entry(11, TOO_LONG))
        world.source.publish(ALICE, 2, op("create", ENTRY, rev(12), {"$type": ENTRY}))
        await world.source.durable()
        assert world.served() == {rev(10): "eye"}
    served, progress = await reread(tmp_path, LENIENT, "second")
    assert served == {rev(10): "eye", rev(11): TOO_LONG}
    assert (progress.restored, progress.set_aside) == (1, 0)
    async with opened(tmp_path, LENIENT, reading="second") as world:
        assert await world.state.get(uri(ALICE, "dataset", rev(11))) is None
        assert await world.state.get(uri(ALICE, "dataset", rev(12))) is not None
        record = world.store.records([uri(ALICE, "dataset", rev(11))])
        assert record[uri(ALICE, "dataset", rev(11))].rev == rev(1)
        # The next commit of it is taken like any other.
        world.source.publish(ALICE, 3, op("delete", ENTRY, rev(11)))
        await world.source.durable()
        assert world.served() == {rev(10): "eye"}


async def test_problems_are_told_by_the_present_documents(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        await world.rebuild.due()
        value = to_record(dataset("eye eye eye", SCHEMA)) | {"createdAt": "never"}
        world.source.publish(ALICE, 1, op("create", ENTRY, rev(11), value))
        await world.source.durable()
    await reread(tmp_path, STRICT, "second")
    async with opened(tmp_path, STRICT, reading="second") as world:
        kept = await world.state.get(uri(ALICE, "dataset", rev(11)))
        assert kept is not None
        assert {problem.path for problem in kept.problems} == {"/name", "/createdAt"}


async def test_what_an_inactive_account_has_stays_hidden_and_is_read_anew_all_the_same(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as world:
        await world.rebuild.due()
        world.source.publish(ALICE, 1, entry(10, "eye"), entry(11, TOO_LONG))
        world.source.status(ALICE, "deactivated")
        await world.source.durable()
    served, progress = await reread(tmp_path, LENIENT, "second")
    assert (served, progress.restored) == ({}, 1)
    async with opened(tmp_path, LENIENT, reading="second") as world:
        world.source.status(ALICE, None)
        await world.source.durable()
        assert len(world.served()) == 2


async def test_a_record_without_a_signature_behind_it_stays_marked(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        await world.rebuild.due()
        world.source.commit(ALICE, 1, entry(10, "eye"), entry(11, TOO_LONG), verified=False)
        world.source.publish(BOB, 1, entry(12, "eye of bob"), entry(13, TOO_LONG))
        await world.source.durable()
        cursor = world.store._connection.cursor()
        cursor.execute("UPDATE dataset SET description = 'wrong'")
        cursor.close()
    await reread(tmp_path, LENIENT, "second")
    async with opened(tmp_path, LENIENT, reading="second") as world:
        records = world.store.list_records("dataset", limit=10)
        assert {record.rkey: record.verified for record in records} == {
            rev(10): False,
            rev(11): False,
            rev(12): True,
            rev(13): True,
        }


async def test_a_large_record_in_quarantine_is_fetched_to_be_judged(tmp_path: Path) -> None:
    name = "eye " + "y" * 50_000
    whole, moved = entry(11, name), entry(12, name + "!")
    async with opened(tmp_path) as world:
        await world.rebuild.due()
        world.source.publish(ALICE, 1, whole, moved, entry(13, name + "?"))
        await world.source.durable()

    async def fetch(did: str, path: str) -> FetchedRecord | None:
        rkey = path.rpartition("/")[2]
        if rkey == rev(13):
            raise FetchFailed("https://pds.example", "gone")
        assert whole.raw is not None
        identity = Identity(did, None, "https://pds.example", None)
        return FetchedRecord(identity, rev(9), whole.cid or "", whole.raw)

    async with opened(tmp_path, LENIENT, reading="second", fetch=fetch) as world:
        progress = await world.rebuild.due()
        assert progress is not None
        progress = await world.rebuild.run(progress)
        assert world.served() == {rev(11): name}
        assert (progress.restored, progress.incomplete) == (1, 2)
