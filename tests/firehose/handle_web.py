"""The web servers that handles are asked of: one server, which is every host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.support.repo import plc_did

ALICE, BOB = plc_did("alice"), plc_did("bob")
HANDLE = "alice.test"
WELL_KNOWN = "/.well-known/atproto-did"

Answering = Callable[[Request], Response]


def _nothing(request: Request) -> Response:
    return PlainTextResponse("nothing", 404)


@dataclass
class Web:
    """A web server for every host: `hosts` says what each answers; the others have nothing."""

    url: str = ""
    hosts: dict[str, Answering] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    sent: int = 0

    def say(self, host: str, text: str | bytes, status: int = 200, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.hosts[host] = lambda _: PlainTextResponse(text, status, headers=named)

    @property
    def origin(self) -> str:
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{{handle}}:{rest.rpartition(':')[2]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        host = request.headers["host"].partition(":")[0]
        self.asked[host + request.url.path] += 1
        answer = self.hosts.get(host, _nothing)
        response: ASGIApp = answer(request)
        await response(scope, receive, send)


def redirecting(to: str, status: int = 302) -> Answering:
    return lambda _: Response(status_code=status, headers={"location": to})
