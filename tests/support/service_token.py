"""Service tokens, good and bad, written without the code that checks them.

key = K256Key()
token(key, iss=did, aud="did:web:node.example", lxm="com.example.echo")
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from typing import Any

from tests.support.repo import K256Key, Key


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def part(value: Any) -> str:
    return base64url(json.dumps(value).encode())


def token(
    key: Key,
    *,
    header: dict[str, Any] | None = None,
    leave_out: tuple[str, ...] = (),
    **claims: Any,
) -> str:
    """Signed by `key`, good for a minute unless the claims say otherwise."""
    algorithm = "ES256K" if isinstance(key, K256Key) else "ES256"
    now = int(time.time())
    said = {"iat": now, "exp": now + 60, "jti": secrets.token_hex(16), **claims}
    body = {name: value for name, value in said.items() if name not in leave_out}
    text = f"{part({'typ': 'JWT', 'alg': algorithm, **(header or {})})}.{part(body)}"
    return f"{text}.{base64url(key.sign(text.encode()))}"


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}
