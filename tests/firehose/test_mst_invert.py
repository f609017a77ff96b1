"""Inversion against a tree builder that shares no code with it: tests.support.mst."""

from __future__ import annotations

import random
from typing import Any

import cbor2
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from atdex_firehose.errors import InvalidCommit
from atdex_firehose.frames import Op
from atdex_firehose.mst import EMPTY_ROOT, invert, invert_ops
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


def test_the_first_record_is_undone_to_the_empty_tree() -> None:
    for path in POOL:
        root, blocks = build_tree({path: cid(1)})
        assert invert_ops(DID, root, [Op("create", path, cid(1), None)], blocks) == EMPTY_ROOT
        back = [Op("delete", path, None, cid(1))]
        assert invert_ops(DID, EMPTY_ROOT, back, build_tree({})[1]) == root


@settings(max_examples=200, deadline=None)
@given(before=records, after=records, data=st.data())
def test_without_one_of_the_nodes_it_is_undone_or_refused(
    before: Records, after: Records, data: st.DataObject
) -> None:
    ops = ops_between(before, after)
    root, nodes = build_tree(after)
    blocks = proof(root, nodes, [op.path for op in ops])
    assume(ops)
    gone = data.draw(st.sampled_from(sorted(blocks)))
    expected = build_tree(before)[0]
    rest = {cid: block for cid, block in blocks.items() if cid != gone}
    try:
        found = invert_ops(DID, root, ops, rest)
    except InvalidCommit as error:
        assert "missing" in error.reason
    else:
        assert found in (expected, gone)  # as the top that nobody could look into


def test_the_node_that_becomes_the_top_is_not_needed() -> None:
    """Some servers leave it out: it did not change."""
    high = next(path for path in POOL if key_height(path.encode()) == 2)
    lower = [p for p in POOL if key_height(p.encode()) <= 1 and p < high]
    low = {path: cid(1) for path in lower}
    root, blocks = build_tree(low | {high: cid(2)})
    before = build_tree(low)[0]
    assert invert_ops(DID, root, [Op("create", high, cid(2), None)], {root: blocks[root]}) == before


def way_to(root: bytes, blocks: dict[bytes, bytes], path: str) -> dict[bytes, bytes]:
    """The nodes on the way to a path, without those of its neighbours."""
    found, cid = {}, root
    while True:
        found[cid] = blocks[cid]
        node, key = cbor2.loads(blocks[cid]), b""
        link = node["l"]
        for entry in node["e"]:
            key = key[: entry["p"]] + entry["k"]
            if key == path.encode():
                return found
            if key > path.encode():
                break
            link = entry["t"]
        assert link is not None
        cid = link.value[1:]


def test_of_a_create_without_subtrees_beside_it_only_the_way_is_needed() -> None:
    all_records = {path: cid(1) for path in POOL}
    root, blocks = build_tree(all_records)
    for path in POOL:
        if key_height(path.encode()) == 0:
            ops = [Op("create", path, cid(1), None)]
            needed = way_to(root, blocks, path)
            expected = build_tree({p: c for p, c in all_records.items() if p != path})[0]
            assert invert_ops(DID, root, ops, needed) == expected


def test_ops_in_any_order_and_a_delete_beside_a_create_are_undone() -> None:
    """The delete is put back first, between nodes that the create's undoing then joins."""
    for n in range(1, len(POOL)):
        kept = {path: cid(1) for path in POOL[:n]}
        gone, come = POOL[n % len(POOL)], POOL[-n]
        if gone == come or come in kept:
            continue
        before = kept | {gone: cid(2)}
        after = kept | {come: cid(3)}
        root, nodes = build_tree(after)
        ops = [Op("create", come, cid(3), None), Op("delete", gone, None, cid(2))]
        blocks = proof(root, nodes, [gone, come])
        for order in (ops, ops[::-1]):
            assert invert_ops(DID, root, order, blocks) == build_tree(before)[0]


def test_inverting_leaves_what_it_was_given_as_it_was() -> None:
    before = {path: cid(1) for path in POOL[:30]}
    after = {path: cid(2) for path in POOL[20:50]}
    ops = ops_between(before, after)
    root, nodes = build_tree(after)
    given_ops, given_blocks = list(ops), dict(nodes)
    for _ in range(2):
        assert invert(root, ops, nodes) == build_tree(before)[0]
    assert (ops, nodes) == (given_ops, given_blocks)


def test_a_commit_without_ops_needs_no_node() -> None:
    root, _ = build_tree({path: cid(1) for path in POOL})
    assert invert_ops(DID, root, [], {}) == root
