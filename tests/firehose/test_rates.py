from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from atdex_firehose import rates as rates_module
from atdex_firehose.rates import PAUSE_SECONDS, Rates, retry_after, site_of


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rates(clock: Clock) -> Rates:
    return Rates(10.0, 3, clock=clock)


def test_a_burst_is_free_and_then_each_turn_comes_later(rates: Rates) -> None:
    waits = [rates.book("a") for _ in range(6)]
    assert waits == pytest.approx([0, 0, 0, 0.1, 0.2, 0.3])
    assert rates.book("b") == 0


def test_an_idle_bucket_fills_up_and_not_beyond(rates: Rates, clock: Clock) -> None:
    for _ in range(5):
        rates.book("a")
    clock.now += 1_000
    assert [rates.book("a") for _ in range(4)] == pytest.approx([0, 0, 0, 0.1])


def test_a_turn_that_is_too_far_off_is_not_booked(rates: Rates, clock: Clock) -> None:
    for _ in range(5):
        rates.book("a")
    assert rates.book("a", longest=0.25) is None
    assert rates.book("a", longest=0.25) is None
    assert rates.book("a", longest=0.35) == pytest.approx(0.3)


def test_a_pause_holds_everybody_of_that_key(rates: Rates, clock: Clock) -> None:
    rates.pause("a", 30)
    rates.pause("a", 5)  # a shorter one does not end it
    assert rates.book("a", longest=29) is None
    assert [rates.book("a") for _ in range(4)] == pytest.approx([30, 30.1, 30.2, 30.3])
    assert rates.book("b") == 0
    clock.now += 30.4
    assert rates.paused("a") == 0
    assert rates.book("a") == pytest.approx(0)


def test_no_host_can_silence_us_for_long(rates: Rates) -> None:
    rates.pause("a", 1e9)
    assert rates.paused("a") == PAUSE_SECONDS


def test_memory_is_bounded(rates: Rates, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates_module, "KEYS", 100)
    for n in range(1_000):
        rates.book(str(n))
        rates.pause(str(n), 10)
    assert len(rates._full_at) == len(rates._pauses) == 100


async def test_turns_are_waited_for() -> None:
    rates = Rates(50.0, 1)
    started = time.monotonic()
    assert all(await asyncio.gather(*(rates.turn("a", longest=5) for _ in range(11))))
    assert 0.19 < time.monotonic() - started < 3
    assert not await rates.turn("a", longest=0)


async def test_a_pause_that_begins_while_waiting_is_waited_out() -> None:
    rates = Rates(20.0, 1)
    rates.book("a")
    started = time.monotonic()
    waiting = asyncio.create_task(rates.turn("a", longest=5))
    await asyncio.sleep(0)
    rates.pause("a", 0.3)
    assert await waiting
    assert time.monotonic() - started >= 0.29


@pytest.mark.parametrize(
    ("host", "site"),
    [
        ("alice.bsky.social", "bsky.social"),
        ("BSKY.social.", "bsky.social"),
        ("a.b.c.example.org", "example.org"),
        ("localhost", "localhost"),
    ],
)
def test_hosts_below_one_domain_are_one_site(host: str, site: str) -> None:
    assert site_of(host) == site


def test_retry_after_is_a_number_or_a_date() -> None:
    assert retry_after("7") == 7
    assert retry_after(" 120 ") == 120
    assert retry_after("99999999999") == PAUSE_SECONDS
    soon = retry_after(format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True))
    assert soon is not None
    assert 50 < soon <= 60
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "soon",
        "-1",
        "1.5",
        "٣",
        "9" * 100,
        "Wed, 99 Oct",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "01 Jan 2020 00:00:00 +9999999999999",
        "01 Jan 2020 00:00:00 +2999999999999",
    ],
)
def test_any_other_retry_after_is_none(value: str | None) -> None:
    assert retry_after(value) is None
