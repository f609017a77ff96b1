"""Lexicons from the network: resolution with everything that can be wrong, and their records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from atdex_appview.errors import LexiconAway, LexiconRefused, StoreFormatUnknown
from atdex_appview.network import records as keeping
from atdex_appview.network.collecting import GenericCollector
from atdex_appview.network.file import FILE_NAME, CollectionsFile
from atdex_appview.network.lexicons import NetworkLexicons, split_collections
from atdex_appview.network.records import GenericDelete, GenericPut, GenericRecords
from atdex_appview.network.resolving import (
    DOCUMENT_BYTES,
    DOCUMENTS,
    SCHEMA_COLLECTION,
    authority_host,
    resolve,
    resolve_all,
)
from atdex_appview.state import State
from atdex_firehose.errors import BadSignature, FetchFailed, NotServed
from atdex_firehose.events import CommitEvent, Identity, RecordOp
from atdex_firehose.fetch_record import FetchedRecord
from atdex_lexicons import Cid
from atdex_lexicons.datamodel import encode, from_json
from tests.appview.records import ALICE, BOB, rev

NOTE = "com.example.lab.note"
DEFS = "com.example.lab.defs"
AUTHORITY = "did:plc:authority22222222222222"
HOST = "_lexicon.lab.example.com"


def note_document(limit: int = 100, **more: Any) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "text": {"type": "string", "maxLength": limit},
        "at": {"type": "ref", "ref": f"{DEFS}#place"},
    }
    record = {"type": "object", "required": ["text"], "properties": properties | more}
    return {
        "lexicon": 1,
        "id": NOTE,
        "defs": {"main": {"type": "record", "key": "tid", "record": record}},
    }


DEFS_DOCUMENT = {
    "lexicon": 1,
    "id": DEFS,
    "defs": {"place": {"type": "object", "properties": {"x": {"type": "integer"}}}},
}


@dataclass
class Net:
    """DNS and the repos of authorities, as one that answers in tables."""

    texts: dict[str, list[bytes] | None] = field(default_factory=dict)
    documents: dict[str, Any] = field(default_factory=dict)
    failures: dict[str, Exception] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    @classmethod
    def usual(cls) -> Net:
        return cls(
            texts={HOST: [b"v=spf1 -all", b"did=" + AUTHORITY.encode()]},
            documents={NOTE: note_document(), DEFS: DEFS_DOCUMENT},
        )

    async def ask(self, host: str) -> list[bytes] | None:
        self.asked.append(host)
        return self.texts.get(host, [])

    async def fetch(self, did: str, path: str) -> FetchedRecord | None:
        collection, _, nsid = path.partition("/")
        assert collection == SCHEMA_COLLECTION
        if nsid in self.failures:
            raise self.failures[nsid]
        document = self.documents.get(nsid)
        if document is None or did != AUTHORITY:
            return None
        value = document
        if isinstance(document, dict) and "$type" not in document:
            value = {"$type": SCHEMA_COLLECTION} | document
        raw = value if isinstance(value, bytes) else encode(from_json(value))
        identity = Identity(did, None, "https://pds.example", None)
        return FetchedRecord(identity, rev(5), str(Cid.of_cbor(raw)), raw)


def test_the_authority_of_a_name_is_all_but_its_last_part_turned_round() -> None:
    assert authority_host(NOTE) == HOST
    assert authority_host("app.bsky.feed.post") == "_lexicon.feed.bsky.app"


async def test_a_document_is_resolved_with_all_that_it_refers_to() -> None:
    net = Net.usual()
    found = await resolve_all(NOTE, net.ask, net.fetch, lambda _: None)
    assert {nsid: each.document for nsid, each in found.items()} == net.documents
    assert {each.did for each in found.values()} == {AUTHORITY}
    known = await resolve_all(NOTE, net.ask, net.fetch, {DEFS: DEFS_DOCUMENT}.get)
    assert list(known) == [NOTE]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no TXT record": ({"texts": {}}, "names no account"),
    "TXT records of other things": ({"texts": {HOST: [b"hello"]}}, "names no account"),
    "two accounts": (
        {"texts": {HOST: [b"did=" + ALICE.encode(), b"did=" + BOB.encode()]}},
        "several",
    ),
    "no DID": ({"texts": {HOST: [b"did=alice"]}}, "several accounts, or none that is one"),
    "not UTF-8": ({"texts": {HOST: [b"did=\xff"]}}, "none that is one"),
    "no document": ({"documents": {}}, "publishes no such document"),
    "another account": (
        {"texts": {HOST: [b"did=" + ALICE.encode()]}},
        "publishes no such document",
    ),
    "a repo that is not served": (
        {"failures": {NOTE: NotServed("https://pds", "RepoTakendown")}},
        "RepoTakendown",
    ),
    "a forged repo": ({"failures": {NOTE: BadSignature(AUTHORITY, "not signed")}}, "not signed"),
    "another type": ({"documents": {NOTE: note_document() | {"$type": "a.b.c"}}}, "is no com."),
    "another NSID": ({"documents": {NOTE: DEFS_DOCUMENT}}, "of another NSID"),
    "no object": ({"documents": {NOTE: b"\x01"}}, "is no com."),
    "no DAG-CBOR": ({"documents": {NOTE: b"\xff"}}, ""),
    "no valid document": ({"documents": {NOTE: {"lexicon": 1, "id": NOTE, "defs": {}}}}, "defs"),
    "of the future": ({"documents": {NOTE: note_document() | {"lexicon": 2}}}, "number 1"),
    "too large": (
        {"documents": {NOTE: note_document() | {"description": "x" * DOCUMENT_BYTES}}},
        "bytes, over",
    ),
    "no record type": ({"documents": {NOTE: DEFS_DOCUMENT | {"id": NOTE}}}, "no record type"),
    "a reference to nothing": ({"documents": {NOTE: note_document()}}, "publishes no such"),
    "a reference into nothing": (
        {"documents": {NOTE: note_document(), DEFS: DEFS_DOCUMENT | {"defs": {
            "other": {"type": "object", "properties": {}}}}}},
        "place",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
async def test_what_cannot_be_used_is_refused_with_its_reason(what: str) -> None:
    changes, reason = REFUSED[what]
    net = Net.usual()
    for name, value in changes.items():
        setattr(net, name, value)
    with pytest.raises(LexiconRefused) as caught:
        await resolve_all(NOTE, net.ask, net.fetch, lambda _: None)
    assert reason in caught.value.reason


async def test_who_does_not_answer_is_told_apart_from_who_has_nothing() -> None:
    net = Net.usual()
    net.failures[NOTE] = FetchFailed("https://pds", "not done within 30 s")
    with pytest.raises(LexiconAway):
        await resolve(NOTE, net.ask, net.fetch)
    net = Net.usual()
    net.texts[HOST] = None
    with pytest.raises(LexiconAway):
        await resolve(NOTE, net.ask, net.fetch)


async def test_documents_that_refer_to_each_other_without_end_are_bounded() -> None:
    net = Net.usual()
    for n in range(2 * DOCUMENTS):
        nsid = f"com.example.lab.n{n}"
        place = {"type": "ref", "ref": f"com.example.lab.n{n + 1}#place"}
        net.documents[nsid] = DEFS_DOCUMENT | {"id": nsid, "defs": {"place": {
            "type": "object", "properties": {"next": place}}}}  # fmt: skip
    net.documents[NOTE] = note_document(next={"type": "ref", "ref": "com.example.lab.n0#place"})
    with pytest.raises(LexiconRefused, match="more than"):
        await resolve_all(NOTE, net.ask, net.fetch, lambda _: None)
    assert len(net.asked) <= DOCUMENTS


# Records


@dataclass
class World:
    file: CollectionsFile
    records: GenericRecords
    lexicons: NetworkLexicons
    collector: GenericCollector
    state: State
    net: Net
    wanted: list[str] = field(default_factory=list)
    now: float = 1_800_000_000.0
    _seq: int = 0

    async def commit(
        self, did: str, number: int, *ops: RecordOp, live: bool = True, verified: bool = True
    ) -> None:
        identity = Identity(did, None, None, None)
        event = CommitEvent("", 1, did, rev(number), "", ops, identity, live, verified)
        await self.state.save([await self.collector.take(event, ops)])

    def listed(self, **more: Any) -> list[str]:
        settings: dict[str, Any] = {"publisher": None, "before": None, "limit": 1000}
        return [record.rkey for record in self.records.page(NOTE, **(settings | more))]


@asynccontextmanager
async def opened(folder: Path, net: Net | None = None) -> AsyncIterator[World]:
    net = net or Net.usual()
    file = CollectionsFile.open(folder / FILE_NAME)
    state = await State.open(folder / "state.sqlite")
    try:
        records = GenericRecords(file)
        lexicons = NetworkLexicons(
            file, records, state, texts=net.ask, configured=[NOTE], clock=lambda: world.now
        )
        world = World(file, records, lexicons, GenericCollector(lexicons, records), state, net)

        async def want(nsid: str) -> None:
            world.wanted.append(nsid)

        lexicons.start(lexicons.ready())
        lexicons.connect(fetch=net.fetch, want=want)
        yield world
    finally:
        await state.close()
        file.close()


def note(key: int, text: str = "hello", action: Any = "create", **more: Any) -> RecordOp:
    if action == "delete":
        return RecordOp(action, NOTE, rev(key), None, None)
    raw = encode(from_json({"$type": NOTE, "text": text} | more))
    return RecordOp(action, NOTE, rev(key), str(Cid.of_cbor(raw)), raw)


async def test_a_collection_is_followed_once_its_documents_are_there(tmp_path: Path) -> None:
    net = Net.usual()
    net.texts[HOST] = None
    async with opened(tmp_path, net) as world:
        await world.lexicons.look()
        await world.commit(ALICE, 1, note(1))
        assert (world.wanted, world.listed()) == ([], [])
        (state,) = world.lexicons.states()
        assert (state.nsid, state.did) == (NOTE, None)
        assert "no DNS server answers" in state.problem
        net.texts[HOST] = [b"did=" + AUTHORITY.encode()]
        await world.lexicons.look()
        assert world.wanted == []  # not at once again
        world.now += 60
        await world.lexicons.look()
        assert world.wanted == [NOTE]
        await world.commit(ALICE, 2, note(2))
        assert world.listed() == [rev(2)]
        (state,) = world.lexicons.states()
        assert (state.did, state.problem, state.records) == (AUTHORITY, "", 1)
    async with opened(tmp_path, Net()) as world:
        assert world.lexicons.ready() == (NOTE,)  # kept, and nobody is asked
        await world.lexicons.look()
        assert (world.net.asked, world.wanted, world.listed()) == ([], [], [rev(2)])


async def test_documents_are_kept_while_their_authority_is_away(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        await world.lexicons.look()
    async with opened(tmp_path, Net()) as world:
        world.now += 25 * 3600
        await world.lexicons.look()
        (state,) = world.lexicons.states()
        assert (state.did, bool(state.problem)) == (AUTHORITY, True)
        await world.commit(ALICE, 1, note(1))
        assert world.listed() == [rev(1)]


async def test_records_are_held_against_their_lexicon(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        await world.lexicons.look()
        good, deep = note(1, at={"x": 1}), note(4, at={"x": "one"})
        bad = RecordOp("create", NOTE, rev(3), "bafyreia", b"\xff")
        await world.commit(ALICE, 1, good, note(2, "x" * 101), bad, deep)
        assert world.listed() == [rev(1)]
        uri = f"at://{ALICE}/{NOTE}"
        for key, path in ((2, "/text"), (3, ""), (4, "/at/x")):
            kept = await world.state.get(f"{uri}/{rev(key)}")
            assert kept is not None
            assert kept.problems[0].path == path
        await world.commit(ALICE, 2, note(1, "y" * 101, "update"), note(2, "short", "update"))
        assert world.listed() == [rev(2)]
        assert await world.state.get(f"{uri}/{rev(2)}") is None
        await world.commit(ALICE, 3, note(1, action="delete"), note(2, action="delete"))
        assert world.listed() == []
        assert await world.state.get(f"{uri}/{rev(1)}") is None


async def test_a_document_that_changes_has_its_records_judged_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        await world.lexicons.look()
        await world.commit(ALICE, 1, note(1, "short"), note(2, "x" * 50), note(3, "x" * 150))
        assert world.listed() == [rev(2), rev(1)]
        world.net.documents[NOTE] = note_document(20)
        world.now += 25 * 3600
        await world.lexicons.look()
        assert world.listed() == [rev(1)]
        assert await world.state.get(f"at://{ALICE}/{NOTE}/{rev(2)}") is not None
        world.net.documents[NOTE] = note_document(1000)
        world.now += 25 * 3600
        await world.lexicons.look()
        assert sorted(world.listed()) == [rev(1), rev(2), rev(3)]
        assert await world.state.count() == 0


async def test_events_that_come_again_change_nothing_and_resurrect_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        await world.lexicons.look()
        await world.commit(ALICE, 1, note(1), note(2))
        await world.commit(ALICE, 2, note(1, action="delete"))
        await world.commit(ALICE, 1, note(1), note(2))
        assert world.listed() == [rev(2)]
        first = world.records.page(NOTE, publisher=None, before=None, limit=1)[0]
        await world.commit(ALICE, 3, note(2, "changed", "update"))
        again = world.records.page(NOTE, publisher=None, before=None, limit=1)[0]
        assert (again.first_seen, again.rev) == (first.first_seen, rev(3))
        # A fetched repo, in parts of one rev, some of it older than what is here.
        await world.commit(ALICE, 3, note(5), live=False)
        await world.commit(ALICE, 3, note(6), live=False)
        await world.commit(ALICE, 2, note(7), live=False)
        assert sorted(world.listed()) == [rev(2), rev(5), rev(6)]
    async with opened(tmp_path) as world:
        assert world.records.count(NOTE) == 3
        assert world.records.cids_of(ALICE).keys() == {f"{NOTE}/{rev(n)}" for n in (2, 5, 6)}
        await world.commit(ALICE, 1, note(1))
        assert len(world.listed()) == 3


async def test_an_inactive_account_is_hidden_and_a_deleted_one_is_gone(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        await world.lexicons.look()
        await world.commit(ALICE, 1, note(1))
        await world.commit(BOB, 1, note(2))
        world.records.account(ALICE, active=False, status="takendown")
        assert world.listed() == [rev(2)]
        assert world.records.get(f"at://{ALICE}/{NOTE}/{rev(1)}") is None
        world.records.account(ALICE, active=True, status=None)
        assert world.listed() == [rev(2), rev(1)]
        world.records.account(BOB, active=False, status="deleted")
        await world.commit(BOB, 1, note(2))
        assert (world.listed(), world.records.count(NOTE)) == ([rev(1)], 1)
        world.records.account(BOB, active=True, status=None)
        await world.commit(BOB, 2, note(3))
        assert world.listed() == [rev(3), rev(1)]


async def test_a_walk_meets_each_record_once_while_records_come_and_go(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        await world.lexicons.look()
        await world.commit(ALICE, 1, *(note(n) for n in range(40)))
        there = {rev(n) for n in range(40)} - {rev(7)}
        met: list[str] = []
        before: int | None = None
        number = 2
        while page := world.records.page(NOTE, publisher=None, before=before, limit=6):
            met += [record.rkey for record in page]
            before = page[-1].first_seen
            ops = [note(100 + number), note(number, "changed", "update")]
            await world.commit(ALICE, number, *ops, note(7, action="delete"))
            number += 1
        assert len(met) == len(set(met))
        assert there <= set(met)
        assert world.listed(publisher=BOB) == []
        assert len(world.listed(publisher=ALICE)) == world.records.count(NOTE)


async def test_a_collection_that_is_full_takes_nothing_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "MAX_RECORDS", 3)
    async with opened(tmp_path) as world:
        await world.lexicons.look()
        await world.commit(ALICE, 1, *(note(n) for n in range(5)))
        assert (world.records.count(NOTE), world.records.full) == (3, (NOTE,))
        await world.commit(ALICE, 2, note(0, action="delete"), note(1, "new", "update"), note(9))
        assert sorted(world.listed()) == [rev(1), rev(2), rev(9)]


async def test_a_record_is_marked_where_no_signature_stands_behind_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        await world.lexicons.look()
        await world.commit(ALICE, 1, note(1), verified=False)
        (record,) = world.records.page(NOTE, publisher=None, before=None, limit=1)
        assert (record.verified, world.records.cids_of(ALICE)) == (False, {f"{NOTE}/{rev(1)}": ""})
        await world.commit(ALICE, 2, note(1))
        (record,) = world.records.page(NOTE, publisher=None, before=None, limit=1)
        assert record.verified


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:

    file = CollectionsFile.open(tmp_path / FILE_NAME)
    with file.writing() as sql:
        sql.execute("PRAGMA user_version = 9")
    file.close()
    with pytest.raises(StoreFormatUnknown):
        CollectionsFile.open(tmp_path / FILE_NAME)


def test_collections_are_of_families_or_of_the_network() -> None:
    named = ["app.bsky.atdata.*", NOTE, "science.alt.dataset.entry"]
    assert split_collections(named) == ((named[0], named[2]), (NOTE,))
    assert split_collections([]) == ((), ())


def test_changes_of_the_store_are_whole(tmp_path: Path) -> None:
    file = CollectionsFile.open(tmp_path / FILE_NAME)
    try:
        records = GenericRecords(file)
        put = GenericPut(f"at://{ALICE}/{NOTE}/a", NOTE, "a", "bafyreia", b"raw", b"{}")
        wrong: Any = GenericPut(f"at://{ALICE}/{NOTE}/b", NOTE, "b", None, b"raw", b"{}")  # type: ignore[arg-type]  # what no caller does
        with pytest.raises(Exception, match="NOT NULL"):
            records.apply(ALICE, rev(1), [put, wrong], live=True, verified=True)
        assert (records.count(NOTE), records.knows(ALICE)) == (0, False)
        records.apply(
            ALICE, rev(1), [put, GenericDelete(f"at://{ALICE}/{NOTE}/x")], live=True, verified=True
        )
        assert records.count(NOTE) == 1
    finally:
        file.close()


async def test_nobody_waits_for_an_authority_without_end(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:

        async def never(did: str, path: str) -> FetchedRecord | None:
            await asyncio.Event().wait()
            return None

        async def want(nsid: str) -> None:
            raise AssertionError

        world.lexicons.connect(fetch=never, want=want)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("atdex_appview.network.lexicons.RESOLVE_SECONDS", 0.05)
            await world.lexicons.look()
        assert world.lexicons.states()[0].problem == "too slow"
