"""Nodes on loopback, each with its own stores and HTTP server, and peers that are scripted."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from atdex_appview.federation.peers import Peers
from atdex_appview.federation.repos import RepoReader
from atdex_appview.federation.search import Federation
from atdex_appview.store.base import Put
from atdex_firehose.events import Identity
from atdex_firehose.fetch_record import FetchedRecord
from atdex_lexicons.families import to_record
from tests.appview.index import (
    ALICE,
    CATALOG,
    Index,
    Node,
    dataset,
)
from tests.appview.records import rev
from tests.sdk.scripted import Answer, scripted

METHOD = "searchDatasets"
ORIGIN = "https://index.example"
SCHEMA = f"at://{ALICE}/science.alt.dataset.schema/3knowhere2222"
PATIENT = 20.0
"""Seconds for a peer that is well: a slow machine must not make it look ill."""


class Repos:
    """What the publishers' repos hold, as if each were read from its PDS."""

    def __init__(self) -> None:
        self.records: dict[str, Put] = {}
        self.broken: dict[str, Exception] = {}
        self.asked: list[str] = []

    def add(self, *puts: Put) -> None:
        self.records |= {put.uri: put for put in puts}

    async def fetch(self, did: str, path: str) -> FetchedRecord | None:
        uri = f"at://{did}/{path}"
        self.asked.append(uri)
        if uri in self.broken:
            raise self.broken[uri]
        put = self.records.get(uri)
        if put is None:
            return None
        identity = Identity(did, "carol.example", "https://pds.example", None)
        return FetchedRecord(identity, rev(77), put.cid, put.raw)


class Nodes:
    """A node under test, `mine`, and what it takes to give it peers."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self.repos = Repos()
        self.inactive: set[str] = set()
        self.mine = self.index("mine")

    def index(self, name: str) -> Index:
        return self._stack.enter_context(Index.open(self._folder / name))

    def serve(self, index: Index) -> Node:
        return self._stack.enter_context(index.serve())

    def peer(self, *answers: Answer) -> str:
        server = self._stack.enter_context(scripted(*answers))
        return server.url.removesuffix("/s.tar")

    def federated(
        self,
        *urls: str,
        seconds: float = PATIENT,
        total: float = 2 * PATIENT,
        clock: Callable[[], float] = time.monotonic,
    ) -> Node:
        async def active(did: str) -> bool:
            return did not in self.inactive

        peers = Peers(urls, CATALOG, allow_private=True, seconds=seconds, clock=clock)
        reader = RepoReader(self.repos.fetch, active, CATALOG)
        federation = Federation(ORIGIN, peers, reader, seconds=total)
        return self._stack.enter_context(self.mine.serve(federation=federation))


def found(answer: Any) -> list[str]:
    return [view["record"]["name"] for view in answer["datasets"]]


def statuses(answer: Any) -> list[str]:
    return [node["status"] for node in answer["nodes"]]


def same(name: str, rkey: str, did: str, *indexes: Index, **more: Any) -> Put:
    """One dataset, published by one account and indexed by several nodes."""
    put = indexes[0].put(did, to_record(replace(dataset(name, SCHEMA), **more)), rkey=rkey)
    for index in indexes:
        index.commit(did, put)
    return put


def view_of(put: Put, **changes: Any) -> dict[str, Any]:
    """What a peer could say of a record."""
    return {
        "uri": put.uri,
        "cid": put.cid,
        "rev": rev(1),
        "publisher": {"did": put.did},
        "record": json.loads(put.json),
        "firstSeen": "2026-01-01T00:00:00Z",
        "indexedAt": "2026-01-01T00:00:00Z",
        "conformance": "valid",
        "shardCount": 1,
        "checksummed": True,
        "labels": [],
    } | changes


def saying(views: Sequence[dict[str, Any]], **more: Any) -> Answer:
    body = json.dumps({"datasets": views, "hitsTotal": len(views)} | more).encode()
    return lambda exchange: exchange.reply(200, body, Content_Type="application/json")
