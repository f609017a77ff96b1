"""`make bench`: runs every benchmark module of this folder and prints one table.

A module takes part by having `run() -> list[tuple[str, float, str, str]]`:
name, figure, unit, target (empty where there is none).
"""

from __future__ import annotations

import importlib
import pkgutil
import sys

import tests.benchmarks as folder


def main(wanted: list[str]) -> int:
    print(f"{'benchmark':<58} {'figure':>14} {'unit':<14} target")
    for module in pkgutil.iter_modules(folder.__path__):
        if module.name == "__main__" or (wanted and module.name not in wanted):
            continue
        run = getattr(importlib.import_module(f"tests.benchmarks.{module.name}"), "run", None)
        if run is None:
            continue
        for name, figure, unit, target in run():
            print(f"{module.name + ': ' + name:<58} {figure:>14,.2f} {unit:<14} {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
