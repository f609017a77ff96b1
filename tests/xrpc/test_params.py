from __future__ import annotations

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atdex_xrpc import InvalidRequest
from atdex_xrpc.params import MAX_PARAMS, parse_query

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


def test_repeated_keys_stay_in_order() -> None:
    assert parse_query(b"a=1&b=2&a=3") == [("a", "1"), ("b", "2"), ("a", "3")]


def test_plus_and_percent_20_are_spaces_and_percent_2b_is_a_plus() -> None:
    assert parse_query(b"q=a+b%20c%2Bd") == [("q", "a b c+d")]


def test_a_key_without_a_value_is_empty_text() -> None:
    assert parse_query(b"a&b=&=c") == [("a", ""), ("b", ""), ("", "c")]


def test_empty_pieces_are_passed_over() -> None:
    assert parse_query(b"") == []
    assert parse_query(b"&&a=1&") == [("a", "1")]


def test_only_the_first_equals_sign_separates() -> None:
    assert parse_query(b"cursor=abc==") == [("cursor", "abc==")]


@given(st.lists(st.tuples(TEXT, TEXT), max_size=20))
def test_what_the_standard_library_encodes_is_read_back(pairs: list[tuple[str, str]]) -> None:
    assert parse_query(urlencode(pairs).encode()) == pairs


@given(st.binary(max_size=50))
def test_any_bytes_give_pairs_or_an_invalid_request(raw: bytes) -> None:
    try:
        pairs = parse_query(raw)
    except InvalidRequest:
        return
    assert all("\0" not in text for pair in pairs for text in pair)


@pytest.mark.parametrize(
    "raw", [b"q=%", b"q=%2", b"q=%zz", b"q=%+1", b"q=%-1", b"%g0=1", b"q=100%&x=1"]
)
def test_a_broken_percent_encoding_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest, match="percent-encoding"):
        parse_query(raw)


@pytest.mark.parametrize("raw", [b"q=%ff", b"q=%c3", b"q=%ed%a0%80", b"q=\xff", b"q=%c0%80"])
def test_text_that_is_not_utf_8_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest, match="UTF-8"):
        parse_query(raw)


@pytest.mark.parametrize("raw", [b"q=%00", b"q=a%00b", b"%00=1", b"q=\0"])
def test_nul_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest, match="NUL"):
        parse_query(raw)


def test_the_number_of_parameters_is_bounded() -> None:
    assert len(parse_query(b"&".join([b"a=1"] * MAX_PARAMS))) == MAX_PARAMS
    with pytest.raises(InvalidRequest, match="more than"):
        parse_query(b"&".join([b"a=1"] * (MAX_PARAMS + 1)))
