"""Time series and tables: ground motion, weather, traffic, vital signs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import numpy as np

from demo.numbers import TURN, ints, one, pick, sine, walk

STATIONS = ["ROCK", "MILL", "LAKE", "FORT", "PINE"]


def seismic() -> Iterator[dict[str, Any]]:
    """Noise, then P on the vertical, then a larger S on the horizontals, both dying away."""
    at = np.arange(600, dtype=np.int64)
    for number in range(72):
        seed = 3000 + number * 16
        p_arrival = one(seed, 90, 200)
        s_arrival = p_arrival + one(seed + 1, 40, 180)
        magnitude = one(seed + 2, 32, 225) / 64
        size = int(magnitude * 64) ** 2
        waveform = np.stack([ints(seed + 3 + c, 600, -60, 61) for c in range(3)])
        for arrival, gains in ((p_arrival, (8, 3, 3)), (s_arrival, (4, 12, 10))):
            since = np.maximum(at - arrival, 0)
            shape = sine(since * one(seed + 7, 2500, 6500)) * (at >= arrival)
            for component, gain in enumerate(gains):
                waveform[component] += shape * gain * size // (8_000_000 + since * 90_000) // 4
        yield {
            "waveform": waveform.astype("<i4"),
            "station": pick(seed + 8, STATIONS),
            "rate_hz": 100,
            "p_arrival": p_arrival,
            "s_arrival": None if number % 11 == 10 else s_arrival,
            "magnitude": magnitude,
        }


def weather() -> Iterator[dict[str, Any]]:
    hour = np.arange(24, dtype=np.int64)
    first = date(2025, 1, 1)
    for number in range(0, 365, 2):
        seed = 5000 + number * 8
        season = int(sine(np.array([(number - 105) * TURN // 365]))[0])
        frozen = number < 31 and number % 8 == 4
        warmth = season * 9 // 512 + sine((hour - 9) * TURN // 24) * 3 // 512
        temperature = (warmth + walk(seed, 24, 12, 4)).astype("<f4") / np.float32(64)
        wind = np.abs(walk(seed + 1, 24, 90, 5)) * (not frozen)
        rain = np.maximum(walk(seed + 2, 24, 14, 6) - 20, 0)
        pressure = 760 * 64 + walk(seed + 3, 24, 40, 30)
        yield {
            "station": "hut-2460",
            "date": (first + timedelta(days=number)).isoformat(),
            "temperature_c": temperature,
            "wind_ms": wind.astype("<f4") / np.float32(16),
            "rain_mm": rain.astype("<f4") / np.float32(8),
            "pressure_hpa": pressure.astype("<f4") / np.float32(64),
            "observer": "anemometer frozen" if frozen else None,
        }


def traffic() -> Iterator[dict[str, Any]]:
    """Two peaks on working days, a slow hump on the others; the warm days belong to bicycles."""
    quarter = np.arange(96, dtype=np.int64)
    first = date(2026, 3, 2)

    def peak(middle: int, width: int, height: int) -> Any:
        return np.maximum(height - (quarter - middle) ** 2 * height // (width * width), 0)

    for number in range(120):
        seed = 7000 + number * 4
        day = first + timedelta(days=number)
        free = day.weekday() >= 5
        warm = one(seed, 4, 16)
        shape = peak(56, 30, 60) if free else peak(31, 8, 140) + peak(69, 10, 120)
        base = shape + peak(52, 40, 20)
        yield {
            "junction": "old bridge",
            "date": day.isoformat(),
            "cars": _counts(base + ints(seed + 1, 96, 0, 12)),
            "bicycles": _counts(base * warm // 16 + ints(seed + 2, 96, 0, 6)),
            "pedestrians": _counts(base // 2 + peak(62, 4, 40 * (not free))),
            "holiday": free,
        }


def vitals() -> Iterator[dict[str, Any]]:
    for number in range(96):
        seed = 11_000 + number * 8
        alarm = number % 3 == 0
        heart = 78 + walk(seed, 60, 3, 8)
        oxygen = np.minimum(97 + walk(seed + 1, 60, 1, 3), 100)
        if alarm:  # the finger clip slips: the numbers fall and come back at once
            slip = one(seed + 2, 10, 50)
            oxygen[slip : slip + 3] = 62
        yield {
            "heart_rate": heart.astype("<i2"),
            "oxygen": oxygen.astype("<i2"),
            "pressure": (88 + walk(seed + 3, 60, 4, 6)).astype("<i2"),
            "alarm": alarm,
            "ward": pick(seed + 4, ["north", "south", "heart"]),
            "note": "clip slipped, patient well" if alarm else None,
        }


def _counts(values: Any) -> Any:
    return np.maximum(values, 0).astype("<i4")
