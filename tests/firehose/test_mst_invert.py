"""Inversion against a tree builder that shares no code with it: tests.support.mst."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from atdex_firehose.frames import Op
from atdex_firehose.mst import EMPTY_ROOT, invert_ops
from tests.support.mst import build_tree, cid_of, encode, key_height, proof

DID = "did:plc:" + "a" * 24


def cid(n: object) -> bytes:
    return cid_of(encode(n))


def pool(seed: int = 0) -> list[str]:
    """Paths of which there are many in every layer up to 6: small trees become high."""
    rng = random.Random(seed)
    layers: dict[int, list[str]] = {}
    while len(layers.get(6, [])) < 3:
        path = f"app.test.{rng.choice(['note', 'like', 'a-b'])}/{rng.randrange(10**9)}"
        found = layers.setdefault(key_height(path.encode()), [])
        if len(found) < 12:
            found.append(path)
    return [path for found in layers.values() for path in found]


POOL = pool()

Records = dict[str, bytes]


def ops_between(before: Records, after: Records) -> list[Op]:
    ops = []
    for path in before.keys() | after.keys():
        old, new = before.get(path), after.get(path)
        if old == new:
            continue
        action: Any = "create" if old is None else "delete" if new is None else "update"
        ops.append(Op(action, path, new, old))
    return ops


records = st.dictionaries(st.sampled_from(POOL), st.integers(0, 2).map(cid), max_size=60)


@settings(max_examples=400, deadline=None)
@given(before=records, after=records, shuffle=st.randoms())
def test_a_commit_from_any_tree_to_any_other_is_undone(
    before: Records, after: Records, shuffle: random.Random
) -> None:
    ops = ops_between(before, after)
    shuffle.shuffle(ops)
    root, nodes = build_tree(after)
    blocks = proof(root, nodes, [op.path for op in ops])
    assert invert_ops(DID, root, ops, blocks) == build_tree(before)[0]


@settings(max_examples=400, deadline=None)
@given(
    before=records,
    changes=st.lists(st.tuples(st.sampled_from(POOL), st.integers(-1, 3)), max_size=4),
)
def test_a_commit_of_a_few_ops_is_undone(before: Records, changes: list[tuple[str, int]]) -> None:
    after = dict(before)
    for path, n in changes:
        if n < 0:
            after.pop(path, None)
        else:
            after[path] = cid(n)
    ops = ops_between(before, after)
    root, nodes = build_tree(after)
    blocks = proof(root, nodes, [op.path for op in ops])
    assert invert_ops(DID, root, ops, blocks) == build_tree(before)[0]
    del before


def test_the_first_record_is_undone_to_the_empty_tree() -> None:
    for path in POOL:
        root, blocks = build_tree({path: cid(1)})
        assert invert_ops(DID, root, [Op("create", path, cid(1), None)], blocks) == EMPTY_ROOT
        back = [Op("delete", path, None, cid(1))]
        assert invert_ops(DID, EMPTY_ROOT, back, build_tree({})[1]) == root
