from __future__ import annotations

from atdex_firehose.backoff import Backoff


def test_waits_grow_to_the_cap_with_full_jitter_and_start_over() -> None:
    backoff = Backoff(1.0, 8.0)
    ceilings = [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    for _ in range(50):
        backoff.reset()
        delays = [backoff.next_delay() for _ in ceilings]
        assert all(0.0 <= delay <= top for delay, top in zip(delays, ceilings, strict=True))
    spread = [Backoff(1.0, 8.0).next_delay() for _ in range(200)]
    assert min(spread) < 0.2
    assert max(spread) > 0.8


def test_a_thousand_failures_do_not_overflow() -> None:
    backoff = Backoff()
    assert all(backoff.next_delay() <= 60.0 for _ in range(2_000))
