"""Every way to lie about a repo: each is refused for its own reason, and the repo heals by itself.

A lie is told of a repo that the consumer follows. Either the repo has really changed and the frame
that tells of it is wrong (`fetched`: what was not taken comes from the repo itself), or the repo
has not, and the frame is made up (`checked`: its host says that nothing was missed). In the end the
consumer has the records of the real repo, and takes its next commit as if nothing had been.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal, NamedTuple

import pytest
from libipld import encode_cid

from atdex_firehose import Consumer, RejectedEvent
from tests.firehose.fuzz_trees import keys_of, nodes_of, read, rekey, write
from tests.firehose.network import NOTE, Network, network, until
from tests.firehose.test_resync import GET_REPO, Model, note
from tests.support.mst import build_tree, cid_of, encode, link
from tests.support.repo import (
    K256_ORDER,
    P256_ORDER,
    Body,
    K256Key,
    Key,
    P256Key,
    Repo,
    car,
    high_s,
    plc_did,
    tid,
)

STARTED = ("a", "b", "c", "d", "e", "f")
"""The records that the consumer has before the lie."""

Lie = Callable[[Network, Repo], Body]
Outcome = Literal["fetched", "checked", "ignored"]


class Case(NamedTuple):
    lie: Lie
    error: str
    reason: str
    outcome: Outcome


def copy(repo: Repo, key: Key | None = None) -> Repo:
    """The same repo in the hands of somebody else: what they commit is not in the real one."""
    return Repo(
        repo.did,
        key or repo.key,
        dict(repo.records),
        dict(repo.blocks),
        repo.rev,
        repo.data,
        repo.commit_cid,
        repo.commit_block,
        repo.clock,
    )


def real(repo: Repo, *names: str) -> Body:
    """A commit that creates records, in the real repo."""
    return repo.commit({note(name): NOTE | {"name": name} for name in names})


def changed(body: Body, **fields: Any) -> Body:
    return Body(body.kind, body.fields | fields)


def blocks_of(repo: Repo, nodes: dict[bytes, bytes]) -> bytes:
    """A CAR with the repo's commit, these nodes and all records."""
    return car(
        [repo.commit_cid],
        [(repo.commit_cid, repo.commit_block), *nodes.items(), *repo.blocks.items()],
    )


def resigned(repo: Repo, data: bytes | None = None, **fields: Any) -> Body:
    """A made-up commit by the owner's key: of `data`, or with wrong fields in what is signed."""
    made_up = copy(repo)
    body = real(made_up, "x")
    made_up.sign(data or made_up.data or b"", made_up.rev or "", **fields)
    raw = blocks_of(made_up, build_tree(made_up.records)[1])
    return changed(body, commit=link(made_up.commit_cid), blocks=raw)


# Who signed


def forged(net: Network, repo: Repo) -> Body:
    return real(copy(repo, K256Key()), "x")


def forged_on_the_other_curve(net: Network, repo: Repo) -> Body:
    return real(copy(repo, P256Key()), "x")


class HighS:
    """Signs with the right key, and gives the other valid signature."""

    def __init__(self, key: Key, order: int) -> None:
        self.multikey = key.multikey
        self._key = key
        self._order = order

    def sign(self, message: bytes) -> bytes:
        return high_s(self._key.sign(message), self._order)


def signed_high(net: Network, repo: Repo) -> Body:
    order = K256_ORDER if isinstance(repo.key, K256Key) else P256_ORDER
    return real(copy(repo, HighS(repo.key, order)), "x")


def of_another_account(net: Network, repo: Repo) -> Body:
    mallory = net.account("mallory")
    return changed(real(mallory, "x"), repo=repo.did)


def of_another_account_with_the_same_key(net: Network, repo: Repo) -> Body:
    return changed(real(Repo(plc_did("mallory"), repo.key), "x"), repo=repo.did)


# What the ops say. The whole tree is there, so that nothing is refused for want of a node.


def written(repo: Repo, writes: dict[str, object | None]) -> Body:
    body = repo.commit(writes)
    return changed(body, blocks=blocks_of(repo, build_tree(repo.records)[1]))


def whole(repo: Repo, *names: str) -> Body:
    return written(repo, {note(name): NOTE | {"name": name} for name in names})


def omits_an_op(net: Network, repo: Repo) -> Body:
    body = whole(repo, "told", "omitted")
    return changed(body, ops=[op for op in body.fields["ops"] if "told" in op["path"]])


def omits_all_ops(net: Network, repo: Repo) -> Body:
    return changed(whole(repo, "omitted"), ops=[])


def adds_a_create(net: Network, repo: Repo) -> Body:
    body = whole(repo, "new")
    more = body.fields["ops"][0] | {"path": note("added")}
    return changed(body, ops=[*body.fields["ops"], more])


def adds_a_delete(net: Network, repo: Repo) -> Body:
    body = whole(repo, "new")
    more = {
        "action": "delete",
        "path": note("b"),
        "cid": None,
        "prev": link(repo.records[note("b")]),
    }
    return changed(body, ops=[*body.fields["ops"], more])


def adds_a_delete_of_nothing(net: Network, repo: Repo) -> Body:
    body = whole(repo, "new")
    more = {"action": "delete", "path": note("g"), "cid": None, "prev": link(cid_of(b"x"))}
    return changed(body, ops=[*body.fields["ops"], more])


def names_another_record(net: Network, repo: Repo) -> Body:
    body = whole(repo, "new")
    return changed(body, ops=[body.fields["ops"][0] | {"cid": link(repo.records[note("a")])}])


def names_a_path_twice(net: Network, repo: Repo) -> Body:
    body = whole(repo, "new")
    return changed(body, ops=body.fields["ops"] * 2)


def updates_without_prev(net: Network, repo: Repo) -> Body:
    body = written(repo, {note("b"): NOTE | {"v": 2}})
    return changed(body, ops=[{k: v for k, v in body.fields["ops"][0].items() if k != "prev"}])


def updates_with_another_prev(net: Network, repo: Repo) -> Body:
    body = written(repo, {note("b"): NOTE | {"v": 2}})
    return changed(body, ops=[body.fields["ops"][0] | {"prev": link(repo.records[note("a")])}])


def creates_what_exists(net: Network, repo: Repo) -> Body:
    body = written(repo, {note("b"): NOTE | {"v": 2}})
    op = {k: v for k, v in body.fields["ops"][0].items() if k != "prev"}
    return changed(body, ops=[op | {"action": "create"}])


def deletes_without_prev(net: Network, repo: Repo) -> Body:
    body = written(repo, {note("b"): None})
    return changed(body, ops=[{k: v for k, v in body.fields["ops"][0].items() if k != "prev"}])


def deletes_what_stays(net: Network, repo: Repo) -> Body:
    body = written(repo, {note("b"): NOTE | {"v": 2}})
    op = body.fields["ops"][0] | {"action": "delete", "cid": None}
    return changed(body, ops=[op])


def writes_no_path(net: Network, repo: Repo) -> Body:
    body = whole(repo, "new")
    return changed(body, ops=[body.fields["ops"][0] | {"path": "app.test.note"}])


def writes_too_much(net: Network, repo: Repo) -> Body:
    return real(repo, *(f"n{n:03}" for n in range(201)))


# The tree


def reorders_the_tree(net: Network, repo: Repo) -> Body:
    made_up = copy(repo)
    real(made_up, "x")
    root = read(*build_tree(made_up.records))
    node = max(nodes_of(root), key=lambda each: len(each.entries))
    keys = keys_of(node)
    rekey(node, [*keys[1:], keys[0]])
    data, blocks = write(root)
    return _with_tree(repo, data, blocks)


def keeps_an_empty_top(net: Network, repo: Repo) -> Body:
    made_up = copy(repo)
    real(made_up, "x")
    data, blocks = build_tree(made_up.records)
    top = encode({"e": [], "l": link(data)})
    return _with_tree(repo, cid_of(top), blocks | {cid_of(top): top})


def _with_tree(repo: Repo, data: bytes, nodes: dict[bytes, bytes]) -> Body:
    """The create of `x`, with this tree in the place of the right one."""
    made_up = copy(repo)
    body = real(made_up, "x")
    made_up.sign(data, made_up.rev or "")
    return changed(body, commit=link(made_up.commit_cid), blocks=blocks_of(made_up, nodes))


# The chain


def changes_prev_data(net: Network, repo: Repo) -> Body:
    return changed(real(repo, "new"), prevData=link(cid_of(b"another tree")))


def lies_in_since(net: Network, repo: Repo) -> Body:
    return changed(real(repo, "new"), since=tid(repo.clock - 500_000))


def leaves_out_prev_data(net: Network, repo: Repo) -> Body:
    body = real(repo, "new")
    return Body(body.kind, {k: v for k, v in body.fields.items() if k != "prevData"})


def hides_a_commit(net: Network, repo: Repo) -> Body:
    """What came between is missing, and the frame claims to continue what is known."""
    since, data = repo.rev, repo.data
    real(repo, "hidden")
    return changed(real(repo, "new"), since=since, prevData=link(data or b""))


def starts_anew(net: Network, repo: Repo) -> Body:
    """A repo of one record, as if there had been nothing before."""
    made_up = Repo(repo.did, repo.key, clock=repo.clock)
    return real(made_up, "x")


def comes_from_the_future(net: Network, repo: Repo) -> Body:
    return copy(repo).commit({note("x"): NOTE}, rev=tid(int((time.time() + 600) * 1e6)))


def repeats_an_old_commit(net: Network, repo: Repo) -> Body:
    made_up = Repo(repo.did, repo.key, clock=repo.clock - 3_000_000)
    return real(made_up, "x")


def repeats_an_old_commit_as_a_new_one(net: Network, repo: Repo) -> Body:
    return changed(repeats_an_old_commit(net, repo), rev=repo.next_rev())


# The commit and its blocks


def wrong_version(net: Network, repo: Repo) -> Body:
    return resigned(repo, version=2)


def no_tree(net: Network, repo: Repo) -> Body:
    return resigned(repo, b"\x01\x55" + (repo.data or b"")[2:])


def unknown_hash(net: Network, repo: Repo) -> Body:
    return resigned(repo, b"\x01\x71\x13\x40" + b"\0" * 64)


def raw_record(net: Network, repo: Repo) -> Body:
    body = real(repo, "new")
    cid = repo.records[note("new")]
    op = body.fields["ops"][0] | {"cid": link(b"\x01\x55" + cid[2:])}
    return changed(body, ops=[op])


def another_root(net: Network, repo: Repo) -> Body:
    return changed(real(repo, "new"), commit=link(repo.data or b""))


def without_its_commit(net: Network, repo: Repo) -> Body:
    body = real(repo, "new")
    nodes = build_tree(repo.records)[1]
    return changed(body, blocks=car([repo.commit_cid], [*nodes.items(), *repo.blocks.items()]))


def without_a_node(net: Network, repo: Repo) -> Body:
    body = real(repo, "new")
    nodes = build_tree(repo.records)[1]
    del nodes[repo.data or b""]
    return changed(body, blocks=blocks_of(repo, nodes))


def without_a_record(net: Network, repo: Repo) -> Body:
    body = real(repo, "new")
    lacking = copy(repo)
    del lacking.blocks[repo.records[note("new")]]
    return changed(body, blocks=blocks_of(lacking, build_tree(repo.records)[1]))


def another_record(net: Network, repo: Repo) -> Body:
    body = real(repo, "new")
    raw = bytes(body.fields["blocks"])
    return changed(body, blocks=raw.replace(b"hello", b"hullo"))


def no_car(net: Network, repo: Repo) -> Body:
    return changed(real(repo, "new"), blocks=b"")


def no_time(net: Network, repo: Repo) -> Body:
    return changed(real(repo, "new"), time="yesterday")


# #sync


def forged_sync(net: Network, repo: Repo) -> Body:
    return copy(repo, K256Key()).sync()


def foreign_sync(net: Network, repo: Repo) -> Body:
    mallory = net.account("mallory")
    real(mallory, "x")
    return changed(mallory.sync(), did=repo.did)


def sync_from_the_future(net: Network, repo: Repo) -> Body:
    return copy(repo).sync(rev=tid(int((time.time() + 600) * 1e6)))


def old_sync(net: Network, repo: Repo) -> Body:
    return copy(repo).sync(rev=tid(repo.clock - 500_000))


def sync_of_a_tree_that_is_not_there(net: Network, repo: Repo) -> Body:
    made_up = copy(repo)
    made_up.data = cid_of(b"no tree")
    made_up.records.clear()
    return made_up.sync(rev=repo.rev)


CASES = (
    Case(forged, "BadSignature", "not signed by", "checked"),
    Case(forged_on_the_other_curve, "BadSignature", "not signed by", "checked"),
    Case(signed_high, "BadSignature", "not signed by", "checked"),
    Case(of_another_account, "InvalidCommit", "belongs to", "checked"),
    Case(of_another_account_with_the_same_key, "InvalidCommit", "belongs to", "checked"),
    Case(omits_an_op, "InvalidCommit", "does not lead back", "fetched"),
    Case(omits_all_ops, "InvalidCommit", "does not lead back", "fetched"),
    Case(adds_a_create, "InvalidCommit", "is not in the tree", "fetched"),
    Case(adds_a_delete, "InvalidCommit", "was deleted and is in the tree", "fetched"),
    Case(adds_a_delete_of_nothing, "InvalidCommit", "does not lead back", "fetched"),
    Case(names_another_record, "InvalidCommit", "another CID in the tree", "fetched"),
    Case(names_a_path_twice, "InvalidCommit", "twice", "fetched"),
    Case(updates_without_prev, "InvalidCommit", "lacks the CID", "fetched"),
    Case(updates_with_another_prev, "InvalidCommit", "does not lead back", "fetched"),
    Case(creates_what_exists, "InvalidCommit", "does not lead back", "fetched"),
    Case(deletes_without_prev, "InvalidCommit", "lacks the CID", "fetched"),
    Case(deletes_what_stays, "InvalidCommit", "was deleted and is in the tree", "fetched"),
    Case(writes_no_path, "InvalidEvent", "not collection/rkey", "fetched"),
    Case(writes_too_much, "InvalidEvent", "201 ops", "fetched"),
    Case(reorders_the_tree, "InvalidCommit", "stands behind", "checked"),
    Case(keeps_an_empty_top, "InvalidCommit", "top node of the tree is empty", "checked"),
    Case(changes_prev_data, "Desynchronized", "is not the tree of", "fetched"),
    Case(lies_in_since, "Desynchronized", "comes after", "fetched"),
    Case(leaves_out_prev_data, "Desynchronized", "without prevData", "fetched"),
    Case(hides_a_commit, "InvalidCommit", "does not lead back", "fetched"),
    Case(comes_from_the_future, "FutureRev", "in the future", "checked"),
    Case(repeats_an_old_commit, "StaleRev", "", "ignored"),
    Case(repeats_an_old_commit_as_a_new_one, "InvalidCommit", "has rev", "checked"),
    Case(wrong_version, "InvalidCommit", "version 2", "checked"),
    Case(no_tree, "InvalidCommit", "not a link to a tree", "checked"),
    Case(unknown_hash, "InvalidCommit", "not a link to a tree", "checked"),
    Case(raw_record, "InvalidCommit", "not of a DAG-CBOR block", "fetched"),
    Case(another_root, "InvalidCommit", "root is not the commit", "fetched"),
    Case(without_its_commit, "InvalidCommit", "commit block is missing", "fetched"),
    Case(without_a_node, "InvalidCommit", "node of the tree is missing", "fetched"),
    Case(without_a_record, "InvalidCommit", "is missing", "fetched"),
    Case(another_record, "InvalidCar", "hash", "fetched"),
    Case(no_car, "InvalidCar", "", "fetched"),
    Case(no_time, "InvalidEvent", "time", "fetched"),
    Case(forged_sync, "BadSignature", "not signed by", "checked"),
    Case(foreign_sync, "InvalidCommit", "belongs to", "checked"),
    Case(sync_from_the_future, "FutureRev", "in the future", "checked"),
    Case(old_sync, "StaleRev", "", "ignored"),
    Case(sync_of_a_tree_that_is_not_there, "StaleRev", "", "ignored"),
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
