"""Log lines on stderr, as text or as one JSON object a line. Nothing is logged per record."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Literal, TextIO

import orjson

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "color_message"}
"""Attributes that every log record has; what a caller adds with `extra` is the rest."""

QUIET = ("httpx", "httpcore", "websockets", "aiosqlite", "uvicorn.access", "asyncio")
"""Libraries that log a line per request or per frame: heard from warning upwards only."""


class JsonFormatter(logging.Formatter):
    """`{"time", "level", "logger", "message", …extra, "error"?}`; `error` is the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _moment(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in record.__dict__.items():
            if name not in _STANDARD:
                line.setdefault(name, value)
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


class TextFormatter(logging.Formatter):
    """`2026-11-20T10:00:00Z info atdex_appview.node: message key=value`."""

    def format(self, record: logging.LogRecord) -> str:
        extra = "".join(
            f" {name}={value}" for name, value in record.__dict__.items() if name not in _STANDARD
        )
        level = record.levelname.lower()
        line = _plain(f"{_moment(record)} {level} {record.name}: {record.getMessage()}{extra}")
        if record.exc_info:
            line = f"{line}\n{self.formatException(record.exc_info)}"
        return line


def configure(
    level: str, style: Literal["text", "json"], stream: TextIO | None = None
) -> logging.Handler:
    """Sends the whole process's log to `stream` (stderr for None). For the entry point only."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    floor = max(logging.WARNING, root.level)
    for name in QUIET:
        logging.getLogger(name).setLevel(floor)
    return handler


def _plain(line: str) -> str:
    """A stranger's words must not look like a second line, nor command a terminal."""
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def _moment(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
