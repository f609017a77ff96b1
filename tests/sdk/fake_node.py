"""A node for tests: the real XRPC server and documents over records in a dict.

It serves what it is given, lies included: the SDK has to find those out.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from atdex_lexicons import Catalog, Cid
from atdex_lexicons.datamodel import encode, from_json
from atdex_lexicons.families import kind_of
from atdex_xrpc import NotFound, Request, Server
from tests.sdk.shards import fixture
from tests.support.http import serve_app

ALICE = "did:plc:alicealicealicealiceali2"
HANDLE = "alice.example"
NOW = "2026-11-20T12:00:00.000Z"
FAMILY = "science.alt.dataset"
METHODS = "app.bsky.atdata."


def uri(collection: str, rkey: str, did: str = ALICE) -> str:
    return f"at://{did}/{FAMILY}.{collection}/{rkey}"


def key(i: int) -> str:
    """The i-th of some record keys."""
    letters = "234567abcdefghijklmnopqrstuvwxyz"
    return f"3kfixture{letters[i // 32]}{letters[i % 32]}aa"


SCHEMA = uri("schema", "3kfixture2222")
DATASET = uri("entry", "3kfixture2223")
LABEL = uri("label", "3kfixture2224")
LENS = uri("lens", "3kfixture2225")


def fixture_record(name: str) -> dict[str, Any]:
    """A record of the fixture, its references turned to this node's."""
    record: dict[str, Any] = copy.deepcopy(fixture(name)["value"])
    for key, target in (("schemaRef", SCHEMA), ("datasetUri", DATASET)):
        if key in record:
            record[key] = target
    return record


def entry(name: str, shards: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    return {
        "$type": f"{FAMILY}.entry",
        "name": name,
        "schemaRef": SCHEMA,
        "storage": {"$type": f"{FAMILY}.storageHttp", "shards": shards},
        "createdAt": NOW,
    } | fields


class FakeNode:
    """Records by URI, in the order they were put. `lies` replaces parts of views, by URI."""

    def __init__(self) -> None:
        self.records: dict[str, dict[str, Any]] = {}
        self.lies: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.fuzzy = False
        self.nodes: list[dict[str, Any]] | None = None
        self.url = ""

    def put(self, at: str, record: dict[str, Any]) -> str:
        self.records[at] = record
        return at

    def view(self, at: str) -> dict[str, Any]:
        record = self.records[at]
        view: dict[str, Any] = {
            "uri": at,
            "cid": str(Cid.of_cbor(encode(from_json(record)))),
            "rev": "3kfixture2222",
            "publisher": {"did": at.split("/")[2], "handle": HANDLE},
            "record": record,
            "firstSeen": NOW,
            "indexedAt": NOW,
            "conformance": "valid",
        }
        match kind_of(at.split("/")[3]):
            case "dataset":
                view |= {"shardCount": 1, "checksummed": True}
                view["labels"] = [
                    {"uri": label, "name": self.records[label]["name"]}
                    for label in self.of("label")
                    if self.records[label]["datasetUri"] == at
                ]
                if SCHEMA in self.records:
                    schema = self.view(SCHEMA)
                    view["schema"] = {k: schema[k] for k in ("uri", "cid", "name", "version")}
            case "schema":
                view |= {"name": record["name"], "version": record["version"]}
            case "label":
                view |= {"name": record["name"], "dataset": record["datasetUri"]}
                if "version" in record:
                    view["version"] = record["version"]
            case "lens":
                view |= {
                    "code": "reference",
                    "source": record["sourceSchema"],
                    "target": record["targetSchema"],
                    "verifications": [],
                }
        return view | self.lies.get(at, {})

    def of(self, collection: str) -> list[str]:
        return [at for at in self.records if at.split("/")[3] == f"{FAMILY}.{collection}"]

    def server(self, *, list_labels: bool = True) -> Server:
        server = Server(Catalog.bundled())
        for name in ("getDataset", "getSchema", "getLens"):
            server.method(METHODS + name, self.get)
        server.method(METHODS + "resolveLabel", self.resolve_label)
        server.method(METHODS + "listDatasets", self.list_records)
        if list_labels:
            server.method(METHODS + "listLabels", self.list_records)
        server.method(METHODS + "searchDatasets", self.search)
        server.method(METHODS + "getLensPath", self.lens_path)
        return server

    async def get(self, request: Request) -> Any:
        key = request.nsid.rpartition(".get")[2]
        at = str(request.params["uri"]).replace(HANDLE, ALICE)
        if at not in self.records:
            raise NotFound(f"{key}NotFound", f"no {at}")
        return {key.lower(): self.view(at)}

    async def resolve_label(self, request: Request) -> Any:
        params = request.params
        for at in self.of("label"):
            label = self.records[at]
            if (
                params["publisher"] in (HANDLE, at.split("/")[2])
                and params["name"] == label["name"]
                and params.get("version") in (None, label.get("version"))
            ):
                dataset = self.view(label["datasetUri"])
                return {
                    "uri": dataset["uri"],
                    "cid": dataset["cid"],
                    "label": self.view(at),
                    "dataset": dataset,
                }
        raise NotFound("LabelNotFound", "no such label")

    async def list_records(self, request: Request) -> Any:
        key, collection = (
            ("labels", "label") if request.nsid.endswith("Labels") else ("datasets", "entry")
        )
        return self._page(key, self.of(collection)[::-1], request)

    async def search(self, request: Request) -> Any:
        q = request.params.get("q", "")
        found = [at for at in self.of("entry") if q in self.records[at]["name"]]
        self.asked.append(("search", dict(request.params)))
        page = self._page("datasets", found, request)
        for view in page["datasets"]:
            view |= {"score": 1_500_000, "highlights": {"name": "<b>x</b>"}}
        if request.params["federate"]:
            page |= {"nodes": self.nodes or [], "partial": True}
        return page | {"hitsTotal": len(found)} | ({"fuzzy": True} if self.fuzzy else {})

    async def lens_path(self, request: Request) -> Any:
        """Every lens leads from SCHEMA to all there is."""
        self.asked.append(("path", dict(request.params)))
        if request.params["source"] != SCHEMA:
            raise NotFound("NoLensPath", "no such way")
        return {"paths": [{"hops": 1, "lenses": [self.view(at)]} for at in self.of("lens")]}

    def _page(self, key: str, found: list[str], request: Request) -> dict[str, Any]:
        start, limit = int(request.params.get("cursor", 0)), request.params["limit"]
        page: dict[str, Any] = {key: [self.view(at) for at in found[start : start + limit]]}
        if start + limit < len(found):
            page["cursor"] = str(start + limit)
        return page


@contextmanager
def fake_node() -> Iterator[FakeNode]:
    """A node with the schema of the fixture and nothing else."""
    node = FakeNode()
    node.put(SCHEMA, fixture_record("schema.json"))
    with serve_app(node.server()) as node.url:
        yield node
