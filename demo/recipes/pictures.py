"""Images: gratings, the back of an eye, land from orbit, faint galaxies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from demo.numbers import Ints, grid, ints, one, pick, sine, to_bytes

# Sixteen directions as integer vectors; none is exact, which a grating does not mind.
DIRECTIONS = [
    (16, 0), (16, 3), (15, 6), (13, 9), (11, 11), (9, 13), (6, 15), (3, 16),
    (0, 16), (-3, 16), (-6, 15), (-9, 13), (-11, 11), (-13, 9), (-15, 6), (-16, 3),
]  # fmt: skip


def gratings() -> Iterator[dict[str, Any]]:
    row, column = grid(32)
    for frequency in (1, 2, 4, 8):
        for number, (dx, dy) in enumerate(DIRECTIONS):
            wave = sine((column * dx + row * dy) * frequency * 128)
            grey = to_bytes(128 + wave // 258)
            label = f"{number * 180 // 16} degrees, frequency {frequency}"
            yield {"image": np.stack([grey, grey, grey], axis=-1), "label": label}


def fundus() -> Iterator[dict[str, Any]]:
    """A red disc, a bright optic disc towards the nose, vessels, and spots by grade."""
    row, column = grid(64)
    inside = row * row + column * column < 30 * 30
    for number in range(80):
        seed = 1000 + number * 16
        eye = "left" if number % 2 else "right"
        grade = pick(seed, [0, 0, 0, 1, 1, 2, 2, 3, 4])
        side = -1 if eye == "left" else 1
        shade = 150 - (row * row + column * column) // 16 + _texture(seed + 1, 64, 18)
        disc_row, disc_column = one(seed + 2, -4, 5), side * one(seed + 3, 13, 18)
        nerve = (row - disc_row) ** 2 + (column - disc_column) ** 2 < 30
        shade = np.where(nerve, 235, shade)
        for vessel in range(3):
            bend = one(seed + 4 + vessel, -10, 11)
            path = disc_row + (column - disc_column) * bend // 12 + (column * column) // 90
            shade = np.where(np.abs(row - path) < 2 - (np.abs(column) > 16), shade - 60, shade)
        for spot in range(grade * 4):
            at_row, at_column = (one(seed * 7 + spot * 2 + k, -20, 21) for k in (0, 1))
            lesion = (row - at_row) ** 2 + (column - at_column) ** 2 < 4
            shade = np.where(lesion, 245 if spot % 3 else 70, shade)
        channels = [shade + 40, shade * 5 // 8, shade // 4]
        image = np.stack([to_bytes(np.where(inside, c, 0)) for c in channels], axis=-1)
        quality = one(seed + 9, 20, 65) / 64
        sample = {"image": image, "eye": eye, "grade": grade, "quality": quality}
        yield sample | {"note": "pupil not dilated" if number % 4 == 3 else None}


COVERS = {
    "field": (60, 90, 70, 190),
    "forest": (30, 60, 40, 160),
    "water": (50, 40, 20, 8),
    "village": (120, 115, 125, 110),
    "vineyard": (70, 85, 80, 150),
}


def satellite() -> Iterator[dict[str, Any]]:
    """Four bands of 12-bit reflectance; fields have edges, water is smooth, clouds are white."""
    row, column = grid(24)
    for number in range(180):
        seed = 40_000 + number * 8
        cover = pick(seed, list(COVERS))
        stripe = one(seed + 1, 3, 9)
        rows = ((column + row * one(seed + 2, -2, 3)) // stripe) % 2
        contrast = {"field": 24, "vineyard": 30, "village": 40}.get(cover, 0)
        rough = _texture(seed + 3, 24, 4 if cover == "water" else 22)
        cloudy = max(0, one(seed + 4, -48, 48))
        cloud = (row - one(seed + 5, -12, 13)) ** 2 + column**2 < cloudy * 2
        bands = [
            np.where(cloud, 3600, np.clip((level + rows * contrast + rough) * 16, 0, 4095))
            for level in COVERS[cover]
        ]
        yield {
            "bands": np.stack(bands).astype("<u2"),
            "cover": cover,
            "cloud": float(int(cloud.sum())) / 1024,
            "tile_id": f"T{one(seed + 6, 10, 60)}N{number:04d}",
            "taken": f"2026-{1 + number % 12:02d}-{1 + number % 28:02d}",
        }


def galaxies() -> Iterator[dict[str, Any]]:
    """Counts above the sky; the source falls off with the square of its radius."""
    row, column = grid(32)
    for number in range(128):
        seed = 60_000 + number * 8
        kind = pick(seed, ["spiral", "elliptical", "star", "satellite trail"])
        flat = one(seed + 1, 1, 4)
        radius2 = row * row * flat + column * column
        size = {"star": 3, "spiral": 60, "elliptical": 40}.get(kind, 1)
        light = one(seed + 2, 300, 900) * size // (radius2 + size)
        if kind == "spiral":
            arms = sine((row * column * 700 + radius2 * 190) & 0xFFFF)
            light += np.where(radius2 < 160, light * arms // 90_000, 0)
        if kind == "satellite trail":
            light = np.where(np.abs(row - column // 2 - one(seed + 3, -6, 7)) < 2, 500, 0)
        counts = 40 + light + _texture(seed + 4, 32, 24)
        far = kind in ("spiral", "elliptical")
        yield {
            "pixels": counts.astype("<i4"),
            "band": "gri"[number % 3],
            "ra_mas": one(seed + 5, 0, 1_296_000_000),
            "dec_mas": one(seed + 6, -324_000_000, 324_000_000),
            "kind": kind,
            "redshift": one(seed + 7, 1, 200) / 512 if far else None,
        }


def _texture(seed: int, size: int, depth: int) -> Ints:
    return ints(seed, size * size, -depth // 2, depth // 2 + 1).reshape(size, size)
