"""The few methods of a PDS that an account's owner calls, over real HTTP on 127.0.0.1.

with account_pds() as pds:
    pds.records                    # what is in the repo, by "collection/rkey"
    pds.fails = [503]              # the next write is refused with that status
    pds.loses = 1                  # the next write happens, and its answer is lost
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.support.http import serve_app

PASSWORD = "app-pass-word-0000"


class AccountPds:
    def __init__(self, did: str, handle: str) -> None:
        self.did = did
        self.handle = handle
        self.records: dict[str, Any] = {}
        self.writes: list[tuple[str, str]] = []
        self.logins = 0
        self.fails: list[int | tuple[int, str]] = []
        self.loses = 0
        self.expired = False
        self.url = ""
        self.app = Starlette(routes=[Route("/xrpc/{method}", self._call, methods=["GET", "POST"])])

    async def _call(self, request: Request) -> JSONResponse:
        method = request.path_params["method"].removeprefix("com.atproto.")
        if method == "server.createSession":
            return self._login(await request.json())
        if not request.headers.get("authorization", "").startswith("Bearer "):
            return _refusal(401, "AuthMissing")
        if self.expired:
            self.expired = False
            return _refusal(400, "ExpiredToken")
        if method == "repo.getRecord":
            return self._get(request)
        if self.fails:
            failure = self.fails.pop(0)
            status, name = failure if isinstance(failure, tuple) else (failure, "Failure")
            return _refusal(status, name)
        body = await request.json()
        assert body["repo"] == self.did
        path = f"{body['collection']}/{body['rkey']}"
        self.writes.append((method, path))
        if method == "repo.putRecord":
            self.records[path] = body["record"]
        elif method == "repo.deleteRecord":
            self.records.pop(path, None)
        else:
            return _refusal(501, "MethodNotImplemented")
        if self.loses:
            self.loses -= 1
            return _refusal(502, "UpstreamFailure")
        return JSONResponse({"uri": f"at://{self.did}/{path}", "cid": "bafyreicid"})

    def _login(self, body: Any) -> JSONResponse:
        self.logins += 1
        if body["password"] != PASSWORD or body["identifier"] not in (self.did, self.handle):
            return _refusal(401, "AuthenticationRequired", "Invalid identifier or password")
        tokens = {"accessJwt": _jwt("com.atproto.access"), "refreshJwt": _jwt("refresh")}
        return JSONResponse(tokens | {"did": self.did, "handle": self.handle, "active": True})

    def _get(self, request: Request) -> JSONResponse:
        query = request.query_params
        found = self.records.get(f"{query['collection']}/{query['rkey']}")
        if found is None:
            return _refusal(400, "RecordNotFound")
        uri = f"at://{self.did}/{query['collection']}/{query['rkey']}"
        return JSONResponse({"uri": uri, "cid": "bafyreicid", "value": found})


def _refusal(status: int, error: str, message: str = "no") -> JSONResponse:
    return JSONResponse({"error": error, "message": message}, status)


def _jwt(scope: str) -> str:
    now = int(time.time())
    parts = ({"alg": "none"}, {"scope": scope, "iat": now, "exp": now + 7200})
    coded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts]
    return b".".join([*coded, b"c2ln"]).decode()


@contextmanager
def account_pds(
    did: str = "did:plc:operator00000000000000o", handle: str = "operator.test"
) -> Iterator[AccountPds]:
    pds = AccountPds(did, handle)
    with serve_app(pds.app) as pds.url:
        yield pds
