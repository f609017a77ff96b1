from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import webdataset
from webdataset.tariterators import group_by_keys, tar_file_iterator

import atdex
from atdex.cache import INDEX_SUFFIX
from atdex.dataset import Dataset, ShardSource
from atdex.errors import BadSample, BadShard, BadSource
from atdex.sample import same_value
from atdex.shard import Shard
from tests.sdk.shards import (
    SHARDS,
    Digit,
    Fix,
    digits,
    expected_samples,
    fixture,
    shard_bytes,
    tar_bytes,
    write,
)


def fixes() -> Dataset[Fix]:
    return atdex.load_dataset(SHARDS[0].parent / "fix-*.tar", Fix)


def test_every_sample_of_the_fixture_is_what_another_implementation_read() -> None:
    dataset, expected = fixes(), expected_samples()
    assert len(dataset) == len(expected) == 100
    for sample, wanted in zip(dataset, expected, strict=True):
        assert vars(sample).keys() == wanted.keys()
        for name, value in wanted.items():
            got = getattr(sample, name)
            assert same_value(got, value), (name, got, value)
            assert type(got) is type(value) or value is None


def test_the_fixture_covers_what_it_is_there_for() -> None:
    images = [sample.image for sample in fixes()]
    assert any(image.dtype.byteorder == ">" for image in images)
    assert any(image.shape == () for image in images)
    assert any(image.size == 0 for image in images)
    assert any(sample.mask is None for sample in fixes())


def test_the_class_made_from_the_schema_record_reads_the_same() -> None:
    made = atdex.sample_class(fixture("schema.json")["value"])
    dataset = atdex.load_dataset(SHARDS[0].parent, made)
    for own, generated in zip(fixes(), dataset, strict=True):
        assert same_value(vars(own), vars(generated))


def read_by_webdataset(paths: list[Path]) -> Iterator[bytes]:
    for path in paths:
        with path.open("rb") as file:
            members = ({"__url__": path.name} | m for m in tar_file_iterator(file))
            yield from (group["msgpack"] for group in group_by_keys(members))


def test_webdataset_and_msgpack_read_the_same_samples() -> None:
    for sample, raw in zip(fixes(), read_by_webdataset(SHARDS), strict=True):
        theirs = msgpack.unpackb(raw)
        for name, value in theirs.items():
            ours = getattr(sample, name)
            wanted = atdex.decode_array(value) if isinstance(ours, np.ndarray) else value
            assert same_value(ours, wanted)


def test_a_shard_written_by_webdataset_is_read(tmp_path: Path) -> None:
    path, samples = tmp_path / "w.tar", digits(20)
    with webdataset.TarWriter(str(path)) as writer:
        for i, sample in enumerate(samples):
            packed = sample | {"image": atdex.encode_array(sample["image"])}
            writer.write({"__key__": f"dir/{i:04d}", "msgpack": msgpack.packb(packed)})
    dataset = atdex.load_dataset(path, Digit)
    assert [vars(sample)["label"] for sample in dataset] == [s["label"] for s in samples]
    assert all(
        same_value(sample.image, wanted["image"])
        for sample, wanted in zip(dataset, samples, strict=True)
    )


def three_shards(folder: Path) -> Dataset[Digit]:
    """Shards of 3, 0 and 4 samples; labels count from 0."""
    samples = digits(7)
    for i, part in enumerate((samples[:3], [], samples[3:])):
        write(folder / f"s-{i}.tar", shard_bytes(part))
    return atdex.load_dataset(folder / "s-{0..2}.tar", Digit)


def test_samples_are_reached_by_index_from_either_end(tmp_path: Path) -> None:
    dataset = three_shards(tmp_path)
    assert len(dataset) == 7
    assert [dataset[i].label for i in range(7)] == list(range(7))
    assert [dataset[i].label for i in range(-7, 0)] == list(range(7))
    assert [sample.label for sample in dataset[1:6:2]] == [1, 3, 5]
    for index in (7, -8, 10**9):
        with pytest.raises(IndexError, match=f"sample {index} of a dataset of 7"):
            dataset[index]


def test_iterating_twice_gives_the_same_samples(tmp_path: Path) -> None:
    dataset = three_shards(tmp_path)
    assert list(dataset) == list(dataset) == dataset[:]
    assert [s.label for s in dataset.take(4)] == [0, 1, 2, 3]
    assert len(dataset.take(100)) == 7
    assert dataset.take(0) == []
    with pytest.raises(ValueError, match="cannot take -1"):
        dataset.take(-1)


def counted(paths: list[Path]) -> tuple[Dataset[Digit], list[Path]]:
    opened: list[Path] = []

    def source(path: Path) -> ShardSource:
        def give() -> Path:
            opened.append(path)
            return path

        return ShardSource(path.name, give)

    return Dataset([source(path) for path in paths], Digit), opened


def test_only_the_shards_that_are_needed_are_opened_and_each_once(tmp_path: Path) -> None:
    three_shards(tmp_path)
    paths = [tmp_path / f"s-{i}.tar" for i in range(3)]
    dataset, opened = counted(paths)
    dataset.take(2)
    assert dataset[1].label == 1
    assert opened == paths[:1]
    threads = [threading.Thread(target=lambda: list(dataset)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(dataset) == 7
    assert opened == paths


def test_fetch_opens_every_shard_and_raises_what_failed(tmp_path: Path) -> None:
    three_shards(tmp_path)
    paths = [tmp_path / f"s-{i}.tar" for i in range(3)]
    dataset, opened = counted(paths)
    dataset.fetch()
    assert sorted(opened) == paths
    write(paths[1], b"x" * 1024)
    broken, _ = counted(paths)
    with pytest.raises(BadShard):
        broken.fetch()


def test_arrays_stay_valid_after_their_dataset_and_its_file_are_gone(tmp_path: Path) -> None:
    dataset = three_shards(tmp_path)
    image = dataset[0].image
    wanted = image.tolist()
    del dataset
    (tmp_path / "s-0.tar").unlink()
    assert image.tolist() == wanted
    assert not image.flags.writeable


def test_a_sample_that_does_not_fit_is_named_by_shard_key_and_field(tmp_path: Path) -> None:
    path = write(
        tmp_path / "s.tar",
        tar_bytes(
            [
                ("a.msgpack", msgpack.packb({"image": b"\x03|u1\x00\x07", "label": 1})),
                ("b.msgpack", msgpack.packb({"image": b"\x03|u1\x00\x07", "label": "x"})),
            ]
        ),
    )
    dataset = atdex.load_dataset(path, Digit)
    assert dataset[0].image.tolist() == 7
    with pytest.raises(BadSample) as caught:
        list(dataset)
    error = caught.value
    assert (error.shard, error.key, error.field) == (str(path), "b", "label")


def test_local_files_are_not_called_verified(tmp_path: Path) -> None:
    dataset = three_shards(tmp_path)
    assert not dataset.verified
    assert (dataset.schema, dataset.uri, dataset.record) == (None, None, None)
    assert dataset.sample_type is Digit
    assert "Digit in 3 shards, not verified" in repr(dataset)
    assert not Dataset([], Digit).verified
    assert len(Dataset([], Digit)) == 0


def indexed(path: Path) -> Path:
    return path.with_suffix(INDEX_SUFFIX)


def test_the_index_beside_a_cached_shard_gives_the_same_samples(tmp_path: Path) -> None:
    path = write(tmp_path / "s.tar", shard_bytes(digits(5)))
    first = Shard(path, "s", indexed(path))
    assert indexed(path).is_file()
    assert Shard(path, "s", indexed(path)).index == first.index == Shard(path, "s").index


@pytest.mark.parametrize("damage", ["cut", "flip", "other", "garbage"])
def test_a_damaged_index_is_made_again(tmp_path: Path, damage: str) -> None:
    path = write(tmp_path / "s.tar", shard_bytes(digits(5)))
    wanted = Shard(path, "s", indexed(path)).index
    good = indexed(path).read_bytes()
    other = write(tmp_path / "o.tar", shard_bytes(digits(9)))
    Shard(other, "o", indexed(other))
    content = {
        "cut": good[:-1],
        "flip": good[:-1] + bytes([good[-1] ^ 1]),
        "other": indexed(other).read_bytes(),
        "garbage": hashlib.blake2b(b"\x90", digest_size=16).digest() + b"\x90",
    }[damage]
    write(indexed(path), content)
    assert Shard(path, "s", indexed(path)).index == wanted
    assert indexed(path).read_bytes() == good


def test_a_file_that_is_missing_or_empty_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(BadSource, match="there is no such file"):
        atdex.load_dataset(tmp_path / "no.tar", Digit)
    empty: Dataset[Any] = atdex.load_dataset(write(tmp_path / "e.tar", b""), dict)
    with pytest.raises(BadShard, match="is empty"):
        len(empty)
