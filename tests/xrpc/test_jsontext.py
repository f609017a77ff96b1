from __future__ import annotations

import pytest

from atdex_xrpc.jsontext import MAX_DEPTH, BadJson, parse_json


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_nesting_is_allowed_up_to_the_limit_and_not_beyond(opening: str) -> None:
    closing = "]" if opening == "[" else "}"
    inner = "" if opening == "[" else "1"

    def nested(levels: int) -> bytes:
        last = opening + inner + closing
        return (opening * (levels - 1) + last + closing * (levels - 1)).encode()

    parse_json(nested(MAX_DEPTH))
    with pytest.raises(BadJson, match="nested deeper"):
        parse_json(nested(MAX_DEPTH + 1))


@pytest.mark.parametrize("levels", [1_000, 1_100, 100_000])
def test_deep_nesting_is_an_error_of_the_text_and_no_recursion_error(levels: int) -> None:
    with pytest.raises(BadJson):
        parse_json(b"[" * levels + b"]" * levels)


def test_width_is_not_depth() -> None:
    assert len(parse_json(b"[" + b"[]," * 999 + b"[]]")) == 1_000


def test_brackets_in_text_do_not_count_as_nesting() -> None:
    assert parse_json(b'"' + b"[" * 5_000 + b'"') == "[" * 5_000


@pytest.mark.parametrize("raw", [b"", b"{", b"NaN", b"\xff", b'"\\ud800"', b"{} {}", b"{'a': 1}"])
def test_what_is_no_json_is_refused(raw: bytes) -> None:
    with pytest.raises(BadJson, match="not JSON"):
        parse_json(raw)
