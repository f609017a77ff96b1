from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.appview.index import (
    Index,
    Node,
)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.open(tmp_path) as opened:
        yield opened


@pytest.fixture
def node(index: Index) -> Iterator[Node]:
    with index.serve() as served:
        yield served


@pytest.fixture(scope="module")
def empty_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with Index.open(tmp_path_factory.mktemp("empty")) as opened, opened.serve() as served:
        yield served
