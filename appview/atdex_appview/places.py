"""What a data folder holds, by name."""

from __future__ import annotations

from typing import Final

RECORDS_FILE: Final = "records.duckdb"
SEARCH_FOLDER: Final = "search"
STATE_FILE: Final = "state.sqlite"
STREAM_FILE = "stream.sqlite"
