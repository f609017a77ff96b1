"""How documents come into the index: what writes it, in this process.

Nothing of what is put, added or removed is to be seen before `commit`; `rollback` forgets it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import tantivy

from atdex_appview.search.document import SearchDocument
from atdex_appview.search.fields import index_document, index_schema
from atdex_appview.search.query import (
    ANALYZER,
    EXACT_ANALYZER,
    QueryParser,
    analyzer,
    exact_analyzer,
)

WRITER_BYTES = 64_000_000
"""Bytes of documents that tantivy holds before it writes a segment: ten batches or more."""


class IndexWriter(Protocol):
    """One at a time has an index. Every method raises ValueError, OSError or RuntimeError where the
    index cannot be written."""

    def put(self, documents: Iterable[SearchDocument]) -> None:
        """Adds or replaces."""
        ...

    def add(self, documents: Iterable[SearchDocument]) -> None:
        """Those that are not in the index."""
        ...

    def remove(self, uris: Sequence[str]) -> None: ...

    def clear(self) -> None:
        """Removes all that there are."""
        ...

    def commit(self) -> None:
        """When it returns, all is on disk."""
        ...

    def rollback(self) -> None: ...

    def close(self) -> None:
        """Waits for the merges that run."""
        ...


class DirectWriter:
    """Raises ValueError where the index has another writer."""

    def __init__(self, index: Any) -> None:
        self._writer = index.writer(WRITER_BYTES, 1)
        self._parser = QueryParser()

    def put(self, documents: Iterable[SearchDocument]) -> None:
        for document in documents:
            self._writer.delete_documents_by_term("uri", document.uri)
            self._add(document)

    def add(self, documents: Iterable[SearchDocument]) -> None:
        for document in documents:
            self._add(document)

    def remove(self, uris: Sequence[str]) -> None:
        for uri in uris:
            self._writer.delete_documents_by_term("uri", uri)

    def clear(self) -> None:
        self._writer.delete_all_documents()

    def commit(self) -> None:
        self._writer.commit()

    def rollback(self) -> None:
        self._writer.rollback()

    def close(self) -> None:
        self._writer.wait_merging_threads()

    def _add(self, document: SearchDocument) -> None:
        name_key = self._parser.name_key(document.name)
        self._writer.add_document(index_document(document, name_key))


def open_index(folder: Path | None = None) -> Any:
    """tantivy's index in that folder, made there where there is none; without one, in memory.

    Raises ValueError or OSError.
    """
    index = (
        tantivy.Index(index_schema())
        if folder is None
        else tantivy.Index(index_schema(), str(folder))
    )
    index.register_tokenizer(ANALYZER, analyzer())
    index.register_tokenizer(EXACT_ANALYZER, exact_analyzer())
    index.config_reader("manual", 0)
    return index
