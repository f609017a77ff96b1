"""Entries as Atom (RFC 4287), RSS 2.0 and JSON Feed 1.1. Bytes out, no I/O.

Written with ElementTree, which escapes by itself. A library for this (feedgen) would bring lxml and
dateutil into the server, has no JSON Feed, and still leaves what matters here to do: text that
strangers published holds control characters, which XML forbids, and markup, which readers of RSS
take for HTML.

- Characters that XML does not allow, control characters and those that turn the direction of the
  text around are dropped. Nothing else of a text is changed.
- Atom and JSON say that their texts are plain. RSS has no way to, so its texts are escaped as HTML
  before they are escaped as XML.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import MappingProxyType
from typing import Any
from xml.etree.ElementTree import Element, SubElement, register_namespace, tostring

import orjson

ATOM = "http://www.w3.org/2005/Atom"
DUBLIN_CORE = "http://purl.org/dc/elements/1.1/"
JSON_FEED = "https://jsonfeed.org/version/1.1"

GENERATOR = "atdex"

register_namespace("atom", ATOM)
register_namespace("dc", DUBLIN_CORE)

_UNWANTED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufff9-\uffff]"
    "|[\U0001fffe\U0001ffff\U0002fffe\U0002ffff\U0003fffe\U0003ffff\U0010fffe\U0010ffff]"
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Entry:
    """A dataset. `uri` is its AT-URI, `url` where it can be read; times are µs since the epoch."""

    uri: str
    url: str
    title: str
    text: str
    author: str
    author_uri: str
    published: int
    updated: int
    tags: tuple[str, ...] = ()
    license: str | None = None


@dataclass(frozen=True, slots=True)
class Channel:
    """A feed as a whole. `url` is its own address, `home` that of the node; `updated` is µs."""

    title: str
    text: str
    url: str
    home: str
    updated: int


def plain(text: str) -> str:
    """The text without what no feed may hold."""
    return _UNWANTED.sub("", text)


def atom(channel: Channel, entries: Sequence[Entry]) -> bytes:
    root = Element(f"{{{ATOM}}}feed")
    _add(root, "title", channel.title)
    if channel.text:
        _add(root, "subtitle", channel.text)
    _add(root, "id", channel.url)
    _add(root, "updated", _iso(channel.updated))
    _add(root, "generator", GENERATOR)
    _add(root, "link", rel="self", type="application/atom+xml", href=channel.url)
    _add(root, "link", rel="alternate", href=channel.home)
    for entry in entries:
        made = _add(root, "entry")
        _add(made, "title", entry.title)
        _add(made, "id", entry.uri)
        _add(made, "published", _iso(entry.published))
        _add(made, "updated", _iso(entry.updated))
        _add(made, "link", rel="alternate", href=entry.url)
        author = _add(made, "author")
        _add(author, "name", entry.author)
        _add(author, "uri", entry.author_uri)
        # Without a text, an entry still has to say something.
        _add(made, "summary", entry.text or entry.title)
        if entry.license:
            _add(made, "rights", entry.license)
        for tag in entry.tags:
            _add(made, "category", term=tag)
    return _document(root)


def rss(channel: Channel, entries: Sequence[Entry]) -> bytes:
    root = Element("rss", version="2.0")
    made = SubElement(root, "channel")
    _html(made, "title", channel.title)
    _html(made, "description", channel.text or channel.title)
    _text(made, "link", channel.home)
    _text(made, "lastBuildDate", _rfc822(channel.updated))
    _text(made, "generator", GENERATOR)
    _add(made, "link", rel="self", type="application/rss+xml", href=channel.url)
    for entry in entries:
        item = SubElement(made, "item")
        _html(item, "title", entry.title)
        _html(item, "description", entry.text or entry.title)
        _text(item, "link", entry.url)
        _text(item, "guid", entry.uri).set("isPermaLink", "false")
        _text(item, "pubDate", _rfc822(entry.published))
        _text(item, f"{{{DUBLIN_CORE}}}creator", entry.author)
        for tag in entry.tags:
            _text(item, "category", tag)
    return _document(root)


def json_feed(channel: Channel, entries: Sequence[Entry]) -> bytes:
    items = [
        {
            "id": entry.uri,
            "url": entry.url,
            "title": plain(entry.title),
            "content_text": plain(entry.text or entry.title),
            "date_published": _iso(entry.published),
            "date_modified": _iso(entry.updated),
            "authors": [{"name": plain(entry.author), "url": entry.author_uri}],
        }
        | ({"tags": [plain(tag) for tag in entry.tags]} if entry.tags else {})
        for entry in entries
    ]
    made: dict[str, Any] = {
        "version": JSON_FEED,
        "title": plain(channel.title),
        "home_page_url": channel.home,
        "feed_url": channel.url,
        "items": items,
    }
    if channel.text:
        made["description"] = plain(channel.text)
    return orjson.dumps(made)


@dataclass(frozen=True, slots=True)
class Format:
    media_type: str
    write: Callable[[Channel, Sequence[Entry]], bytes]


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "atom": Format("application/atom+xml; charset=utf-8", atom),
        "rss": Format("application/rss+xml; charset=utf-8", rss),
        "json": Format("application/feed+json", json_feed),
    }
)
"""By the extension of the address."""


def _add(parent: Element, name: str, text: str | None = None, **attributes: str) -> Element:
    made = SubElement(
        parent, f"{{{ATOM}}}{name}", {key: plain(value) for key, value in attributes.items()}
    )
    made.text = None if text is None else plain(text)
    return made


def _text(parent: Element, name: str, text: str) -> Element:
    made = SubElement(parent, name)
    made.text = plain(text)
    return made


def _html(parent: Element, name: str, text: str) -> Element:
    return _text(parent, name, html.escape(plain(text), quote=False))


def _document(root: Element) -> bytes:
    raw: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return raw


def _moment(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def _iso(micros: int) -> str:
    return _moment(micros).isoformat(timespec="seconds").replace("+00:00", "Z")


def _rfc822(micros: int) -> str:
    return format_datetime(_moment(micros))
