"""Ingestion: scripted events through the real validator, writer and stores."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from atdex_appview import reading
from atdex_appview.ingest import Ingest
from atdex_appview.reading import MAX_RECORD_BYTES
from atdex_appview.search.filters import Filters
from atdex_appview.search.index import SearchIndex
from atdex_appview.state import State
from atdex_appview.store.duckdb import DuckDBStore
from atdex_appview.writer import Writer
from atdex_firehose.events import (
    AccountEvent,
    Action,
    CommitEvent,
    Event,
    Identity,
    IdentityEvent,
    RecordOp,
    RejectedEvent,
    SyncEvent,
)
from atdex_lexicons import Catalog, Cid
from atdex_lexicons.datamodel import encode, from_json
from atdex_lexicons.families import check_record
from tests.appview.records import ALICE, BOB, COLLECTIONS, rev, uri
from tests.support.paths import FIXTURES

SOURCE = "wss://relay.example"
ATDATA = FIXTURES / "atdata"
ENTRY = COLLECTIONS["dataset"]
NOW = 1_800_000_000.0


def rkey(number: int) -> str:
    return rev(number)


def entry(name: str = "a dataset", **more: object) -> dict[str, Any]:
    """A record of the atdata library, which keeps to the lexicon's dialects."""
    value: dict[str, Any] = orjson.loads((ATDATA / "entry_http.json").read_bytes())["value"]
    return {**value, "name": name, **more}


def op(action: Action, key: str, value: object = None, *, raw: bytes | None = None) -> RecordOp:
    if action == "delete":
        return RecordOp(action, ENTRY, key, None, None)
    if raw is None:
        raw = encode(from_json(value))
    return RecordOp(action, ENTRY, key, str(Cid.of_cbor(raw)), raw)


@dataclass
class Script:
    """A `Source`: the events of a test, and which were acknowledged, in order."""

    events: list[Event] = field(default_factory=list)
    acked: list[int] = field(default_factory=list)
    seq: int = 0

    async def __aiter__(self) -> AsyncIterator[Event]:
        for event in self.events:
            yield event

    def ack(self, event: Event) -> None:
        self.acked.append(event.seq)

    def commit(
        self,
        did: str,
        number: int,
        *ops: RecordOp,
        handle: str | None = "alice.example",
        claimed: str | None = None,
        live: bool = True,
        verified: bool = True,
    ) -> None:
        identity = Identity(did, handle, "https://pds.example", None, claimed or handle)
        time = "2026-01-01T00:00:00Z" if live else ""
        self.events.append(
            CommitEvent(SOURCE, self._next(), did, rev(number), time, ops, identity, live, verified)
        )

    def account(self, did: str, status: str | None, time: str = "2026-01-01T00:00:00Z") -> None:
        """`status` None: active."""
        word = None if status == "" else status
        self.events.append(
            AccountEvent(SOURCE, self._next(), did, time, active=status is None, status=word)
        )

    def identity(self, did: str, handle: str | None) -> None:
        found = Identity(did, handle, None, None) if handle else None
        self.events.append(IdentityEvent(SOURCE, self._next(), did, "2026-01-01T00:00:00Z", found))

    def add(self, make: Any, *fields: object) -> None:
        self.events.append(make(SOURCE, self._next(), *fields))

    def _next(self) -> int:
        self.seq += 1
        return self.seq


@dataclass
class Index:
    store: DuckDBStore
    search: SearchIndex
    state: State

    async def run(self, script: Script, **settings: float) -> None:
        """Ingests the script to its end; every event is then acknowledged, in order."""
        script.acked.clear()
        writer = Writer(self.store, self.search, self.state, max_delay=0.005, **settings)  # type: ignore[arg-type]  # numbers
        writing = asyncio.create_task(writer.run())
        ingest = Ingest(script, Catalog.bundled(), writer, self.state, clock=lambda: NOW)
        await ingest.run()
        await writer.close()
        await writing
        assert sorted(script.acked) == [event.seq for event in script.events]

    def names(self) -> list[str]:
        listed = self.store.list_records("dataset", limit=100)
        return [orjson.loads(record.json)["name"] for record in listed]

    async def problems(self, number: int, did: str = ALICE) -> list[str]:
        kept = await self.state.get(uri(did, "dataset", rkey(number)))
        return [] if kept is None else [str(problem) for problem in kept.problems]


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[Index]:
    store = DuckDBStore.open(directory / "records.duckdb", memory_limit_mb=256)
    search = SearchIndex.open(directory / "search")
    state = await State.open(directory / "state.sqlite")
    yield Index(store, search, state)
    await state.close()
    search.close()
    store.close()


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[Index]:
    async with opened(tmp_path) as made:
        yield made


@pytest.fixture
def script() -> Script:
    return Script()


async def test_a_valid_record_is_stored_searchable_and_acknowledged(
    index: Index, script: Script
) -> None:
    made = op("create", rkey(1), entry("Retina scans", tags=["oct"]))
    script.commit(ALICE, 1, made)
    await index.run(script)
    record = index.store.records([uri(ALICE, "dataset", rkey(1))])[uri(ALICE, "dataset", rkey(1))]
    assert (record.cid, record.rev, record.did) == (made.cid, rev(1), ALICE)
    assert record.conformance.startswith("dialect:")
    assert orjson.loads(record.json) == entry("Retina scans", tags=["oct"])
    assert index.search.search("retina", Filters(tags=("oct",)), limit=1).total == 1
    assert index.store.did_of_handle("alice.example") == ALICE


async def test_every_kind_of_record_of_the_atdata_library_is_indexed(
    index: Index, script: Script
) -> None:
    files = {
        "schema": "schema.json",
        "dataset": "entry_s3.json",
        "label": "label.json",
        "lens": "lens.json",
        "verification": "lens_verification.json",
    }
    ops = []
    for kind, file in files.items():
        value = orjson.loads((ATDATA / file).read_bytes())["value"]
        raw = encode(from_json(value))
        ops.append(
            RecordOp("create", COLLECTIONS[kind], rkey(1), str(Cid.of_cbor(raw)), raw)  # type: ignore[index]  # kinds
        )
    script.commit(ALICE, 1, *ops)
    await index.run(script)
    assert await index.state.count() == 0
    assert index.store.counts() == {**dict.fromkeys(files, 1), "publishers": 1}


def nested(depth: int) -> bytes:
    """A DAG-CBOR map whose `x` is `depth` lists deep."""
    return b"\xa1\x61x" + b"\x81" * depth + b"\x80"


BAD: dict[str, tuple[bytes, str]] = {
    "no DAG-CBOR": (b"\xff\xff\xff", ""),
    "nothing": (b"", ""),
    "no map": (encode([1, 2]), "a record is a map"),
    "10,000 levels": (nested(10_000), "nest"),
    "invalid UTF-8": (b"\xa1\x61x\x62\xc3\x28", ""),
    "too large": (encode({"x": "y" * MAX_RECORD_BYTES}), "has 10000"),
    "a name of 100 KB": (encode(from_json(entry("n" * 100_000))), "/name"),
    "no schema": (encode({"$type": ENTRY, "name": "x"}), "schemaRef"),
    "a NUL": (encode(from_json(entry("a\0b", description="c\0"))), "/name: holds a NUL character"),
    "a NUL in a key": (
        encode(from_json(entry(metadata={"a\0": 1}))),
        "/metadata: has a key with a NUL character",
    ),
    "another type": (encode(from_json({**entry(), "$type": "app.bsky.feed.post"})), "$type"),
}


@pytest.mark.parametrize("what", BAD)
async def test_a_record_that_cannot_be_used_is_quarantined_with_its_reason_and_the_rest_go_on(
    index: Index, script: Script, what: str
) -> None:
    raw, reason = BAD[what]
    script.commit(
        ALICE,
        1,
        op("create", rkey(1), entry("first")),
        op("create", rkey(2), raw=raw),
        op("create", rkey(3), entry("third")),
    )
    script.commit(BOB, 1, op("create", rkey(4), entry("fourth")), handle=None)
    await index.run(script)
    assert index.names() == ["fourth", "third", "first"]
    kept = await index.state.get(uri(ALICE, "dataset", rkey(2)))
    assert kept is not None
    assert (kept.rev, kept.size, kept.seen_at) == (rev(1), len(raw), int(NOW * 1_000_000))
    assert kept.problems
    assert any(reason in str(problem) for problem in kept.problems), kept.problems


async def test_a_text_that_only_looks_like_an_escaped_nul_is_fine(
    index: Index, script: Script
) -> None:
    script.commit(ALICE, 1, op("create", rkey(1), entry(r"a \u0000 b \\u0000")))
    await index.run(script)
    assert index.names() == [r"a \u0000 b \\u0000"]


async def test_all_problems_of_a_record_are_kept(index: Index, script: Script) -> None:
    script.commit(ALICE, 1, op("create", rkey(1), entry("n" * 9_999, schemaRef="no uri", tags=[1])))
    await index.run(script)
    paths = [line.split(":")[0] for line in await index.problems(1)]
    assert {"/name", "/schemaRef", "/tags/0"} <= set(paths)


async def test_a_new_version_that_is_invalid_takes_the_record_out_until_it_is_mended(
    index: Index, script: Script
) -> None:
    script.commit(ALICE, 1, op("create", rkey(1), entry("one")))
    script.commit(ALICE, 2, op("create", rkey(2), entry("two")))
    script.commit(ALICE, 3, op("update", rkey(1), entry("x" * 9_999)))
    await index.run(script)
    assert index.names() == ["two"]
    assert index.search.count() == 1
    assert await index.problems(1)
    script.commit(ALICE, 4, op("update", rkey(1), entry("one, mended")))
    await index.run(script)
    assert index.names() == ["two", "one, mended"], "in its old place"
    assert await index.state.count() == 0


async def test_deleting_a_quarantined_record_takes_it_out_of_the_quarantine(
    index: Index, script: Script
) -> None:
    script.commit(ALICE, 1, op("create", rkey(1), raw=b"\xff"))
    await index.run(script)
    assert await index.state.count() == 1
    script.commit(ALICE, 2, op("delete", rkey(1)))
    await index.run(script)
    assert await index.state.count() == 0


async def test_ingesting_the_same_events_again_changes_nothing(
    index: Index, script: Script
) -> None:
    script.commit(
        ALICE, 1, op("create", rkey(1), entry("one")), op("create", rkey(2), entry("two"))
    )
    script.commit(ALICE, 2, op("delete", rkey(1)), op("create", rkey(3), raw=b"\xff"))
    script.account(BOB, "suspended")
    script.commit(ALICE, 3, op("update", rkey(2), entry("two again")))
    script.add(RejectedEvent, ALICE, None, "InvalidCommit", "bad signature", b"frame")
    await index.run(script)
    before = index.store.list_records("dataset", limit=9)
    assert index.names() == ["two again"]
    for _ in range(2):
        await index.run(script)
        assert index.store.list_records("dataset", limit=9) == before
        assert index.search.count() == 1
        assert await index.state.count() == 1


async def test_an_account_is_hidden_and_restored_and_removed(index: Index, script: Script) -> None:
    script.commit(ALICE, 1, op("create", rkey(1), entry("one")))
    script.commit(ALICE, 2, op("create", rkey(2), raw=b"\xff"))
    script.account(ALICE, "deactivated", "2026-01-01T00:00:01Z")
    await index.run(script)
    assert (index.names(), index.search.count()) == ([], 0)
    script.account(ALICE, None, "2026-01-01T00:00:02Z")
    await index.run(script)
    assert (index.names(), index.search.count()) == (["one"], 1)
    script.account(ALICE, "deleted", "2026-01-01T00:00:03Z")
    await index.run(script)
    assert (index.names(), index.search.count(), await index.state.count()) == ([], 0, 0)


async def test_an_inactive_account_without_a_word_for_it_is_hidden_too(
    index: Index, script: Script
) -> None:
    script.commit(ALICE, 1, op("create", rkey(1), entry()))
    script.account(ALICE, "")
    await index.run(script)
    assert index.names() == []
    assert index.store.publishers([ALICE])[ALICE].status == "inactive"


@pytest.mark.parametrize("together", [True, False])
async def test_a_status_that_came_before_the_first_record_counts(
    index: Index, script: Script, together: bool
) -> None:
    script.account(ALICE, "takendown")
    script.account(BOB, "deactivated")
    script.account(BOB, None)
    if not together:
        await index.run(script)
        assert not index.store.knows(ALICE), "the store holds no account without records"
        assert await index.state.waiting_status(ALICE) == "takendown"
        script.events.clear()
    script.commit(ALICE, 1, op("create", rkey(1), entry("alices")))
    script.commit(BOB, 1, op("create", rkey(1), entry("bobs")))
    await index.run(script)
    assert index.names() == ["bobs"]
    assert await index.state.waiting_status(ALICE) is None
    script.account(ALICE, None, "2026-01-01T00:00:05Z")
    await index.run(script)
    assert index.names() == ["alices", "bobs"] or index.names() == ["bobs", "alices"]


async def test_a_host_whose_clock_is_ahead_does_not_bind_the_future(
    index: Index, script: Script
) -> None:
    script.commit(ALICE, 1, op("create", rkey(1), entry("one")))
    script.account(ALICE, "suspended", "2999-01-01T00:00:00Z")
    script.account(ALICE, None, "2998-01-01T00:00:00Z")
    await index.run(script)
    assert index.names() == ["one"]


async def test_a_handle_changes_for_accounts_with_records_and_for_no_others(
    index: Index, script: Script
) -> None:
    script.commit(ALICE, 1, op("create", rkey(1), entry()))
    script.identity(ALICE, "new.example")
    script.identity(BOB, "bob.example")
    await index.run(script)
    assert index.store.did_of_handle("new.example") == ALICE
    assert index.store.did_of_handle("alice.example") is None
    assert index.store.did_of_handle("bob.example") is None
    script.identity(ALICE, None)
    await index.run(script)
    assert index.store.publishers([ALICE])[ALICE].handle is None


async def test_what_is_of_no_concern_is_acknowledged_and_leaves_no_trace(
    index: Index, script: Script
) -> None:
    script.add(SyncEvent, ALICE, rev(1), "2026-01-01T00:00:00Z")
    post = RecordOp("create", "app.bsky.feed.post", "x", "bafy", b"\xa0")
    script.commit(ALICE, 1, post)
    script.add(Event, ALICE)
    await index.run(script)
    assert index.store.change_number() == 0
    assert await index.state.count() == 0


async def test_a_repo_that_comes_in_parts_is_applied_whole_though_they_share_a_rev(
    index: Index, script: Script
) -> None:
    script.commit(ALICE, 3, op("create", rkey(1), entry("new")))
    for number in (4, 5, 6):
        part = op("create", rkey(number), entry(f"old {number}"))
        script.commit(ALICE, 3, part, live=False)
    script.commit(ALICE, 2, op("create", rkey(7), entry("older than what was applied")), live=False)
    script.commit(ALICE, 4, op("delete", rkey(5)))
    await index.run(script)
    before = index.store.list_records("dataset", limit=9)
    assert index.names() == ["old 6", "old 4", "new"]
    await index.run(script)
    assert index.store.list_records("dataset", limit=9) == before


async def test_a_commit_that_comes_in_parts_without_a_signature_is_applied_whole_and_marked(
    index: Index, script: Script
) -> None:
    for number in (1, 2):
        made = op("create", rkey(number), entry(f"claim {number}"))
        script.commit(ALICE, 1, made, verified=False)
    await index.run(script)
    assert index.names() == ["claim 2", "claim 1"]
    records = index.store.list_records("dataset", limit=9)
    assert [record.verified for record in records] == [False, False]
    script.commit(ALICE, 1, op("create", rkey(1), entry("claim 1")), live=False)
    await index.run(script)
    found = {record.uri: record for record in index.store.list_records("dataset", limit=9)}
    assert [record.verified for record in found.values()] == [False, True]
    assert [record.first_seen for record in found.values()] == [r.first_seen for r in records]


async def test_a_handle_that_failed_verification_is_shown_as_such_and_names_nobody(
    index: Index, script: Script
) -> None:
    script.commit(ALICE, 1, op("create", rkey(1), entry()), handle="handle.invalid")
    await index.run(script)
    assert index.store.publishers([ALICE])[ALICE].handle == "handle.invalid"
    assert index.store.did_of_handle("handle.invalid") is None


async def test_a_claimed_handle_is_neither_shown_nor_resolvable_before_it_was_verified(
    index: Index, script: Script
) -> None:
    script.commit(ALICE, 1, op("create", rkey(1), entry()), handle=None, claimed="alice.example")
    await index.run(script)
    assert index.store.publishers([ALICE])[ALICE].handle is None
    assert index.store.did_of_handle("alice.example") is None
    script.identity(ALICE, "alice.example")
    await index.run(script)
    assert index.store.did_of_handle("alice.example") == ALICE


async def test_a_rejected_frame_is_acknowledged_and_changes_nothing(
    index: Index, script: Script
) -> None:
    script.add(RejectedEvent, ALICE, rev(1), "InvalidSignature", "the key does not fit", b"frame")
    await index.run(script)
    assert index.store.change_number() == 0
    assert await index.state.count() == 0


async def test_a_record_that_our_own_reader_cannot_bear_does_not_stop_the_node(
    index: Index,
    script: Script,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:

    def faulty(catalog: Catalog, collection: str, key: str | None, value: object) -> object:
        if isinstance(value, dict) and value["name"] == "poison":
            raise KeyError("a bug")
        return check_record(catalog, collection, key, value)

    monkeypatch.setattr(reading, "check_record", faulty)
    script.commit(ALICE, 1, op("create", rkey(1), entry("poison")))
    script.commit(ALICE, 2, op("create", rkey(2), entry("fine")))
    await index.run(script)
    assert index.names() == ["fine"]
    assert await index.problems(1) == ["this node cannot read it: KeyError"]
    assert "KeyError: 'a bug'" in caplog.text


async def test_a_burst_of_large_commits_keeps_their_order(index: Index, script: Script) -> None:
    for number in range(1, 31):
        ops: Sequence[RecordOp] = [
            op("create" if number == 1 else "update", rkey(key), entry(f"{key} v{number}"))
            for key in range(1, 21)
        ]
        script.commit(ALICE, number, *ops)
    await index.run(script, max_batch=50)
    assert index.names() == [f"{key} v30" for key in range(20, 0, -1)]
    assert index.search.search("v30", limit=1).total == 20
