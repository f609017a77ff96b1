"""Which datasets a post on Bluesky names. No I/O.

| where | what counts |
| --- | --- |
| `associatedRefs` of the post, its embed or its external page | the `uri` of each |
| an embedded record, also beside media | its `uri` |
| an external page, also as the media beside a record | its link |
| a link in the text (a facet) | the link |

A link names a dataset where the dataset's AT-URI stands in it, as it is or percent-encoded: an
`at://` link, one to a viewer of records, or one to any node's `getDataset`. The text alone names
nothing: what is no link cannot be followed by who reads it.

A post is written by anybody: every part of it may be of any type, and what is not as expected
names nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from atdex_lexicons.aturi import AtUri
from atdex_lexicons.errors import InvalidSyntax
from atdex_lexicons.families import collections, kind_of

POST = "app.bsky.feed.post"

MAX_NAMED = 10
"""Datasets that one post may name; the others are passed over. A post has room for fewer links."""

MAX_PARTS = 100
"""Facets, features or references that are looked at in one list."""

MAX_LINK_CHARS = 2_000
"""Characters of a link: longer ones are no address that anybody follows."""

WORDS = tuple(nsid.encode() for nsid in collections() if kind_of(nsid) == "dataset")
"""What the frame of a post that names a dataset holds: an AT-URI spells its collection out."""

_AT_URI = re.compile(r"at://[^/\s?#&\"<>]{1,2048}/[a-zA-Z0-9.-]{1,317}/[a-zA-Z0-9._:~-]{1,512}")


def datasets_named(post: Any) -> tuple[str, ...]:
    """The AT-URIs of datasets, as they are written, each once; the authority may be a handle."""
    found: dict[str, None] = {}
    for text in _candidates(post):
        uri = _dataset_in(text)
        if uri is not None:
            found[uri] = None
            if len(found) == MAX_NAMED:
                break
    return tuple(found)


def _candidates(post: Any) -> Iterator[str]:
    embed = _get(post, "embed")
    yield from _references(post)
    yield from _embedded(embed)
    yield from _embedded(_get(embed, "media"))
    for facet in _list(_get(post, "facets")):
        for feature in _list(_get(facet, "features")):
            yield from _text(_get(feature, "uri"))


def _embedded(embed: Any) -> Iterator[str]:
    record, external = _get(embed, "record"), _get(embed, "external")
    yield from _references(embed)
    yield from _references(external)
    yield from _text(_get(record, "uri"))
    yield from _text(_get(_get(record, "record"), "uri"))
    yield from _text(_get(external, "uri"))


def _references(holder: Any) -> Iterator[str]:
    for reference in _list(_get(holder, "associatedRefs")):
        yield from _text(_get(reference, "uri"))


def _dataset_in(link: str) -> str | None:
    if len(link) > MAX_LINK_CHARS:
        return None
    for text in dict.fromkeys((link, _unquoted(link))):
        for match in _AT_URI.finditer(text):
            try:
                uri = AtUri.parse(match[0])
            except InvalidSyntax:
                continue
            if uri.collection and kind_of(uri.collection) == "dataset":
                return match[0]
    return None


def _unquoted(link: str) -> str:
    try:
        return unquote(link, errors="strict")
    except UnicodeDecodeError:
        return link


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _list(value: Any) -> list[Any]:
    return value[:MAX_PARTS] if isinstance(value, list) else []


def _text(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
