from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atdex_lexicons import Cid, InvalidData
from atdex_lexicons.checks import any_value
from atdex_lexicons.datamodel import decode, encode, from_json, json_bytes, to_json
from atdex_lexicons.jsonform import base64_size
from tests.lexicons.strategies import objects


@given(objects)
def test_json_form_and_back_is_the_same_value(value: dict[str, Any]) -> None:
    assert from_json(to_json(value)) == value
    assert from_json(json.loads(json_bytes(value))) == value


@given(objects)
def test_a_value_is_data_in_both_forms(value: dict[str, Any]) -> None:
    assert any_value(value, 0) is None
    assert any_value(to_json(value), 0) is None
    assert decode(encode(from_json(to_json(value)))) == value


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just({}),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["$link", "$bytes", "$type", "ref", "size", "mimeType", "a"]),
                inner | st.sampled_from(["blob", "YQ", "a/b"]),
                max_size=4,
            )
        ),
        max_leaves=15,
    )
)
def test_the_validator_and_from_json_agree_on_what_is_data(value: Any) -> None:
    value = {"a": value}
    try:
        from_json(value)
        accepted = True
    except InvalidData:
        accepted = False
    assert (any_value(value, 0) is None) is accepted


@given(st.binary(max_size=50))
def test_base64_is_measured_without_decoding(data: bytes) -> None:
    text = to_json(data)["$bytes"]
    assert "=" not in text
    padded = text + "=" * (-len(text) % 4)
    assert base64_size(text) == base64_size(padded) == len(data)
    assert from_json({"a": {"$bytes": padded}}) == {"a": data}


@pytest.mark.parametrize(
    "text", ["a", "ab=", "ab===", "ab==c", "a-_b", "ab\n", " ab", "aé", "===="]
)
def test_malformed_base64_is_refused(text: str) -> None:
    assert base64_size(text) is None
    with pytest.raises(InvalidData) as caught:
        from_json({"x": {"$bytes": text}})
    assert caught.value.path == "/x/$bytes"


@pytest.mark.parametrize("value", [1, "a", [], None, {"$bytes": "YQ"}, {"$link": "."}])
def test_the_top_must_be_an_object(value: Any) -> None:
    with pytest.raises(InvalidData):
        from_json(value)


def test_errors_name_the_path() -> None:
    with pytest.raises(InvalidData) as caught:
        from_json({"a": [{"b/c": {"$link": "nonsense"}}]})
    assert caught.value.path == "/a/0/b~1c/$link"
    assert str(caught.value).startswith("/a/0/b~1c/$link: ")


def test_whole_floats_of_json_become_integers() -> None:
    assert from_json({"a": 123.0, "b": -0.0}) == {"a": 123, "b": 0}
    for bad in (1.5, 1e300, float("inf"), float("nan")):
        with pytest.raises(InvalidData):
            from_json({"a": bad})


def test_ten_thousand_levels_of_nesting_are_an_error_of_the_data() -> None:
    deep: Any = {}
    for _ in range(10_000):
        deep = {"a": deep}
    for convert in (from_json, to_json, json_bytes):
        with pytest.raises(InvalidData):
            convert(deep)


def test_what_is_no_data_has_no_json_text() -> None:
    for bad in ({"a": {1}}, {"a": 1 << 80}, {1: 2}, {"a": "\ud800"}):
        with pytest.raises(InvalidData):
            json_bytes(bad)


def test_json_text_is_what_clients_read() -> None:
    cid = Cid.parse("bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a")
    assert json_bytes({"a": cid, "b": b"\xff\xfe", "c": [b""]}) == (
        b'{"a":{"$link":"bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a"},'
        b'"b":{"$bytes":"//4"},"c":[{"$bytes":""}]}'
    )
