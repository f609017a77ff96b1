"""What the log says of slow queries, and what it never says."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import Headers

from atdex_appview.slow import SlowQueries, described, shape
from atdex_xrpc import Request
from tests.appview.index import ALICE, Index, dataset

SECRET = "carcinoma-of-my-neighbour"


def request(given: Any = None, **params: Any) -> Request:
    return Request("a.b.searchDatasets", params, given, Headers(), None)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (True, "boolean"),
        (123456, "integer"),
        (SECRET, "text(25)"),
        (b"abc", "bytes(3)"),
        (["ab", "cdef"], "array(2 of text 2..4)"),
        (["ab", "cd"], "array(2 of text 2)"),
        ([1, 2, 3], "array(3)"),
        ([], "array(0)"),
        ({SECRET: SECRET}, "object(1)"),
        (None, "null"),
    ],
)
def test_a_value_is_shown_by_its_shape_alone(value: Any, said: str) -> None:
    assert shape(value) == said


def test_names_are_those_of_the_document_and_values_are_left_out() -> None:
    given = {"collection": "a.b.c", "record": {SECRET: [SECRET]}}
    text = described(request(given, q=SECRET, tags=[SECRET], limit=7))
    assert text == (
        "limit=integer, q=text(25), tags=array(1 of text 25), collection:text(5), record:object(1)"
    )
    assert described(request(b"x" * 9)) == "input:bytes(9)"
    assert described(request()) == "no parameters"


def test_only_what_is_slow_is_logged_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    slow = SlowQueries(0.5)
    slow.took(request(q=SECRET), 0.49)
    assert not caplog.records
    slow.took(request(q=SECRET), 0.5)
    slow.took(request(q=SECRET), 3.0)
    assert slow.counts == {"a.b.searchDatasets": 2}
    assert [r.getMessage() for r in caplog.records] == [
        "a.b.searchDatasets took 500 ms: q=text(25)",
        "a.b.searchDatasets took 3000 ms: q=text(25)",
    ]


def test_a_served_query_that_is_slow_or_fails_is_logged_without_its_text(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Index.open(tmp_path) as index, caplog.at_level(logging.WARNING):
        slow = SlowQueries(0.0)
        index.publish(ALICE, dataset("retina", f"at://{ALICE}/science.alt.dataset.schema/3k2a"))
        with index.serve(slow=slow) as node:
            node.ask("searchDatasets", q=SECRET, tags=[SECRET])
            node.get("getDataset", uri=f"at://{ALICE}/science.alt.dataset.entry/{SECRET}")
            node.get("searchDatasets", q=SECRET, limit=0)
    lines = [r.getMessage() for r in caplog.records if " took " in r.getMessage()]
    assert len(lines) == 2, "what is refused before it is looked at is not slow"
    assert "q=text(25)" in lines[0]
    assert SECRET not in caplog.text
    assert slow.counts == {
        "app.bsky.atdata.searchDatasets": 1,
        "app.bsky.atdata.getDataset": 1,
    }
