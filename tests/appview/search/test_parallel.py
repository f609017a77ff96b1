"""Long searches in parts: which parts, and who works them off."""

from __future__ import annotations

import threading

import pytest

from atdex_appview.search import parallel
from atdex_appview.search.index import SearchIndex
from atdex_appview.search.parallel import ALWAYS, Span, Spans, Threads
from tests.appview.records import document

CORES = 4
WHOLE = Spans()


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "LONG", 50)


def spans_of(index: SearchIndex, before: Spans = WHOLE) -> Spans:
    reader = index._current.reader
    return before.of(reader.fields, reader.searcher, CORES)


def shares(spans: Spans, times: list[int]) -> list[float]:
    return [
        sum(span.since <= time < span.until for time in times) / len(times) for span in spans.spans
    ]


@pytest.mark.parametrize("power", [1, 3, 8])
def test_spans_hold_about_equally_many_datasets_however_they_came_in(
    index: SearchIndex, power: int
) -> None:
    times = [10 + n**power for n in range(200)]
    index.update([document(f"r{time}", "eye", time) for time in times], [])
    spans = spans_of(index)
    assert len(spans.spans) == CORES
    assert all(0.22 < share < 0.28 for share in shares(spans, times))
    assert sum(shares(spans, times)) == 1
    assert (spans.spans[0].since, spans.spans[-1].until) == ALWAYS[0]


def test_a_dataset_of_any_time_to_come_is_in_a_span(index: SearchIndex) -> None:
    index.update([document(f"r{n}", "eye", 10**15 + n) for n in range(200)], [])
    spans = spans_of(index)
    for time in (0, 10**15 + 77, 2**62):
        assert sum(span.since <= time < span.until for span in spans.spans) == 1


def test_spans_stay_while_the_index_is_about_as_large(index: SearchIndex) -> None:
    index.update([document(f"r{n}", "eye", 10 + n) for n in range(200)], [])
    first = spans_of(index)
    index.update([document(f"s{n}", "eye", 1000 + n) for n in range(40)], [])
    assert spans_of(index, first) is first
    index.update([document(f"t{n}", "eye", 2000 + n) for n in range(20)], [])
    assert spans_of(index, first) != first


def test_a_small_index_is_searched_whole(index: SearchIndex) -> None:
    index.update([document("a", "eye", 1)], [])
    assert spans_of(index).spans == (Span(0, 2**63),)


def test_an_index_that_was_emptied_is_searched_whole_again(index: SearchIndex) -> None:
    index.update([document(f"r{n}", "eye", 10 + n) for n in range(200)], [])
    before = spans_of(index)
    index.update([], [document(f"r{n}", "eye", 0).uri for n in range(200)])
    assert spans_of(index, before) == WHOLE


def test_who_asks_works_off_what_no_thread_is_free_for() -> None:
    threads = Threads()
    held = threading.Event()
    try:
        for _ in range(threads.cores):
            threads._pool.submit(held.wait, 60)
        assert threads.together(lambda part: part * part, [1, 2, 3]) == [1, 4, 9]
    finally:
        held.set()
        threads.close()


def test_what_goes_wrong_in_a_part_is_raised() -> None:
    threads = Threads()

    def work(part: int) -> float:
        return 1 / part

    try:
        for parts in ([0, 1], [1, 0]):
            with pytest.raises(ZeroDivisionError):
                threads.together(work, parts)
    finally:
        threads.close()


def test_threads_that_were_closed_take_nothing_more() -> None:
    threads = Threads()
    threads.close()
    with pytest.raises(RuntimeError):
        threads.together(str, [1, 2])
    assert threads.together(str, [1]) == ["1"]
