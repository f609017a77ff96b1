"""The public vectors of the data model: each file is one test."""

from __future__ import annotations

import base64
import json

from atdex_lexicons import Cid, InvalidData
from atdex_lexicons.checks import any_value
from atdex_lexicons.datamodel import decode, encode, from_json, json_bytes, to_json
from tests.lexicons.vectors import cases


def test_data_model_fixtures_have_the_given_bytes_and_cid() -> None:
    for case in cases("data-model/data-model-fixtures.json"):
        raw = base64.b64decode(case["cbor_base64"] + "==")
        value = from_json(case["json"])
        assert encode(value) == raw
        assert str(Cid.of_cbor(raw)) == case["cid"]
        assert decode(raw) == value
        assert to_json(value) == case["json"]
        assert from_json(json.loads(json_bytes(value))) == value


def test_data_model_valid_values_are_accepted() -> None:
    for case in cases("data-model/data-model-valid.json"):
        value = from_json(case["json"])
        assert decode(encode(value)) == value, case["note"]
        assert any_value(case["json"], 0) is None, case["note"]


def test_data_model_invalid_values_are_refused() -> None:
    accepted = []
    for case in cases("data-model/data-model-invalid.json"):
        try:
            from_json(case["json"])
        except InvalidData:
            pass
        else:
            accepted.append(case["note"])
        if isinstance(case["json"], dict) and any_value(case["json"], 0) is None:
            accepted.append(f"{case['note']} (by the validator)")
    assert not accepted
