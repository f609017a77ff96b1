"""How the demo's samples are made, by the name that a dataset in `publishers/` gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from demo.recipes import pictures, series, sounds, texts

Sample = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Recipe:
    """`make` yields all samples in order, fields in the order of the schema."""

    make: Callable[[], Iterator[Sample]]
    per_shard: int


RECIPES = {
    "gratings": Recipe(pictures.gratings, 32),
    "fundus": Recipe(pictures.fundus, 40),
    "satellite": Recipe(pictures.satellite, 60),
    "galaxies": Recipe(pictures.galaxies, 64),
    "birdsong": Recipe(sounds.birdsong, 16),
    "speech": Recipe(sounds.digits, 25),
    "seismic": Recipe(series.seismic, 24),
    "weather": Recipe(series.weather, 73),
    "traffic": Recipe(series.traffic, 60),
    "vitals": Recipe(series.vitals, 48),
    "chess": Recipe(texts.chess, 24),
    "genomics": Recipe(texts.promoters, 100),
    "materials": Recipe(texts.perovskites, 60),
    "tunes": Recipe(texts.tunes, 20),
}
