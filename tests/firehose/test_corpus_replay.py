"""The replayed network itself: it must be as the recorded one was, and lie only where it says."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import httpx
import libipld
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.corpus import Corpus
from tests.support.corpus_fixture import RECORDING_SECONDS
from tests.support.corpus_fixture import corpus as corpus
from tests.support.corpus_repo import Repositories, records_of, split_car
from tests.support.replay import ReplayNetwork
from tests.support.replay_faults import Faults
from tests.support.replay_process import ReplayProcess
from tests.support.replay_wire import FIRST_WIDE_SEQ

pytestmark = [pytest.mark.devnet, pytest.mark.timeout(RECORDING_SECONDS)]

WAIT = 5.0


def subscribe(network: ReplayNetwork | ReplayProcess, cursor: int) -> connect:
    url = f"{network.url}/xrpc/com.atproto.sync.subscribeRepos?cursor={cursor}"
    address = url.replace("http", "ws", 1)
    return connect(address, max_size=None, compression=None, proxy=None, close_timeout=0.1)


async def take(socket: ClientConnection, count: int) -> list[bytes]:
    return [await socket.recv(decode=False) for _ in range(count)]


async def ask(base: str, path: str, **params: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=base, timeout=WAIT, trust_env=False) as http:
        return await http.get(path, params=params)


async def sync(network: ReplayNetwork, method: str, **params: Any) -> httpx.Response:
    return await ask(network.url, f"/xrpc/com.atproto.sync.{method}", **params)


def test_the_repos_out_of_the_frames_are_those_that_the_pds_exported(corpus: Corpus) -> None:
    repos, last = Repositories(corpus), corpus.seqs[-1]
    for did, ending in corpus.endings.items():
        assert repos.status(did, last) == ending.status
        car = repos.car(did, last)
        assert car is not None
        assert split_car(car) == split_car(ending.car)
        assert repos.records(did, last) == records_of(*split_car(ending.car)) == ending.records


def test_the_corpus_has_everything_that_happens_to_accounts(corpus: Corpus) -> None:
    assert {ending.status for ending in corpus.endings.values()} == {
        "active",
        "deactivated",
        "takendown",
        "deleted",
    }
    assert sum(len(versions) > 1 for versions in corpus.documents.values()) >= 4
    assert all(earlier < later for earlier, later in pairwise(corpus.seqs))
    ops = [body["ops"] for kind, body in corpus.decoded if kind == "#commit"]
    assert {op["action"] for commit in ops for op in commit} == {"create", "update", "delete"}
    assert max(map(len, ops)) >= 24


async def test_every_frame_comes_as_it_was_after_the_cursor(corpus: Corpus) -> None:
    async with ReplayNetwork(corpus) as network:
        async with subscribe(network, 0) as socket:
            assert await take(socket, len(corpus.frames)) == corpus.frames
        async with subscribe(network, corpus.seqs[99]) as socket:
            assert await take(socket, 10) == corpus.frames[100:110]


async def test_a_cursor_of_the_future_is_refused_and_one_of_the_past_is_told(
    corpus: Corpus,
) -> None:
    async with ReplayNetwork(corpus, forgotten=corpus.seqs[9]) as network:
        async with subscribe(network, corpus.seqs[-1] + 1) as socket:
            (frame,) = await take(socket, 1)
            assert libipld.decode_dag_cbor_multi(frame)[1]["error"] == "FutureCursor"
            with pytest.raises(ConnectionClosed):
                await take(socket, 1)
        async with subscribe(network, 0) as socket:
            told, first = await take(socket, 2)
            assert libipld.decode_dag_cbor_multi(told)[1]["name"] == "OutdatedCursor"
            assert first == corpus.frames[10]


async def test_the_hosts_are_as_of_the_frame_that_was_sent(corpus: Corpus) -> None:
    did, versions = next(x for x in corpus.documents.items() if len(x[1]) > 1)
    repos = Repositories(corpus)
    for at in (0, versions[1].after - 1, versions[1].after, corpus.seqs[-1]):
        async with ReplayNetwork(corpus, reached=at) as network:
            document = (await ask(network.plc, f"/{did}")).json()
            held = [version for version in versions if version.after <= at][-1].document
            assert document["verificationMethod"] == held["verificationMethod"]
            assert document["alsoKnownAs"] == held["alsoKnownAs"]
            (service,) = document["service"]
            assert service["serviceEndpoint"] == network.url

            listed = (await sync(network, "listRepos", limit=7)).json()
            found = listed["repos"]
            while "cursor" in listed:
                listed = (await sync(network, "listRepos", cursor=listed["cursor"])).json()
                found += listed["repos"]
            revs = {repo["did"]: repo["rev"] for repo in found}
            known = [d for d in repos.known(at) if repos.status(d, at) != "deleted"]
            assert list(revs) == known
            head = repos.head(did, at)
            assert revs.get(did) == (head[1] if head else None)


async def test_accounts_that_are_gone_have_no_repo(corpus: Corpus) -> None:
    words = {
        "deleted": "RepoNotFound",
        "takendown": "RepoTakendown",
        "deactivated": "RepoDeactivated",
    }
    async with ReplayNetwork(corpus, reached=corpus.seqs[-1]) as network:
        for did, ending in corpus.endings.items():
            answer = await sync(network, "getRepo", did=did)
            if ending.status == "active":
                assert split_car(answer.content) == split_car(ending.car)
            else:
                assert answer.status_code == 400
                assert answer.json()["error"] == words[ending.status]
        assert (await sync(network, "getBlocks", did="did:plc:x")).status_code == 501
        assert (await sync(network, "listReposByCollection")).status_code == 501


def test_faults_leave_the_last_word_of_an_account_recognisable(corpus: Corpus) -> None:
    for seed in range(50):
        plan = Faults(seed, every=10).planned(corpus)
        kinds = {planned.kind for planned in plan.values()}
        assert kinds == {"lost", "lie", "twice", "unreadable"}
        for at, planned in plan.items():
            later = {
                (kind == "#account")
                for (kind, _), did in zip(
                    corpus.decoded[at + 1 :], corpus.dids[at + 1 :], strict=True
                )
                if did == corpus.dids[at] and kind != "#identity"
            }
            kind, body = corpus.decoded[at]
            if planned.kind == "lost" and kind != "#identity":
                assert (kind == "#account") in later
            elif planned.kind == "lie":
                told_kind, told = _decoded(planned.frames[0])
                assert planned.frames[0] != corpus.frames[at]
                assert (told_kind, told["seq"], told.get("repo")) == (
                    kind,
                    body["seq"],
                    body.get("repo"),
                )
            elif planned.kind == "unreadable":
                with pytest.raises((ValueError, IndexError)):
                    _decoded(planned.frames[0])


def _decoded(frame: bytes) -> tuple[str, dict[str, Any]]:
    header, body = libipld.decode_dag_cbor_multi(frame)[:2]
    return header["t"], body


async def test_repos_are_wrong_for_a_while_and_then_right(corpus: Corpus) -> None:
    did = next(did for did, ending in corpus.endings.items() if len(ending.records) > 50)
    right = corpus.endings[did].car
    seen: set[str] = set()
    for seed in range(40):
        faults = Faults(seed, repo_share=1.0, repo_most=1)
        async with ReplayNetwork(corpus, faults=faults, reached=corpus.seqs[-1]) as network:
            first, second = [await sync(network, "getRepo", did=did) for _ in range(2)]
            seen |= set(network.host.wrong)
        assert split_car(second.content) == split_car(right)
        if first.status_code == 429:
            assert first.headers["retry-after"] == "1"
        if len(seen) == 6:
            break
    assert len(seen) == 6


async def test_a_process_replays_without_end_with_rising_seqs(corpus: Corpus) -> None:
    count = len(corpus.frames)
    with ReplayProcess(corpus.parameters.path, passes=3) as network:
        assert network.frames == 3 * count
        assert network.last_seq == FIRST_WIDE_SEQ + 3 * count - 1
        async with subscribe(network, 0) as socket:
            frames = await take(socket, network.frames)
    seqs = [_decoded(frame)[1]["seq"] for frame in frames]
    assert seqs == list(range(FIRST_WIDE_SEQ, network.last_seq + 1))
    again = _decoded(frames[2 * count + 5])
    assert json.dumps(again[1] | {"seq": 0}, default=repr) == json.dumps(
        corpus.decoded[5][1] | {"seq": 0}, default=repr
    )
