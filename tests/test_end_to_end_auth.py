"""A real PDS forwards calls to a real node, with the tokens that it makes for its accounts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from atdex_lexicons.families import collections
from tests.devnet import Devnet, Refused
from tests.devnet.account import Account
from tests.support.following import Follower
from tests.support.repo import K256Key
from tests.support.service_token import bearer, token

pytestmark = pytest.mark.devnet

DESCRIBE = "app.bsky.atdata.describeNode"
CHECK = "app.bsky.atdata.checkRecord"
CHECKED = {"collection": collections()[0], "record": {"$type": collections()[0]}}


@pytest.fixture(scope="module")
def node(devnet: Devnet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Follower]:
    folder = tmp_path_factory.mktemp("node")
    with Follower(devnet.ws, devnet.plc, folder / "data", folder / "node.log") as node:
        time.sleep(1)  # procedures take tokens from after the node's first second alone
        yield node


@pytest.fixture(scope="module")
def alice(devnet: Devnet) -> Account:
    return devnet.create_account("alice-auth.test")


@pytest.fixture(scope="module")
def did(node: Follower) -> str:
    return str(call(node, DESCRIBE).json()["did"])


def call(node: Follower, method: str, text: str | None = None) -> httpx.Response:
    headers = bearer(text) if text is not None else {}
    return httpx.get(f"{node.url}/xrpc/{method}", headers=headers, trust_env=False)


def refusal(answer: httpx.Response) -> tuple[int, Any]:
    return answer.status_code, answer.json()["error"]


def test_a_node_that_runs_with_its_defaults_is_called_through_the_pds(
    devnet: Devnet, node: Follower, alice: Account, did: str
) -> None:
    assert did.startswith("did:web:localhost%3A")
    through = alice.through_pds(f"{did}#atdex_node")
    assert through.query(DESCRIBE)["did"] == did
    assert through.query(DESCRIBE)["did"] == did
    assert through.procedure(CHECK, CHECKED)["valid"] is False
    assert through.procedure(CHECK, CHECKED)["valid"] is False


def test_what_the_node_refuses_comes_back_through_the_pds(alice: Account, did: str) -> None:
    with pytest.raises(Refused) as refused:
        alice.through_pds(f"{did}#atdex_node").query(
            "app.bsky.atdata.getDataset", uri="at://nobody.test/app.bsky.atdata.dataset/x"
        )
    assert (refused.value.status, refused.value.error) == (400, "InvalidRequest")


def test_a_token_of_the_pds_is_good_for_one_method_of_one_service_once(
    node: Follower, alice: Account, did: str
) -> None:
    text = alice.service_token(did, DESCRIBE)
    assert call(node, DESCRIBE, text).status_code == 200
    assert refusal(call(node, DESCRIBE, text)) == (401, "JwtReplayed")
    other = alice.service_token("did:web:other.example", DESCRIBE)
    assert refusal(call(node, DESCRIBE, other)) == (401, "BadJwtAudience")
    other = alice.service_token(did, CHECK)
    assert refusal(call(node, DESCRIBE, other)) == (401, "BadJwtLexiconMethod")


def test_an_expired_token_of_the_pds_is_refused(node: Follower, alice: Account, did: str) -> None:
    text = alice.service_token(did, DESCRIBE, exp=int(time.time()) + 1)
    time.sleep(1.5)
    assert refusal(call(node, DESCRIBE, text)) == (401, "JwtExpired")


def test_the_session_of_an_account_is_not_wanted_here(node: Follower, alice: Account) -> None:
    assert refusal(call(node, DESCRIBE, alice.session_token)) == (401, "BadJwtType")


def test_after_a_change_of_keys_without_a_word_the_new_key_counts_and_the_old_does_not(
    devnet: Devnet, node: Follower, did: str
) -> None:
    bob = devnet.create_account("bob-auth.test")
    through = bob.through_pds(f"{did}#atdex_node")
    assert through.query(DESCRIBE)["did"] == did
    old = bob.service_token(did, DESCRIBE)
    devnet.rotate(bob.did, quiet=True)
    assert through.query(DESCRIBE)["did"] == did
    assert refusal(call(node, DESCRIBE, old)) == (401, "BadJwtSignature")


def test_a_forged_token_of_a_real_account_is_refused(
    node: Follower, alice: Account, did: str
) -> None:
    forged = token(K256Key(), iss=alice.did, aud=did, lxm=DESCRIBE)
    assert refusal(call(node, DESCRIBE, forged)) == (401, "BadJwtSignature")
    nobody = token(K256Key(), iss="did:plc:" + "a" * 24, aud=did, lxm=DESCRIBE)
    assert refusal(call(node, DESCRIBE, nobody)) == (401, "BadJwtIss")


def test_an_account_that_was_taken_down_calls_no_more(
    devnet: Devnet, node: Follower, did: str
) -> None:
    carol = devnet.create_account("carol-auth.test")
    tokens = [carol.service_token(did, DESCRIBE) for _ in range(100)]
    assert call(node, DESCRIBE, tokens.pop()).status_code == 200
    devnet.take_down(carol.did)

    def refused() -> bool:
        time.sleep(0.2)  # each look uses up a token
        answer = call(node, DESCRIBE, tokens.pop())
        return answer.status_code == 401 and refusal(answer) == (401, "BadJwtIss")

    node.wait(refused, "the takedown to arrive", 15)
