"""AT-URIs: `at://authority/collection/rkey`, in the restricted form that lexicons use."""

from __future__ import annotations

from typing import NamedTuple

from .errors import InvalidSyntax
from .syntax import is_at_uri


class AtUri(NamedTuple):
    """The parts of an AT-URI. `authority` is a DID or a handle, as it was written."""

    authority: str
    collection: str | None = None
    rkey: str | None = None

    @classmethod
    def parse(cls, text: str) -> AtUri:
        """Split `text`. Raises `InvalidSyntax` where `is_at_uri` says no."""
        if not is_at_uri(text):
            raise InvalidSyntax("at-uri", text)
        return cls(*text[5:].split("/"))

    def __str__(self) -> str:
        return "at://" + "/".join(part for part in self if part is not None)
