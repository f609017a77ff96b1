"""What a source names: a record, a publisher's dataset, files, or URLs."""

from __future__ import annotations

import re
from os import PathLike, fspath
from typing import Final, NamedTuple

from atdex.errors import BadSource, NotThere
from atdex.node import Checked, Node
from atdex_lexicons import AtUri, InvalidSyntax
from atdex_lexicons.syntax import is_at_identifier
from atdex_xrpc.errors import NotFound

_SCHEME: Final = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+):")  # two letters: C: is a drive


class ByUri(NamedTuple):
    """A record by its AT-URI."""

    uri: str


class ByName(NamedTuple):
    """`@publisher/name[@version]`: a label of the publisher, or a dataset of this name."""

    publisher: str
    name: str
    version: str | None


class ByUrl(NamedTuple):
    """Shards at URLs that the user wrote (a brace pattern stands for several)."""

    pattern: str


class ByPath(NamedTuple):
    """Shards on this machine: a path, a folder, a glob or a brace pattern."""

    pattern: str


Source = ByUri | ByName | ByUrl | ByPath


def parse_source(source: str | PathLike[str]) -> Source:
    """What `source` is, by its form alone. Raises BadSource."""
    if not isinstance(source, str):
        return ByPath(fspath(source))
    if not source or "\0" in source:
        raise BadSource(source, "it is empty or holds a NUL")
    if source.startswith("at://"):
        try:
            at = AtUri.parse(source)
        except InvalidSyntax as error:
            raise BadSource(source, str(error)) from error
        if at.rkey is None:
            raise BadSource(source, "it names no record; at://publisher/collection/rkey does")
        return ByUri(source)
    if source.startswith("@"):
        return _by_name(source)
    scheme = _SCHEME.match(source)
    if scheme is None:
        return ByPath(source)
    if scheme[1].lower() in ("http", "https"):
        return ByUrl(source)
    if scheme[1].lower() == "file":
        raise BadSource(source, "give the path itself")
    raise BadSource(
        source,
        f"{scheme[1]}: is never opened; give an AT-URI, @publisher/name, a path or an http(s) URL",
    )


def _by_name(source: str) -> ByName:
    publisher, slash, rest = source[1:].partition("/")
    name, at, version = rest.rpartition("@") if "@" in rest else (rest, "", "")
    if not slash or not name or (at and not version) or not is_at_identifier(publisher):
        raise BadSource(source, "the form is @handle-or-DID/name or @handle-or-DID/name@version")
    return ByName(publisher, name, version or None)


def find_dataset(source: ByUri | ByName, node: Node) -> Checked:
    """The dataset record that `source` names.

    A name is a label first; where there is no such label and no version was asked for, the newest
    dataset of the publisher with that name. Raises NotThere, and what asking a node raises.
    """
    if isinstance(source, ByUri):
        try:
            return node.dataset(source.uri)
        except NotFound as error:
            raise NotThere(source.uri, node.url) from error
    try:
        return node.label(*source)[1]
    except NotFound:
        pass
    shown = f"@{source.publisher}/{source.name}"
    if source.version is not None:
        raise NotThere(f"{shown}@{source.version}", node.url)
    for dataset in node.datasets(source.publisher):
        if dataset.model.name == source.name:
            return dataset
    raise NotThere(shown, node.url)
