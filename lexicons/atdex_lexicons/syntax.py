"""The string formats of the Lexicon specification, as predicates.

Each takes any text and answers in time linear in its length; none raises. They decide the
most permissive reading of the specification, as it asks of lexicon validation: `is_did`
accepts methods that nobody can resolve, `is_uri` any scheme.

Sources: https://atproto.com/specs/lexicon (formats), and the specifications of did, handle,
nsid, at-uri-scheme, tid, record-key and data-model beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from .language import is_language

DID_CHARACTERS_MAX = 2048
HANDLE_CHARACTERS_MAX = 253
NSID_CHARACTERS_MAX = 317
"""The specification also bounds the authority by 253; its public vectors go beyond that."""
URI_BYTES_MAX = 8192
"""Longest URI and AT-URI: 8 KB, by the specification. Both are ASCII, so bytes are characters."""
DATETIME_CHARACTERS_MAX = 64
"""Longest datetime: 20 characters without a fraction, which may have any number of digits."""
CID_CHARACTERS = (8, 256)
RECORD_KEY_CHARACTERS_MAX = 512

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DID = re.compile(r"did:[a-z]+:[A-Za-z0-9._:%-]*[A-Za-z0-9._-]")
_HANDLE = re.compile(rf"(?:{_LABEL}\.)+[A-Za-z](?:[A-Za-z0-9-]{{0,61}}[A-Za-z0-9])?")
_NSID = re.compile(
    rf"[A-Za-z](?:[A-Za-z0-9-]{{0,61}}[A-Za-z0-9])?(?:\.{_LABEL})+\.[A-Za-z][A-Za-z0-9]{{0,62}}"
)
_TID = re.compile(r"[2-7a-j][2-7a-z]{12}")
_RECORD_KEY = re.compile(rf"[A-Za-z0-9._:~-]{{1,{RECORD_KEY_CHARACTERS_MAX}}}")
_CID = re.compile(rf"[A-Za-z0-9+=]{{{CID_CHARACTERS[0]},{CID_CHARACTERS[1]}}}")
_CID_V0 = re.compile(r"Qm[1-9A-HJ-NP-Za-km-z]{44}")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,80}:[!-~]+")
_DATETIME = re.compile(
    r"([0-9]{4})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"T([01][0-9]|2[0-3]):([0-5][0-9]):[0-5][0-9](?:\.[0-9]+)?"
    r"(?:Z|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))"
)
_LAST_DAY = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def is_did(text: str) -> bool:
    """Whether `text` is a DID, of any method."""
    return len(text) <= DID_CHARACTERS_MAX and _DID.fullmatch(text) is not None


def is_handle(text: str) -> bool:
    """Whether `text` is a handle: a host name of two labels or more, in any case."""
    return len(text) <= HANDLE_CHARACTERS_MAX and _HANDLE.fullmatch(text) is not None


def is_at_identifier(text: str) -> bool:
    """Whether `text` is a DID or a handle."""
    return is_did(text) if text.startswith("did:") else is_handle(text)


def is_nsid(text: str) -> bool:
    """Whether `text` is an NSID of three segments or more, without a fragment."""
    return len(text) <= NSID_CHARACTERS_MAX and _NSID.fullmatch(text) is not None


def is_tid(text: str) -> bool:
    """Whether `text` is a timestamp identifier."""
    return _TID.fullmatch(text) is not None


def is_record_key(text: str) -> bool:
    """Whether `text` can be a record key of the type `any`."""
    return _RECORD_KEY.fullmatch(text) is not None and text not in (".", "..")


def is_at_uri(text: str) -> bool:
    """Whether `text` is an AT-URI of an account, a collection or a record.

    This is the restricted form that lexicons use: no query, no fragment, no trailing slash.
    """
    if len(text) > URI_BYTES_MAX or not text.startswith("at://"):
        return False
    parts = text[5:].split("/", 3)
    if len(parts) > 3 or not is_at_identifier(parts[0]):
        return False
    return (len(parts) < 2 or is_nsid(parts[1])) and (len(parts) < 3 or is_record_key(parts[2]))


def is_cid(text: str) -> bool:
    """Whether `text` has the form of a CID in any base. CIDv0 (`Qm…`) is refused."""
    return _CID.fullmatch(text) is not None and _CID_V0.fullmatch(text) is None


def is_uri(text: str) -> bool:
    """Whether `text` is a scheme, a colon, and at least one more printable ASCII character.

    Characters that RFC 3986 wants percent-encoded (braces, quotes) are let through, as the
    reference implementations do; spaces, control characters and non-ASCII text are not.
    """
    return len(text) <= URI_BYTES_MAX and _URI.fullmatch(text) is not None


def is_datetime(text: str) -> bool:
    """Whether `text` is a datetime of the common subset of RFC 3339, ISO 8601 and HTML.

    The day must exist, there is no leap second and no `-00:00`, and the time in UTC must not
    be before the year 0.
    """
    if len(text) > DATETIME_CHARACTERS_MAX:
        return False
    match = _DATETIME.fullmatch(text)
    if match is None:
        return False
    year, month, day, hour, minute, sign, offset_hour, offset_minute = match.groups()
    if day > "28" and int(day) > _LAST_DAY[int(month)]:
        return False
    if day == "29" and month == "02" and not _is_leap(int(year)):
        return False
    if sign is None:
        return True
    offset = offset_hour + offset_minute
    if sign == "-":
        return offset != "0000"
    return not (year == "0000" and month == day == "01" and hour + minute < offset)


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


FORMATS: Mapping[str, Callable[[str], bool]] = {
    "at-identifier": is_at_identifier,
    "at-uri": is_at_uri,
    "cid": is_cid,
    "datetime": is_datetime,
    "did": is_did,
    "handle": is_handle,
    "language": is_language,
    "nsid": is_nsid,
    "record-key": is_record_key,
    "tid": is_tid,
    "uri": is_uri,
}
"""Every `format` of a lexicon string, by name."""
