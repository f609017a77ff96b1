"""The token by which one service calls another for an account. No I/O, no cryptography.

    header.claims.signature         each base64url without padding

A PDS that forwards a request signs such a token with the account's own key
(specification: XRPC, Inter-Service Authentication). `parse_token` takes it apart, `check_claims`
says whether it is meant for this service, this method and this moment. Whether it is genuine is
`service_auth`'s question.

The names of the errors are those of the reference implementation.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from atdex_lexicons.syntax import is_did
from atdex_xrpc.errors import AuthRequired, shown

MAX_TOKEN_CHARACTERS = 8_192
"""Of a token: twice one whose DIDs and method have the greatest length that they may have."""

MAX_SECONDS_AHEAD = 3_600
"""From now to a token's end. Services make them for a minute; each is remembered until its end."""

CLOCK_SECONDS = 60
"""How far the clock of whoever made a token may be ahead of ours (`iat`)."""

MAX_JTI_CHARACTERS = 256
"""Of a token's own name; the reference has 32."""

Algorithm = Literal["ES256", "ES256K"]

_OTHER_KINDS = frozenset({"at+jwt", "refresh+jwt", "dpop+jwt"})
"""Tokens that open an account on its own PDS. They must never be shown to another service."""

_BASE64URL = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@dataclass(frozen=True, slots=True)
class Token:
    """What a token says of itself. `signed` are the bytes that `signature` is over.

    Times are seconds since the epoch.
    """

    algorithm: Algorithm
    issuer: str
    audience: str
    expires: float
    issued: float | None
    method: str | None
    jti: str | None
    signed: bytes
    signature: bytes


def parse_token(text: str) -> Token:
    """Raises AuthRequired: `BadJwt`, or `BadJwtType` for a token of another kind."""
    if len(text) > MAX_TOKEN_CHARACTERS:
        raise bad(f"longer than {MAX_TOKEN_CHARACTERS} characters")
    parts = text.split(".", 3)
    if len(parts) != 3:
        raise bad("not three parts with dots between them")
    header, claims = _object(parts[0], "header"), _object(parts[1], "payload")
    kind = header.get("typ")
    if kind is not None:
        if not isinstance(kind, str):
            raise bad("its typ is no text")
        if kind.lower().removeprefix("application/") in _OTHER_KINDS:
            raise AuthRequired(
                f"a token of type {kind} belongs to the account's own PDS: never send it here. "
                "Ask that PDS for a service token, or to forward the request (atproto-proxy)",
                error="BadJwtType",
            )
    if "crit" in header:
        raise bad("it asks for extensions that are not known here (crit)")
    algorithm = header.get("alg")
    if algorithm not in ("ES256", "ES256K"):  # a tuple: whatever it is, it need not be hashable
        raise bad(f"its alg is {shown(str(algorithm), 20)}, neither ES256 nor ES256K")
    return Token(
        algorithm=algorithm,
        issuer=_text(claims, "iss"),
        audience=_text(claims, "aud"),
        expires=_seconds(claims, "exp"),
        issued=_seconds(claims, "iat") if "iat" in claims else None,
        method=_text(claims, "lxm") if "lxm" in claims else None,
        jti=_text(claims, "jti") if "jti" in claims else None,
        signed=f"{parts[0]}.{parts[1]}".encode(),
        signature=_base64url(parts[2], "signature"),
    )


def check_claims(
    token: Token, *, audiences: Collection[str], method: str, now: float, needs_jti: bool
) -> None:
    """Raises AuthRequired where the token is not for this call.

    `audiences` are what this service is called, `now` is in seconds since the epoch. `needs_jti`:
    a token without a name of its own could be sent again unnoticed, and is refused.
    """
    if now >= token.expires:
        raise AuthRequired("the token has expired", error="JwtExpired")
    if token.expires > now + MAX_SECONDS_AHEAD:
        raise bad(f"its exp is more than {MAX_SECONDS_AHEAD} s ahead")
    if token.issued is not None and token.issued > now + CLOCK_SECONDS:
        raise bad("its iat is in the future")
    if token.audience not in audiences:
        raise AuthRequired(
            f"the token is for {shown(token.audience, 80)}, not for this service",
            error="BadJwtAudience",
        )
    if token.method != method:
        found = "no method" if token.method is None else shown(token.method, 80)
        raise AuthRequired(
            f"the token is for {found} (lxm), not for {method}", error="BadJwtLexiconMethod"
        )
    if not is_did(token.issuer):
        raise AuthRequired("the token's iss is not a plain DID", error="BadJwtIss")
    if token.jti is None:
        if needs_jti:
            raise bad("it has no jti, which a procedure needs")
    elif not 0 < len(token.jti) <= MAX_JTI_CHARACTERS:
        raise bad(f"its jti has not 1 to {MAX_JTI_CHARACTERS} characters")


def bad(what: str) -> AuthRequired:
    """The error for a token that is malformed or breaks a rule that has no name of its own."""
    return AuthRequired(f"the token cannot be used: {what}", error="BadJwt")


def _object(part: str, name: str) -> dict[str, Any]:
    try:
        value = orjson.loads(_base64url(part, name))
    except orjson.JSONDecodeError:
        raise bad(f"its {name} is not JSON") from None
    if not isinstance(value, dict):
        raise bad(f"its {name} is no JSON object")
    return value


def _base64url(part: str, name: str) -> bytes:
    # b64decode drops what is not of the alphabet: one token would then have many spellings.
    if not part or not _BASE64URL.issuperset(part):
        raise bad(f"its {name} is not base64url")
    try:
        raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error:
        raise bad(f"its {name} is not base64url") from None
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != part:
        raise bad(f"its {name} is base64url in another spelling than the usual one")
    return raw


def _text(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str):
        raise bad(f"its {name} is {'missing' if value is None else 'no text'}")
    return value


def _seconds(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise bad(f"its {name} is {'missing' if value is None else 'no number'}")
    return value
