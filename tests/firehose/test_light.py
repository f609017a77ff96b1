"""A Jetstream through the whole consumer: light, in order, and marked as unverified."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from atdex_firehose import AccountEvent, CommitEvent, ConfigError, Consumer, RejectedEvent
from tests.firehose.network import NOTE, quick, take, until
from tests.support.jetstream import FakeJetstream, account_message, commit_message, identity_message
from tests.support.relay import FakePlc
from tests.support.repo import K256Key, did_document, plc_did, tid

ALICE = plc_did("alice")
NOW = int(time.time() * 1_000_000) - 60_000_000


def consumer(jetstream: FakeJetstream, plc: FakePlc, **options: Any) -> Consumer:
    return Consumer(
        [],
        ["app.test.*"],
        jetstream=jetstream.url,
        plc=plc.url,
        timing=quick,
        allow_private_hosts=True,
        **options,
    )


async def test_every_operation_comes_once_in_order_and_unverified(tmp_path: Path) -> None:
    revs = [tid(NOW + n) for n in range(3)]
    with FakePlc() as plc:
        plc.documents[ALICE] = did_document(ALICE, K256Key())
        async with FakeJetstream() as jetstream:
            messages = [
                commit_message(NOW + 1, ALICE, revs[0], "app.test.note/a", NOTE),
                commit_message(NOW + 2, ALICE, revs[1], "app.test.note/b", NOTE),
                commit_message(NOW + 3, ALICE, revs[1], "app.test.note/c", NOTE),
                commit_message(NOW + 4, ALICE, revs[1], "app.test.note/b", NOTE),  # again
                commit_message(NOW + 5, ALICE, revs[0], "app.test.note/a", NOTE),  # again
                commit_message(NOW + 6, ALICE, revs[2], "app.test.note/a"),
            ]
            jetstream.send(*messages)
            async with consumer(jetstream, plc, state=tmp_path / "s") as light:
                events = await take(light, 4)
                await until(lambda: light.stats().ignored == 2)
                stats = light.stats()
            seen = [
                (event.rev, op.action, op.rkey, event.verified, event.live)
                for event in events
                if isinstance(event, CommitEvent)
                for op in event.ops
            ]
            assert seen == [
                (revs[0], "create", "a", False, True),
                (revs[1], "create", "b", False, True),
                (revs[1], "create", "c", False, True),
                (revs[2], "delete", "a", False, True),
            ]
            assert (stats.commits_verified, stats.backfill.repos) == (0, {})
            assert stats.upstreams[0]["cursor"] == NOW + 6

            # A restart goes back a few seconds; what comes again is delivered again.
            jetstream.send(
                commit_message(NOW + 9_000_000, ALICE, tid(NOW + 9), "app.test.note/d", NOTE)
            )
            async with consumer(jetstream, plc, state=tmp_path / "s") as light:
                found = {event.seq for event in await take(light, 5)}
            assert NOW + 9_000_000 in found


async def test_accounts_and_bad_messages_come_too() -> None:
    with FakePlc() as plc:
        async with FakeJetstream() as jetstream:
            lying = commit_message(NOW + 1, ALICE, tid(NOW), "app.test.note/a", NOTE)
            lying["commit"]["record"] = NOTE | {"text": "another"}
            jetstream.send(
                lying,
                account_message(NOW + 2, ALICE, False, "takendown"),
                commit_message(NOW + 3, ALICE, tid(NOW + 3), "app.test.note/b", NOTE),
                identity_message(NOW + 4, ALICE, "alice.test"),
            )
            async with consumer(jetstream, plc) as light:
                rejected, account, identity = await take(light, 3)
                assert light.stats().ignored == 1
            assert isinstance(rejected, RejectedEvent)
            assert rejected.did == ALICE
            assert isinstance(account, AccountEvent)
            assert (account.active, account.status) == (False, "takendown")
            assert identity.did == ALICE


def test_a_jetstream_stands_alone() -> None:
    with pytest.raises(ConfigError, match="place of relays"):
        Consumer(["http://127.0.0.1:1"], ["a.b.c"], jetstream="ws://127.0.0.1:2")
