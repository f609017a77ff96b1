"""Messages of a Jetstream, and following one over a real WebSocket."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atdex_firehose import ConfigError, RecordOp, limits
from atdex_firehose.backoff import Backoff
from atdex_firehose.errors import InvalidEvent, InvalidFrame, Rejected
from atdex_firehose.frames import AccountFrame, IdentityFrame
from atdex_firehose.jetstream import (
    Item,
    LightCommit,
    number,
    parse_message,
    read_message,
    time_of,
)
from atdex_firehose.jetstream_upstream import OLDEST, OVERLAP_SECONDS, JetstreamUpstream
from atdex_firehose.relay import parse_jetstream
from atdex_firehose.subscribe import Rest
from atdex_firehose.upstream import Timing
from atdex_lexicons import datamodel
from atdex_lexicons.cid import Cid
from tests.firehose.network import until
from tests.support.jetstream import (
    FakeJetstream,
    Message,
    account_message,
    commit_message,
    identity_message,
)

DID = "did:plc:aliceaaaaaaaaaaaaaaaaaaa"
REV = "3l3qo2vutsw2b"
T = 1_725_911_162_329_308
PATH = "app.test.note/one"
RICH = {
    "$type": "app.test.note",
    "text": "grüße \u0001",
    "count": 2**53 + 1,
    "nested": [{"a": None, "b": True, "c": -1}],
    "link": {"$link": "bafyreidwaivazkwu67xztlmuobx35hs2lnfh3kolmgfmucldvhd3sgzcqi"},
    "bytes": {"$bytes": "AAEC"},
}


def parse(message: Any, seq: int = T) -> Item | None:
    read = read_message(message if isinstance(message, bytes) else json.dumps(message).encode())
    return parse_message(read[1], seq)


def changed(**fields: Any) -> Message:
    message = commit_message(T, DID, REV, PATH, RICH)
    message["commit"] |= fields
    return message


def test_a_record_comes_as_the_bytes_that_were_signed() -> None:
    item = parse(commit_message(T, DID, REV, PATH, RICH, "update"), seq=T + 1)
    raw = datamodel.encode(datamodel.from_json(RICH))
    assert item == LightCommit(
        T + 1, DID, REV, "2024-09-09T19:46:02.329308Z",
        RecordOp("update", "app.test.note", "one", str(Cid.of_cbor(raw)), raw),
    )  # fmt: skip
    assert isinstance(item, LightCommit)
    assert item.ops == (item.op,)


def test_a_message_of_the_real_thing_has_the_cid_that_it_states() -> None:
    """From the documentation: what a real PDS hashed is what comes out of the JSON here."""
    message = b"""{"did": "did:plc:eygmaihciaxprqvxpfvl6flk", "time_us": 1725911162329308,
      "cursor": 12345, "kind": "commit", "commit": {"rev": "3l3qo2vutsw2b", "operation": "create",
      "collection": "app.bsky.feed.like", "rkey": "3l3qo2vuowo2b",
      "cid": "bafyreidwaivazkwu67xztlmuobx35hs2lnfh3kolmgfmucldvhd3sgzcqi",
      "record": {"$type": "app.bsky.feed.like", "createdAt": "2024-09-09T19:46:02.102Z",
        "subject": {"cid": "bafyreidc6sydkkbchcyg62v77wbhzvb2mvytlmsychqgwf2xojjtirmzj4", "uri":
          "at://did:plc:wa7b35aakoll7hugkrjtf3xf/app.bsky.feed.post/3l3pte3p2e325"}}}}"""
    item = parse(message)
    assert isinstance(item, LightCommit)
    assert item.op.cid == "bafyreidwaivazkwu67xztlmuobx35hs2lnfh3kolmgfmucldvhd3sgzcqi"


def test_a_delete_has_neither_cid_nor_bytes() -> None:
    item = parse(commit_message(T, DID, REV, PATH))
    assert isinstance(item, LightCommit)
    assert item.op == RecordOp("delete", "app.test.note", "one", None, None)


def test_accounts_and_identities_are_those_of_the_firehose_with_the_number_of_here() -> None:
    sent = "2026-01-01T00:00:00.000Z"
    assert parse(identity_message(T, DID, "alice.test")) == IdentityFrame(
        T, DID, "alice.test", sent
    )
    assert parse(account_message(T, DID, False, "deactivated")) == AccountFrame(
        T, DID, False, "deactivated", sent
    )
    timeless = account_message(T, DID, True)
    del timeless["account"]["time"], timeless["account"]["did"]
    assert parse(timeless) == AccountFrame(T, DID, True, None, time_of(T))


def test_an_unknown_kind_says_nothing() -> None:
    assert parse({"did": DID, "time_us": T, "kind": "sync", "sync": {}}) is None


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (changed(record=RICH | {"text": "other"}), "as stated"),
        (changed(record=RICH | {"float": 1.5}), "floats"),
        (changed(record=RICH | {"big": 2**64}), "outside the data model"),
        (changed(record=[1]), "expected an object"),
        (changed(record=None), "expected an object"),
        (changed(cid=None), "cid is None"),
        (changed(cid="bafy"), "cid is 'bafy'"),
        (changed(rev="yesterday"), "rev is not a TID"),
        (changed(operation="upsert"), "operation 'upsert'"),
        (changed(collection="note"), "not an NSID"),
        (changed(rkey="a/b"), "not a record key"),
        (changed(rkey=".."), "not a record key"),
        (commit_message(T, DID, REV, PATH, RICH | {"text": "x" * 1_000_000}), "more than 1000000"),
        (commit_message(T, DID, REV, PATH, RICH) | {"commit": 1}, "commit is not an object"),
        (commit_message(T, "alice", REV, PATH, RICH), "not a DID"),
        (identity_message(T, DID) | {"did": DID[:-1] + "b"}, "is that of"),
        (account_message(T, DID, True) | {"account": {}}, "active is not a boolean"),
    ],
)
def test_a_message_that_is_not_as_it_should_be_is_rejected(message: Message, reason: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        parse(message)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"\xff", b"[]", b"1", b"[" * 100_000, b'{"time_us": "1"}', b'{"time_us": 0}',
        b'{"time_us": 1.5}', b'{"time_us": true}', b'{"time_us": 999999999999999999999}',
        b'{"a": "\xed\xa0\x80"}',
    ],
)  # fmt: skip
def test_what_has_no_place_in_the_stream_is_no_message(raw: bytes) -> None:
    with pytest.raises(InvalidFrame):
        read_message(raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.data())
def test_no_message_raises_anything_else(data: st.DataObject) -> None:
    base = data.draw(
        st.sampled_from(
            [changed(), identity_message(T, DID, "a.test"), account_message(T, DID, True)]
        )
    )
    part = base.get(base["kind"])
    target = data.draw(st.sampled_from([base, part]))
    target[data.draw(st.sampled_from(sorted(target)))] = data.draw(JSON)
    with suppress(InvalidFrame, Rejected):
        parse(json.dumps(base).encode())


def test_numbers_grow_where_times_repeat_or_step_back() -> None:
    now = T / 1_000_000
    assert number(T, 0, now) == T
    assert number(T, T, now) == T + 1
    assert number(T - 1_000_000, T, now) == T + 1
    assert number(T + 10**12, T, now) == T + limits.FUTURE_SECONDS * 1_000_000


class Following:
    """A Jetstream, and what came from it."""

    def __init__(self, jetstream: FakeJetstream, collections: list[str], cursor: int | None):
        self.jetstream = jetstream
        self.items: list[Item] = []
        self.rejected: list[tuple[bytes, Rejected | InvalidFrame]] = []
        self.gate: asyncio.Event | None = None
        self.upstream = JetstreamUpstream(
            parse_jetstream(jetstream.url), collections, cursor, self.take, self.reject,
            Timing(5, 10, Backoff(0.01, 0.05)),
        )  # fmt: skip

    def take(self, upstream: JetstreamUpstream, item: Item) -> Rest | None:
        upstream.watermark.seen(item.seq)
        self.items.append(item)
        return None if self.gate is None else self.wait(self.gate)

    async def wait(self, gate: asyncio.Event) -> None:
        await gate.wait()

    def reject(
        self, upstream: JetstreamUpstream, raw: bytes, error: Rejected | InvalidFrame
    ) -> None:
        self.rejected.append((raw, error))

    def rkeys(self) -> list[str]:
        return [item.op.rkey for item in self.items if isinstance(item, LightCommit)]


@asynccontextmanager
async def following(
    *collections: str, cursor: int | None = 0, jetstream: FakeJetstream | None = None
) -> AsyncIterator[Following]:
    async with jetstream or FakeJetstream() as server:
        found = Following(server, list(collections), cursor)
        task = asyncio.create_task(found.upstream.run())
        try:
            yield found
        finally:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


def note(n: int, collection: str = "app.test.note") -> Message:
    return commit_message(T + n, DID, REV, f"{collection}/{n}", {"n": n})


async def test_messages_come_from_the_oldest_on_filtered_by_the_server() -> None:
    jetstream = FakeJetstream()
    jetstream.send(note(1), note(2, "app.other.thing"), note(3, "app.third.a.b"))
    jetstream.send(account_message(T + 4, DID, True))
    async with following("app.test.note", "app.third.*", jetstream=jetstream) as found:
        await until(lambda: len(found.items) == 3)
        assert found.rkeys() == ["1", "3"]
        assert jetstream.queries == [
            {
                "maxMessageSizeBytes": [str(limits.FRAME_BYTES)],
                "wantedCollections": ["app.test.note", "app.third.*"],
                "cursor": [str(OLDEST)],
            }
        ]
        upstream = found.upstream
        assert (upstream.connected, upstream.frames, upstream.connections) == (True, 3, 1)
        assert upstream.url == jetstream.url.replace("ws:", "http:")
        assert upstream.last_time is not None
        assert upstream.last_time[0] == time_of(T + 4)


async def test_a_connection_goes_on_a_little_before_the_last_message() -> None:
    second = 1_000_000
    async with following("*", cursor=T) as found:
        jetstream = found.jetstream
        jetstream.send(note(0), note(4 * second), note(10 * second))
        await until(lambda: len(found.items) == 3)
        await jetstream.drop()
        jetstream.send(note(11 * second))
        await until(lambda: len(found.items) >= 5)
        assert [key[:-6] or "0" for key in found.rkeys()] == ["0", "4", "10", "10", "11"]
        assert [int(query["cursor"][0]) - T for query in jetstream.queries] == [
            -OVERLAP_SECONDS * second,
            (10 - OVERLAP_SECONDS) * second,
        ]
        assert "wantedCollections" not in jetstream.queries[0]
        seqs = [item.seq for item in found.items]
        assert seqs == sorted(set(seqs))


async def test_without_a_cursor_only_what_is_new_comes_and_then_nothing_is_missed() -> None:
    jetstream = FakeJetstream()
    jetstream.send(note(1))
    async with following(cursor=None, jetstream=jetstream) as found:
        await until(lambda: found.upstream.connected)
        await jetstream.drop()
        await until(lambda: len(jetstream.queries) == 2)
        assert not any("cursor" in query for query in jetstream.queries)
        await until(lambda: found.upstream.connected)
        jetstream.send(note(2))
        await until(lambda: found.rkeys() == ["2"])
        await jetstream.drop()
        jetstream.send(note(3))
        await until(lambda: "3" in found.rkeys())


async def test_times_that_repeat_and_step_back_end_nothing() -> None:
    async with following() as found:
        found.jetstream.send(note(5), note(5), note(3), note(6))
        await until(lambda: len(found.items) == 4)
        assert found.rkeys() == ["5", "5", "3", "6"]
        assert [item.seq - T for item in found.items] == [5, 6, 7, 8]
        assert found.upstream.connections == 1


async def test_a_bad_message_is_set_aside_and_the_stream_goes_on() -> None:
    async with following() as found:
        bad = note(2)
        bad["commit"]["record"]["n"] = 3
        found.jetstream.send(note(1), "{", bad, {"did": DID, "time_us": T + 3, "kind": "new"})
        await until(lambda: found.upstream.frames == 3)
        (garbage, first), (raw, second) = found.rejected
        assert (garbage, type(first)) == (b"{", InvalidFrame)
        assert (json.loads(raw), type(second)) == (bad, InvalidEvent)
        assert found.upstream.watermark.value == T + 3
        found.jetstream.send(note(4))
        await until(lambda: found.rkeys() == ["1", "4"])
        assert found.upstream.connections == 1


async def test_what_take_returns_is_awaited_before_the_next_message() -> None:
    async with following() as found:
        found.gate = asyncio.Event()
        found.jetstream.send(*[note(n) for n in range(1, 50)])
        await until(lambda: len(found.items) == 1)
        await asyncio.sleep(0.05)
        assert found.rkeys() == ["1"]
        found.gate.set()
        await until(lambda: len(found.items) == 49)
        assert found.rkeys() == [str(n) for n in range(1, 50)]


async def test_a_stream_that_is_cut_again_and_again_brings_everything() -> None:
    jetstream = FakeJetstream()
    jetstream.close_after = 10
    now = time.time_ns() // 1000
    jetstream.send(
        *[
            commit_message(now + n * 2_000_000, DID, REV, f"app.test.note/{n}", {"n": n})
            for n in range(-60, 0)
        ]
    )
    async with following(jetstream=jetstream) as found:
        await until(lambda: "-1" in found.rkeys())
    assert list(dict.fromkeys(found.rkeys())) == [str(n) for n in range(-60, 0)]
    assert len(jetstream.queries) > 5


def test_more_patterns_than_a_jetstream_takes_are_refused() -> None:
    address = parse_jetstream("wss://jetstream.test")
    patterns = [f"app.test.n{n}" for n in range(101)]
    with pytest.raises(ConfigError, match="100"):
        JetstreamUpstream(address, patterns, 0, lambda u, i: None, lambda u, r, e: None, Timing())
