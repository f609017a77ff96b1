"""Tokens that were used, so that none is used twice.

Held in memory until each one's end, which is an hour ahead at most. What was used before this
process started is not known here, so that a token from before the start is refused where sending
it again would matter: a restart opens no gap.

    t=0    start
    t=5    token A (issued 5, ends 65) for a procedure: taken
    t=6    token A again: refused
    t=10   restart
    t=11   token A again: refused, as it is older than the start
    t=12   token B (issued 12): taken
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from heapq import heappop, heappush

from atdex_xrpc.errors import AuthRequired, RateLimitExceeded
from atdex_xrpc.service_jwt import Token

MAX_TOKENS = 200_000
"""Remembered at once, some 40 MB: 3,300 signed calls a second of the usual minute's tokens."""

MAX_OF_ONE = 5_000
"""Of one account: 80 calls a second. No account can use up the room of the others."""


class Replays:
    """Which tokens were used. `started`: when this process began, in seconds since the epoch."""

    def __init__(
        self, started: float, *, max_tokens: int = MAX_TOKENS, max_of_one: int = MAX_OF_ONE
    ) -> None:
        self._started = math.ceil(started)  # tokens have whole seconds
        self._max_tokens = max_tokens
        self._max_of_one = max_of_one
        self._used: set[bytes] = set()
        self._ends: list[tuple[float, bytes, str]] = []
        self._of: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._used)

    def take(self, token: Token, *, now: float, matters: bool) -> None:
        """Notes a genuine token as used. One without a `jti` cannot be told from another.

        `matters`: the call changes something, so that a token is refused in doubt. Raises
        AuthRequired for a token that was used (or may have been, before the start), and
        RateLimitExceeded where too many are remembered.
        """
        self._forget(now)
        if token.jti is None:
            return
        if matters and (token.issued is None or token.issued < self._started):
            raise AuthRequired(
                "the token is older than this service's start, or does not say when it was "
                "made (iat): whether it was used is not known. Make a new one",
                error="BadJwt",
            )
        name = hashlib.sha256(f"{token.issuer}\n{token.jti}".encode()).digest()[:16]
        if name in self._used:
            raise AuthRequired("the token was used before", error="JwtReplayed")
        if self._of[token.issuer] >= self._max_of_one:
            wait = math.ceil(max(1.0, token.expires - now))
            raise RateLimitExceeded("too many tokens of this account", retry_after=wait)
        if len(self._used) >= self._max_tokens:
            if matters:
                wait = math.ceil(max(1.0, self._ends[0][0] - now))
                raise RateLimitExceeded("too many tokens are in use", retry_after=wait)
            return  # a query asked twice does no harm
        self._used.add(name)
        self._of[token.issuer] += 1
        heappush(self._ends, (token.expires, name, token.issuer))

    def _forget(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            _, name, issuer = heappop(self._ends)
            self._used.discard(name)
            self._of[issuer] -= 1
            if not self._of[issuer]:
                del self._of[issuer]
