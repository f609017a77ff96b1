"""Conditional requests (RFC 9110, 13): whether what a client has is what it would get. No I/O.

`If-None-Match` decides where it is there; `If-Modified-Since` only without it. What is no date
counts as not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

from atdex_xrpc.etags import has_tag


def http_date(seconds: int) -> str:
    return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)


def is_current(headers: Mapping[str, str], tag: str, modified: int | None) -> bool:
    """Whether 304 is the answer. `headers` by lower-case name; `modified` is in seconds since the
    epoch, None where no date can be told."""
    wanted = headers.get("if-none-match")
    if wanted is not None:
        return has_tag(tag, [wanted.encode("latin-1", "replace")])
    since = headers.get("if-modified-since")
    if since is None or modified is None:
        return False
    try:
        moment = parsedate_to_datetime(since)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return modified <= moment.timestamp()
    except (ValueError, TypeError, OverflowError):
        return False
