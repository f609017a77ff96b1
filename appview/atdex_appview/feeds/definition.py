"""A feed as the operator defines it: a name, a title, and the filters of searchDatasets.

In `atdex.toml`:

    [feeds.eyes]
    title = "Pictures of eyes"
    description = "Retina, OCT and the like, free to use."
    tags = ["retina"]
    license = "CC-BY-4.0"

The filters are those of the searchDatasets document, under its names and within its limits. A feed
without any has every dataset; `all` is there unless another feed is defined by that name. The name
is a part of addresses and the key of the record that declares the feed, so it is made of few
characters.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from atdex_appview.errors import QueryTooLong
from atdex_appview.settings import WrongValue, text
from atdex_lexicons.aturi import AtUri
from atdex_lexicons.catalog import Catalog
from atdex_lexicons.errors import InvalidParams, listed
from atdex_lexicons.families.app_bsky_atdata import FAMILY

FILTERS = (
    "q", "tags", "schema", "publisher", "viewableAs", "maxHops", "license", "minSamples",
    "maxSamples", "since", "until",
)  # fmt: skip
"""The parameters of searchDatasets that say which datasets; the others say how they come."""

MAX_FEEDS = 100
"""Feeds of one node. Each is a search when it is asked for, and a few pages in memory."""

MAX_TITLE_CHARS = 200
"""Characters. To be declared on Bluesky, a title must be shorter still."""

MAX_DESCRIPTION_CHARS = 1_000
"""Characters of a description: three times what Bluesky shows."""

NAME_CHARS = 32
"""Characters of a name: it is read in addresses."""

_is_name = re.compile(rf"[a-z0-9](?:[a-z0-9-]{{0,{NAME_CHARS - 2}}}[a-z0-9])?", re.ASCII).fullmatch


@dataclass(frozen=True, slots=True)
class Feed:
    """`filters` are parameters of searchDatasets, valid by its document."""

    name: str
    title: str
    description: str = ""
    filters: Mapping[str, Any] = field(default_factory=dict)


ALL = Feed("all", "All datasets", "Every dataset that this node indexes.")

DEFAULT_FEEDS = (ALL,)


def read_feeds(value: object) -> tuple[Feed, ...]:
    """The feeds of the `feeds` table, `all` first. Raises WrongValue, which names the key."""
    if isinstance(value, tuple) and all(isinstance(each, Feed) for each in value):
        return value
    if not isinstance(value, dict):
        raise WrongValue("must be tables: [feeds.NAME], each with a title")
    if len(value) > MAX_FEEDS:
        raise WrongValue(f"has {len(value)} feeds, more than {MAX_FEEDS}")
    feeds = {ALL.name: ALL} | {name: _feed(name, table) for name, table in value.items()}
    return tuple(feeds.values())


def _feed(name: str, table: object) -> Feed:
    if not _is_name(name):
        raise WrongValue(
            f"has a feed {name[:100]!r}: a name is 1 to {NAME_CHARS} of a to z, 0 to 9 and -, "
            "with no - at its ends"
        )
    if not isinstance(table, dict):
        raise WrongValue(f"has {name!r} as a value: a feed is a table, [feeds.{name}]")
    known = ("title", "description", *FILTERS)
    for key in table:
        if key not in known:
            nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
            raise WrongValue(f"has {key!r} in {name!r}; the nearest that a feed has is {nearest!r}")
    if "title" not in table:
        raise WrongValue(f"has no title in {name!r}")
    title = _words(name, "title", table["title"], MAX_TITLE_CHARS)
    description = ""
    if table.get("description", "") != "":
        description = _words(name, "description", table["description"], MAX_DESCRIPTION_CHARS)
    return Feed(name, title, description, _filters(name, table))


def _filters(name: str, table: Mapping[str, Any]) -> dict[str, Any]:
    given = {key: table[key] for key in FILTERS if key in table}
    for key, value in given.items():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, str):
                _words(name, key, each, None)
    try:
        Catalog.bundled().validate_params(f"{FAMILY.name}.searchDatasets", given)
    except InvalidParams as wrong:
        raise WrongValue(f"has in {name!r} {listed(wrong.problems)}") from None
    for key in ("schema", "viewableAs"):
        if key in given and AtUri.parse(given[key]).rkey is None:
            raise WrongValue(f"has a {key} in {name!r} that names no record: {given[key]!r}")
    if "q" in given:
        _query(name, given["q"])
    low, high = given.get("minSamples"), given.get("maxSamples")
    if low is not None and high is not None and low > high:
        raise WrongValue(f"has in {name!r} a minSamples above its maxSamples")
    moments = [_moment(name, key, given[key]) for key in ("since", "until") if key in given]
    if len(moments) == 2 and moments[0] >= moments[1]:
        raise WrongValue(f"has in {name!r} a since that is not before its until")
    if "maxHops" in given and "viewableAs" not in given:
        raise WrongValue(f"has in {name!r} maxHops, which says how far viewableAs looks: give that")
    return given


def _query(name: str, q: str) -> None:
    from atdex_appview.search.query import QueryParser  # the search engine, where it is needed

    try:
        QueryParser().parse(q)
    except QueryTooLong as wrong:
        raise WrongValue(f"has a q in {name!r} for too much: {wrong}") from None


def _moment(name: str, key: str, value: str) -> datetime:
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise WrongValue(f"has a {key} in {name!r} that is no moment: {value!r}") from None


def _words(name: str, key: str, value: object, most: int | None) -> str:
    try:
        found = text(value)
    except WrongValue as wrong:
        raise WrongValue(f"has a {key} in {name!r} that {wrong}") from None
    if most is not None and len(found) > most:
        raise WrongValue(f"has a {key} in {name!r} of {len(found)} characters, more than {most}")
    return found
