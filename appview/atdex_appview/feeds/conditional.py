"""Conditional requests (RFC 9110): whether what a client has is still what it would get. No I/O.

`If-None-Match` decides where it is there; `If-Modified-Since` only without it. What is not a list
of tags or not a date counts as not there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from hashlib import blake2b

ETAG_BYTES = 16
"""Bytes of a body's digest: two bodies never share a tag."""

_TAG = re.compile(r'(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"')


def etag_of(body: bytes) -> str:
    """A strong tag: equal for equal bytes alone."""
    return f'"{blake2b(body, digest_size=ETAG_BYTES).hexdigest()}"'


def http_date(seconds: int) -> str:
    return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)


def is_current(headers: Mapping[str, str], etag: str, modified: int | None) -> bool:
    """Whether 304 is the answer. `headers` by lower-case name; `modified` is in seconds since the
    epoch, None where no date can be told."""
    wanted = headers.get("if-none-match")
    if wanted is not None:
        return wanted.strip() == "*" or etag.strip('"') in _TAG.findall(wanted)
    since = headers.get("if-modified-since")
    if since is None or modified is None:
        return False
    try:
        moment = parsedate_to_datetime(since)
    except (ValueError, TypeError, OverflowError):
        return False
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return modified <= moment.timestamp()
