"""listFeeds, getFeedSkeleton and getFeed over HTTP; every answer checked by its document."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atdex_appview.feeds.definition import ALL, Feed, read_feeds
from atdex_appview.store.base import Delete
from atdex_lexicons.families import to_record
from tests.appview.index import ALICE, BOB, CLASSIC, Index, Node, dataset, error_of, lens, schema

SCHEMA = f"at://{ALICE}/science.alt.dataset.schema/3kschema22222"


@contextmanager
def serving(folder: Path, **feeds: dict[str, Any]) -> Iterator[tuple[Index, Node]]:
    """A node with `all` and these feeds, given as in the configuration without a title."""
    defined = read_feeds({name: {"title": name} | filters for name, filters in feeds.items()})
    with Index.open(folder) as index, index.serve(feeds=defined) as node:
        yield index, node


def names(node: Node, feed: str) -> list[str]:
    answer = node.ask("getFeed", feed=feed)
    skeleton = [each["dataset"] for each in node.ask("getFeedSkeleton", feed=feed)["feed"]]
    assert skeleton == [view["uri"] for view in answer["datasets"]]
    return [view["record"]["name"] for view in answer["datasets"]]


def test_a_feed_has_what_fits_all_its_filters_newest_first(tmp_path: Path) -> None:
    with serving(
        tmp_path,
        tagged={"tags": ["eye"]},
        both={"tags": ["eye", "oct"]},
        free={"license": "mit"},
        bobs={"publisher": BOB},
        named={"publisher": "bob.test"},
        words={"q": "scans of eyes"},
        shaped={"schema": SCHEMA},
        large={"minSamples": 10, "maxSamples": 20},
        past={"until": "2020-01-01T00:00:00Z"},
        since={"since": "2020-01-01T00:00:00Z", "tags": ["eye"]},
    ) as (index, node):
        plain = dataset("plain", SCHEMA, tags=("eye",))
        other = SCHEMA.replace("3kschema22222", "3kschema33333")
        index.publish(ALICE, plain, replace(plain, name="scans of eyes", license="MIT"))
        index.publish(BOB, dataset("bobs", other, tags=("oct", "eye")))
        index.publish(ALICE, replace(dataset("ten", other), sample_count=10))
        assert names(node, "all") == ["ten", "bobs", "scans of eyes", "plain"]
        assert names(node, "tagged") == ["bobs", "scans of eyes", "plain"]
        assert names(node, "both") == ["bobs"]
        assert names(node, "free") == ["scans of eyes"]
        assert names(node, "bobs") == names(node, "named") == ["bobs"]
        assert names(node, "words") == ["scans of eyes"]
        assert names(node, "shaped") == ["scans of eyes", "plain"]
        assert names(node, "large") == ["ten"]
        assert names(node, "past") == []
        assert names(node, "since") == names(node, "tagged")


def test_a_feed_of_what_is_viewable_shows_the_lenses_of_each(tmp_path: Path) -> None:
    with Index.open(tmp_path) as index:
        source, target, far = [put.uri for put in index.publish(ALICE, *map(schema, "ABC"))]
        (first,) = index.publish(BOB, lens("one", source, target))
        index.publish(BOB, lens("two", far, source))
        index.publish(
            ALICE, dataset("near", source), dataset("itself", target), dataset("far", far)
        )
        feeds = read_feeds({"near": {"title": "x", "viewableAs": target, "maxHops": 1}})
        with index.serve(feeds=feeds) as node:
            found = {
                view["record"]["name"]: view["path"]
                for view in node.ask("getFeed", feed="near")["datasets"]
            }
            assert found == {
                "near": {"hops": 1, "lenses": [first.uri]},
                "itself": {"hops": 0, "lenses": []},
            }
            index.commit(BOB, Delete(first.uri))
            assert names(node, "near") == ["itself"]


def test_a_feed_forgives_no_misspelling_and_waits_for_a_handle(tmp_path: Path) -> None:
    with serving(tmp_path, wrong={"q": "retinna"}, carols={"publisher": "carol.test"}) as served:
        index, node = served
        index.publish(ALICE, dataset("retina", SCHEMA))
        assert node.ask("searchDatasets", q="retinna")["fuzzy"]
        assert names(node, "wrong") == names(node, "carols") == []
        index.set_handle(ALICE, "carol.test")
        assert names(node, "carols") == ["retina"]


def test_feeds_are_listed_and_an_unknown_one_is_an_error_of_its_own(tmp_path: Path) -> None:
    with serving(tmp_path, eyes={"description": "Of eyes.", "tags": ["eye"]}) as (_, node):
        assert node.ask("listFeeds")["feeds"] == [
            {"feed": "all", "title": ALL.title, "description": ALL.description},
            {"feed": "eyes", "title": "eyes", "description": "Of eyes."},
        ]
        for method in ("getFeed", "getFeedSkeleton"):
            status, error, message = node.refused(method, feed="eye")
            assert (status, error) == (404, "FeedNotFound")
            assert "listFeeds" in message


def test_a_cursor_is_good_for_its_own_feed_as_it_was_defined(tmp_path: Path) -> None:
    def refusal(node: Node, method: str, **params: Any) -> str:
        status, error, message = error_of(node.get(method, **params))
        assert (status, error) == (400, "InvalidRequest")
        return message

    with serving(tmp_path, eyes={"tags": ["eye"]}) as (index, node):
        index.publish(ALICE, *(dataset(f"d{n}", SCHEMA, tags=("eye",)) for n in range(3)))
        first = node.ask("getFeed", feed="eyes", limit=2)
        assert len(first["datasets"]) == 2
        cursor = first["cursor"]
        assert len(node.ask("getFeed", feed="eyes", cursor=cursor, limit=1)["datasets"]) == 1
        assert "another listing" in refusal(node, "getFeed", feed="all", cursor=cursor)
        assert "another listing" in refusal(node, "getFeedSkeleton", feed="eyes", cursor=cursor)
        assert "no cursor" in refusal(node, "getFeed", feed="eyes", cursor="x!")
        changed = read_feeds({"eyes": {"title": "eyes", "tags": ["eye", "oct"]}})
        with index.serve(feeds=changed) as again:
            assert "another listing" in refusal(again, "getFeed", feed="eyes", cursor=cursor)


def test_what_is_hidden_is_in_no_feed_and_has_its_old_place_when_it_comes_back(
    tmp_path: Path,
) -> None:
    with serving(tmp_path) as (index, node):
        index.publish(ALICE, dataset("one", SCHEMA))
        index.publish(BOB, dataset("two", SCHEMA))
        index.publish(ALICE, dataset("three", SCHEMA))
        index.set_status(BOB, active=False, status="takendown")
        assert names(node, "all") == ["three", "one"]
        index.set_status(BOB, active=True)
        assert names(node, "all") == ["three", "two", "one"]


@pytest.mark.parametrize("method", ["getFeed", "getFeedSkeleton"])
def test_a_record_that_left_after_the_page_was_found_is_left_out(
    tmp_path: Path, method: str
) -> None:
    with serving(tmp_path) as (index, node):
        puts = index.publish(ALICE, *(dataset(f"d{n}", SCHEMA) for n in range(4)))
        first = node.ask(method, feed="all", limit=2)
        index.commit(ALICE, Delete(puts[1].uri))
        rest = node.ask(method, feed="all", limit=2, cursor=first["cursor"])
        items = rest["datasets" if method == "getFeed" else "feed"]
        assert [each.get("uri") or each["dataset"] for each in items] == [puts[0].uri]
        assert "cursor" not in rest


WALKED = {"eyes": {"tags": ["eye"]}, "words": {"q": "eye"}}
RKEYS = [f"3kaaaaaaaaa2{letter}" for letter in "234567abcdef"]


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Index, Node]]:
    """One node for all walks, emptied before each: opening one takes longer than a walk."""
    feeds: dict[str, Any] = WALKED
    with serving(tmp_path_factory.mktemp("walked"), **feeds) as served:
        yield served


class Written:
    """The model: which datasets are there, whether each fits, in the order they came."""

    def __init__(self, index: Index, kind: str) -> None:
        self.index = index
        self.kind = kind
        self.fits: dict[str, bool] = {}

    def write(self, *records: tuple[str, bool, str]) -> None:
        """(record key, whether it fits, description) of each, in one commit."""
        puts = []
        for rkey, fit, text in records:
            tags = ("eye",) if fit else ()
            model = dataset("eye" if fit else "ear", SCHEMA, tags=tags, description=text)
            put = self.index.put(ALICE, to_record(model, CLASSIC), rkey)
            puts.append(put._replace(created=put.uri not in self.fits))
            self.fits[put.uri] = fit or self.kind == "all"  # an update keeps its place
        self.index.commit(ALICE, *puts)

    def delete(self, *uris: str) -> None:
        self.index.commit(ALICE, *map(Delete, uris))
        for uri in uris:
            self.fits.pop(uri)

    def fitting(self) -> set[str]:
        return {uri for uri, fit in self.fits.items() if fit}


@settings(max_examples=12, deadline=None)
@given(data=st.data(), limit=st.integers(1, 4), kind=st.sampled_from(["all", "eyes", "words"]))
def test_a_full_walk_of_a_feed_meets_each_record_once_while_a_writer_works(
    walked: tuple[Index, Node], data: st.DataObject, limit: int, kind: str
) -> None:
    """What was there and fitted from the first page to the last comes exactly once, in the order
    in which it was first seen."""
    index, node = walked
    model = Written(index, kind)
    texts = st.sampled_from(["", "text", "more text"])
    model.write(*((rkey, data.draw(st.booleans()), data.draw(texts)) for rkey in RKEYS[:8]))
    began, always = list(model.fits), model.fitting()
    found: list[str] = []
    cursor: str | None = None
    for _ in range(30):
        more = {} if cursor is None else {"cursor": cursor}
        page = node.ask("getFeedSkeleton", feed=kind, limit=limit, **more)
        found += [each["dataset"] for each in page["feed"]]
        cursor = page.get("cursor")
        if cursor is None:
            break
        for _ in range(data.draw(st.integers(0, 2))):
            rkey = data.draw(st.sampled_from(RKEYS))
            model.write((rkey, data.draw(st.booleans()), data.draw(texts)))
        if data.draw(st.booleans()):
            model.delete(data.draw(st.sampled_from(list(model.fits))))
        always &= model.fitting()
    model.delete(*model.fits)
    assert cursor is None, "a walk ends"
    assert len(found) == len(set(found)), "nothing comes twice"
    assert always <= set(found), "nothing that fitted all the time is left out"
    stayed = [uri for uri in found if uri in began]
    assert stayed == sorted(stayed, key=began.index, reverse=True), "newest first"


def test_a_feed_of_no_filters_is_every_dataset() -> None:
    assert read_feeds({}) == (ALL,)
    assert read_feeds({"all": {"title": "Mine"}}) == (Feed("all", "Mine"),)
