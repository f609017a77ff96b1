from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from atdex_firehose.watermark import Watermark


def test_the_value_never_passes_what_is_held() -> None:
    mark = Watermark()
    mark.seen(1)
    mark.hold(2)
    mark.seen(3)
    mark.hold(4)
    assert (mark.value, mark.top, mark.held) == (1, 4, 2)
    mark.release(4)
    assert mark.value == 1
    mark.release(2)
    assert mark.value == 4


def test_releasing_twice_or_the_unknown_changes_nothing() -> None:
    mark = Watermark(10)
    mark.hold(12)
    mark.release(99)
    assert mark.value == 11
    mark.release(12)
    mark.release(12)
    assert mark.value == 12


def test_it_starts_at_the_saved_cursor() -> None:
    assert Watermark(77).value == 77


@given(st.lists(st.booleans(), max_size=60), st.randoms(use_true_random=False))
def test_in_whatever_order_events_end(held: list[bool], random: object) -> None:
    mark, out = Watermark(), []
    for seq, is_held in enumerate(held, 1):
        if is_held:
            mark.hold(seq)
            out.append(seq)
        else:
            mark.seen(seq)
    random.shuffle(out)  # type: ignore[attr-defined]  # hypothesis hands out a random.Random
    while out:
        assert mark.value == min(out) - 1
        mark.release(out.pop())
    assert mark.value == len(held)
