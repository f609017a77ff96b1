"""Lexicon documents and handlers of a small service, made up for these tests."""

from __future__ import annotations

from typing import Any

import orjson

from atdex_lexicons import Catalog
from atdex_xrpc import (
    Handler,
    InvalidRequest,
    NodeUnavailable,
    NotFound,
    RateLimitExceeded,
    Request,
    Server,
)

JSON = "application/json"


def document(nsid: str, **main: Any) -> dict[str, Any]:
    return {"lexicon": 1, "id": nsid, "defs": {"main": main}}


def body(**properties: Any) -> dict[str, Any]:
    """A JSON input or output whose properties are all required."""
    schema = {"type": "object", "required": list(properties), "properties": properties}
    return {"encoding": JSON, "schema": schema}


ANYTHING = {"encoding": JSON, "schema": {"type": "object", "properties": {}}}

DOCUMENTS = [
    document(
        "com.example.echo",
        type="query",
        parameters={
            "type": "params",
            "properties": {
                "text": {"type": "string", "maxLength": 100},
                "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 25},
                "exact": {"type": "boolean"},
                "tags": {"type": "array", "items": {"type": "string"}, "maxLength": 10},
            },
        },
        output=body(params={"type": "unknown"}),
    ),
    document(
        "com.example.fail",
        type="query",
        parameters={
            "type": "params",
            "required": ["how"],
            "properties": {"how": {"type": "string"}},
        },
        output=ANYTHING,
        errors=[{"name": "ThingNotFound"}],
    ),
    document(
        "com.example.store",
        type="procedure",
        parameters={"type": "params", "properties": {"dry": {"type": "boolean"}}},
        input=body(name={"type": "string", "maxLength": 20}, record={"type": "unknown"}),
        output=body(name={"type": "string"}, dry={"type": "boolean"}),
    ),
    document(
        "com.example.upload",
        type="procedure",
        input={"encoding": "image/*"},
        output=body(size={"type": "integer"}),
    ),
    document("com.example.poke", type="procedure"),
    document("com.example.idle", type="query", output=ANYTHING),
    document("com.example.bytes", type="query", output={"encoding": "application/vnd.ipld.car"}),
    document("com.example.any", type="query", output={"encoding": "*/*"}),
    document(
        "com.example.stream",
        type="subscription",
        message={"schema": {"type": "union", "refs": ["#event"]}},
    ),
]
DOCUMENTS[-1]["defs"]["event"] = {"type": "object", "properties": {"text": {"type": "string"}}}


def catalog() -> Catalog:
    return Catalog.from_documents(DOCUMENTS)


async def echo(request: Request) -> Any:
    return {"params": dict(request.params)}


async def fail(request: Request) -> Any:
    match request.params["how"]:
        case "missing":
            raise NotFound("ThingNotFound", "there is no such thing")
        case "cursor":
            raise InvalidRequest("the cursor is not one of ours", error="InvalidRequest")
        case "limit":
            raise RateLimitExceeded("too many requests", retry_after=7)
        case "down":
            raise NodeUnavailable("the store does not answer", retry_after=1)
        case "undeclared":
            raise InvalidRequest("an error nobody announced", error="Surprise")
        case "bug":
            raise ZeroDivisionError("the password is swordfish")
        case _:
            return {}


async def store(request: Request) -> Any:
    return {"name": request.input["name"], "dry": request.params.get("dry", False)}


async def upload(request: Request) -> Any:
    return {"size": len(request.input)}


async def poke(request: Request) -> Any:
    assert request.input is None


async def some_bytes(request: Request) -> Any:
    return b"\x00\x01" * 500


HANDLERS: dict[str, Handler] = {
    "com.example.echo": echo,
    "com.example.fail": fail,
    "com.example.store": store,
    "com.example.upload": upload,
    "com.example.poke": poke,
    "com.example.bytes": some_bytes,
}


def service(**options: Any) -> Server:
    """A server with every handler above; `com.example.idle` is declared and has none."""
    server = Server(catalog(), **options)
    for nsid, handler in HANDLERS.items():
        server.method(nsid, handler)
    return server


def spliced(value: Any) -> orjson.Fragment:
    return orjson.Fragment(orjson.dumps(value))
