"""Requests made from the lexicon documents, sent to a node over HTTP, and what must hold for any.

python -m tests.appview.fuzz_requests --requests 20000 [--seed N]

The methods are those that the node says it serves, so that a new one is fuzzed by having a
document. For every answer:

- it is no 500, and comes within `ANSWER_SECONDS` and `MAX_RESPONSE_BYTES`;
- a success is valid by the method's output document, and has no null cursor;
- anything else is `{error, message}` with a name that the document or XRPC declares, and short;
- no answer can be read as a page of its own by a browser.

hypothesis shrinks what breaks one of these to the least request that still does.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, urlencode, urlsplit

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from atdex_appview.croissant.page import PATH as CROISSANT
from atdex_appview.http_protocol import MAX_HEAD_BYTES
from atdex_xrpc.calls import MAX_RESPONSE_BYTES
from atdex_xrpc.errors import GENERIC_ERRORS
from tests.appview.fuzz_values import HOSTILE, JSON_VALUES, Mood, World, json_values, text_values
from tests.appview.fuzz_world import (
    CAROL,
    asks_nobody,
    cursors_of,
    generator,
    kept_posts,
    populated,
)
from tests.appview.index import CATALOG

ANSWER_SECONDS = 20.0
"""For one answer, on a machine with much else to do."""

MAX_MESSAGE_CHARACTERS = 4_000
"""Of an error: it may quote a part of the request, never all of it."""

OTHER_PATHS = ("/", "/xrpc/_health", "/.well-known/did.json", "/xrpc/", "/nothing", "/xrpc/a.b")


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `nsid` is None where it is to no method."""

    verb: str
    path: str
    query: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    nsid: str | None = None


# --- requests --------------------------------------------------------------------------------

_RAW = st.sampled_from([b"%", b"%zz", b"&&", b"=", b"a", b"=b", b"+", b"%25", b"%00=1", b";"])
_HEADERS = st.sampled_from(
    [
        {},
        {},
        {},
        {"accept": "text/html"},
        {"if-none-match": '*, W/"x", "'},
        {"if-modified-since": "yesterday"},
        {"range": "bytes=0-1"},
        {"accept-encoding": "gzip, br;q=0"},
        {"x-forwarded-for": "1.2.3.4, ::ffff:10.0.0.1%eth0"},
        {"content-length": "0"},
        {"origin": "null"},
    ]
)
_TYPES = st.sampled_from(
    [
        "application/json",
        "application/json",
        "application/json; charset=utf-8",
        "application/json; charset=latin-1",
        "text/plain",
        "application/cbor",
        "",
    ]
)
_MOODS: st.SearchStrategy[Mood] = st.sampled_from(("valid", "valid", "near", "hostile"))


@st.composite
def pairs(draw: st.DrawFn, world: World, nsid: str, schema: Mapping[str, Any]) -> bytes:
    """A query string: at most one parameter is not what the document asks for."""
    properties: Mapping[str, Any] = schema.get("properties", {})
    required = schema.get("required", ())
    mood = draw(_MOODS)
    bad = None
    if mood != "valid" and properties:
        bad = draw(st.sampled_from(sorted(properties)))
    parts: list[bytes] = []
    for name, part in properties.items():
        # A cursor fits its own listing alone.
        odds = 6 if name == "cursor" else 2
        if name != bad and name not in required and draw(st.integers(1, odds)) > 1:
            continue
        values = draw(values_of(world, nsid, name, part, mood if name == bad else "valid"))
        parts += [quote_from_bytes(name.encode()).encode() + b"=" + _escaped(v) for v in values]
    if draw(st.integers(0, 9)) == 0:
        parts.insert(0, b"undeclared=" + _escaped(draw(st.sampled_from(HOSTILE))))
    if mood == "hostile" and draw(st.integers(0, 4)) == 0:
        parts.append(draw(_RAW))
    return b"&".join(parts)


@st.composite
def values_of(
    draw: st.DrawFn, world: World, nsid: str, name: str, schema: Mapping[str, Any], mood: Mood
) -> list[bytes]:
    if schema["type"] != "array":
        one = text_values(world, nsid, name, schema, mood)
        # A scalar that is given twice, or left out though it is required.
        most = draw(st.sampled_from([0, 1, 1, 1, 2])) if mood == "near" else 1
        return [draw(one) for _ in range(most)]
    most = schema.get("maxLength", 5)
    counts = (
        [0, 1, most + 1] if mood == "near" else [max(schema.get("minLength", 1), 1), 1, 2, most]
    )
    count = min(draw(st.sampled_from(counts)), 300)
    some = draw(
        st.lists(text_values(world, nsid, name, schema["items"], mood), min_size=1, max_size=3)
    )
    return [some[n % len(some)] for n in range(count)]


def _escaped(raw: bytes) -> bytes:
    return quote_from_bytes(raw, safe="").encode()


@st.composite
def bodies(draw: st.DrawFn, world: World, nsid: str, given: Mapping[str, Any]) -> bytes:
    schema = given["input"].get("schema")
    mood = draw(_MOODS)
    if schema is None:
        return draw(st.binary(max_size=100))
    raw = json.dumps(draw(json_values(world, nsid, "", schema, mood))).encode()
    if mood != "hostile":
        return raw
    return draw(
        st.sampled_from(
            [
                raw,
                b"",
                raw[: len(raw) // 2],
                b"\xef\xbb\xbf" + raw,
                raw.replace(b"e", b"\xff", 1),
                b"[" * 50_000,
                b'{"a":' * 5_000,
                b'{"record": {"a": 1, "a": 2}, "collection": "a.b.c", "collection": "d.e.f"}',
                b"NaN",
                b"1e999",
                json.dumps(draw(JSON_VALUES)).encode(),
            ]
        )
    )


@st.composite
def method_calls(draw: st.DrawFn, world: World, nsid: str) -> Ask:
    main = CATALOG.document(nsid)["defs"]["main"]
    query = draw(pairs(world, nsid, main.get("parameters", {})))
    headers = dict(draw(_HEADERS))
    verb = "POST" if main["type"] == "procedure" else "GET"
    if draw(st.integers(0, 19)) == 0:
        verb = draw(st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"]))
    body = None
    if verb == "POST":
        headers.pop("content-length", None)
        body = draw(bodies(world, nsid, main)) if "input" in main else draw(st.just(b""))
        if kind := draw(_TYPES):
            headers["content-type"] = kind
    return Ask(verb, f"/xrpc/{nsid}", query, headers, body, nsid)


@st.composite
def page_calls(draw: st.DrawFn, world: World, feeds: tuple[str, ...]) -> Ask:
    """What is no method: feeds, Croissant, health."""
    every = [uri for uris in world.uris.values() for uri in uris]
    did, collection, rkey = draw(st.sampled_from(every)).removeprefix("at://").split("/")
    odd = [_escaped(each).decode() for each in HOSTILE if len(each) < 4_000]
    name = draw(st.sampled_from([*feeds, *odd]))
    kind = draw(st.sampled_from(["atom", "rss", "json", "html", "atom.gz", ""]))
    account = draw(st.sampled_from([did, did, did, *world.handles, *odd]))
    key = draw(st.sampled_from([rkey, rkey, rkey, *odd]))
    path = draw(
        st.sampled_from(
            [
                f"/feeds/{name}.{kind}",
                CROISSANT.format(did=account, rkey=key),
                CROISSANT.format(did=account, rkey=key),
                *OTHER_PATHS,
            ]
        )
    )
    query = draw(
        st.sampled_from(
            [
                b"",
                b"",
                urlencode({"collection": collection}).encode(),
                b"collection=x",
                b"collection=a&collection=b",
                b"%zz",
                b"limit=-1",
            ]
        )
    )
    verb = draw(st.sampled_from(["GET"] * 9 + ["HEAD", "POST", "OPTIONS", "DELETE"]))
    return Ask(verb, path, query, dict(draw(_HEADERS)))


def requests(world: World, methods: list[str], feeds: tuple[str, ...]) -> st.SearchStrategy[Ask]:
    calls = [method_calls(world, nsid) for nsid in methods]
    return st.one_of(*calls, page_calls(world, feeds))


# --- what must hold --------------------------------------------------------------------------


class Sender:
    """One connection, and the checks of what comes back over it."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url).netloc
        self._connection: http.client.HTTPConnection | None = None
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.largest = 0
        self.slowest = 0.0
        self.sent = 0

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _exchange(self, ask: Ask, target: str) -> tuple[http.client.HTTPResponse, bytes] | None:
        """The answer and its body; None where the server hung up, on a new connection too (it may
        have closed an idle one at any time)."""
        for _ in range(2):
            reused = self._connection is not None
            if self._connection is None:
                self._connection = http.client.HTTPConnection(self._address, timeout=ANSWER_SECONDS)
            try:
                self._connection.request(ask.verb, target, ask.body, dict(ask.headers))
                response = self._connection.getresponse()
                body = response.read(MAX_RESPONSE_BYTES + 1)
            except (ConnectionError, http.client.RemoteDisconnected):
                self.close()
                if not reused:
                    return None
            else:
                if response.will_close:
                    self.close()
                return response, body
        return None

    def send(self, ask: Ask) -> None:
        """Raises AssertionError with what was wrong."""
        target = ask.path + (f"?{ask.query.decode()}" if ask.query else "")
        started = time.monotonic()
        exchanged = self._exchange(ask, target)
        if exchanged is None:
            assert len(target) > MAX_HEAD_BYTES // 2, "no answer"
            self.sent += 1
            return
        response, body = exchanged
        took = time.monotonic() - started
        self.sent += 1
        self.statuses[ask.nsid or "pages", response.status] += 1
        self.largest = max(self.largest, len(body))
        self.slowest = max(self.slowest, took)
        assert took < ANSWER_SECONDS, f"{took:.1f} s"
        assert len(body) <= MAX_RESPONSE_BYTES, "an answer without end"
        check(ask, response, body)


def check(ask: Ask, response: http.client.HTTPResponse, body: bytes) -> None:
    status, kind = response.status, response.headers.get("content-type", "")
    assert status != 500, f"500: {body[:500]!r}"
    # Without an upstream, as here, health says that nothing comes in.
    assert status < 502 or ask.path == "/xrpc/_health", f"{status}: {body[:500]!r}"
    if ask.verb == "HEAD" or status in (204, 304):
        assert body == b"", "a body where there is none"
        return
    assert response.headers["x-content-type-options"] == "nosniff" or ask.path == "/"
    assert "html" not in kind, f"a page: {kind}"
    if status >= 400:
        said = json.loads(body)
        if ask.path == "/xrpc/_health" and "error" not in said:
            return
        assert set(said) == {"error", "message"}, f"a wrong shape: {body[:300]!r}"
        assert isinstance(said["error"], str) and isinstance(said["message"], str)
        assert len(said["message"]) <= MAX_MESSAGE_CHARACTERS, "a message without end"
        if ask.nsid is not None:
            declared = CATALOG.document(ask.nsid)["defs"]["main"].get("errors", ())
            known = GENERIC_ERRORS.union(each["name"] for each in declared)
            assert said["error"] in known, f"{said['error']} is declared nowhere"
        return
    assert status == 200, f"status {status}"
    if ask.nsid is None:
        if "json" in kind:
            json.loads(body)
        return
    value = json.loads(body)
    CATALOG.validate_output(ask.nsid, value)
    assert value.get("cursor", "") is not None, "a cursor that is null"


# --- the run ---------------------------------------------------------------------------------


def run(count: int, *, number: int = 0) -> Sender:
    """Sends `count` requests. Raises with the least that breaks a rule."""
    with (
        tempfile.TemporaryDirectory() as folder,
        populated(Path(folder)) as (index, world),
        kept_posts(Path(folder), world) as posts,
        index.serve(feed_publisher=CAROL, posts=posts, federation=asks_nobody()) as node,
    ):
        about = node.http.get("/").json()
        methods = [path.removeprefix("/xrpc/") for path in about["methods"]]
        feeds = tuple(Path(path).stem for path in about["feeds"])
        world = replace(
            world,
            cursors=cursors_of(node, methods),
            hints={**world.hints, "feed": (*feeds, *map(generator, feeds), "nothing")},
        )
        sender = Sender(node.url)

        @seed(number)
        @settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        )
        @given(requests(world, methods, feeds))
        def each(ask: Ask) -> None:
            sender.send(ask)

        try:
            each()
        finally:
            sender.close()
    return sender


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, prog="python -m tests.appview.fuzz_requests"
    )
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    asked = parser.parse_args()
    print(f"seed {asked.seed}")
    sender = run(asked.requests, number=asked.seed)
    by_status = Counter[int]()
    good = {nsid for nsid, status in sender.statuses if status == 200}
    for (_, status), times in sender.statuses.items():
        by_status[status] += times
    print(f"{sender.sent} requests to {len({name for name, _ in sender.statuses})} places")
    print("statuses:", ", ".join(f"{status}: {n}" for status, n in sorted(by_status.items())))
    print(f"largest answer {sender.largest} bytes, slowest {sender.slowest:.2f} s")
    never = {name for name, _ in sender.statuses} - good
    print(f"never answered 200: {', '.join(sorted(never)) or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
