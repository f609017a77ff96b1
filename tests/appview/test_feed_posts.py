"""The posts that are kept: order, deletions, bounds, and what an event comes to."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atdex_appview.errors import StateUnavailable, StoreFormatUnknown
from atdex_appview.feeds import posts as posts_module
from atdex_appview.feeds.collecting import PostCollector
from atdex_appview.feeds.file import FeedsFile
from atdex_appview.feeds.posts import PostChange, Posts
from atdex_firehose import AccountEvent, CommitEvent, Identity, RecordOp
from atdex_lexicons import Catalog
from atdex_lexicons.datamodel import encode
from tests.appview.records import ALICE, BOB, rev, uri

ONE, TWO = uri(ALICE, "dataset", "3kone"), uri(ALICE, "dataset", "3ktwo")
POST = "app.bsky.feed.post"


@contextmanager
def opened(folder: Path) -> Iterator[Posts]:
    file = FeedsFile.open(folder / "feeds.sqlite")
    try:
        yield Posts.open(file)
    finally:
        file.close()


def address(did: str, number: int) -> str:
    return f"at://{did}/{POST}/{rev(number)}"


def kept(posts: Posts) -> list[str]:
    return [post.uri for post in posts.before(None, 1000)]


def naming(did: str, number: int, *datasets: str) -> list[PostChange]:
    return [PostChange(address(did, number), datasets or None)]


def test_posts_come_newest_first_and_keep_their_place(tmp_path: Path) -> None:
    with opened(tmp_path) as posts:
        for number in (1, 2, 3):
            posts.write(ALICE, rev(number), naming(ALICE, number, ONE))
        posts.write(ALICE, rev(4), naming(ALICE, 1, TWO))
        newest = posts.before(None, 2)
        assert [post.uri for post in newest] == [address(ALICE, 3), address(ALICE, 2)]
        (last,) = posts.before(newest[-1].id, 2)
        assert (last.uri, last.datasets) == (address(ALICE, 1), (TWO,))
    with opened(tmp_path) as posts:
        assert posts.has(ALICE)
        assert not posts.has(BOB)
        assert len(kept(posts)) == 3


def test_a_deleted_post_is_not_brought_back_by_what_is_older(tmp_path: Path) -> None:
    with opened(tmp_path) as posts:
        posts.write(ALICE, rev(2), naming(ALICE, 1, ONE))
        posts.write(ALICE, rev(1), naming(ALICE, 1))
        assert kept(posts) == [address(ALICE, 1)], "an older deletion is of an older post"
        posts.write(ALICE, rev(3), naming(ALICE, 1))
        for older in (1, 2, 3):
            posts.write(ALICE, rev(older), naming(ALICE, 1, ONE))
        assert kept(posts) == []
        posts.write(ALICE, rev(4), naming(ALICE, 1, ONE))
        assert kept(posts) == [address(ALICE, 1)]
        posts.write(ALICE, rev(5), naming(ALICE, 9))
        assert posts.count() == 1, "what was never kept is not remembered either"


def test_an_account_that_goes_takes_its_posts_along(tmp_path: Path) -> None:
    with opened(tmp_path) as posts:
        posts.write(ALICE, rev(1), naming(ALICE, 1, ONE))
        posts.write(BOB, rev(1), naming(BOB, 1, ONE))
        posts.account(ALICE, active=False, deleted=False)
        assert kept(posts) == [address(BOB, 1)]
        posts.account(ALICE, active=True, deleted=False)
        assert kept(posts) == [address(BOB, 1), address(ALICE, 1)]
        posts.account(ALICE, active=False, deleted=True)
        posts.account(ALICE, active=True, deleted=False)
        assert kept(posts) == [address(BOB, 1)]


def test_nobody_pushes_out_what_others_said_and_there_is_a_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posts_module, "POSTS_KEPT", 8)
    monkeypatch.setattr(posts_module, "POSTS_PER_ACCOUNT", 3)
    with opened(tmp_path) as posts:
        posts.write(BOB, rev(1), naming(BOB, 1, ONE))
        for number in range(2, 7):
            posts.write(ALICE, rev(number), naming(ALICE, number, ONE))
        assert kept(posts) == [address(ALICE, n) for n in (6, 5, 4)] + [address(BOB, 1)]
        for number in range(10):
            did = f"did:plc:other{number:019}"
            posts.write(did, rev(1), naming(did, 1, ONE))
        assert len(kept(posts)) == 8
        assert all(posts.has(post.split("/")[2]) for post in kept(posts))


@settings(max_examples=40, deadline=None)
@given(data=st.data(), limit=st.integers(1, 4))
def test_a_walk_meets_each_post_that_was_there_all_the_time_once(
    data: st.DataObject, limit: int
) -> None:
    """The model: an update changes nothing of the order, whoever writes in between."""
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder)) as posts:
        there: set[str] = set()
        revs = iter(range(1, 10_000))

        def write() -> None:
            did = data.draw(st.sampled_from([ALICE, BOB]))
            number, gone = data.draw(st.integers(0, 9)), data.draw(st.booleans())
            posts.write(did, rev(next(revs)), naming(did, number, *([] if gone else [ONE])))
            (there.discard if gone else there.add)(address(did, number))

        for _ in range(12):
            write()
        always, found = set(there), list[str]()
        after: int | None = None
        while page := posts.before(after, limit):
            found += [post.uri for post in page]
            after = page[-1].id
            for _ in range(data.draw(st.integers(0, 3))):
                write()
                always &= there
        assert len(found) == len(set(found))
        assert always <= set(found)


def commit(did: str, number: int, *ops: RecordOp) -> CommitEvent:
    identity = Identity(did, None, None, None)
    made = CommitEvent("x", number, did, rev(number), "2026-01-01T00:00:00Z", (), identity)
    made.mentions = ops
    return made


def op(number: int, value: Any, action: Any = "create") -> RecordOp:
    raw = value if isinstance(value, bytes) else None if value is None else encode(value)
    return RecordOp(action, POST, rev(number), "bafy", raw)


def post(*datasets: str, **more: Any) -> dict[str, Any]:
    facets = [{"features": [{"uri": uri}]} for uri in datasets]
    created = "2026-01-02T03:04:05.000Z"
    return {"$type": POST, "text": "New!", "facets": facets, "createdAt": created} | more


async def test_only_a_valid_post_that_names_a_dataset_is_kept(tmp_path: Path) -> None:
    with opened(tmp_path) as posts:
        collector = PostCollector(posts, Catalog.bundled())
        await collector.take(commit(BOB, 1, op(1, post())))
        assert not posts.has(BOB)
        deep = b"\x81" * 50_000 + b"\x00"
        await collector.take(
            commit(
                ALICE,
                2,
                op(1, post(ONE)),
                op(2, post()),
                op(3, post(ONE, text=7)),
                op(4, b"\xff"),
                op(5, deep),
                op(6, post(ONE, text="a" * 4000)),
            )
        )
        assert kept(posts) == [address(ALICE, 1)]
        await collector.take(commit(ALICE, 3, op(7, post(TWO))))
        await collector.take(commit(ALICE, 4, op(1, post(), "update")))
        assert kept(posts) == [address(ALICE, 7)], "a post that names nothing any more"
        await collector.take(commit(ALICE, 5, op(7, None, "delete")))
        assert kept(posts) == []


async def test_what_becomes_of_an_account_becomes_of_its_posts(tmp_path: Path) -> None:
    def account(active: bool, status: str | None) -> AccountEvent:
        return AccountEvent("x", 1, ALICE, "2026-01-01T00:00:00Z", active, status)

    with opened(tmp_path) as posts:
        collector = PostCollector(posts, Catalog.bundled())
        await collector.account(account(False, "takendown"))
        await collector.take(commit(ALICE, 1, op(1, post(ONE))))
        await collector.account(account(False, "takendown"))
        assert kept(posts) == []
        await collector.account(account(True, None))
        assert kept(posts) == [address(ALICE, 1)]
        await collector.account(account(False, "deleted"))
        await collector.account(account(True, None))
        assert kept(posts) == []


def test_what_was_written_survives_a_kill(tmp_path: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from atdex_appview.feeds.file import FeedsFile
from atdex_appview.feeds.posts import PostChange, Posts
posts = Posts.open(FeedsFile.open(Path({str(tmp_path / "feeds.sqlite")!r})))
posts.write({ALICE!r}, {rev(1)!r}, [PostChange({address(ALICE, 1)!r}, ({ONE!r},))])
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program], timeout=50, check=False)
    with opened(tmp_path) as posts:
        assert kept(posts) == [address(ALICE, 1)]


def test_a_file_of_another_kind_or_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "feeds.sqlite").write_bytes(b"x" * 4096)
    with pytest.raises(StateUnavailable), opened(tmp_path):
        pass
    (tmp_path / "feeds.sqlite").unlink()
    file = FeedsFile.open(tmp_path / "feeds.sqlite")
    file.set_mark("format", "99")
    file.close()
    with pytest.raises(StoreFormatUnknown), opened(tmp_path):
        pass
