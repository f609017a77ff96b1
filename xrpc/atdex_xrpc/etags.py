"""Entity tags of answers that are made anew each time: a digest of what they say.

Source: RFC 9110, 8.8.3 and 13.1.2.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from starlette.types import Scope

from atdex_xrpc.answers import Answer

ETAG_BYTES = 16
"""Bytes of the digest."""

MAX_HEADER_CHARACTERS = 4_000
"""Of an If-None-Match that is looked through: a hundred tags."""


def revalidated(answer: Answer, scope: Scope) -> Answer:
    """`answer` with its entity tag, or 304 without its body where the caller has just that.

    A cache may keep it, and has to ask each time: a record that is taken down is gone at once.
    """
    tag = tag_of(answer.body)
    headers = (*answer.headers, (b"etag", tag.encode()), (b"cache-control", b"public, no-cache"))
    if has_tag(tag, (value for name, value in scope["headers"] if name == b"if-none-match")):
        return Answer(304, b"", headers=headers)
    return Answer(answer.status, answer.body, answer.content_type, headers)


def tag_of(body: bytes) -> str:
    """A strong tag: the same for the same bytes alone."""
    return f'"{blake2b(body, digest_size=ETAG_BYTES).hexdigest()}"'


def has_tag(tag: str, headers: Iterable[bytes]) -> bool:
    """Whether the tag is in one of these values of If-None-Match."""
    text = b",".join(headers).decode("latin-1")[:MAX_HEADER_CHARACTERS]
    tags = [part.strip().removeprefix("W/") for part in text.split(",")]
    return tag in tags or tags == ["*"]
