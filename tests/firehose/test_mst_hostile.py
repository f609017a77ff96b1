"""Trees that break the rules, one by one, and trees that are made to cost time or memory."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atdex_firehose import mst_nodes
from atdex_firehose.errors import InvalidCommit
from atdex_firehose.frames import Op
from atdex_firehose.mst import EMPTY_ROOT, invert, invert_ops, walk
from tests.firehose.compiled import needs_plain
from tests.support.mst import build_tree, cid_of, encode, key_height, link, proof

DID = "did:plc:" + "a" * 24
A, B = cid_of(b"a"), cid_of(b"b")

SECONDS = 1.0
"""No tree may take longer, whatever it is."""


def paths(layer: int, count: int, prefix: str = "app.test.note/") -> list[str]:
    """The first paths of a layer, in order."""
    found: list[str] = []
    n = 0
    while len(found) < count:
        path = f"{prefix}{n:07d}"
        if key_height(path.encode()) == layer:
            found.append(path)
        n += 1
    return found


LOW = paths(0, 60)
MIDDLE = paths(1, 20)
HIGH = paths(2, 6)


def entry(key: str, tree: bytes | None = None, shared: int = 0, **changes: Any) -> dict[str, Any]:
    """An entry; `shared` bytes of the key are left to the one before it."""
    return {
        "k": key.encode()[shared:],
        "p": shared,
        "t": None if tree is None else link(tree),
        "v": link(A),
    } | changes


def node(entries: Sequence[Mapping[str, Any]], left: bytes | None = None) -> bytes:
    return encode({"e": entries, "l": None if left is None else link(left)})


def listed(keys: Sequence[str], left: bytes | None = None) -> bytes:
    """A node of these keys, which is right if they are."""
    entries, previous = [], ""
    for key in keys:
        shared = 0
        while shared < min(len(previous), len(key)) and previous[shared] == key[shared]:
            shared += 1
        entries.append(entry(key, None, shared))
        previous = key
    return node(entries, left)


@contextmanager
def soon() -> Iterator[None]:
    started = time.process_time()
    yield
    assert time.process_time() - started < SECONDS


def blocks_of(*blocks: bytes) -> dict[bytes, bytes]:
    return {cid_of(block): block for block in blocks}


def refused(reason: str, root: bytes, *others: bytes) -> None:
    """Walking it is refused for this reason, in time."""
    blocks = blocks_of(root, *others)
    with soon(), pytest.raises(InvalidCommit, match=reason):
        list(walk(DID, cid_of(root), blocks.get))


def refused_by_both(reason: str, path: str, root: bytes, *others: bytes) -> None:
    """Undoing the create of `path` in it is refused for the same reason."""
    refused(reason, root, *others)
    with soon(), pytest.raises(InvalidCommit, match=reason):
        invert_ops(DID, cid_of(root), [Op("create", path, A, None)], blocks_of(root, *others))


def test_what_the_helpers_build_is_right_if_the_keys_are() -> None:
    keys = LOW[:5]
    root, blocks = build_tree(dict.fromkeys(keys, A))
    assert blocks == {root: listed(keys)}


# the order, the layers and the form of keys


def test_keys_out_of_order() -> None:
    one, two = LOW[:2]
    refused_by_both("stands behind", one, node([entry(two), entry(one, shared=len(one) - 1)]))


def test_a_key_that_stands_twice() -> None:
    one = LOW[0]
    refused("shorter than it can be|stands behind|another length|canonical", node([entry(one)] * 2))
    again = entry(one, shared=len(one) - 1)
    refused("shorter than it can be", node([entry(one), again]))


def test_a_prefix_that_is_shorter_than_it_can_be() -> None:
    one, two = LOW[:2]
    refused_by_both("shorter than it can be", one, node([entry(one), entry(two)]))
    refused_by_both("shorter than it can be", one, node([entry(one), entry(two, shared=3)]))


def test_a_prefix_of_more_than_the_key_before_it_has() -> None:
    one, two = LOW[:2]
    for shared in (len(one) + 1, 200, 1_000):
        refused_by_both("shares", one, node([entry(one), entry(two, shared=2, p=shared)]))
    refused("shares", node([entry(one, p=1)]))


def test_a_key_in_the_wrong_layer() -> None:
    low, middle = LOW[0], MIDDLE[0]
    keys = sorted([low, middle])
    refused("layer that it belongs in", listed(keys))
    wrong = keys[1]
    with pytest.raises(InvalidCommit, match="layer that it belongs in"):
        invert_ops(
            DID,
            cid_of(listed(keys)),
            [Op("create", wrong, A, None)],
            blocks_of(listed(keys)),
        )


@pytest.mark.parametrize(
    "key", ["note", "a/b/c", "a.b/", "/a", "a.b/.", "a.b/..", "a_b/c", "a.b/" + "c" * 513]
)
def test_a_key_that_is_no_path(key: str) -> None:
    refused("not collection/rkey", node([entry(key)]))


@pytest.mark.parametrize("key", ["a.b/c d", "a.b/\x00", "a.b/ä", "a.b/c\n", ""])
def test_a_key_with_other_characters(key: str) -> None:
    refused("canonical", node([entry(key)]))


def test_a_key_that_is_too_long_also_where_it_shares_most_of_it() -> None:
    key = "a" * 600 + "/" + "b" * 424
    refused("over 1024", node([entry(key)]))
    first = "a" * 600 + "/" + "b" * 420
    refused("over 1024", node([entry(first), entry(first + "ccccc", shared=len(first))]))


# the form of nodes and trees


def test_a_node_that_is_empty() -> None:
    empty = node([])
    top = MIDDLE[0]
    refused("is empty", node([entry(top, cid_of(empty))]), empty)
    with pytest.raises(InvalidCommit, match="is empty"):
        root = node([entry(top)], cid_of(empty))
        invert_ops(
            DID,
            cid_of(root),
            [Op("delete", "app.test.a/1", None, A)],
            blocks_of(root, empty),
        )


def test_a_top_that_has_no_entries() -> None:
    below = listed(LOW[:3])
    refused_by_both("top node of the tree is empty", LOW[0], node([], cid_of(below)), below)


def test_a_subtree_that_skips_a_layer() -> None:
    below = listed([key for key in LOW if key < HIGH[0]])
    refused("layer that it belongs in", node([entry(HIGH[0])], cid_of(below)), below)


def test_a_subtree_that_is_too_deep() -> None:
    bottom = listed([key for key in LOW if key < MIDDLE[0]])
    between = node([], cid_of(bottom))
    root = node([entry(MIDDLE[0])], cid_of(between))
    refused_by_both("below layer 0", LOW[0], root, between, bottom)


def test_a_node_without_entries_between_two_layers_is_right() -> None:
    top = HIGH[0]
    low = [key for key in LOW if key < top][:2]
    root, blocks = build_tree(dict.fromkeys([*low, top], A))
    assert [key.decode() for key, _ in walk(DID, root, blocks.get)] == [*low, top]
    assert len(blocks) == 3


def test_a_missing_node() -> None:
    records = dict.fromkeys([*LOW, *MIDDLE, *HIGH], A)
    root, blocks = build_tree(records)
    for gone in blocks:
        rest = {cid: block for cid, block in blocks.items() if cid != gone}
        with pytest.raises(InvalidCommit, match="missing"):
            list(walk(DID, root, rest.get))


def test_a_node_on_the_way_to_a_path_is_needed() -> None:
    records = dict.fromkeys([*LOW, *MIDDLE, *HIGH], A)
    root, blocks = build_tree(records)
    path = LOW[30]
    ops = [Op("update", path, A, B)]
    for gone in proof(root, blocks, [path]):
        rest = {cid: block for cid, block in blocks.items() if cid != gone}
        with pytest.raises(InvalidCommit, match="missing"):
            invert_ops(DID, root, ops, rest)


def test_a_subtree_with_keys_of_another_place() -> None:
    top = MIDDLE[3]
    after = listed([key for key in LOW if key > top][:3])
    refused("out of order", node([entry(top)], cid_of(after)), after)
    before = listed([key for key in LOW if key < top][:3])
    refused("out of order", node([entry(top, cid_of(before))]), before)


GOOD = listed(LOW[:3])


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\xa0",
        b"\xff",
        encode([]),
        encode({"e": []}),
        encode({"l": None}),
        encode({"e": [], "l": None, "x": 1}),
        encode({"e": {}, "l": None}),
        encode({"e": [1], "l": None}),
        encode({"e": [], "l": 1}),
        encode({"e": [], "l": b"\x00" + A}),
        encode({"e": [], "l": link(b"\x01\x55" + A[2:])}),
        node([entry(LOW[0], v=None)]),
        node([entry(LOW[0], v=b"\x00" + A)]),
        node([entry(LOW[0], v=link(b"\x01\x55" + A[2:]))]),
        node([entry(LOW[0], v=link(A[:-1]))]),
        node([entry(LOW[0], t=link(b"\x01\x55" + A[2:]))]),
        node([entry(LOW[0], k=LOW[0])]),
        node([entry(LOW[0], p="0")]),
        node([entry(LOW[0], p=-1)]),
        node([entry(LOW[0], p=0.0)]),
        node([entry(LOW[0], p=2**40)]),
        node([entry(LOW[0], p=1_300)]),
        node([entry(LOW[0], x=1)]),
        node([{"k": LOW[0].encode(), "p": 0, "v": link(A)}]),
        GOOD + b"\x00",
        GOOD[:-1],
        GOOD[1:],
        GOOD.replace(b"\x61p\x00", b"\x61p\x18\x00"),
        GOOD.replace(b"\x61p\x00", b"\x61p\x19\x00\x00"),
        GOOD.replace(b"\xa2\x61e\x83", b"\xa2\x61e\x98\x03"),
        GOOD.replace(b"\xa2\x61e\x83", b"\xa2\x61e\x82"),
        GOOD.replace(b"\xa2\x61e\x83", b"\xa2\x61e\x84"),
        GOOD.replace(b"\x61k\x55", b"\x61k\x58\x15"),
        GOOD.replace(b"\x61k\x55", b"\x61k\x54"),
        GOOD.replace(b"\x61k\x55", b"\x61k\x56"),
        cbor2.dumps({"l": None, "e": []}),
        b"\x81" * 100_000 + b"\x00",
        b"\xa2\x61e\x9f\xff\x61l\xf6",
    ],
)
def test_a_node_that_is_not_written_as_it_must_be(block: bytes) -> None:
    assert block != GOOD
    refused_by_both("canonical|not DAG-CBOR|another length", LOW[0], block)


# ops that the tree does not say


RECORDS = dict.fromkeys([*LOW, *MIDDLE, *HIGH], A)
ROOT, BLOCKS = build_tree(RECORDS)


@pytest.mark.parametrize(
    ("ops", "reason"),
    [
        ([Op("create", "app.test.note/x", A, None)], "is not in the tree"),
        ([Op("update", "app.test.note/x", A, B)], "is not in the tree"),
        ([Op("create", LOW[1], B, None)], "has another CID"),
        ([Op("update", LOW[1], B, A)], "has another CID"),
        ([Op("delete", LOW[1], None, A)], "was deleted and is in the tree"),
        ([Op("delete", MIDDLE[1], None, A)], "was deleted and is in the tree"),
        ([Op("delete", HIGH[1], None, A)], "was deleted and is in the tree"),
        ([Op("create", LOW[1], A, None)] * 2, "twice"),
        ([Op("create", LOW[1], A, None), Op("delete", LOW[1], None, B)], "twice"),
        ([Op("update", LOW[1], A, None)], "lacks the CID"),
        ([Op("delete", "app.test.note/x", None, None)], "lacks the CID"),
        ([Op("create", LOW[1], None, None)], "lacks the CID"),
        ([Op("update", LOW[1], A, b"\x01\x55" + A[2:])], "lacks the CID"),
        ([Op("create", "note", A, None)], "not collection/rkey"),
    ],
)
def test_ops_that_are_not_what_the_tree_says(ops: list[Op], reason: str) -> None:
    with pytest.raises(InvalidCommit, match=reason) as caught:
        invert_ops(DID, ROOT, ops, BLOCKS)
    assert caught.value.did == DID


def test_an_op_that_was_left_out_leads_elsewhere() -> None:
    before = build_tree({path: cid for path, cid in RECORDS.items() if path not in LOW[:2]})[0]
    ops = [Op("create", path, A, None) for path in LOW[:2]]
    assert invert_ops(DID, ROOT, ops, BLOCKS) == before
    assert invert_ops(DID, ROOT, ops[:1], BLOCKS) != before


# trees that are made to cost


def test_a_node_of_too_many_entries() -> None:
    count = mst_nodes.NODE_ENTRIES
    keys = [f"a.b/{n:06d}" for n in range(count + 1)]
    refused("entries", listed(keys))
    wide = listed(keys[:count])
    with pytest.raises(InvalidCommit, match="layer"):
        list(walk(DID, cid_of(wide), blocks_of(wide).get))


def test_a_node_of_too_many_bytes() -> None:
    refused("bytes, over", b"\xa2\x61e\x80\x61l\xf6" + bytes(mst_nodes.NODE_BYTES))


def test_a_node_that_nearly_matches_for_two_megabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_plain(mst_nodes)
    monkeypatch.setattr(mst_nodes, "NODE_BYTES", 10_000_000)
    one = encode(entry(LOW[0]))
    for body in (one * 20_000, b"\xa4\x61k\x58\xff" + b"ap" * 900_000, b"\xa4\x61k" * 600_000):
        refused("canonical", b"\xa2\x61e\x99\x03\xe8" + body)


def test_a_block_that_stands_everywhere() -> None:
    """Each level names the one below as often as it can: 2^40 paths, were they walked."""
    below = node([], A)
    blocks = [below]
    for _ in range(40):
        below = node([entry(HIGH[0], cid_of(below))], cid_of(below))
        blocks.append(below)
    refused("out of order|missing", blocks[-1], *blocks)
    with soon(), pytest.raises(InvalidCommit):
        invert(
            cid_of(blocks[-1]),
            [Op("create", path, A, None) for path in LOW],
            blocks_of(*blocks),
        )


def test_a_chain_of_nodes_without_entries() -> None:
    below = node([], A)
    blocks = [below]
    for _ in range(5_000):
        below = node([], cid_of(below))
        blocks.append(below)
    root = node([entry(HIGH[0])], cid_of(below))
    refused("below layer 0", root, *blocks)
    with soon(), pytest.raises(InvalidCommit, match="below layer 0"):
        invert_ops(DID, cid_of(root), [Op("create", "a.b/c", A, None)], blocks_of(root, *blocks))


def test_a_node_that_names_itself() -> None:
    """Blocks whose hash nobody checked may do so."""
    for self_made in (node([entry(HIGH[0])], A), node([], A), node([entry(HIGH[0], A)])):
        blocks = {A: self_made}
        with soon(), pytest.raises(InvalidCommit):
            list(walk(DID, A, blocks.get))
        for path in ("app.a/b", "zz.a/b", HIGH[0]):
            with soon(), pytest.raises(InvalidCommit):
                invert_ops(DID, A, [Op("create", path, B, None)], blocks)
            with soon(), suppress(InvalidCommit):  # which is right where it is not followed
                invert_ops(DID, A, [Op("delete", path, None, B)], blocks)


def test_two_hundred_ops_below_the_largest_nodes() -> None:
    """As many ops as a frame may have, and a thousand entries in each node on the way to them."""
    below: bytes | None = None
    blocks: list[bytes] = []
    for layer in range(6):
        prefix = chr(ord("a") + layer) + "." + "a" * 180 + "/"
        block = listed([f"{prefix}{n:05d}" for n in range(999)], below)
        below = cid_of(block)
        blocks.append(block)
    root = node([entry(paths(6, 1, "z.b/")[0])], below)
    ops = [Op("delete", f"0.b/{n}", None, A) for n in range(200)]
    ops = [op for op in ops if key_height(op.path.encode()) == 0]
    with soon():
        assert invert_ops(DID, cid_of(root), ops, blocks_of(root, *blocks))


# anything at all


@settings(max_examples=300, deadline=None)
@given(
    block=st.one_of(
        st.binary(max_size=80),
        st.tuples(st.integers(0, len(GOOD)), st.binary(min_size=1, max_size=4)).map(
            lambda change: GOOD[: change[0]] + change[1] + GOOD[change[0] + len(change[1]) :]
        ),
    ),
    action=st.sampled_from(["create", "update", "delete"]),
    path=st.sampled_from([*LOW[:4], *MIDDLE[:2], *HIGH[:2]]),
)
def test_any_block_is_a_tree_or_an_invalid_commit(block: bytes, action: Any, path: str) -> None:
    cid = cid_of(block)
    for step in (
        lambda: list(walk(DID, cid, {cid: block}.get)),
        lambda: invert_ops(DID, cid, [Op(action, path, A, A)], {cid: block}),
    ):
        with suppress(InvalidCommit):
            step()


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_tree_with_a_block_swapped_for_another_is_refused_or_another_tree(
    data: st.DataObject,
) -> None:
    """Hashes are the caller's to check; without them, nothing but InvalidCommit may come."""
    blocks = dict(BLOCKS)
    names = sorted(blocks)
    for _ in range(data.draw(st.integers(1, 3))):
        one, other = data.draw(st.sampled_from(names)), data.draw(st.sampled_from(names))
        blocks[one] = blocks[other]
    ops = [
        Op(data.draw(st.sampled_from(["create", "update", "delete"])), path, A, A)
        for path in data.draw(
            st.lists(st.sampled_from([*RECORDS, "a.b/c", "zz.b/c"]), unique=True, max_size=5)
        )
    ]
    with soon():
        for step in (
            lambda: list(walk(DID, ROOT, blocks.get)),
            lambda: invert_ops(DID, ROOT, ops, blocks),
        ):
            with suppress(InvalidCommit):
                step()


def test_the_empty_tree_has_no_paths() -> None:
    block = {EMPTY_ROOT: node([])}
    assert list(walk(DID, EMPTY_ROOT, block.get)) == []
    with pytest.raises(InvalidCommit, match="is not in the tree"):
        invert_ops(DID, EMPTY_ROOT, [Op("create", LOW[0], A, None)], block)
