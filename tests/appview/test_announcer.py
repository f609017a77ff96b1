"""The announcer, with an account service over real HTTP: what is posted, once, and taken back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atdex_appview.context import Context
from atdex_appview.errors import AccountRefused, AccountUnavailable
from atdex_appview.feeds import announcements as announcements_module
from atdex_appview.feeds.account import Account, open_account
from atdex_appview.feeds.announcements import Announcements
from atdex_appview.feeds.announcing import LOOK_SECONDS, OLDEST, Announcer
from atdex_appview.feeds.definition import ALL, Feed
from atdex_appview.feeds.file import FeedsFile
from atdex_appview.feeds.naming import datasets_named
from atdex_appview.graph.reach import Reaches
from atdex_appview.store.base import Delete, Put, RepoChange, StatusChange
from atdex_lexicons import Catalog
from atdex_lexicons.families import to_record
from atdex_lexicons.tid import tid_from_micros
from tests.appview.index import ALICE, BOB, CATALOG, CLASSIC, Index, dataset
from tests.support.account_pds import PASSWORD, AccountPds, account_pds

SCHEMA = f"at://{ALICE}/science.alt.dataset.schema/3kschema22222"
EYES = Feed("eyes", "Eyes", "", {"tags": ["eye"]})
HOUR = 3600.0


class World:
    """An index, the operator's PDS, and announcers one after the other on one file."""

    def __init__(self, index: Index, pds: AccountPds, file: FeedsFile) -> None:
        self.index = index
        self.pds = pds
        self.file = file
        self.announcements = Announcements(file)
        self.now = 1_500_000_000.0  # behind the clock of the index, which gives `first_seen`
        self.per_hour = 100
        self._account: Account | None = None
        self.context: Context
        self.announcer: Announcer

    def start(self, feed: Feed = ALL, *, password: str = PASSWORD, handle: str = "") -> Announcer:
        """A new process, as far as the announcer can tell."""
        self.stop()
        self.context = Context(
            catalog=CATALOG,
            store=self.index.store,
            search=self.index.search,
            state=self.index.state,
            graph=self.index.graph,
            reaches=Reaches(self.index.graph),
            did="did:web:index.example",
            origin="https://index.example",
        )
        self._account = self.index.run(self._opened(password, handle or self.pds.handle))
        self.announcer = Announcer(
            self.context,
            self.announcements,
            self._account,
            feed,
            per_hour=self.per_hour,
            clock=lambda: self.now,
        )
        self.index.followers[:] = [self.announcer.follow]
        return self.announcer

    def stop(self) -> None:
        if self._account is not None:
            self.index.run(self._account.close())
            self._account = None

    async def _opened(self, password: str, handle: str) -> Account:
        return Account(self.pds.url, handle, password)

    def work(self) -> float:
        return self.index.run(self.announcer.work())

    def publish(
        self, name: str, *, did: str = ALICE, tags: tuple[str, ...] = (), **how: Any
    ) -> Put:
        """A live commit of now that creates a dataset."""
        put = self.index.put(did, to_record(dataset(name, SCHEMA, tags=tags), CLASSIC))
        self.commit(did, put, **how)
        return put

    def commit(self, did: str, *changes: Put | Delete, at: float | None = None, **how: Any) -> None:
        self.now += 0.001
        rev = tid_from_micros(int((self.now if at is None else at) * 1_000_000))
        change = RepoChange(did, rev, changes, None, "https://pds.example", **how)
        self.index.apply(change)

    def posts(self) -> list[str]:
        """The dataset that each post names, in the order of the posts' keys."""
        return [datasets_named(post)[0] for _, post in sorted(self.pds.records.items())]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with opened(tmp_path) as made:
        yield made


@contextmanager
def opened(folder: Path) -> Iterator[World]:
    with ExitStack() as stack:
        index = stack.enter_context(Index.open(folder))
        pds = stack.enter_context(account_pds())
        file = FeedsFile.open(folder / "feeds.sqlite")
        stack.callback(file.close)
        made = World(index, pds, file)
        try:
            yield made
        finally:
            made.stop()


def test_a_new_dataset_is_posted_once_with_a_reference_to_it(world: World) -> None:
    world.start()
    put = world.publish("<b>Eyes</b> of @alice.test\x00\u202e")
    world.work()
    world.work()
    ((path, post),) = world.pds.records.items()
    assert path.startswith("app.bsky.feed.post/")
    Catalog.bundled().validate_record(
        post, collection="app.bsky.feed.post", rkey=path.partition("/")[2]
    )
    assert post["text"] == "New dataset: <b>Eyes</b> of @alice.test"
    assert "facets" not in post, "nobody is mentioned, and nothing linked, by a dataset's name"
    external = post["embed"]["external"]
    assert external["associatedRefs"][0]["uri"] == put.uri
    assert external["associatedRefs"][0]["cid"] == put.cid
    assert external["uri"].startswith("https://index.example/xrpc/app.bsky.atdata.getDataset?uri=")
    assert post["createdAt"].startswith("2017-07-14T")
    assert world.pds.writes == [("repo.putRecord", path)]


def test_only_what_is_new_live_verified_and_in_the_feed_is_posted(world: World) -> None:
    old = world.publish("before it was switched on", tags=("eye",))
    world.now += 60
    world.start(EYES)
    world.publish("fetched", tags=("eye",), live=False)
    world.publish("a part, unverified", tags=("eye",), verified=False)
    world.publish("an old commit", did=BOB, tags=("eye",), at=world.now - 120)
    world.publish("not in the feed")
    changed = to_record(dataset("changed", SCHEMA, tags=("eye",)), CLASSIC)
    world.commit(ALICE, world.index.put(ALICE, changed, old.rkey)._replace(created=False))
    wanted = world.publish("wanted", tags=("eye",))
    world.work()
    assert world.posts() == [wanted.uri]


def test_what_was_replayed_from_long_ago_is_no_news(world: World) -> None:
    world.start()
    started = world.now
    world.now += 3 * OLDEST / 1_000_000
    world.publish("three days ago", at=started + 60)
    fresh = world.publish("now")
    world.work()
    assert world.posts() == [fresh.uri]


def test_a_restart_posts_nothing_twice_and_what_waits_goes_on(world: World) -> None:
    world.start()
    first = world.publish("first")
    world.work()
    second = world.publish("second")
    world.start()
    world.index.apply(
        RepoChange(ALICE, tid_from_micros(int(world.now * 1e6)), (first, second), None, None)
    )
    world.work()
    world.start()
    world.work()
    assert world.posts() == [first.uri, second.uri]
    assert len(world.pds.writes) == 2


def test_a_post_whose_answer_was_lost_is_sent_again_under_its_key(world: World) -> None:
    world.start()
    put = world.publish("lost")
    world.pds.loses = 1
    with pytest.raises(AccountUnavailable):
        world.work()
    assert world.posts() == [put.uri]
    before = dict(world.pds.records)
    world.start()
    world.work()
    assert world.pds.records == before
    assert len({path for _, path in world.pds.writes}) == 1
    world.work()
    assert len(world.pds.writes) == 2


def test_a_dataset_that_left_before_the_answer_was_known_leaves_no_post(world: World) -> None:
    world.start()
    put = world.publish("lost and deleted")
    world.pds.loses = 1
    with pytest.raises(AccountUnavailable):
        world.work()
    world.commit(ALICE, Delete(put.uri))
    world.start()
    for _ in range(2):
        world.work()
    assert world.pds.records == {}


def test_the_post_goes_with_its_dataset_and_does_not_come_back(world: World) -> None:
    world.start()
    deleted, hidden, stays = (
        world.publish("deleted"), world.publish("hidden", did=BOB), world.publish("stays"),
    )  # fmt: skip
    world.work()
    assert world.posts() == [deleted.uri, hidden.uri, stays.uri]
    world.commit(ALICE, Delete(deleted.uri))
    world.work()
    assert world.posts() == [hidden.uri, stays.uri]
    world.index.apply(StatusChange(BOB, active=False, status="takendown"))
    world.work()
    assert world.posts() == [stays.uri]
    world.index.apply(StatusChange(BOB, active=True, status=None))
    world.commit(ALICE, deleted)
    world.work()
    assert world.posts() == [stays.uri]
    assert world.announcer.withdrawn == 2


def test_what_left_while_nobody_looked_is_missed_twice_before_its_post_goes(world: World) -> None:
    world.start()
    gone, away = world.publish("gone"), world.publish("away", did=BOB)
    world.work()
    world.stop()
    world.index.followers.clear()
    world.commit(ALICE, Delete(gone.uri))
    world.index.apply(StatusChange(BOB, active=False, status="deactivated"))
    world.start()
    world.work()
    assert len(world.posts()) == 2, "a store that was lost is fetched anew: nothing is there yet"
    world.index.apply(StatusChange(BOB, active=True, status=None))
    world.work()
    assert len(world.posts()) == 2
    world.now += LOOK_SECONDS + 1
    world.work()
    assert world.posts() == [away.uri]
    world.now += LOOK_SECONDS + 1
    world.work()
    assert world.posts() == [away.uri]


def test_a_deletion_that_comes_again_takes_no_post_of_what_is_there(world: World) -> None:
    world.start()
    put = world.publish("there")
    world.work()
    old = RepoChange(ALICE, tid_from_micros(1_000_000), (Delete(put.uri),), None, None)
    world.index.apply(old)
    world.work()
    assert world.posts() == [put.uri]


def test_a_deletion_that_the_service_did_not_hear_is_sent_again(world: World) -> None:
    world.start()
    put = world.publish("there")
    world.work()
    world.commit(ALICE, Delete(put.uri))
    world.pds.fails = [503]
    with pytest.raises(AccountUnavailable):
        world.work()
    world.start()
    world.work()
    assert world.pds.records == {}


def test_a_dataset_that_leaves_before_its_turn_is_never_posted(world: World) -> None:
    world.start()
    put = world.publish("short")
    world.commit(ALICE, Delete(put.uri))
    world.work()
    assert world.pds.writes == []


def test_no_more_than_so_many_are_posted_within_an_hour_whatever_restarts(world: World) -> None:
    world.per_hour = 2
    world.start()
    puts = [world.publish(f"d{n}", did=f"did:plc:many{n:020}") for n in range(5)]
    wait = world.work()
    assert world.posts() == [put.uri for put in puts[:2]]
    assert 0 < wait <= HOUR
    world.start()
    world.now += HOUR / 2
    world.work()
    assert len(world.posts()) == 2
    world.now += HOUR / 2 + 1
    world.work()
    assert world.posts() == [put.uri for put in puts[:4]]
    world.now += HOUR + 1
    world.work()
    assert len(world.posts()) == 5


def test_the_queue_has_a_most_and_nobody_fills_it_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcements_module, "QUEUE", 5)
    monkeypatch.setattr(announcements_module, "QUEUE_PER_PUBLISHER", 3)
    world.start()
    many = [world.publish(f"a{n}") for n in range(6)]
    others = [world.publish(f"o{n}", did=f"did:plc:other{n:019}") for n in range(4)]
    world.work()
    assert world.posts() == [put.uri for put in many[:3] + others[:2]]
    later = world.publish("later")
    world.work()
    assert world.posts()[-1] == later.uri


def test_switching_off_forgets_what_waits_and_on_again_starts_anew(world: World) -> None:
    world.start()
    world.publish("waits")
    world.announcements.switch_off()
    world.index.followers.clear()
    world.publish("meanwhile")
    world.now += 1
    world.start()
    put = world.publish("again")
    world.work()
    assert world.posts() == [put.uri]


def test_the_posts_of_another_account_are_left_alone(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.start()
    put = world.publish("first")
    world.work()
    world.stop()
    with account_pds("did:plc:another0000000000000a", "another.test") as other:
        first, world.pds = world.pds, other
        world.start()
        world.commit(ALICE, Delete(put.uri))
        world.work()
        assert len(first.records) == 1
        assert other.writes == []
        assert "another account" in caplog.text
        world.stop()


def test_an_ended_session_is_renewed_and_a_service_that_is_away_is_tried_again(
    world: World,
) -> None:
    world.start()
    world.publish("one")
    world.work()
    world.pds.expired = True
    world.publish("two")
    world.work()
    assert (len(world.pds.records), world.pds.logins) == (2, 2)
    world.pds.fails = [500, 503, 429, (400, "InvalidRequest")]
    three = world.publish("three")
    for _ in range(3):
        with pytest.raises(AccountUnavailable):
            world.work()
    world.work()  # this post is refused for what it is: the next ones are not held up
    four = world.publish("four")
    world.work()
    assert three.uri not in world.posts()
    assert world.posts()[-1] == four.uri


def test_a_wrong_password_is_told_at_once_and_is_in_no_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    world.start(password="wrong-secret-word")
    with pytest.raises(AccountRefused) as refused:
        world.work()
    assert "ATDEX_APP_PASSWORD" in str(refused.value)
    assert "wrong-secret-word" not in f"{refused.value!r} {refused.value} {caplog.text}"
    assert world.pds.logins == 1


def test_the_task_outlives_a_service_that_is_away_and_wakes_for_news(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def until(done: Any) -> None:
        async with asyncio.timeout(20):
            while not done():  # noqa: ASYNC110 - what changes belongs to the announcer
                await asyncio.sleep(0.01)

    async def scene() -> None:
        async with open_account(world.pds.url, world.pds.handle, PASSWORD) as account:
            announcer = Announcer(
                world.context, world.announcements, account, ALL,
                per_hour=10, retry_seconds=0.01, clock=lambda: world.now,
            )  # fmt: skip
            world.index.followers[:] = [announcer.follow]
            world.pds.fails = [503, 503]
            running = asyncio.create_task(announcer.run())
            await until(lambda: announcer.posted == 1)
            # From another thread, as the writer does.
            put = world.index.put(ALICE, to_record(dataset("second", SCHEMA), CLASSIC))
            rev = tid_from_micros(int((world.now + 1) * 1_000_000))
            change = RepoChange(ALICE, rev, (put,), None, "https://pds.example")
            await asyncio.to_thread(world.index.store.apply, [change], int(world.now * 1e6))
            document = world.index.store.changed_since(0).upserted
            await asyncio.to_thread(world.index.search.update, document, ())
            await asyncio.to_thread(announcer.follow, [change])
            await until(lambda: announcer.posted == 2)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    world.start()
    world.publish("first")
    world.index.run(scene())
    assert len(world.posts()) == 2
    assert "next try" in caplog.text


def test_long_names_and_descriptions_are_cut_to_what_a_post_takes(world: World) -> None:
    world.start()
    record = to_record(
        replace(dataset("e\u0301" * 60, SCHEMA), description="\U0001f469\u200d\U0001f52c" * 400),
        CLASSIC,
    )
    world.commit(ALICE, world.index.put(ALICE, record))
    world.work()
    (post,) = world.pds.records.values()
    Catalog.bundled().validate_record(post, collection="app.bsky.feed.post")
    assert post["text"].startswith("New dataset: e\u0301e\u0301")
    assert post["text"].endswith("…")
