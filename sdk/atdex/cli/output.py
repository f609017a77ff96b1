"""Printing what strangers wrote: readable, bounded, and with nothing a terminal would obey."""

from __future__ import annotations

import base64
import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import orjson
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from atdex.arrays import decode_array
from atdex.errors import BadArray
from atdex.fetch import Progress

MAX_TEXT: Final = 200
"""Characters of a text value before it is cut."""

MAX_ITEMS: Final = 8
"""Items of a list or map before it is cut."""

MAX_LEVELS: Final = 64
"""Levels of values in values; what is deeper is cut. A hostile sample can have a thousand, and
neither this code nor a JSON reader takes that many."""

TIMES: Final = "\N{MULTIPLICATION SIGN}"

MAX_JSON_ELEMENTS: Final = 4096
"""Elements of an array that JSON repeats in full; larger ones are described alone."""


def console() -> Console:
    return Console(highlight=False)


def clean(text: object, limit: int = MAX_TEXT) -> str:
    """Text on one line, cut, without control characters."""
    line = " ".join(str(text).split())
    line = line if len(line) <= limit else line[: limit - 1] + "…"
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)


def rows(pairs: Iterator[tuple[str, object]] | list[tuple[str, object]]) -> Table:
    """Names and values, one pair a line; pairs with an empty value are left out."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        if value not in (None, "", ()):
            table.add_row(name, value if isinstance(value, Text) else Text(clean(value, 2000)))
    return table


def sample_fields(sample: object) -> dict[str, Any]:
    """The fields of a sample, typed or a plain map."""
    if isinstance(sample, Mapping):
        return dict(sample)
    assert dataclasses.is_dataclass(sample)
    return {field.name: getattr(sample, field.name) for field in dataclasses.fields(sample)}


def guess_arrays(fields: dict[str, Any]) -> dict[str, Any]:
    """Bytes that are exactly an array become one. For showing plain maps, where no schema tells."""
    return {name: _guess(value) for name, value in fields.items()}


def _guess(value: Any) -> Any:
    if isinstance(value, bytes):
        try:
            return decode_array(value)
        except BadArray:
            return value
    return value


def describe(value: Any, level: int = 0) -> str:
    """One value on one line."""
    if isinstance(value, np.ndarray):
        return _describe_array(value)
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, bytes):
        start = value[:16].hex(" ")
        return f"{len(value):,} bytes{': ' + start if value else ''}{' …' * (len(value) > 16)}"
    if level >= MAX_LEVELS and isinstance(value, (list, Mapping)):
        return "…"
    if isinstance(value, list):
        more = f", … {len(value):,} in all" if len(value) > MAX_ITEMS else ""
        inside = ", ".join(describe(item, level + 1) for item in value[:MAX_ITEMS])
        return clean(f"[{inside}{more}]")
    if isinstance(value, Mapping):
        items = list(value.items())
        more = f", … {len(items):,} in all" if len(items) > MAX_ITEMS else ""
        inside = ", ".join(f"{k}: {describe(v, level + 1)}" for k, v in items[:MAX_ITEMS])
        return clean(f"{{{inside}{more}}}")
    if dataclasses.is_dataclass(value):
        return describe(sample_fields(value), level)
    return clean(repr(value))


def _describe_array(array: np.ndarray[Any, Any]) -> str:
    shape = TIMES.join(map(str, array.shape)) or "scalar"
    text = f"{array.dtype} {shape}"
    if array.size == 1:
        text += f", {array.item()!r}"
    elif array.size and array.dtype.kind in "biuf":
        text += f", {array.min().item():.6g} to {array.max().item():.6g}"
    return clean(text)


def jsonable(value: Any, level: int = 0) -> Any:
    """A value as JSON: bytes as `{"$bytes": base64}`, arrays with dtype, shape and range, and
    with their data up to MAX_JSON_ELEMENTS. What is deeper than MAX_LEVELS is "…"."""
    if isinstance(value, np.ndarray):
        made: dict[str, Any] = {"dtype": value.dtype.str, "shape": list(value.shape)}
        if value.size and value.dtype.kind in "biuf":
            made |= {"min": value.min().item(), "max": value.max().item()}
        if value.size <= MAX_JSON_ELEMENTS and value.dtype.kind in "biufU":
            made["data"] = value.tolist()
        return made
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if level >= MAX_LEVELS and isinstance(value, (list, tuple, Mapping)):
        return "…"
    if isinstance(value, Mapping):
        return {str(k): jsonable(v, level + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item, level + 1) for item in value]
    if dataclasses.is_dataclass(value):
        return jsonable(sample_fields(value), level)
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def print_json(value: Any, *, indent: bool = True) -> None:
    """One JSON value on stdout; on one line without `indent`."""
    option = orjson.OPT_INDENT_2 if indent else 0
    sys.stdout.write(orjson.dumps(value, option=option).decode() + "\n")


@contextmanager
def downloads() -> Iterator[Callable[[Progress], None] | None]:
    """Bars on stderr while shards arrive; nothing where stderr is no terminal."""
    stderr = Console(stderr=True)
    if not stderr.is_terminal:
        yield None
        return
    with Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=stderr,
        transient=True,
    ) as bars:
        tasks: dict[str, TaskID] = {}

        def show(progress: Progress) -> None:
            if progress.url not in tasks:
                name = clean(progress.url.rpartition("/")[2] or progress.url, 40)
                tasks[progress.url] = bars.add_task(Text(name).plain.replace("[", "("))
            bars.update(tasks[progress.url], completed=progress.done, total=progress.total)

        yield show
