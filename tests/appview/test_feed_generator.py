"""describeFeedGenerator and app.bsky.feed.getFeedSkeleton over HTTP, checked by their documents."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from atdex_appview.feeds import bluesky
from atdex_appview.feeds.definition import read_feeds
from atdex_appview.feeds.file import FeedsFile
from atdex_appview.feeds.posts import PostChange, Posts
from atdex_appview.store.base import Delete
from tests.appview.index import ALICE, BOB, Index, Node, dataset, error_of
from tests.appview.records import rev

SCHEMA = f"at://{ALICE}/science.alt.dataset.schema/3kschema22222"
OPERATOR = "did:plc:operator00000000000000o"
FEEDS = read_feeds({"eyes": {"title": "Eyes", "tags": ["eye"]}})


class Bluesky:
    """A node that answers for feeds of OPERATOR, its index, and the posts that it keeps."""

    def __init__(self, index: Index, node: Node, posts: Posts) -> None:
        self.index = index
        self.node = node
        self.posts = posts
        self._revs = 0

    def post(self, number: int, *datasets: str, did: str = BOB) -> str:
        uri = f"at://{did}/app.bsky.feed.post/{rev(number)}"
        self._revs += 1
        self.posts.write(did, rev(self._revs), [PostChange(uri, datasets or None)])
        return uri

    def get(self, feed: str, **params: Any) -> httpx.Response:
        params["feed"] = (
            feed if "://" in feed else f"at://{OPERATOR}/app.bsky.feed.generator/{feed}"
        )
        return self.node.http.get("/xrpc/app.bsky.feed.getFeedSkeleton", params=params)

    def ask(self, feed: str, **params: Any) -> list[str]:
        response = self.get(feed, **params)
        assert response.status_code == 200, response.text
        return [each["post"] for each in response.json()["feed"]]

    def walk(self, feed: str, limit: int) -> Iterator[list[str]]:
        more: dict[str, Any] = {}
        while True:
            page = self.get(feed, limit=limit, **more).json()
            yield [each["post"] for each in page["feed"]]
            if "cursor" not in page:
                return
            more = {"cursor": page["cursor"]}


@contextmanager
def serving(folder: Path) -> Iterator[Bluesky]:
    file = FeedsFile.open(folder / "feeds.sqlite")
    try:
        posts = Posts.open(file)
        with (
            Index.open(folder) as index,
            index.serve(feeds=FEEDS, feed_publisher=OPERATOR, posts=posts) as node,
        ):
            yield Bluesky(index, node, posts)
    finally:
        file.close()


@pytest.fixture
def bsky(tmp_path: Path) -> Iterator[Bluesky]:
    with serving(tmp_path) as served:
        yield served


def test_the_node_describes_its_feeds_and_is_a_generator_by_its_did_document(bsky: Bluesky) -> None:
    said = bsky.node.http.get("/xrpc/app.bsky.feed.describeFeedGenerator").json()
    assert said["did"] == "did:web:index.example"
    assert [feed["uri"].rpartition("/")[2] for feed in said["feeds"]] == ["all", "eyes"]
    assert said["feeds"][0]["uri"] == f"at://{OPERATOR}/app.bsky.feed.generator/all"
    services = bsky.node.http.get("/.well-known/did.json").json()["service"]
    assert {
        "id": "did:web:index.example#bsky_fg",
        "type": "BskyFeedGenerator",
        "serviceEndpoint": "https://index.example",
    } in services


def test_a_node_without_a_publisher_answers_for_no_feed(tmp_path: Path) -> None:
    with Index.open(tmp_path) as index, index.serve(feeds=FEEDS) as node:
        said = node.http.get("/xrpc/app.bsky.feed.describeFeedGenerator").json()
        assert said == {"did": "did:web:index.example", "feeds": []}
        feed = f"at://{OPERATOR}/app.bsky.feed.generator/all"
        refused = node.http.get("/xrpc/app.bsky.feed.getFeedSkeleton", params={"feed": feed})
        assert error_of(refused)[:2] == (400, "UnknownFeed")
        services = node.http.get("/.well-known/did.json").json()["service"]
        assert [service["id"] for service in services] == ["did:web:index.example#atdex_node"]


def test_a_feed_has_the_posts_that_name_a_dataset_of_it(bsky: Bluesky) -> None:
    eye, ear = bsky.index.publish(
        ALICE, dataset("eye", SCHEMA, tags=("eye",)), dataset("ear", SCHEMA)
    )
    about_eye = bsky.post(1, eye.uri)
    about_ear = bsky.post(2, ear.uri)
    about_both = bsky.post(3, ear.uri, f"at://alice.test/{eye.collection}/{eye.rkey}")
    bsky.post(4, eye.uri.replace(eye.rkey, "3kunknown2222"), "at://nobody.test/a.b.c/x")
    assert bsky.ask("all") == [about_both, about_ear, about_eye]
    assert bsky.ask("eyes") == [about_both, about_eye]
    bsky.index.commit(ALICE, Delete(eye.uri))
    assert bsky.ask("all") == [about_both, about_ear]
    assert bsky.ask("eyes") == []
    bsky.index.set_status(ALICE, active=False, status="takendown")
    assert bsky.ask("all") == []


def test_a_post_may_come_before_its_dataset(bsky: Bluesky) -> None:
    uri = f"at://{ALICE}/science.alt.dataset.entry/{rev(1_000_001)}"
    post = bsky.post(1, uri)
    assert bsky.ask("all") == []
    (put,) = bsky.index.publish(ALICE, dataset("eye", SCHEMA))
    assert put.uri == uri
    assert bsky.ask("all") == [post]


def test_a_full_walk_meets_each_post_once_while_others_come_and_go(
    bsky: Bluesky, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bluesky, "PART", 3)
    monkeypatch.setattr(bluesky, "PARTS", 2)
    eye, ear = bsky.index.publish(
        ALICE, dataset("eye", SCHEMA, tags=("eye",)), dataset("ear", SCHEMA)
    )
    posts = [bsky.post(n, eye.uri if n % 4 == 0 else ear.uri) for n in range(30)]
    wanted = posts[::-4][::-1] if (len(posts) - 1) % 4 == 0 else posts[0::4]
    found: list[str] = []
    lengths = []
    for number, page in enumerate(bsky.walk("eyes", 2)):
        found += page
        lengths.append(len(page))
        bsky.post(100 + number, eye.uri)
        bsky.post(number * 4 + 1)  # one of no matter
        bsky.post(0, eye.uri, ear.uri)
    assert found == wanted[::-1]
    assert max(lengths) <= 2
    assert [post for page in bsky.walk("all", 100) for post in page][-1] == posts[0]


def test_the_last_page_has_no_cursor_and_a_cursor_is_good_for_its_feed_only(bsky: Bluesky) -> None:
    (eye,) = bsky.index.publish(ALICE, dataset("eye", SCHEMA, tags=("eye",)))
    for number in range(4):
        bsky.post(number, eye.uri)
    first = bsky.get("eyes", limit=2).json()
    second = bsky.get("eyes", limit=2, cursor=first["cursor"]).json()
    assert len(second["feed"]) == 2
    assert "cursor" not in second
    assert error_of(bsky.get("all", cursor=first["cursor"]))[:2] == (400, "InvalidRequest")
    assert error_of(bsky.get("all", cursor="!"))[:2] == (400, "InvalidRequest")


@pytest.mark.parametrize(
    "feed",
    [
        f"at://{ALICE}/app.bsky.feed.generator/eyes",
        f"at://{OPERATOR}/app.bsky.feed.generator/nope",
        f"at://{OPERATOR}/app.bsky.feed.post/eyes",
        f"at://{OPERATOR}",
    ],
)
def test_a_feed_that_is_not_declared_here_is_unknown(bsky: Bluesky, feed: str) -> None:
    assert error_of(bsky.get(feed))[:2] == (400, "UnknownFeed")


def test_limits_are_those_of_bluesky(bsky: Bluesky) -> None:
    for limit in (0, 101, -1):
        assert error_of(bsky.get("all", limit=limit))[:2] == (400, "InvalidRequest")
    assert error_of(bsky.get("not a uri://"))[:2] == (400, "InvalidRequest")
