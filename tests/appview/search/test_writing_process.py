"""The process that writes the search index: it does what the node would do itself, and whatever
becomes of it, no batch is there in part."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from atdex_appview.errors import SearchUnavailable
from atdex_appview.search import writing_process
from atdex_appview.search.document import SearchDocument
from atdex_appview.search.index import SearchIndex
from atdex_appview.search.writing import DirectWriter, open_index
from atdex_appview.search.writing_process import WritingProcess
from atdex_appview.worker import messages
from tests.appview.records import ALICE, document, uri

NODE = """
import sys
import time
from pathlib import Path
from atdex_appview.search.index import SearchIndex
from tests.appview.records import document

index = SearchIndex.open(Path(sys.argv[1]), own_process=True)
index.update([document(f"r{n}", "eye", n) for n in range(5)], [])
print(index._writer._process.pid, flush=True)
n = 5
while True:
    index.update([document(f"r{n}", "eye", n)], [])
    n += 1
"""


@pytest.fixture
def index(tmp_path: Path) -> Iterator[SearchIndex]:
    opened = SearchIndex.open(tmp_path / "search", own_process=True)
    yield opened
    opened.close()


def process(index: SearchIndex) -> subprocess.Popen[bytes]:
    writer = index._writer
    assert isinstance(writer, WritingProcess)
    assert writer._process is not None
    return writer._process


def names(index: SearchIndex) -> list[str]:
    return [hit.uri.split("/")[-1] for hit in index.search("", limit=5000).hits]


def runs(pid: int) -> bool:
    """Whether it is there, and not merely waiting for its end to be noticed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def several(*numbers: int) -> list[SearchDocument]:
    return [document(f"r{n}", f"eye {n}", n) for n in numbers]


def test_it_comes_to_the_same_as_a_writer_in_the_node(tmp_path: Path) -> None:
    told = []
    for own_process in (False, True):
        index = SearchIndex.open(tmp_path / str(own_process), own_process=own_process)
        index.update(several(*range(2500)), [])
        index.update(several(7, 3000), [uri(ALICE, "dataset", "r8"), uri(ALICE, "dataset", "no")])
        before = names(index)
        texts = [document(f"t{n}", text, n) for n, text in enumerate(("", "\0 é 漢字", "x" * 9999))]
        count = index.rebuild(iter([*several(*range(1500)), *texts]))
        index.close()
        index = SearchIndex.open(tmp_path / str(own_process), own_process=own_process)
        told.append((before, count, names(index), index.fresh))
        index.close()
    assert told[0] == told[1]
    assert (len(told[0][0]), told[0][1]) == (2500, 1503)


def test_a_rebuild_that_fails_changes_nothing(index: SearchIndex) -> None:
    index.update(several(1, 2), [])

    def broken() -> Iterator[SearchDocument]:
        yield from several(*range(10, 3000))
        raise KeyError("the store went away")

    with pytest.raises(KeyError):
        index.rebuild(broken())
    assert names(index) == ["r2", "r1"]
    index.update(several(3), [])
    assert names(index) == ["r3", "r2", "r1"]


def test_one_that_is_killed_costs_the_batch_and_the_next_one_is_written(index: SearchIndex) -> None:
    index.update(several(1), [])
    process(index).kill()
    process(index).wait()
    with pytest.raises(SearchUnavailable, match=r"Broken pipe|the process that writes it ended"):
        index.update(several(2), [])
    assert names(index) == ["r1"]
    index.update(several(2, 3), [])
    assert names(index) == ["r3", "r2", "r1"]


def test_what_stops_the_node_does_not_stop_it(index: SearchIndex) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        process(index).send_signal(number)
    index.update(several(1), [])
    assert names(index) == ["r1"]


def test_one_that_does_not_answer_is_given_up(
    index: SearchIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing_process, "COMMIT_SECONDS", 0.2)
    stopped = process(index)
    stopped.send_signal(signal.SIGSTOP)
    with pytest.raises(SearchUnavailable, match="does not answer"):
        index.update(several(1), [])
    assert stopped.returncode == -signal.SIGKILL
    monkeypatch.undo()
    index.update(several(2), [])
    assert names(index) == ["r2"]


def test_it_ends_with_a_node_that_is_killed_and_the_next_node_waits_for_that(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "search"
    node = subprocess.Popen([sys.executable, "-c", NODE, folder], stdout=subprocess.PIPE)
    try:
        assert node.stdout is not None
        child = int(node.stdout.readline())
    finally:
        node.kill()
        node.communicate()
    again = SearchIndex.open(folder, own_process=True)
    deadline = time.monotonic() + 10
    while runs(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert again.count() >= 5
    assert names(again) == [f"r{n}" for n in reversed(range(again.count()))]
    again.update(several(9999), [])
    assert names(again)[0] == "r9999"
    again.close()


def test_an_index_that_has_a_writer_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing_process, "LOCK_SECONDS", 0.1)
    other = DirectWriter(open_index(tmp_path))
    told = io.BytesIO()
    writing_process.serve(tmp_path, io.BytesIO(), told)
    [wrong] = messages(io.BytesIO(told.getvalue()))
    assert "lock" in wrong.lower()
    other.close()


def test_a_damaged_index_says_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "search"
    SearchIndex.open(folder, own_process=True).close()
    (folder / "index" / "meta.json").write_text("junk")
    with pytest.raises(SearchUnavailable, match="deleting that directory rebuilds it"):
        SearchIndex.open(folder, own_process=True)


def test_a_mistake_of_ours_ends_it_and_the_next_batch_is_written(index: SearchIndex) -> None:
    index.update(several(1), [])
    with pytest.raises(SearchUnavailable, match="the process that writes it ended"):
        index.update([document("big", "eye", 2**70)], [])
    index.update(several(2), [])
    assert names(index) == ["r2", "r1"]


def test_it_closes_whatever_became_of_it(index: SearchIndex) -> None:
    index.update(several(1), [])
    process(index).kill()
    index.close()
    index.close()
