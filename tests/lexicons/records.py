"""Records to check, and what is wrong with one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from atdex_lexicons import Catalog, InvalidRecord
from atdex_lexicons.families import check_record
from tests.support.paths import FIXTURES

CATALOG = Catalog.bundled()
TID = "3mfx2abcdea2s"
AT = "2026-11-20T15:10:34.103183+00:00"
WRITTEN_BY_ATDATA = (
    "schema",
    "schema_view",
    "entry_http",
    "entry_s3",
    "entry_blobs",
    "entry_http_nochecksum",
    "label",
    "lens",
    "lens_verification",
)
"""The records in `fixtures/atdata`."""


def fixture(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((FIXTURES / "atdata" / f"{name}.json").read_text())["value"]
    return value


def entry(**changes: Any) -> dict[str, Any]:
    return {**fixture("entry_http"), **changes}


def problems_of(collection: str, record: object, rkey: str | None = TID) -> list[str]:
    with pytest.raises(InvalidRecord) as caught:
        check_record(CATALOG, collection, rkey, record)
    return [problem.path for problem in caught.value.problems]
