"""What is known of one repo between two of its events."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Head:
    """The last commit taken of a repo: its rev, and the root of its tree."""

    rev: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Standing:
    """The account's status upstream. An account that nobody has spoken of is active."""

    active: bool = True
    status: str | None = None


ACTIVE = Standing()
