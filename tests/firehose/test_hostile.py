"""Whatever is sent: only declared errors come out, and in the consumer none at all."""

from __future__ import annotations

import asyncio
import json
import random
import time

import hypothesis.strategies as st
from hypothesis import example, given, settings

from atdex_firehose import CommitEvent
from atdex_firehose.car import read_car
from atdex_firehose.commit import parse_commit_object
from atdex_firehose.crypto import InvalidKey, parse_did_key, parse_multikey, parse_verification_key
from atdex_firehose.did import parse_document
from atdex_firehose.errors import (
    Desynchronized,
    InvalidCar,
    InvalidCommit,
    InvalidFrame,
    InvalidIdentity,
    Rejected,
    StaleRev,
)
from atdex_firehose.events import Identity
from atdex_firehose.frames import (
    SEQUENCED,
    did_of,
    parse_account,
    parse_commit,
    parse_identity,
    parse_sync,
    seq_of,
    split,
    upstream_error,
)
from atdex_firehose.patterns import CollectionPatterns
from atdex_firehose.verify import verify_commit, verify_sync
from tests.firehose.network import DEADLINE, NOTE, network, until
from tests.support.mst import encode
from tests.support.repo import (
    K256Key,
    Repo,
    account_frame,
    error_frame,
    frame,
    identity_frame,
    info_frame,
    plc_did,
)

DID = plc_did("alice")
KEY = K256Key(b"\x01" * 32)
WANTED = CollectionPatterns(["app.test.*"])
IDENTITY = Identity(DID, "alice.test", "https://pds.test", parse_multikey(KEY.multikey).did_key)


def corpus() -> list[bytes]:
    repo = Repo(DID, KEY)
    frames = [repo.commit({f"app.test.note/{n}": NOTE | {"n": n}}).encode(n + 1) for n in range(3)]
    frames.append(repo.commit({"app.test.note/0": NOTE, "app.test.note/1": None}).encode(4))
    frames.append(repo.sync().encode(5))
    frames.append(account_frame(6, DID, False, "deactivated"))
    frames.append(identity_frame(7, DID, "alice.test"))
    frames += [info_frame("OutdatedCursor"), error_frame("FutureCursor")]
    return frames


CORPUS = corpus()
SEQUENCED_CORPUS = [raw for raw in CORPUS if split(raw)[0] in SEQUENCED]


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A seed with bytes flipped, cut out, put in, or repeated."""
    raw = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, max(0, len(raw) - 1)))
        match draw(st.integers(0, 4)):
            case 0 if raw:
                raw[at] = draw(st.integers(0, 255))
            case 1:
                del raw[at : at + draw(st.integers(1, 40))]
            case 2:
                raw[at:at] = draw(st.binary(max_size=40))
            case 3:
                raw += raw[at : at + 60]
            case _ if raw:
                raw[at] ^= 1 << draw(st.integers(0, 7))
    return bytes(raw)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(max_size=20)
    | st.binary(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@st.composite
def altered(draw: st.DrawFn) -> bytes:
    """A well-formed frame of a known kind, with fields replaced by anything."""
    kind, body = split(
        draw(st.sampled_from([each for each in CORPUS if split(each)[0] in SEQUENCED]))
    )
    changed = dict(body)
    for name in draw(st.lists(st.sampled_from([*sorted(body), "status", "handle"]), max_size=3)):
        changed[name] = draw(values)
    return frame(kind, changed)


def push_through(raw: bytes) -> None:
    """What the pipeline does with a frame, without its I/O. Raises only what it handles."""
    try:
        kind, body = split(raw)
    except InvalidFrame:
        return
    if kind == "error":
        upstream_error("u", body)
    if kind not in SEQUENCED:
        return
    WANTED.wants(body)
    try:
        seq_of(body)
        did_of(kind, body)
        if kind == "#commit":
            verify_commit(parse_commit(body), IDENTITY, None, WANTED, time.time())
        elif kind == "#sync":
            verify_sync(parse_sync(body), IDENTITY, None, time.time())
        elif kind == "#account":
            parse_account(body)
        else:
            parse_identity(body)
    except (InvalidFrame, Rejected, StaleRev, Desynchronized) as error:
        assert str(error)


@settings(max_examples=600, deadline=1000)
@given(mutated(CORPUS))
def test_a_mutated_frame_raises_declared_errors_only(raw: bytes) -> None:
    push_through(raw)


@settings(max_examples=300, deadline=1000)
@given(altered())
def test_a_frame_with_fields_of_any_kind_raises_declared_errors_only(raw: bytes) -> None:
    push_through(raw)


@settings(max_examples=300, deadline=1000)
@given(st.binary(max_size=200))
@example(b"\x9f" * 100)
@example(b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff")
@example(b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff")
@example(b"\x9b\x00\x00\x00\xff\xff\xff\xff\xff")
def test_arbitrary_bytes_are_an_invalid_frame_car_and_commit(raw: bytes) -> None:
    push_through(raw)
    for parse in (read_car, lambda data: parse_commit_object(data, DID, "3jzfcijpj2z2a")):
        try:
            parse(raw)
        except (InvalidCar, InvalidCommit) as error:
            assert str(error)


@settings(max_examples=300, deadline=1000)
@given(mutated([CORPUS[0]]))
def test_no_mutation_of_a_signed_commit_gives_a_record_that_was_not_signed(raw: bytes) -> None:
    try:
        kind, body = split(raw)
        if kind != "#commit":
            return
        verified = verify_commit(parse_commit(body), IDENTITY, None, WANTED, time.time())
    except (InvalidFrame, Rejected, Desynchronized):
        return
    assert all(op.raw in (None, encode(NOTE | {"n": 0})) for op in verified.ops)


@settings(max_examples=200, deadline=1000)
@given(st.text(max_size=200), st.text(max_size=200))
def test_arbitrary_keys_are_invalid_keys(suite: str, text: str) -> None:
    for parse in (parse_did_key, parse_multikey, lambda key: parse_verification_key(suite, key)):
        for candidate in (text, "z" + text, "did:key:z" + text):
            try:
                parse(candidate)
            except InvalidKey as error:
                assert str(error)


parts = st.recursive(
    st.none() | st.text(max_size=30) | st.integers(-(2**63), 2**63),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "type", "serviceEndpoint", "publicKeyMultibase"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@settings(max_examples=300, deadline=1000)
@given(
    st.dictionaries(st.sampled_from(["alsoKnownAs", "service", "verificationMethod", "id"]), parts)
)
def test_arbitrary_documents_give_an_identity_or_are_invalid(document: dict[str, object]) -> None:
    try:
        identity = parse_document(DID, json.dumps({"id": DID} | document).encode())
    except InvalidIdentity as error:
        assert str(error)
    else:
        assert identity.did == DID


async def test_a_consumer_survives_a_stream_of_mutated_frames() -> None:
    rolls = random.Random(7)
    async with network() as net:
        alice = net.account("alice")
        for n in range(300):
            body = alice.commit({f"app.test.note/{n}": NOTE})
            raw = body.encode(net.seq())
            if n % 3:
                damaged = bytearray(body.fields["blocks"])
                for _ in range(rolls.randint(1, 3)):
                    damaged[rolls.randrange(len(damaged))] ^= 1 << rolls.randrange(8)
                raw = body.encode(n + 1, blocks=bytes(damaged))
            net.relay.send(raw)
        records: set[str] = set()
        async with net.consumer() as consumer, asyncio.timeout(DEADLINE):
            async for event in consumer:
                consumer.ack(event)
                if isinstance(event, CommitEvent):
                    records |= {op.rkey for op in event.ops}
                if len(records) == 300 and consumer.stats().upstreams[0]["seq"] == 300:
                    break
            await until(lambda: consumer.stats().backfill.remaining == 0)
            await consumer.flush()
            stats = consumer.stats()
        assert stats.rejected >= 1
        assert stats.desynchronized >= 1
        assert stats.upstreams[0]["cursor"] == 300
