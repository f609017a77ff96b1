"""Whole repos from files, against the repo builder of the test support."""

from __future__ import annotations

from pathlib import Path

import pytest

from atdex_firehose import limits, repo_car
from atdex_firehose.car import read_car
from atdex_firehose.crypto import parse_multikey
from atdex_firehose.errors import InvalidCar, InvalidCommit
from atdex_firehose.repo_car import RepoCar, open_repo
from tests.support.mst import build_tree, cid_of, encode
from tests.support.repo import K256Key, Repo, car, plc_did, varint

DID = plc_did("alice")
KEY = K256Key()


@pytest.fixture(scope="module")
def repo() -> Repo:
    repo = Repo(DID, KEY)
    repo.commit({f"app.test.note/n{n}": {"n": n, "text": "x" * (n % 90)} for n in range(700)})
    return repo


def opened(tmp_path: Path, raw: bytes, did: str = DID) -> RepoCar:
    path = tmp_path / "repo.car"
    path.write_bytes(raw)
    return open_repo(path, did)


def read(tmp_path: Path, raw: bytes, did: str = DID) -> dict[str, bytes]:
    """Everything that can be read of a repo."""
    with opened(tmp_path, raw, did) as found:
        return {path: found.block(cid) for path, cid in found.records()}


def test_every_record_of_a_repo_is_read_in_the_order_of_the_paths(
    tmp_path: Path, repo: Repo
) -> None:
    with opened(tmp_path, repo.export()) as found:
        records = list(found.records())
        assert records == sorted(repo.records.items())
        assert all(found.block(cid) == repo.blocks[cid] for _, cid in records)
        assert (found.commit.did, found.commit.rev, found.commit.data) == (
            DID,
            repo.rev,
            repo.data,
        )
        assert parse_multikey(KEY.multikey).verify(found.commit.sig, found.commit.signed)


def test_an_empty_repo_is_read(tmp_path: Path) -> None:
    repo = Repo(DID, KEY)
    repo.commit({})
    assert read(tmp_path, repo.export()) == {}


def test_blocks_may_stand_in_any_order_be_repeated_or_belong_to_nothing(
    tmp_path: Path, repo: Repo
) -> None:
    blocks = list(read_car(repo.export()).blocks.items())
    other = encode("of no record")
    blocks = [*reversed(blocks), *blocks, (cid_of(other), other)]
    assert len(read(tmp_path, car([repo.commit_cid], blocks))) == len(repo.records)


def test_a_file_is_read_in_pieces_wherever_they_end(
    tmp_path: Path, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = repo.export()
    whole = read(tmp_path, raw)
    monkeypatch.setattr(repo_car, "SECTION_BYTES", 36 + 3_000)
    for size in (6_000, 6_017, 15_003):
        monkeypatch.setattr(repo_car, "READ_BYTES", size)
        assert read(tmp_path, raw) == whole


def test_the_file_may_be_unlinked_while_it_is_open(tmp_path: Path, repo: Repo) -> None:
    with opened(tmp_path, repo.export()) as found:
        (tmp_path / "repo.car").unlink()
        assert sum(1 for _ in found.records()) == len(repo.records)


def test_a_block_that_is_not_there_is_missing(tmp_path: Path, repo: Repo) -> None:
    with (
        opened(tmp_path, repo.export()) as found,
        pytest.raises(InvalidCommit, match="missing"),
    ):
        found.block(cid_of(b"never"))


def test_a_repo_of_another_account_is_refused(tmp_path: Path, repo: Repo) -> None:
    with pytest.raises(InvalidCommit, match="belongs to"):
        opened(tmp_path, repo.export(), plc_did("mallory"))


def test_a_rev_that_is_no_tid_is_refused(tmp_path: Path) -> None:
    repo = Repo(DID, KEY)
    repo.commit({})
    assert repo.data is not None
    repo.sign(repo.data, "yesterday")
    with pytest.raises(InvalidCommit, match="not a TID"):
        opened(tmp_path, repo.export())


def test_a_repo_that_was_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    repo = Repo(DID, KEY)
    repo.commit({f"app.test.note/n{n}": {"n": n} for n in range(12)})
    raw = repo.export()
    for length in range(len(raw)):
        with pytest.raises((InvalidCar, InvalidCommit)):
            read(tmp_path, raw[:length])


def test_a_flipped_bit_is_noticed(tmp_path: Path, repo: Repo) -> None:
    raw = repo.export()
    for at in range(70, len(raw), 911):
        with pytest.raises((InvalidCar, InvalidCommit)):
            read(tmp_path, raw[:at] + bytes((raw[at] ^ 4,)) + raw[at + 1 :])


@pytest.mark.parametrize("gone", ["commit", "root", "node", "record"])
def test_a_missing_block_is_noticed(tmp_path: Path, repo: Repo, gone: str) -> None:
    blocks = dict(read_car(repo.export()).blocks)
    _, nodes = build_tree(repo.records)
    assert repo.data is not None
    cids = {
        "commit": repo.commit_cid,
        "root": repo.data,
        "node": next(cid for cid in nodes if cid != repo.data),
        "record": repo.records["app.test.note/n7"],
    }
    del blocks[cids[gone]]
    with pytest.raises(InvalidCommit, match="missing"):
        read(tmp_path, car([repo.commit_cid], blocks.items()))


def test_the_root_must_be_a_commit(tmp_path: Path, repo: Repo) -> None:
    assert repo.data is not None
    blocks = read_car(repo.export()).blocks
    with pytest.raises(InvalidCommit):
        opened(tmp_path, car([repo.data], blocks.items()))


def test_a_block_larger_than_a_record_may_be_is_refused(tmp_path: Path, repo: Repo) -> None:
    blocks = read_car(repo.export()).blocks
    for size, fits in ((limits.RECORD_BYTES, True), (limits.RECORD_BYTES + 1, False)):
        large = bytes(size)
        raw = car([repo.commit_cid], [*blocks.items(), (cid_of(large), large)])
        if fits:
            assert read(tmp_path, raw)
        else:
            with pytest.raises(InvalidCar, match="a block of"):
                read(tmp_path, raw)


def test_a_repo_of_more_blocks_than_fit_in_memory_is_refused(
    tmp_path: Path, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repo_car, "REPO_BLOCKS", 500)
    with pytest.raises(InvalidCar, match="more than 500 blocks"):
        opened(tmp_path, repo.export())


@pytest.mark.parametrize(
    "tail",
    [
        b"\x00",
        b"\x05abcde",
        b"\x80",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        varint(36 + 10**8),
        varint(200) + cid_of(b"") + b"short",
        varint(36) + b"\x12\x20" + bytes(34),
    ],
)
def test_what_follows_the_blocks_must_be_a_block(tmp_path: Path, repo: Repo, tail: bytes) -> None:
    with pytest.raises(InvalidCar):
        opened(tmp_path, repo.export() + tail)


@pytest.mark.parametrize(
    "raw",
    [b"", b"\x00", b"\xff" * 9, b"<html>busy</html>" * 100, varint(4) + encode({"version": 1})],
)
def test_what_is_not_a_car_is_an_invalid_car(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(InvalidCar):
        opened(tmp_path, raw)


def test_two_paths_may_have_the_same_record(tmp_path: Path) -> None:
    repo = Repo(DID, KEY)
    repo.commit({"app.test.note/a": {"n": 1}, "app.test.note/b": {"n": 1}})
    assert set(read(tmp_path, repo.export())) == {"app.test.note/a", "app.test.note/b"}


def test_a_file_that_is_not_there_is_the_callers_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_repo(tmp_path / "nothing.car", DID)
