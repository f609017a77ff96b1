"""The index on disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from atdex_appview.errors import (
    SearchUnavailable,
    StoreFormatUnknown,
)
from atdex_appview.search.index import SearchIndex
from tests.appview.records import ALICE, document, uri
from tests.appview.search.searching import find


def test_an_update_replaces_and_repeating_it_changes_nothing(index: SearchIndex) -> None:
    for _ in range(3):
        index.update([document("a", "old", 1)], [])
        index.update([document("a", "new", 1)], [uri(ALICE, "dataset", "never there")])
    assert (find(index, "old"), find(index, "new"), index.count()) == ([], ["a"], 1)
    index.update([], [uri(ALICE, "dataset", "a")])
    assert index.count() == 0


def test_what_was_updated_is_there_after_reopening(tmp_path: Path) -> None:
    index = SearchIndex.open(tmp_path / "search")
    assert index.fresh
    index.update([document("a", "eye", 1)], [])
    index.close()
    index.close()
    again = SearchIndex.open(tmp_path / "search")
    assert not again.fresh
    assert find(again, "eye") == ["a"]
    again.close()


def test_a_rebuild_replaces_everything_and_a_failed_one_nothing(index: SearchIndex) -> None:
    index.update([document("a", "eye", 1)], [])

    def broken() -> Iterator[object]:
        yield document("b", "eye", 2)
        raise KeyError("the store went away")

    with pytest.raises(KeyError):
        index.rebuild(broken())  # type: ignore[arg-type]  # it raises before its type matters
    assert find(index, "eye") == ["a"]
    assert index.rebuild(document(f"n{n}", "eye", n) for n in range(5)) == 5
    assert find(index, "eye") == [f"n{n}" for n in (4, 3, 2, 1, 0)]


def test_an_index_of_another_format_is_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "search"
    index = SearchIndex.open(folder)
    index.update([document("a", "eye", 1)], [])
    index.close()
    for other in (b"0", b"\xff\xfe"):
        (folder / "format").write_bytes(other)
        again = SearchIndex.open(folder)
        assert again.fresh
        assert again.count() == 0
        again.close()


def test_a_directory_with_anything_else_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "search"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreFormatUnknown, match="another program"):
        SearchIndex.open(folder)
    assert [entry.name for entry in folder.iterdir()] == ["thesis.txt"]


def test_a_damaged_index_says_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "search"
    SearchIndex.open(folder).close()
    (folder / "index" / "meta.json").write_text("junk")
    with pytest.raises(SearchUnavailable, match="deleting that directory rebuilds it"):
        SearchIndex.open(folder)
    shutil.rmtree(folder)
    SearchIndex.open(folder).close()


def test_one_index_has_one_writer(index: SearchIndex) -> None:
    with pytest.raises(SearchUnavailable, match="lock"):
        SearchIndex.open(index.path)


def test_a_closed_index_is_unavailable(index: SearchIndex) -> None:
    index.check()
    index.close()
    for use in (
        index.check,
        lambda: index.search("eye", limit=1),
        lambda: index.update([], []),
    ):
        with pytest.raises(SearchUnavailable, match="closed"):
            use()
