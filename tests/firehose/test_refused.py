"""Every way to lie about a repo: each is refused for its own reason, and the repo heals by itself.

A lie is told of a repo that the consumer follows. Either the repo has really changed and the frame
that tells of it is wrong (`fetched`: what was not taken comes from the repo itself), or the repo
has not, and the frame is made up (`checked`: its host says that nothing was missed). In the end the
consumer has the records of the real repo, and takes its next commit as if nothing had been.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from libipld import encode_cid

from atdex_firehose import Consumer, RejectedEvent
from tests.firehose.lies import CASES, Case, starts_anew
from tests.firehose.lying import STARTED, copy, real
from tests.firehose.model import GET_REPO, Model, note
from tests.firehose.network import NOTE, network, until
from tests.support.repo import (
    Repo,
)


@asynccontextmanager
async def taking(consumer: Consumer) -> AsyncIterator[Model]:
    """A model that takes all events as they come."""
    model = Model()

    async def take() -> None:
        async for event in consumer:
            model.apply(event)
            consumer.ack(event)

    task = asyncio.create_task(take())
    try:
        yield model
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def has_all(model: Model, repo: Repo) -> bool:
    """Whether the model has the records of the real repo, by CID."""
    wanted = {
        path: encode_cid(cid) for path, cid in repo.records.items() if path.startswith("app.test.")
    }
    return model.records.get(repo.did, {}) == wanted


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.lie.__name__)
async def test_a_lie_is_refused_for_its_reason_and_the_repo_heals(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "atdex_firehose")
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, *STARTED)
        async with net.consumer() as consumer, taking(consumer) as model:
            await until(lambda: has_all(model, alice))
            net.relay.send(case.lie(net, alice).encode(net.seq()))
            seq = net.seq() - 1
            await until(lambda: consumer.stats().upstreams[0]["seq"] == seq)
            await until(lambda: settled(consumer) and has_all(model, alice))
            refused(case, consumer, model, caplog.text)
            fetches = net.pds.requests[GET_REPO, alice.did]
            assert fetches == (1 if case.outcome == "fetched" else 0)
            # And life goes on.
            events = len(model.events)
            net.relay.send(real(alice, "afterwards").encode(net.seq()))
            await until(lambda: has_all(model, alice))
            assert model.lives()[-1] and len(model.events) == events + 1
            assert net.pds.requests[GET_REPO, alice.did] == fetches
            await consumer.flush()
            assert consumer.stats().upstreams[0]["cursor"] == seq + 2


def settled(consumer: Consumer) -> bool:
    stats = consumer.stats()
    told = stats.rejected + stats.desynchronized + stats.ignored
    return bool(told) and not stats.backfill.remaining and not consumer.busy_within(1)


def refused(case: Case, consumer: Consumer, model: Model, logged: str) -> None:
    """It was refused as the table says, and in no other way."""
    stats = consumer.stats()
    rejected = [event for event in model.events if isinstance(event, RejectedEvent)]
    if case.error == "StaleRev":
        assert (stats.ignored, stats.desynchronized, rejected) == (1, 0, [])
        assert not stats.backfill.outcomes
    elif case.error == "Desynchronized":
        assert (stats.ignored, stats.desynchronized, rejected) == (0, 1, [])
        assert case.reason in logged
    else:
        (event,) = rejected
        assert (event.error, case.reason in event.reason) == (case.error, True), event.reason
        assert stats.rejected_by_reason == {case.error: 1}
        assert (stats.ignored, stats.desynchronized) == (0, 0)
        if case.outcome == "checked":
            assert stats.backfill.outcomes == {"checked": 1}


@pytest.mark.parametrize("anew", [False, True])
async def test_a_signed_commit_that_is_not_in_the_repo_is_taken_back(anew: bool) -> None:
    """Whoever has the key can show one tree to us and another one to others: the next commit of the
    real repo brings it to light, whether theirs continued the chain or started anew."""
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, *STARTED)
        async with net.consumer() as consumer, taking(consumer) as model:
            await until(lambda: has_all(model, alice))
            if anew:
                body = starts_anew(net, alice)
            else:
                body = copy(alice).commit(
                    {note("x"): NOTE, note("a"): None, note("b"): NOTE | {"v": 9}}
                )
            forged = net.seq()
            net.relay.send(body.encode(forged))
            await until(lambda: "x" in model.names(alice) or consumer.stats().desynchronized > 0)
            alice.clock += 10_000
            net.relay.send(real(alice, "honest").encode(net.seq()))
            await until(lambda: settled(consumer) and has_all(model, alice))
            assert consumer.stats().desynchronized >= 1
            # Fetched before the next commit, the repo has it not; fetched after, it is superseded.
            rejected = [event for event in model.events if isinstance(event, RejectedEvent)]
            assert [event.seq for event in rejected] in ([], [forged])
            net.relay.send(real(alice, "afterwards").encode(net.seq()))
            await until(lambda: has_all(model, alice))
            assert model.lives()[-1]


async def test_lies_of_every_kind_in_one_stream_leave_the_real_records() -> None:
    async with network() as net:
        alice, bob = net.account("alice"), net.account("bob")
        net.write(bob, *STARTED)
        net.write(alice, *STARTED)
        async with net.consumer() as consumer, taking(consumer) as model:
            await until(lambda: has_all(model, alice) and has_all(model, bob))
            for case in CASES:
                if case.outcome == "fetched" or case.lie.__name__.startswith("repeats"):
                    continue
                net.relay.send(case.lie(net, alice).encode(net.seq()))
                net.write(bob, case.lie.__name__)
                net.write(alice, case.lie.__name__)
            await until(lambda: settled(consumer) and has_all(model, alice) and has_all(model, bob))
            stats = consumer.stats()
        assert stats.desynchronized == 0
        assert net.pds.requests[GET_REPO, bob.did] == 0
