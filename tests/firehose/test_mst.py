"""The public face of trees: vectors, known roots, forms of CIDs and ops."""

from __future__ import annotations

import json
from typing import Any

import libipld
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atdex_firehose.errors import InvalidCommit
from atdex_firehose.frames import Op
from atdex_firehose.mst import EMPTY_ROOT, invert, tree_root, walk
from atdex_firehose.mst_nodes import head_of, is_key, key_layer
from tests.support.mst import build_tree, cid_of, encode, key_height
from tests.support.paths import INTEROP

VECTORS = INTEROP / "mst"

KNOWN = "bafyreie5cvv4h45feadgeuwhbcutmh6t2ceseocckahdoe6uat64zmz454"
"""The record of the maps whose roots the implementations of the network agree on."""


def text_of(name: str) -> str:
    path = VECTORS / name
    if not path.exists():
        pytest.skip(f"the public test vectors are not here: {path}")
    return path.read_text()


def test_interop_key_heights() -> None:
    vectors: list[dict[str, Any]] = json.loads(text_of("key_heights.json"))
    for vector in vectors:
        assert key_layer(vector["key"].encode()) == vector["height"], vector


def test_interop_common_prefix() -> None:
    """What an entry shares with the one before it is in its head, behind `p`."""
    vectors: list[dict[str, Any]] = json.loads(text_of("common_prefix.json"))
    for vector in vectors:
        left, right = vector["left"].encode(), vector["right"].encode()
        suffix = right[vector["len"] :]
        expected = encode({"k": suffix, "p": vector["len"]})[1:] + b"\x61t"
        assert head_of(left, right)[1:] == expected, vector


def test_interop_example_keys_make_a_tree_of_the_layers_that_their_names_say() -> None:
    keys = text_of("example_keys.txt").split()
    for key in keys:
        assert key_layer(key.encode()) == int(key[1 : key.index("/")]), key
    records = {key: cid_of(key.encode()) for key in keys}
    root, blocks = build_tree(records)
    assert tree_root(records) == root
    assert list(walk("", root, blocks.get)) == sorted(
        (key.encode(), cid) for key, cid in records.items()
    )


@pytest.mark.parametrize(
    ("rkeys", "root"),
    [
        ([], "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm"),
        (["3jqfcqzm3fo2j"], "bafyreibj4lsc3aqnrvphp5xmrnfoorvru4wynt6lwidqbm2623a6tatzdu"),
        (["3jqfcqzm3fx2j"], "bafyreih7wfei65pxzhauoibu3ls7jgmkju4bspy4t2ha2qdjnzqvoy33ai"),
        (
            [
                "3jqfcqzm3fp2j",
                "3jqfcqzm3fr2j",
                "3jqfcqzm3fs2j",
                "3jqfcqzm3ft2j",
                "3jqfcqzm4fc2j",
            ],
            "bafyreicmahysq4n6wfuxo522m6dpiy7z7qzym3dzs756t5n7nfdgccwq7m",
        ),
    ],
)
def test_the_roots_that_all_implementations_know(rkeys: list[str], root: str) -> None:
    assert tree_root({f"com.example.record/{rkey}": KNOWN for rkey in rkeys}) == root


@pytest.mark.parametrize("layer", range(7))
def test_a_tree_of_one_record_is_one_node_in_whatever_layer(layer: int) -> None:
    path = next(
        path
        for path in (f"app.test.note/{n}" for n in range(200_000))
        if key_height(path.encode()) == layer
    )
    cid = cid_of(b"one")
    link = b"\xd8\x2a\x58\x25\x00"
    key = path.encode()
    block = (
        b"\xa2\x61e\x81\xa4\x61k"
        + bytes((0x40 | len(key),))
        + key
        + b"\x61p\x00\x61t\xf6\x61v"
        + link
        + cid
        + b"\x61l\xf6"
    )
    assert tree_root({path: cid}) == cid_of(block)


def test_the_empty_tree_is_the_node_without_anything() -> None:
    assert cid_of(encode({"e": [], "l": None})) == EMPTY_ROOT
    nothing: dict[str, str] = {}
    assert tree_root(nothing) == libipld.encode_cid(EMPTY_ROOT)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,3}\.[a-z]{1,2}/[a-z0-9:~_.-]{1,5}", fullmatch=True).filter(
            lambda path: path.partition("/")[2] not in (".", "..")
        ),
        st.integers(0, 5).map(lambda n: cid_of(encode(n))),
        max_size=40,
    )
)
def test_a_tree_is_the_same_by_both_builders_and_is_walked_back(records: dict[str, bytes]) -> None:
    root, blocks = build_tree(records)
    if records:
        assert tree_root(records) == root
    assert tree_root({p: libipld.encode_cid(c) for p, c in records.items()}) == (
        libipld.encode_cid(root)
    )
    found = [(key.decode(), cid) for key, cid in walk("", root, blocks.get)]
    assert found == sorted(records.items())


A, B = cid_of(b"a"), cid_of(b"b")
PATH = "app.test.note/1"


def test_cids_are_answered_in_the_form_in_which_they_were_asked() -> None:
    one, two = {PATH: A}, {PATH: B}
    root, blocks = build_tree(two)
    texts = {libipld.encode_cid(cid): block for cid, block in blocks.items()}
    op: dict[str, Any] = {"action": "update", "path": PATH, "cid": B, "prev": A}
    said = op | {"cid": libipld.encode_cid(B), "prev": libipld.encode_cid(A)}
    before = tree_root(one)
    assert before == build_tree(one)[0]
    for form in (op, said, Op("update", PATH, B, A)):
        assert invert(root, [form], blocks) == before
        assert invert(libipld.encode_cid(root), [form], texts) == libipld.encode_cid(before)


def test_ops_may_come_in_any_iterable_and_none_changes_nothing() -> None:
    root, blocks = build_tree({PATH: A})
    assert invert(root, iter([]), blocks) == root
    assert invert(root, (op for op in [Op("create", PATH, A, None)]), blocks) == EMPTY_ROOT


def test_a_block_that_lies_about_its_hash_is_refused() -> None:
    root, blocks = build_tree({PATH: A})
    with pytest.raises(InvalidCommit, match="hash"):
        invert(root, [Op("create", PATH, A, None)], {root: blocks[root] + b"\0"})


@pytest.mark.parametrize(
    "op",
    [
        None,
        "create",
        {},
        {"action": "create"},
        {"action": "rename", "path": PATH, "cid": A},
        {"action": ["create"], "path": PATH, "cid": A},
        {"action": "create", "path": PATH.encode(), "cid": A},
        {"action": "create", "path": PATH, "cid": None},
        {"action": "create", "path": PATH, "cid": 5},
        {"action": "create", "path": PATH, "cid": A[:-1]},
        {"action": "create", "path": PATH, "cid": "bafyrei"},
        {"action": "create", "path": PATH, "cid": "z" + "1" * 60},
        {"action": "create", "path": PATH, "cid": "\ud800"},
        {"action": "update", "path": PATH, "cid": A},
        {"action": "update", "path": PATH, "cid": A, "prev": b"\x01\x55" + A[2:]},
        {"action": "delete", "path": "app.test.note/2", "prev": None},
    ],
)
def test_what_is_no_op_is_an_invalid_commit(op: Any) -> None:
    root, blocks = build_tree({PATH: A})
    with pytest.raises(InvalidCommit):
        invert(root, [op], blocks)


@pytest.mark.parametrize("root", [b"", b"root", "", "root", None, 5, "bafyreig"])
def test_what_is_no_root_is_an_invalid_commit(root: Any) -> None:
    with pytest.raises(InvalidCommit):
        invert(root, [], {})


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "note",
        "note/",
        "/note",
        "a.b/c/d",
        "a.b/.",
        "a.b/..",
        "a.b/ä",
        "a.b/c\n",
        "a.b/\ud800",
        "a_b/c",
        "a.b/" + "x" * 513,
        "a" * 1_024 + "/b",
    ],
)
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(InvalidCommit):
        tree_root({path: A})
    for action in ("create", "update", "delete"):
        with pytest.raises(InvalidCommit):
            invert(EMPTY_ROOT, [Op(action, path, A, B)], build_tree({})[1])


def test_the_longest_path_is_a_path() -> None:
    path = "a" * 511 + "/" + "b" * 512
    assert is_key(path.encode())
    assert not is_key(b"a" + path.encode())
    assert tree_root({path: A}) == build_tree({path: A})[0]


@pytest.mark.parametrize("cid", [b"", A[:-1], b"\x01\x55" + A[2:], "", None, 5])
def test_a_tree_names_only_records(cid: Any) -> None:
    with pytest.raises(InvalidCommit):
        tree_root({PATH: cid})
