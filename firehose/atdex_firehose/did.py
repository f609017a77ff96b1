"""DID documents: what the firehose needs of them, and where they are found. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from atdex_firehose import limits
from atdex_firehose.crypto import InvalidKey, parse_verification_key
from atdex_firehose.errors import InvalidIdentity
from atdex_firehose.events import Identity
from atdex_firehose.shown import shown
from atdex_lexicons.syntax import is_did, is_handle

_PLC = "did:plc:"
_WEB = "did:web:"
_PLC_CHARS = frozenset("abcdefghijklmnopqrstuvwxyz234567")
_ENTRIES = 64
"""Entries looked at in each list of a document; real ones have one to three."""
_URL_CHARS = 2_048

INVALID_HANDLE = "handle.invalid"
"""What stands in the place of a handle that is not one, or is not the account's (specification)."""


def document_url(did: str, plc: str, *, local: bool = False) -> str:
    """Where the document of `did` is: in the directory `plc`, or on the host of a did:web.

    did:web names a bare host here, as the AT Protocol asks; with `local`, also `localhost` with a
    port, over plain HTTP. Raises InvalidIdentity for every other DID.
    """
    if len(did) > limits.DID_BYTES or not is_did(did):
        raise InvalidIdentity("", f"{did[:80]!r} is not a DID")
    if did.startswith(_PLC):
        name = did[len(_PLC) :]
        if len(name) != 24 or not _PLC_CHARS.issuperset(name):
            raise InvalidIdentity(did, "not a did:plc of 24 base32 characters")
        return f"{plc.rstrip('/')}/{did}"
    if did.startswith(_WEB):
        host = did[len(_WEB) :]
        if local and (host == "localhost" or host.lower().startswith("localhost%3a")):
            _, _, port = host.partition("%")
            if not port or (port[2:].isascii() and port[2:].isdigit() and len(port) <= 7):
                suffix = f":{port[2:]}" if port else ""
                return f"http://localhost{suffix}/.well-known/did.json"
        if not is_handle(host):
            raise InvalidIdentity(did, "a did:web must name a host and nothing else")
        return f"https://{host}/.well-known/did.json"
    raise InvalidIdentity(did, "only did:plc and did:web are used on the network")


def parse_document(did: str, raw: bytes) -> Identity:
    """What the document says about the account. Raises InvalidIdentity.

    A document without a signing key or PDS is valid; the fields are None. A signing key that cannot
    be parsed is None as well. `claimed` is the first alias that is a handle, in lower case; nobody
    has checked it, so `handle` is None, or INVALID_HANDLE where there are handles but all of bad
    form.
    """
    if len(raw) > limits.DID_DOCUMENT_BYTES:
        raise InvalidIdentity(did, f"a DID document of more than {limits.DID_DOCUMENT_BYTES} bytes")
    try:
        document = orjson.loads(raw)
    except ValueError as error:
        raise InvalidIdentity(did, f"the DID document is not JSON: {error}") from None
    if type(document) is not dict:
        raise InvalidIdentity(did, "the DID document is not an object")
    if document.get("id") != did:
        raise InvalidIdentity(did, f"the DID document is of {shown(document.get('id'))}")
    claimed, handle = _claim(document)
    return Identity(
        did=did,
        handle=handle,
        claimed=claimed,
        pds=_pds(did, document),
        signing_key=_signing_key(did, document),
    )


def _claim(document: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The claimed handle, and what `handle` is before anybody has checked that."""
    names = document.get("alsoKnownAs")
    told: str | None = None
    for name in names[:_ENTRIES] if type(names) is list else ():
        if type(name) is str and name.startswith("at://"):
            handle = name[len("at://") :].lower()
            if is_handle(handle):
                return handle, None
            told = INVALID_HANDLE
    return None, told


def _pds(did: str, document: Mapping[str, Any]) -> str | None:
    for service in _entries(document.get("service"), did, "#atproto_pds"):
        endpoint = service.get("serviceEndpoint")
        if service.get("type") != "AtprotoPersonalDataServer" or type(endpoint) is not str:
            continue
        return _origin(endpoint)
    return None


def _origin(url: str) -> str | None:
    """The URL where it is http(s)://host[:port] and nothing else, in its plain spelling."""
    if len(url) > _URL_CHARS:
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    bare = parts.path in ("", "/") and not (parts.query or parts.fragment or parts.username)
    if parts.scheme not in ("http", "https") or not host or not bare:
        return None
    return f"{parts.scheme}://{host}" + (f":{port}" if port is not None else "")


def _signing_key(did: str, document: Mapping[str, Any]) -> str | None:
    for method in _entries(document.get("verificationMethod"), did, "#atproto"):
        suite, text = method.get("type"), method.get("publicKeyMultibase")
        if type(suite) is str and type(text) is str:
            try:
                return parse_verification_key(suite, text).did_key
            except InvalidKey:
                return None
    return None


def _entries(value: object, did: str, fragment: str) -> Iterable[Mapping[str, Any]]:
    """The entries of a list whose `id` is the fragment, alone or after the DID."""
    if type(value) is not list:
        return
    for entry in value[:_ENTRIES]:
        if type(entry) is dict and entry.get("id") in (fragment, did + fragment):
            yield entry
