"""What lies about a repo are made of: copies of it that go their own way, and frames with other
fields."""

from __future__ import annotations

from typing import Any

from tests.firehose.model import note
from tests.firehose.network import NOTE
from tests.support.mst import build_tree, link
from tests.support.repo import (
    Body,
    Key,
    Repo,
    car,
)

STARTED = ("a", "b", "c", "d", "e", "f")
"""The records that the consumer has before the lie."""


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


def written(repo: Repo, writes: dict[str, object | None]) -> Body:
    """A commit that shows the whole tree."""
    body = repo.commit(writes)
    return changed(body, blocks=blocks_of(repo, build_tree(repo.records)[1]))


def whole(repo: Repo, *names: str) -> Body:
    return written(repo, {note(name): NOTE | {"name": name} for name in names})
