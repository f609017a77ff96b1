"""What a post names, wherever it names it, and whatever its author made of it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atdex_appview.feeds.naming import MAX_NAMED, WORDS, datasets_named

ONE = "at://did:plc:alice000000000000000000a/science.alt.dataset.entry/3kaaaaaaaaa22"
TWO = "at://alice.test/app.bsky.atdata.dataset/3kaaaaaaaaa23"
LENS = "at://did:plc:alice000000000000000000a/science.alt.dataset.lens/3kaaaaaaaaa22"
OTHER = "at://did:plc:alice000000000000000000a/app.bsky.feed.post/3kaaaaaaaaa22"


def facet(uri: Any) -> dict[str, Any]:
    feature = {"$type": "app.bsky.richtext.facet#link", "uri": uri}
    return {"index": {"byteStart": 0, "byteEnd": 1}, "features": [feature]}


def external(uri: Any, **more: Any) -> dict[str, Any]:
    return {"$type": "app.bsky.embed.external", "external": {"uri": uri, "title": "x"} | more}


def record(uri: Any) -> dict[str, Any]:
    return {"$type": "app.bsky.embed.record", "record": {"uri": uri, "cid": "bafy"}}


@pytest.mark.parametrize(
    "post",
    [
        {"embed": record(ONE)},
        {"embed": external(ONE)},
        {"embed": external("https://a.example/", associatedRefs=[{"uri": ONE, "cid": "bafy"}])},
        {"embed": {"associatedRefs": [{"uri": ONE}]}},
        {"associatedRefs": [{"uri": OTHER}, {"uri": ONE}]},
        {"embed": {"$type": "app.bsky.embed.recordWithMedia", "record": record(ONE)}},
        {"embed": {"record": record(OTHER), "media": external(ONE)}},
        {"facets": [facet("https://a.example"), facet(ONE)]},
        {"facets": [facet(f"https://viewer.example/{ONE}")]},
        {"facets": [facet(f"https://node.example/xrpc/x.getDataset?uri={quote(ONE, safe='')}")]},
        {"facets": [facet(f"https://node.example/x?uri={ONE}&more=1#part")]},
    ],
)
def test_a_dataset_is_found_where_a_post_names_it(post: dict[str, Any]) -> None:
    assert datasets_named(post) == (ONE,)


@pytest.mark.parametrize(
    "post",
    [
        {"text": ONE},
        {"embed": record(LENS)},
        {"embed": record(OTHER)},
        {"embed": external("https://a.example/science.alt.dataset.entry")},
        {"facets": [facet("at://did:plc:x/science.alt.dataset.entry")]},
        {"facets": [facet("at:///science.alt.dataset.entry/3k")]},
        {"facets": [facet("at://not a did/science.alt.dataset.entry/3k")]},
        {"facets": [facet(f"https://x.example/{'a' * 3000}{ONE}")]},
        {"facets": [facet("%zz%ff%fe" + quote("x"))]},
        {"facets": [facet(7), 7, None, {"features": 7}, {"features": [7, None, {}]}]},
        {"embed": []},
        {"embed": {"record": [], "external": 7, "media": {"external": "x"}}},
        {"embed": {"associatedRefs": {"uri": ONE}}},
        [],
        None,
        "at://",
    ],
)
def test_what_names_no_dataset_and_what_is_malformed_names_nothing(post: Any) -> None:
    assert datasets_named(post) == ()


def test_each_dataset_counts_once_and_there_is_a_most() -> None:
    both = {"embed": record(ONE), "facets": [facet(TWO), facet(ONE)]}
    assert datasets_named(both) == (ONE, TWO)
    many = {"facets": [facet(f"{ONE[:-2]}{n:02}") for n in range(50)]}
    assert len(datasets_named(many)) == MAX_NAMED


def test_the_frame_of_a_post_that_names_a_dataset_holds_one_of_the_words() -> None:
    for uri in (ONE, TWO, quote(ONE, safe="")):
        assert any(word in uri.encode() for word in WORDS)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from([ONE, TWO, "at://"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "embed",
                    "facets",
                    "features",
                    "uri",
                    "record",
                    "external",
                    "media",
                    "associatedRefs",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=25,
)


@given(post=JSON)
def test_any_value_at_all_names_datasets_or_nothing(post: Any) -> None:
    assert set(datasets_named(post)) <= {ONE, TWO}
