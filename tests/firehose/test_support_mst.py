"""The tree builder of the test support is itself held against the public vectors."""

from __future__ import annotations

import json
from typing import Any

import libipld
import pytest

from tests.support.mst import build_tree, cid_of, common_prefix, encode, key_height, proof
from tests.support.paths import INTEROP
from tests.support.repo import K256Key, Repo

VECTORS = INTEROP / "mst"
EMPTY_ROOT = "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm"
"""The root of a repo without records, as the specification's implementations have it."""


def text_of(name: str) -> str:
    path = VECTORS / name
    if not path.exists():
        pytest.skip(f"the public test vectors are not here: {path}")
    return path.read_text()


def test_interop_key_heights() -> None:
    vectors: list[dict[str, Any]] = json.loads(text_of("key_heights.json"))
    for vector in vectors:
        assert key_height(vector["key"].encode()) == vector["height"], vector


def test_interop_common_prefix() -> None:
    vectors: list[dict[str, Any]] = json.loads(text_of("common_prefix.json"))
    for vector in vectors:
        found = common_prefix(vector["left"].encode(), vector["right"].encode())
        assert found == vector["len"], vector


def test_interop_example_keys_have_the_layer_that_their_name_says() -> None:
    keys = text_of("example_keys.txt").split()
    assert len(keys) == 156
    for key in keys:
        assert key_height(key.encode()) == int(key[1 : key.index("/")]), key


def test_the_order_of_writing_does_not_change_the_tree() -> None:
    records = {f"app.test.note/{n}": cid_of(encode(n)) for n in range(500)}
    backwards = dict(reversed(records.items()))
    assert build_tree(records) == build_tree(backwards)


def test_the_empty_tree_has_the_known_root() -> None:
    root, blocks = build_tree({})
    assert libipld.encode_cid(root) == EMPTY_ROOT
    assert list(blocks) == [root]


def test_a_proof_holds_the_root_and_fewer_nodes_than_the_tree() -> None:
    repo = Repo("did:plc:" + "a" * 24, K256Key())
    repo.commit({f"app.test.note/{n}": {"n": n} for n in range(150)})
    root, blocks = build_tree(repo.records)
    covering = proof(root, blocks, ["app.test.note/7"])
    assert root in covering
    assert len(covering) < len(blocks)
