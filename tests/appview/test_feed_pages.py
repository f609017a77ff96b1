"""Atom, RSS and JSON Feed over HTTP, read by a feed reader's own parser."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import feedparser
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atdex_appview.feeds.conditional import http_date, is_current
from atdex_appview.feeds.definition import read_feeds
from atdex_appview.feeds.syndication import ATOM, Channel, Entry, atom, json_feed, plain, rss
from atdex_appview.store.base import Delete
from atdex_lexicons.families import to_record
from atdex_xrpc.etags import tag_of
from tests.appview.index import ALICE, BOB, CLASSIC, Index, Node, dataset

SCHEMA = f"at://{ALICE}/science.alt.dataset.schema/3kschema22222"
HOSTILE = (
    'a<script>alert(1)</script> & "b" ]]> &lt;i&gt; \x00\x08\x1b[31m\u202ereversed\ufffe \U0001f441'
)
CLEAN = 'a<script>alert(1)</script> & "b" ]]> &lt;i&gt; [31mreversed \U0001f441'
FEEDS = {"eyes": {"title": "Of <eyes>", "description": "All & any", "tags": ["eye"]}}
KINDS = ("atom", "rss", "json")


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.open(tmp_path) as opened:
        yield opened


@pytest.fixture
def node(index: Index) -> Iterator[Node]:
    with index.serve(feeds=read_feeds(FEEDS)) as served:
        yield served


def fetch(node: Node, name: str, **headers: str) -> httpx.Response:
    return node.http.get(
        f"/feeds/{name}", headers={key.replace("_", "-"): text for key, text in headers.items()}
    )


def parsed(response: httpx.Response) -> Any:
    assert response.status_code == 200, response.text
    found = feedparser.parse(response.content, sanitize_html=False)
    assert not found.bozo, found.get("bozo_exception")
    return found


def test_atom_says_of_each_dataset_what_a_reader_shows(index: Index, node: Node) -> None:
    (old,) = index.publish(ALICE, dataset("old", SCHEMA, tags=("eye",)))
    (new,) = index.publish(BOB, dataset("new", SCHEMA, tags=("eye", "oct"), description="Scans."))
    response = fetch(node, "eyes.atom")
    assert response.headers["content-type"] == "application/atom+xml; charset=utf-8"
    found = parsed(response)
    assert found.version == "atom10"
    assert (found.feed.title, found.feed.subtitle) == ("Of <eyes>", "All & any")
    assert found.feed.title_detail.type == "text/plain"
    assert found.feed.id == "https://index.example/feeds/eyes.atom"
    assert {link.rel: link.href for link in found.feed.links} == {
        "self": "https://index.example/feeds/eyes.atom",
        "alternate": "https://index.example/",
    }
    assert [entry.id for entry in found.entries] == [new.uri, old.uri]
    entry = found.entries[0]
    assert (entry.title, entry.summary) == ("new", "Scans.")
    assert (entry.author_detail.name, entry.author_detail.href) == ("bob.test", f"at://{BOB}")
    assert [tag.term for tag in entry.tags] == ["eye", "oct"]
    view = node.ask("getDataset", uri=new.uri)["dataset"]
    assert entry.published == view["firstSeen"][:19] + "Z"
    assert entry.updated == view["indexedAt"][:19] + "Z"
    assert found.feed.updated == entry.updated
    path = httpx.URL(entry.link)
    assert path.host == "index.example"
    assert node.http.get(path.raw_path.decode()).json()["dataset"]["uri"] == new.uri


def test_rss_and_json_say_the_same(index: Index, node: Node) -> None:
    (put,) = index.publish(BOB, dataset("new", SCHEMA, tags=("eye",), description="Scans."))
    response = fetch(node, "eyes.rss")
    assert response.headers["content-type"] == "application/rss+xml; charset=utf-8"
    found = parsed(response)
    assert found.version == "rss20"
    entry = found.entries[0]
    assert (entry.id, entry.title, entry.summary) == (put.uri, "new", "Scans.")
    assert not entry.guidislink
    assert entry.author == "bob.test"
    response = fetch(node, "eyes.json")
    assert response.headers["content-type"] == "application/feed+json"
    said = response.json()
    assert said["version"] == "https://jsonfeed.org/version/1.1"
    assert (said["title"], said["description"]) == ("Of <eyes>", "All & any")
    assert said["feed_url"] == "https://index.example/feeds/eyes.json"
    (item,) = said["items"]
    assert (item["id"], item["title"], item["content_text"]) == (put.uri, "new", "Scans.")
    assert item["authors"] == [{"name": "bob.test", "url": f"at://{BOB}"}]
    assert item["tags"] == ["eye"]
    assert item["date_published"].endswith("Z")


def test_an_empty_feed_is_a_feed(node: Node) -> None:
    for kind in ("atom", "rss"):
        assert parsed(fetch(node, f"eyes.{kind}")).entries == []
    assert fetch(node, "eyes.json").json()["items"] == []


def test_what_a_record_holds_is_text_and_nothing_else(index: Index, node: Node) -> None:
    index.publish(ALICE, dataset(HOSTILE, SCHEMA, tags=("eye", "<b>\x07"), description=HOSTILE))
    (entry,) = parsed(fetch(node, "eyes.atom")).entries
    assert entry.title_detail.type == entry.summary_detail.type == "text/plain"
    assert (entry.title, entry.summary) == (CLEAN, CLEAN)
    assert entry.tags[1].term == "<b>"
    raw = fetch(node, "eyes.rss")
    item = ElementTree.fromstring(raw.content).find("channel/item")
    assert item is not None
    # One level more: readers of RSS take what is left for HTML.
    assert "&lt;script&gt;" in (item.findtext("title") or "")
    assert "<" not in (item.findtext("description") or "")
    safe = feedparser.parse(raw.content).entries[0]
    assert "<script" not in safe.summary.lower()
    item_json = fetch(node, "eyes.json").json()["items"][0]
    assert (item_json["title"], item_json["content_text"]) == (CLEAN, CLEAN)
    assert "content_html" not in item_json
    assert fetch(node, "eyes.atom").headers["x-content-type-options"] == "nosniff"


@given(text=st.text(), tags=st.lists(st.text(), max_size=3))
def test_any_text_at_all_makes_feeds_that_parse(text: str, tags: list[str]) -> None:
    channel = Channel(text, text, "https://a.example/feeds/x.atom", "https://a.example/", 0)
    entry = Entry("at://did:plc:x/a.b.c/d", "https://a.example/", text, text, text, "at://x", 1, 2,
                  tuple(tags), text)  # fmt: skip
    root = ElementTree.fromstring(atom(channel, [entry]))
    found = root.findtext(f"{{{ATOM}}}entry/{{{ATOM}}}title") or ""
    assert found == plain(text).replace("\r\n", "\n")
    ElementTree.fromstring(rss(channel, [entry]))
    json_feed(channel, [entry])


@pytest.mark.parametrize("kind", KINDS)
def test_who_has_the_page_already_is_told_so(index: Index, node: Node, kind: str) -> None:
    (first,) = index.publish(ALICE, dataset("one", SCHEMA, tags=("eye",)))
    page = f"eyes.{kind}"
    etag = fetch(node, page).headers["etag"]
    again = fetch(node, page, if_none_match=etag)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == etag
    assert "content-length" not in again.headers
    assert fetch(node, page, if_none_match=f'"x", W/{etag}').status_code == 304
    assert fetch(node, page, if_none_match="*").status_code == 304
    assert fetch(node, page, if_none_match='"x"').status_code == 200
    head = node.http.head(f"/feeds/{page}")
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", etag)
    index.publish(ALICE, dataset("two", SCHEMA, tags=("eye",)))
    changed = fetch(node, page, if_none_match=etag)
    assert changed.status_code == 200
    assert changed.headers["etag"] != etag
    index.commit(ALICE, Delete(first.uri))
    assert fetch(node, page, if_none_match=changed.headers["etag"]).status_code == 200


def test_no_two_pages_share_a_date_though_they_change_within_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [2_000_000_000.0]
    monkeypatch.setattr("atdex_appview.app.FeedPages", _with_clock(lambda: now[0]))
    with Index.open(tmp_path) as index, index.serve() as node:
        dates = []
        puts = []
        assert "last-modified" not in fetch(node, "all.atom").headers, "its second is not over"
        for number in range(3):
            puts += index.publish(ALICE, dataset(f"d{number}", SCHEMA))
            fetch(node, "all.atom")
        index.commit(ALICE, Delete(puts[2].uri))  # as it was, and yet another page
        for _ in range(2):
            fetch(node, "all.atom")
        now[0] += 10
        response = fetch(node, "all.atom")
        dates.append(response.headers["last-modified"])
        assert dates[0] == http_date(2_000_000_004)
        assert fetch(node, "all.atom", if_modified_since=dates[0]).status_code == 304
        for older in range(4):
            since = http_date(2_000_000_000 + older)
            assert fetch(node, "all.atom", if_modified_since=since).status_code == 200
        tag = response.headers["etag"]
        both = {"if_modified_since": dates[0], "if_none_match": '"other"'}
        assert fetch(node, "all.atom", **both).status_code == 200, "the tag decides"
        assert fetch(node, "all.atom", if_none_match=tag).status_code == 304
        assert fetch(node, "all.atom", if_modified_since="yesterday").status_code == 200


def _with_clock(clock: Any) -> Any:
    from atdex_appview.feeds.pages import FeedPages

    return lambda context: FeedPages(context, clock=clock)


def test_a_page_that_did_not_change_is_not_written_again(
    index: Index, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.publish(ALICE, dataset("one", SCHEMA, tags=("eye",)))
    searches = 0
    search = index.search.search

    def counted(*arguments: Any, **more: Any) -> Any:
        nonlocal searches
        searches += 1
        return search(*arguments, **more)

    monkeypatch.setattr(index.search, "search", counted)
    for _ in range(5):
        fetch(node, "eyes.atom")
    assert searches == 1


@pytest.mark.parametrize(
    "path",
    ["nope.atom", "eyes.xml", "eyes", ".atom", "eyes.atom.atom", "..%2feyes.atom", "%00.rss"],
)
def test_what_is_no_feed_is_not_found(node: Node, path: str) -> None:
    response = fetch(node, path)
    assert response.status_code == 404
    assert set(response.json()) == {"error", "message"}


def test_a_feed_page_takes_no_other_verb_and_says_when_the_index_is_down(
    index: Index, node: Node
) -> None:
    refused = node.http.post("/feeds/eyes.atom")
    assert refused.status_code == 405
    assert set(refused.json()) == {"error", "message"}
    index.publish(ALICE, dataset("one", SCHEMA, tags=("eye",)))
    index.close("store")
    down = fetch(node, "eyes.atom")
    assert down.status_code == 503
    assert set(down.json()) == {"error", "message"}


def test_a_record_that_was_updated_stays_at_its_place_with_a_new_date(
    index: Index, node: Node
) -> None:
    (put,) = index.publish(ALICE, dataset("one", SCHEMA, tags=("eye",)))
    index.publish(ALICE, dataset("two", SCHEMA, tags=("eye",)))
    before = parsed(fetch(node, "eyes.atom")).entries[1]
    time.sleep(1.1)  # feeds tell seconds
    changed = index.put(ALICE, to_record(dataset("uno", SCHEMA, tags=("eye",)), CLASSIC), put.rkey)
    index.commit(ALICE, changed)
    after = parsed(fetch(node, "eyes.atom")).entries[1]
    assert (after.id, after.title, after.published) == (before.id, "uno", before.published)
    assert after.updated > before.updated


def test_a_tag_is_of_the_bytes_and_what_is_no_header_is_not_there() -> None:
    tag = tag_of(b"x")
    assert tag != tag_of(b"y")
    assert not is_current({}, tag, 5)
    assert not is_current({"if-none-match": "garbage"}, tag, 5)
    assert not is_current({"if-modified-since": http_date(4)}, tag, 5)
    assert is_current({"if-modified-since": http_date(5)}, tag, 5)
    assert not is_current({"if-modified-since": http_date(5)}, tag, None)
