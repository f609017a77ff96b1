from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from atdex_appview.search.index import SearchIndex


@pytest.fixture
def index(tmp_path: Path) -> Iterator[SearchIndex]:
    opened = SearchIndex.open(tmp_path / "search")
    yield opened
    opened.close()
