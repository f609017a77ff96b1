"""Who calls: the account whose PDS signed a request's token.

A method here needs no token. One that is sent must be good all the same: a caller who believes
to be somebody must not be answered as nobody.

    auth = ServiceAuth("did:web:node.example", issuers, services=("#atdex_node",))
    Server(catalog, auth=auth).method(nsid, handler)        # request.viewer: the DID, or None
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Protocol

from starlette.datastructures import Headers

from atdex_xrpc.errors import AuthRequired
from atdex_xrpc.replays import Replays
from atdex_xrpc.service_jwt import Algorithm, Token, check_claims, parse_token

_SCHEME = "bearer"


class SigningKey(Protocol):
    """The public key of an account's document. `name` tells two of them apart."""

    @property
    def name(self) -> str: ...

    @property
    def algorithm(self) -> Algorithm: ...

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Whether `signature` is 64 bytes, low-S, and this key's over sha256(message)."""
        ...


class Issuers(Protocol):
    """Where the keys of accounts come from."""

    async def key(self, did: str, *, fresh: bool) -> SigningKey:
        """The key of an active account; `fresh`: as it is now, however lately it was asked for.

        Raises AuthRequired where there is none, the account is unknown or it is not active, and
        NodeUnavailable or RateLimitExceeded where that cannot be found out now.
        """
        ...


class ServiceAuth:
    """Checks the tokens that are meant for the service `did`.

    `services` are the fragments (`#atdex_node`) of the document that `did` resolves to: a token
    names the bare DID or one of these. `clock` gives seconds since the epoch.
    """

    def __init__(
        self,
        did: str,
        issuers: Issuers,
        *,
        services: Iterable[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._audiences = frozenset({did, *(did + service for service in services)})
        self._issuers = issuers
        self._clock = clock
        self._replays = Replays(clock())

    async def viewer(self, headers: Headers, method: str, *, changes: bool) -> str | None:
        """The account that calls `method`, None where no token came.

        `changes`: the method is a procedure. Raises AuthRequired for a token that is not good,
        and what `Issuers.key` raises.
        """
        sent = headers.getlist("authorization")
        if not sent:
            return None
        token = parse_token(_bearer(sent))
        check_claims(
            token,
            audiences=self._audiences,
            method=method,
            now=self._clock(),
            needs_jti=changes,
        )
        key = await self._issuers.key(token.issuer, fresh=False)
        if not _genuine(token, key):
            # The key may have been replaced since it was asked for.
            renewed = await self._issuers.key(token.issuer, fresh=True)
            if renewed.name == key.name or not _genuine(token, renewed):
                raise AuthRequired(
                    "the token's signature is not that of its account", error="BadJwtSignature"
                )
        self._replays.take(token, now=self._clock(), matters=changes)
        return token.issuer


def _genuine(token: Token, key: SigningKey) -> bool:
    # The key says which algorithm it is for; what the token says is only compared with that.
    return token.algorithm == key.algorithm and key.verify(token.signature, token.signed)


def _bearer(sent: list[str]) -> str:
    if len(sent) > 1:
        raise AuthRequired("send one Authorization header, not several")
    scheme, _, text = sent[0].strip().partition(" ")
    if scheme.lower() != _SCHEME or not text:
        raise AuthRequired("this service takes service tokens: Authorization: Bearer TOKEN")
    return text.strip()
