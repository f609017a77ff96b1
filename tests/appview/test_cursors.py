"""A cursor fits one listing, and anything else is refused with 400."""

from __future__ import annotations

import base64

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atdex_appview.cursors import MAX_CURSOR_CHARS, MAX_INTEGER, decode, encode
from atdex_xrpc.errors import InvalidRequest

LIST = "app.bsky.atdata.listDatasets"
FILTERS = {"tag": "oct", "publisher": None}


def test_no_cursor_is_no_position() -> None:
    assert decode(LIST, FILTERS, None, shape=(int, str)) is None


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(st.integers(-MAX_INTEGER, MAX_INTEGER), TEXT)
def test_a_position_comes_back_as_it_was(number: int, text: str) -> None:
    cursor = encode(LIST, FILTERS, (number, text))
    assert set(cursor) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    if len(cursor) <= MAX_CURSOR_CHARS:
        assert decode(LIST, FILTERS, cursor, shape=(int, str)) == (number, text)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_score_comes_back_to_the_last_bit(score: float) -> None:
    cursor = encode(LIST, {}, (score,))
    assert decode(LIST, {}, cursor, shape=(float,)) == (score,)


def test_filters_that_were_not_given_are_no_part_of_the_binding() -> None:
    cursor = encode(LIST, FILTERS, (7,))
    assert decode(LIST, {"tag": "oct"}, cursor, shape=(int,)) == (7,)


@pytest.mark.parametrize(
    ("nsid", "filters"),
    [
        (LIST, {}),
        (LIST, {"tag": "retina"}),
        (LIST, {"tag": "oct", "publisher": "did:plc:abc"}),
        ("app.bsky.atdata.searchDatasets", {"tag": "oct"}),
    ],
)
def test_a_cursor_of_another_listing_is_refused(nsid: str, filters: dict[str, str]) -> None:
    cursor = encode(LIST, FILTERS, (7,))
    with pytest.raises(InvalidRequest, match="another listing"):
        decode(nsid, filters, cursor, shape=(int,))


def made(*parts: object) -> str:
    binding = orjson.loads(base64.urlsafe_b64decode(encode(LIST, {}, ()) + "=="))[1]
    raw = orjson.dumps([binding if part == "binding" else part for part in parts])
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "%%%",
        "é",
        "a b",
        "AAAA",
        "\0",
        "A" * (MAX_CURSOR_CHARS + 1),
        base64.urlsafe_b64encode(b"[" * 600).decode(),
        base64.urlsafe_b64encode(b'"text"').decode(),
        made(),
        made(1),
        made(2, "binding", 7),
        made("1", "binding", 7),
        made(1, "binding"),
        made(1, "binding", 7, 8),
        made(1, "binding", "7"),
        made(1, "binding", True),
        made(1, "binding", None),
        made(1, "binding", 7.0),
        made(1, "binding", [7]),
        made(1, "binding", 2**64 - 1),
        made(1, 5, 7),
    ],
)
def test_whatever_is_no_cursor_of_ours_is_a_bad_request(cursor: str) -> None:
    with pytest.raises(InvalidRequest, match="cursor") as caught:
        decode(LIST, {}, cursor, shape=(int,))
    assert caught.value.status == 400


def test_a_nul_in_a_position_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        decode(LIST, {}, encode(LIST, {}, ("a\0b",)), shape=(str,))
