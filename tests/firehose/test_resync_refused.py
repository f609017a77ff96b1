"""What was refused, forged or served badly: what is fetched because of it, and what is not."""

from __future__ import annotations

import asyncio
from collections import deque

import pytest

from atdex_firehose import RejectedEvent
from atdex_firehose import resync as resync_module
from tests.firehose.model import GET_REPO, Model, follow, follow_until, lost, note
from tests.firehose.network import NOTE, network, until
from tests.support.mst import encode
from tests.support.repo import K256Key, Repo


@pytest.mark.parametrize(
    "wrong",
    ["429", "500", "truncated", "other account", "older", "garbage", "forged", "wrong tree"],
)
async def test_a_repo_that_is_served_badly_is_asked_for_again(wrong: str) -> None:
    async with network() as net:
        alice, mallory = net.account("alice"), net.account("mallory")
        mallory.commit({note("x"): NOTE})
        net.write(alice, "one")
        old = alice.export()
        net.write(alice, "two")
        lost(net, alice, {note("missed"): NOTE})
        net.write(alice, "three")
        good = alice.export()
        forged = Repo(alice.did, K256Key(), dict(alice.records), dict(alice.blocks))
        forged.data = alice.data
        forged.sync(rev=alice.rev)
        tampered = good.replace(encode(NOTE | {"name": "one"}), encode(NOTE | {"name": "two"}))
        answers = {
            "429": (429, {"retry-after": "0"}, b""),
            "500": (500, {}, b"oh"),
            "truncated": (200, {}, good[:-40]),
            "other account": (200, {}, mallory.export()),
            "older": (200, {}, old),
            "garbage": (200, {}, b"\0" * 99),
            "forged": (200, {}, forged.export()),
            "wrong tree": (200, {}, tampered),
        }
        net.pds.answers[alice.did] = deque([answers[wrong]] * 2)
        model = Model()
        async with net.consumer() as consumer:
            await follow(consumer, model, alice, {"one", "two", "missed", "three"})
            outcomes = consumer.stats().backfill.outcomes
        assert outcomes.pop("done") == 1
        names = {"429": "RateLimited", "500": "FetchFailed", "other account": "InvalidCommit"}
        names |= {"older": "OlderRepo", "forged": "BadSignature"}
        assert outcomes == {names.get(wrong, "InvalidCar"): 2}


async def test_forged_noise_costs_no_fetch_once_the_chain_goes_on() -> None:
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, "one")
        forged = Repo(alice.did, K256Key(), clock=alice.clock + 500)
        forged.commit({note("x"): NOTE})
        net.relay.send(forged.commit({note("forged"): NOTE}).encode(net.seq()))
        net.write(alice, "two")
        model = Model()
        async with net.consumer() as consumer:
            await follow(consumer, model, alice, {"one", "two"})
            await until(lambda: consumer.stats().backfill.repos == {"synchronized": 1})
            assert consumer.stats().rejected_by_reason == {"BadSignature": 1}
        assert net.pds.requests[GET_REPO, alice.did] == 0


async def test_a_refused_commit_that_was_real_is_fetched_though_nothing_follows() -> None:
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, "one")
        body = alice.commit({note("omitted"): NOTE, note("told"): NOTE})
        ops = [op for op in body.fields["ops"] if "told" in op["path"]]
        net.relay.send(body.encode(net.seq(), ops=ops))
        model = Model()
        async with net.consumer() as consumer:
            await follow(consumer, model, alice, {"one", "omitted", "told"})
            assert consumer.stats().rejected_by_reason == {"InvalidCommit": 1}


async def test_who_loses_the_chain_again_and_again_waits_longer_each_time() -> None:
    async with network() as net:
        alice = net.account("alice")
        model = Model()
        net.write(alice, "0")
        async with net.consumer() as consumer:
            await follow(consumer, model, alice, {"0"})
            started = asyncio.get_running_loop().time()
            for n in range(1, 6):
                lost(net, alice, {note(f"missed{n}"): NOTE})
                net.write(alice, str(n))
                names = {str(m) for m in range(n + 1)} | {f"missed{m}" for m in range(1, n + 1)}
                await follow(consumer, model, alice, names)
            # Three are free; then 0.2 s and 0.4 s.
            assert asyncio.get_running_loop().time() - started >= 0.5


async def test_a_signed_commit_that_its_repo_never_had_is_refused_once_it_is_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resync_module, "STRAY_SECONDS", -1e6)  # it is old already
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, "one")
        other = Repo(alice.did, alice.key, clock=alice.clock + 10_000)
        other.commit({note("never"): NOTE})
        net.relay.send(other.commit({note("there"): NOTE}).encode(net.seq()))
        model = Model()
        async with net.consumer() as consumer:
            await follow(consumer, model, alice, {"one"})

            def refusals() -> list[RejectedEvent]:
                return [event for event in model.events if isinstance(event, RejectedEvent)]

            await follow_until(consumer, model, lambda: len(refusals()) == 1)
            await until(lambda: consumer.stats().backfill.repos == {"synchronized": 1})
        (refused,) = refusals()
        assert "its repo has it not" in refused.reason


async def test_a_refused_first_commit_is_fetched_though_later_ones_are_fine() -> None:
    async with network() as net:
        alice = net.account("alice")
        body = alice.commit({note("one"): NOTE})
        net.relay.send(body.encode(net.seq(), ops=[]))
        net.pds.answers[alice.did] = deque([(500, {}, b"")])
        net.write(alice, "two", "three")
        model = Model()
        async with net.consumer() as consumer:
            await follow(consumer, model, alice, {"one", "two", "three"})
