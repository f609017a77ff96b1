from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from atdex_appview.store.duckdb import DuckDBStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DuckDBStore]:
    opened = DuckDBStore.open(tmp_path / "records.duckdb")
    yield opened
    opened.close()
