"""Pages of records that are as large as records may be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from atdex_appview.page_bytes import MAX_PAGE_BYTES, fitting
from atdex_lexicons.families import to_record
from atdex_xrpc.calls import MAX_RESPONSE_BYTES
from tests.appview.index import ALICE, CLASSIC, Index, Node, dataset, error_of, schema

LARGE = 900_000
COUNT = 20


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, list[str]]]:
    """A node with `COUNT` records of `LARGE` bytes each, and their URIs, newest first."""
    with Index.open(tmp_path_factory.mktemp("large")) as index:
        (mine,) = index.publish(ALICE, schema())
        record = to_record(dataset("cats", mine.uri), CLASSIC)
        puts = [index.put(ALICE, record | {"unknown": "x" * LARGE}) for _ in range(COUNT)]
        index.commit(ALICE, *puts)
        with index.serve() as served:
            yield served, [put.uri for put in reversed(puts)]


def test_a_page_has_what_fits_and_one_record_at_least() -> None:
    assert fitting([]) == 0
    assert fitting([3 * MAX_PAGE_BYTES, 1]) == 1
    assert fitting([MAX_PAGE_BYTES, 1]) == 1
    assert fitting([MAX_PAGE_BYTES - 1, 1]) == 2
    assert fitting([1] * 100) == 100


@pytest.mark.parametrize(
    ("method", "items", "params"),
    [
        ("app.bsky.atdata.listDatasets", "datasets", {}),
        ("app.bsky.atdata.searchDatasets", "datasets", {"q": "cats"}),
        ("app.bsky.atdata.searchDatasets", "datasets", {"sort": "newest"}),
        ("app.bsky.atdata.getFeed", "datasets", {"feed": "all"}),
        ("science.alt.dataset.listEntries", "entries", {}),
        ("science.alt.dataset.searchDatasets", "entries", {"q": "cats"}),
    ],
)
def test_a_walk_over_the_largest_records_is_in_pages_that_a_client_takes(
    node: tuple[Node, list[str]], method: str, items: str, params: dict[str, Any]
) -> None:
    served, uris = node
    met: list[str] = []
    cursor: dict[str, str] = {}
    pages = 0
    while True:
        response = served.http.get(f"/xrpc/{method}", params={"limit": 100, **params, **cursor})
        assert response.status_code == 200, response.text
        assert len(response.content) < MAX_RESPONSE_BYTES
        answer = response.json()
        met += [each["uri"] for each in answer[items]]
        pages += 1
        if "cursor" not in answer:
            break
        cursor = {"cursor": answer["cursor"]}
    assert met == uris
    assert pages == -(-COUNT // (MAX_PAGE_BYTES // LARGE))


@pytest.mark.parametrize(
    "method", ["app.bsky.atdata.getDatasets", "science.alt.dataset.getEntries"]
)
def test_too_many_large_records_asked_for_by_name_are_refused(
    node: tuple[Node, list[str]], method: str
) -> None:
    served, uris = node
    refusal = served.http.get(f"/xrpc/{method}", params={"uris": uris})
    assert error_of(refusal)[:2] == (400, "InvalidRequest")
    assert served.http.get(f"/xrpc/{method}", params={"uris": uris[:5]}).status_code == 200
