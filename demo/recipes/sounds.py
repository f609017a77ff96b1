"""Audio: birds in a wood, digits over a telephone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demo.numbers import TURN, Ints, ints, one, pick, sine

BIRD_RATE = 8000
# Notes of a song: (start Hz, end Hz, milliseconds).
SONGS: dict[str, list[tuple[int, int, int]]] = {
    "Turdus merula": [(1800, 2300, 160), (2300, 1700, 140), (2600, 2600, 90), (3100, 2200, 110)],
    "Troglodytes troglodytes": [(3600, 3400, 40)] * 6 + [(3900, 3000, 60)] * 4,
    "Erithacus rubecula": [(3700, 2500, 120), (2500, 3500, 60), (3800, 3800, 50), (2900, 2100, 90)],
    "Phylloscopus collybita": [(3300, 2900, 70), (2900, 2700, 70)] * 3,
}
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
# The two tones of each key of a telephone, in Hz.
KEYS = [
    (941, 1336), (697, 1209), (697, 1336), (697, 1477), (770, 1209),
    (770, 1336), (770, 1477), (852, 1209), (852, 1336), (852, 1477),
]  # fmt: skip


def birdsong() -> Iterator[dict[str, Any]]:
    for number in range(48):
        seed = 2000 + number * 8
        species = pick(seed, list(SONGS))
        detune = one(seed + 1, -120, 121)
        notes = [_glide(a + detune, b + detune, ms) for a, b, ms in SONGS[species]]
        pause = np.zeros(one(seed + 2, 100, 400), dtype=np.int64)
        song = np.concatenate([part for note in notes for part in (note, pause)])[:8000]
        rain = number % 9 == 8
        audio = ints(seed + 3, 8000, -40, 41) * (8 if rain else 1)
        start = one(seed + 4, 0, 8001 - len(song))
        audio[start : start + len(song)] += song * one(seed + 5, 20, 60) // 100
        yield {
            "audio": _pcm(audio),
            "rate_hz": BIRD_RATE,
            "species": species,
            "latitude": 51 + one(seed + 6, 0, 64) / 1024,
            "background": ["rain"] if rain else [],
            "recordist": "the night shift" if number % 3 == 0 else None,
        }


def digits() -> Iterator[dict[str, Any]]:
    for number in range(50):
        seed = 9000 + number * 8
        digit = number % 10
        low, high = KEYS[digit]
        length = one(seed, 900, 1500)
        tone = (_tone(low, length) + _tone(high, length)) // 4
        audio = ints(seed + 1, 2000, -200, 201)
        audio += np.where(ints(seed + 2, 2000, 0, 400) == 0, 9000, 0)  # crackle
        audio[200 : 200 + length] += tone
        yield {
            "audio": _pcm(audio),
            "rate_hz": 8000,
            "text": DIGITS[digit],
            "language": "en",
            "speaker": f"caller-{number // 10:02d}",
            "age_band": pick(seed + 3, ["18-29", "30-49", "50-69", None]),
            "accents": [],
        }


def _tone(hertz: int, length: int) -> Ints:
    return sine(np.arange(length, dtype=np.int64) * (hertz * TURN // BIRD_RATE))


def _glide(start: int, end: int, milliseconds: int) -> Ints:
    """A whistle whose pitch moves evenly, with a soft attack and end."""
    length = milliseconds * BIRD_RATE // 1000
    at = np.arange(length, dtype=np.int64)
    hertz = start + (end - start) * at // length
    envelope = np.minimum(np.minimum(at, length - at), 64)
    return sine(np.cumsum(hertz * TURN // BIRD_RATE)) * envelope // 64


def _pcm(audio: Ints) -> NDArray[np.int16]:
    return np.clip(audio, -32768, 32767).astype("<i2")
