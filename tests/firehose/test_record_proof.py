from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atdex_firehose.car import read_car
from atdex_firehose.errors import (
    BadSignature,
    FetchFailed,
    InvalidCar,
    InvalidCommit,
    InvalidIdentity,
    NotServed,
    Rejected,
)
from atdex_firehose.record_proof import read_proof
from tests.devnet import Devnet
from tests.firehose.network import DEADLINE, NOTE, Network, network
from tests.support.mst import cid_of, encode, link
from tests.support.repo import K256Key, P256Key, Repo, car, did_document, plc_did

DID = plc_did("prover")


def repo_of(count: int) -> Repo:
    repo = Repo(DID, K256Key())
    repo.commit({f"app.test.note/{n}": NOTE | {"n": n} for n in range(count)})
    return repo


@pytest.mark.parametrize("count", [1, 2, 50, 700])
def test_every_record_of_a_repo_is_proved_by_its_part_of_the_tree(count: int) -> None:
    repo = repo_of(count)
    for path, cid in list(repo.records.items())[:: max(1, count // 40)]:
        proof = read_proof(repo.prove(path), DID, path)
        assert (proof.cid, proof.raw) == (cid, repo.blocks[cid])
        assert proof.commit.rev == repo.rev


@pytest.mark.parametrize("count", [1, 2, 50, 700])
def test_the_absence_of_a_record_is_proved_as_well(count: int) -> None:
    repo = repo_of(count)
    for n in range(40):
        path = f"app.test.{'note' if n % 2 else 'other'}/absent{n}"
        proof = read_proof(repo.prove(path), DID, path)
        assert (proof.cid, proof.raw) == (None, None)


def test_a_repo_without_records_holds_nothing() -> None:
    repo = repo_of(1)
    repo.commit({"app.test.note/0": None})
    assert read_proof(repo.prove("app.test.note/0"), DID, "app.test.note/0").cid is None


def test_what_is_left_out_of_a_proof_is_no_proof_of_absence() -> None:
    repo = repo_of(700)
    path = "app.test.note/350"
    whole = repo.prove(path)
    blocks = dict(read_car(whole).blocks)
    node_cids = [cid for cid in blocks if cid not in (repo.commit_cid, repo.records[path])]
    on_the_way = 0
    for dropped in [*node_cids, repo.records[path], repo.commit_cid]:
        kept = [(cid, block) for cid, block in blocks.items() if cid != dropped]
        try:
            proof = read_proof(car([repo.commit_cid], kept), DID, path)
        except InvalidCommit as error:
            on_the_way += 1
            assert "missing" in str(error)
        else:
            assert proof.cid == repo.records[path]  # the way to a neighbour, not to the path
    assert on_the_way >= 4


def test_a_record_in_a_layer_where_it_does_not_belong_is_refused() -> None:
    """Whoever is asked for the path would not find it, whoever lists the repo would."""
    repo = repo_of(1)
    repo.commit({f"app.test.note/{n}": NOTE for n in range(60)})
    path = next(iter(repo.records))
    cid = repo.records[path]
    node = encode({"e": [{"p": 0, "k": path.encode(), "v": link(cid), "t": None}], "l": None})
    top = encode({"e": [], "l": link(cid_of(node))})
    repo.sign(cid_of(top), repo.next_rev())
    blocks = [(repo.commit_cid, repo.commit_block), (cid_of(top), top), (cid_of(node), node)]
    with pytest.raises(InvalidCommit):
        read_proof(car([repo.commit_cid], [*blocks, (cid, repo.blocks[cid])]), DID, path)


@pytest.mark.parametrize("path", ["", "x", "app.test.note", "app.test.note/", "a/b/c", "é/1"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(InvalidCommit):
        read_proof(repo_of(3).prove("app.test.note/1"), DID, path)


@given(st.data())
def test_a_damaged_proof_raises_nothing_but_what_it_says(data: st.DataObject) -> None:
    raw = bytearray(_PROOF)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] ^= data.draw(st.integers(1, 255))
    end = data.draw(st.integers(0, len(raw)))
    try:
        proof = read_proof(bytes(raw[:end]), DID, "app.test.note/7")
    except (InvalidCar, InvalidCommit):
        return
    assert proof.raw is None or proof.cid == cid_of(proof.raw)


_PROOF = repo_of(30).prove("app.test.note/7")


# Over the network


async def ask(net: Network, repo: Repo, path: str) -> bytes | None:
    async with net.consumer() as consumer, asyncio.timeout(DEADLINE):
        found = await consumer.record(repo.did, path)
    return None if found is None else found.raw


async def test_a_record_is_fetched_from_its_pds_and_verified() -> None:
    async with network() as net:
        repo = net.account("one")
        repo.commit({f"app.test.note/{n}": NOTE | {"n": n} for n in range(20)})
        path = "app.test.note/7"
        assert await ask(net, repo, path) == repo.blocks[repo.records[path]]
        assert await ask(net, repo, "app.test.note/none") is None


async def test_a_record_that_somebody_else_signed_is_refused() -> None:
    async with network() as net:
        repo = net.account("one")
        repo.commit({"app.test.note/1": NOTE})
        net.plc.documents[repo.did] = did_document(repo.did, P256Key(), pds=net.pds.url)
        with pytest.raises(BadSignature):
            await ask(net, repo, "app.test.note/1")


async def test_a_key_that_was_changed_quietly_is_asked_for_anew() -> None:
    async with network() as net:
        repo = net.account("one")
        repo.commit({"app.test.note/1": NOTE})
        async with net.consumer() as consumer, asyncio.timeout(DEADLINE):
            assert await consumer.record(repo.did, "app.test.note/1") is not None
            repo.key = P256Key()
            net.register(repo)
            repo.commit({"app.test.note/2": NOTE})
            assert await consumer.record(repo.did, "app.test.note/2") is not None


async def test_another_repos_proof_is_refused() -> None:
    async with network() as net:
        one, other = net.account("one"), net.account("other")
        for repo in (one, other):
            repo.commit({"app.test.note/1": NOTE | {"of": repo.did}})
        net.pds.repos[one.did] = other
        with pytest.raises(Rejected):
            await ask(net, one, "app.test.note/1")


async def test_what_a_pds_does_not_have_or_sends_without_end_is_an_error_of_its_class() -> None:
    async with network() as net:
        repo = net.account("one")
        repo.commit({"app.test.note/1": NOTE})
        net.pds.changed[repo.did] = lambda car: car + bytes(3_000_000)
        with pytest.raises(FetchFailed, match="more than"):
            await ask(net, repo, "app.test.note/1")
        del net.pds.repos[repo.did]
        with pytest.raises(NotServed):
            await ask(net, repo, "app.test.note/1")
        net.plc.documents[repo.did] = did_document(repo.did, repo.key, pds=None)
        with pytest.raises(InvalidIdentity):
            await ask(net, repo, "app.test.note/1")


@pytest.mark.devnet
async def test_the_proof_of_a_real_pds_is_read(devnet: Devnet) -> None:
    account = await asyncio.to_thread(devnet.create_account, "prover.test")
    written = [
        await asyncio.to_thread(account.create_record, "app.test.note", NOTE | {"n": n})
        for n in range(12)
    ]
    async with network() as net, net.consumer(plc=devnet.plc) as consumer:
        async with asyncio.timeout(DEADLINE):
            for each in written:
                found = await consumer.record(account.did, f"app.test.note/{each.rkey}")
                assert found is not None
                assert found.cid == each.cid
            await asyncio.to_thread(account.delete_record, "app.test.note", written[0].rkey)
            try:
                gone = await consumer.record(account.did, f"app.test.note/{written[0].rkey}")
            except NotServed:
                gone = None
            assert gone is None
