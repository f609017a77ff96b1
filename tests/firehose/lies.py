"""Every way to lie about a repo, and what each must come to."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, NamedTuple

from tests.firehose.fuzz_trees import keys_of, nodes_of, read, rekey, write
from tests.firehose.lying import (
    blocks_of,
    changed,
    copy,
    real,
    resigned,
    whole,
    written,
)
from tests.firehose.model import note
from tests.firehose.network import NOTE, Network
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

Lie = Callable[[Network, Repo], Body]
Outcome = Literal["fetched", "checked", "ignored"]


class Case(NamedTuple):
    lie: Lie
    error: str
    reason: str
    outcome: Outcome


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
