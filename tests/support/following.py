"""A node process for tests, with the questions that they ask it again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from demo.node import NodeProcess

SHOWS_SECONDS = 2.0
"""From the moment that the PDS answered to the moment that the node serves it: the promise."""

METHODS = "app.bsky.atdata"
PAGE = 7  # of a walk: small, so that a walk has many


class Follower(NodeProcess):
    """A node and what it shows."""

    def dataset(self, uri: str) -> dict[str, Any] | None:
        """The view of a dataset, None where the node does not serve it."""
        response = self.get(f"{METHODS}.getDataset", uri=uri)
        if response.status_code == 404:
            assert response.json()["error"] == "DatasetNotFound"
            return None
        response.raise_for_status()
        view: dict[str, Any] = response.json()["dataset"]
        return view

    def status(self, uri: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.query(f"{METHODS}.getRecordStatus", uri=uri)
        return answer

    def search(self, q: str, **params: Any) -> set[str]:
        """The URIs on the first page of hits."""
        found = self.query(f"{METHODS}.searchDatasets", q=q, limit=100, **params)
        return {view["uri"] for view in found["datasets"]}

    def walk(self, method: str = "listDatasets", **params: Any) -> Iterator[dict[str, Any]]:
        """Every view of all pages, in the order served."""
        cursor: dict[str, str] = {}
        while True:
            page = self.query(f"{METHODS}.{method}", limit=PAGE, **params, **cursor)
            yield from page["datasets"]
            if "cursor" not in page:
                return
            cursor = {"cursor": page["cursor"]}

    def shows(self, done: Callable[[], bool], what: str) -> None:
        """Fails unless `done` becomes true within the time that the node promises."""
        self.wait(done, what, SHOWS_SECONDS)
