from __future__ import annotations

import json

import pytest

from atdex_firehose.did import parse_document
from atdex_firehose.errors import InvalidEvent, InvalidFrame, InvalidIdentity
from atdex_firehose.frames import upstream_error
from atdex_firehose.jetstream import parse_message, read_message
from atdex_firehose.shown import shown, text_of
from tests.support.repo import plc_did

DID = plc_did("alice")
LEVELS = 1_000
"""Fewer than the JSON decoder takes, more than Python writes out again."""
DEEP = "[" * LEVELS + "]" * LEVELS


def test_a_text_is_quoted_and_cut() -> None:
    assert shown("a" * 100, 3) == "'aaa'"
    assert text_of("a" * 100, 3) == "aaa"


@pytest.mark.parametrize(("value", "text"), [(None, "None"), (True, "True"), (12, "12")])
def test_a_simple_value_is_shown(value: object, text: str) -> None:
    assert shown(value) == text_of(value, 80) == text


@pytest.mark.parametrize(("value", "text"), [([1], "a list"), ({}, "a dict"), (b"x", "a bytes")])
def test_of_any_other_value_only_the_type_is_shown(value: object, text: str) -> None:
    assert shown(value) == text_of(value, 80) == text


def test_a_document_may_be_nested_as_deeply_as_json_can_be() -> None:
    with pytest.raises(InvalidIdentity, match="is of a list"):
        parse_document(DID, b'{"id": %b}' % DEEP.encode())


@pytest.mark.parametrize("field", ["did", "kind", "commit"])
def test_a_message_may_be_nested_as_deeply_as_json_can_be(field: str) -> None:
    message = {"did": DID, "kind": "commit", "time_us": 1}
    raw = json.dumps(message | {field: "DEEP"}).replace('"DEEP"', DEEP).encode()
    _, read = read_message(raw)
    if field == "kind":
        assert parse_message(read, 1) is None
    else:
        with pytest.raises(InvalidEvent):
            parse_message(read, 1)
    with pytest.raises(InvalidFrame, match="time_us is a list"):
        read_message(b'{"time_us": %b}' % DEEP.encode())


def test_an_error_frame_may_hold_anything() -> None:
    assert str(upstream_error("u", {"error": [1], "message": {}})) == "u: a list: a dict"
