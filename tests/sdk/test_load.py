from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import atdex
from atdex.errors import (
    BadAnswer,
    BadChecksum,
    BadSource,
    ChecksumMismatch,
    FetchFailed,
    NoNode,
    NotThere,
    RecordMismatch,
    RecordRefused,
    UnknownSplit,
    UnsafeShard,
    Unsupported,
)
from atdex.sample import same_value
from atdex_xrpc.errors import TransportFailed, XrpcError
from tests.sdk.fake_node import (
    ALICE,
    DATASET,
    HANDLE,
    LABEL,
    NOW,
    SCHEMA,
    FakeNode,
    entry,
    fake_node,
    fixture_record,
    key,
    uri,
)
from tests.sdk.shards import (
    ATDATA,
    SHARDS,
    Digit,
    Fix,
    digits,
    expected_samples,
    shard_bytes,
    write,
)
from tests.support.http import serve_directory


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with fake_node() as node:
        yield node


@pytest.fixture
def files() -> Iterator[str]:
    with serve_directory(ATDATA) as url:
        yield url


def with_fixture(node: FakeNode, files: str) -> dict[str, Any]:
    """The fixture's dataset on the node, its shards at `files`."""
    record = fixture_record("entry_http.json")
    for shard, path in zip(record["storage"]["shards"], SHARDS, strict=True):
        shard["url"] = f"{files}/{path.name}"
    node.put(DATASET, record)
    node.put(LABEL, fixture_record("label.json"))
    return record


def load(source: str, node: FakeNode, tmp_path: Path, **more: Any) -> atdex.Dataset[Any]:
    return atdex.load_dataset(
        source, node=node.url, cache_dir=tmp_path / "cache", allow_private_hosts=True, **more
    )


@pytest.mark.parametrize(
    "source",
    [
        DATASET,
        DATASET.replace(ALICE, HANDLE),
        f"@{HANDLE}/fixture",
        f"@{HANDLE}/fixture@1.0.0",
        f"@{ALICE}/fixture",
    ],
)
def test_a_dataset_is_loaded_by_uri_and_by_name_with_every_sample_as_expected(
    source: str, node: FakeNode, files: str, tmp_path: Path
) -> None:
    with_fixture(node, files)
    dataset = load(source, node, tmp_path)
    assert dataset.uri == DATASET
    assert dataset.name == "fixture"
    assert dataset.verified
    assert dataset.schema is not None
    assert (dataset.schema.name, dataset.sample_type.__name__) == ("Fix", "Fix")
    for sample, wanted in zip(dataset, expected_samples(), strict=True):
        assert same_value(vars(sample), wanted)


def test_the_own_class_of_the_user_is_filled_when_one_is_given(
    node: FakeNode, files: str, tmp_path: Path
) -> None:
    with_fixture(node, files)
    dataset = load(DATASET, node, tmp_path, sample_type=Fix)
    assert isinstance(dataset[0], Fix)


def test_a_second_load_needs_no_shard_server(node: FakeNode, files: str, tmp_path: Path) -> None:
    with_fixture(node, files)
    load(DATASET, node, tmp_path).fetch()
    record = node.records[DATASET]
    for shard in record["storage"]["shards"]:
        shard["url"] = shard["url"].replace(files, "http://127.0.0.1:9")
    assert len(load(DATASET, node, tmp_path)) == 100


def test_a_shard_that_is_not_what_the_record_says_is_never_read(
    node: FakeNode, files: str, tmp_path: Path
) -> None:
    record = with_fixture(node, files)
    first, second, _ = record["storage"]["shards"]
    first["url"], second["url"] = second["url"], first["url"]
    dataset = load(DATASET, node, tmp_path)
    with pytest.raises(ChecksumMismatch) as caught:
        dataset.take(1)
    assert caught.value.url == first["url"]
    assert caught.value.expected == first["checksum"]["digest"]
    assert not list((tmp_path / "cache").rglob("*.tar"))


def test_a_record_without_checksums_loads_and_is_called_unverified(
    node: FakeNode, files: str, tmp_path: Path
) -> None:
    record = with_fixture(node, files)
    for shard in record["storage"]["shards"]:
        shard["checksum"] = {"algorithm": "none", "digest": ""}
    dataset = load(DATASET, node, tmp_path)
    assert not dataset.verified
    assert "not verified" in repr(dataset)
    assert len(dataset) == 100


def test_local_paths_in_a_record_are_not_opened(node: FakeNode, tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar", shard_bytes([]))
    shards = [{"url": str(path), "checksum": {"algorithm": "none", "digest": ""}}]
    node.put(DATASET, entry("local", shards))
    with pytest.raises((UnsafeShard, RecordRefused, Unsupported)) as caught:
        load(DATASET, node, tmp_path)
    assert not (tmp_path / "cache").exists()
    assert str(caught.value)


@pytest.mark.parametrize(
    "url", ["pipe:ls", "file:///etc/passwd", "ftp://example.org/x.tar", "https://u:p@example.org/x"]
)
def test_an_unsafe_shard_address_stops_the_load_before_anything_is_opened(
    url: str, node: FakeNode, tmp_path: Path
) -> None:
    checksum = {"algorithm": "sha256", "digest": "0" * 64}
    node.put(DATASET, entry("bad", [{"url": url, "checksum": checksum}]))
    with pytest.raises(UnsafeShard) as caught:
        load(DATASET, node, tmp_path)
    assert caught.value.url == url
    assert not (tmp_path / "cache").exists()


def test_the_metadata_service_is_refused_when_its_shard_is_wanted(
    node: FakeNode, tmp_path: Path
) -> None:
    checksum = {"algorithm": "sha256", "digest": "0" * 64}
    shards = [{"url": "http://169.254.169.254/", "checksum": checksum}]
    node.put(DATASET, entry("bad", shards))
    with pytest.raises(UnsafeShard, match=r"169\.254\.169\.254"):
        load(DATASET, node, tmp_path).take(1)


def test_hosts_of_this_machine_are_refused_unless_they_are_allowed(
    node: FakeNode, files: str, tmp_path: Path
) -> None:
    with_fixture(node, files)
    dataset = atdex.load_dataset(DATASET, node=node.url, cache_dir=tmp_path)
    with pytest.raises(UnsafeShard):
        dataset.take(1)


def test_what_cannot_be_compared_is_refused_before_it_is_fetched(
    node: FakeNode, tmp_path: Path
) -> None:
    url = "https://example.org/x.tar"
    for checksum, error in (
        ({"algorithm": "md5", "digest": "0" * 32}, Unsupported),
        ({"algorithm": "sha256", "digest": "0" * 63}, BadChecksum),
    ):
        node.put(DATASET, entry("bad", [{"url": url, "checksum": checksum}]))
        with pytest.raises(error):
            load(DATASET, node, tmp_path)


@pytest.mark.parametrize(
    ("name", "what"), [("entry_s3.json", "in an S3 bucket"), ("entry_blobs.json", "a blob of")]
)
def test_storage_that_is_not_read_yet_is_refused_by_name(
    name: str, what: str, node: FakeNode, tmp_path: Path
) -> None:
    node.put(DATASET, fixture_record(name))
    with pytest.raises(Unsupported, match=what):
        load(DATASET, node, tmp_path)


def test_a_name_without_label_is_the_newest_dataset_of_that_name(
    node: FakeNode, files: str, tmp_path: Path
) -> None:
    record = with_fixture(node, files)
    del node.records[LABEL]
    for i in range(120):  # more than a page
        node.put(uri("entry", key(i)), record | {"name": "other"})
    assert load(f"@{HANDLE}/fixture", node, tmp_path).uri == DATASET
    newer = node.put(uri("entry", "3kfixture4444"), dict(record))
    assert load(f"@{HANDLE}/fixture", node, tmp_path).uri == newer


def test_what_the_node_does_not_know_is_named(node: FakeNode, files: str, tmp_path: Path) -> None:
    with_fixture(node, files)
    for source in (
        f"@{HANDLE}/nothing",
        f"@{HANDLE}/fixture@9.9.9",
        uri("entry", "3kfixture7777"),
    ):
        with pytest.raises(NotThere) as caught:
            load(source, node, tmp_path)
        assert caught.value.what in source
        assert node.url in str(caught.value)


def test_a_record_that_does_not_hash_to_its_cid_is_not_used(
    node: FakeNode, files: str, tmp_path: Path
) -> None:
    record = with_fixture(node, files)
    true_cid = node.view(DATASET)["cid"]
    node.lies[DATASET] = {"record": record | {"name": "forged"}}
    with pytest.raises(RecordMismatch) as caught:
        load(DATASET, node, tmp_path)
    assert caught.value.expected == true_cid
    node.lies[DATASET] = {}
    node.lies[SCHEMA] = {"record": fixture_record("schema_view.json")}
    with pytest.raises(RecordMismatch):
        load(DATASET, node, tmp_path)


def test_a_node_that_answers_another_record_is_found_out(
    node: FakeNode, files: str, tmp_path: Path
) -> None:
    record = with_fixture(node, files)
    node.lies[DATASET] = {"uri": uri("entry", "3kfixture5555")}
    with pytest.raises(BadAnswer, match="it answered"):
        load(DATASET, node, tmp_path)
    mallory = "did:plc:mallorymallorymallory222"
    node.lies[DATASET] = {"publisher": {"did": mallory}}
    with pytest.raises(RecordRefused, match="another repository"):
        load(DATASET, node, tmp_path)
    node.lies.clear()
    other = node.put(uri("entry", "3kfixture6666"), record | {"name": "other"})
    node.lies[LABEL] = {"record": node.records[LABEL], "publisher": {"did": mallory}}
    with pytest.raises(RecordRefused):
        load(f"@{HANDLE}/fixture", node, tmp_path)
    node.lies = {DATASET: {k: node.view(other)[k] for k in ("uri", "cid", "record")}}
    with pytest.raises(BadAnswer, match="another dataset"):
        load(f"@{HANDLE}/fixture", node, tmp_path)


def test_a_record_of_another_kind_is_refused(node: FakeNode, files: str, tmp_path: Path) -> None:
    with_fixture(node, files)
    schema = node.view(SCHEMA)
    node.lies[DATASET] = {k: schema[k] for k in ("uri", "cid", "record")}
    with pytest.raises(RecordRefused, match="it is a schema"):
        load(DATASET, node, tmp_path)


def test_an_answer_that_breaks_its_document_is_refused(
    node: FakeNode, files: str, tmp_path: Path
) -> None:
    with_fixture(node, files)
    node.lies[DATASET] = {"cid": 5}
    with pytest.raises(XrpcError):
        load(DATASET, node, tmp_path)


def test_a_record_that_breaks_its_lexicon_is_refused(
    node: FakeNode, files: str, tmp_path: Path
) -> None:
    record = with_fixture(node, files)
    record["tags"] = ["x" * 5000]
    with pytest.raises(RecordRefused, match="tags"):
        load(DATASET, node, tmp_path)


def test_a_split_that_is_not_there_is_named(node: FakeNode, files: str, tmp_path: Path) -> None:
    with_fixture(node, files)
    with pytest.raises(UnknownSplit, match="names no splits"):
        load(DATASET, node, tmp_path, split="train")


def test_a_node_that_cannot_be_reached_is_an_error_of_the_network(tmp_path: Path) -> None:
    with pytest.raises(TransportFailed):
        atdex.load_dataset(DATASET, node="http://127.0.0.1:9", cache_dir=tmp_path)


def test_without_a_node_the_error_says_how_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atdex.node._default", None)
    with pytest.raises(NoNode, match=r"atdex\.default_node"):
        atdex.load_dataset(DATASET)
    with pytest.raises(NoNode):
        atdex.search("x")
    assert atdex.default_node("http://127.0.0.1:9") == atdex.default_node()


def test_urls_that_the_user_wrote_are_loaded_and_not_called_verified(tmp_path: Path) -> None:
    samples = digits(6)
    for i in range(2):
        write(tmp_path / f"d-{i}.tar", shard_bytes(samples[3 * i : 3 * i + 3]))
    with serve_directory(tmp_path) as url:
        dataset = atdex.load_dataset(f"{url}/d-{{0..1}}.tar", Digit, cache_dir=tmp_path / "c")
        assert [sample.label for sample in dataset] == list(range(6))
        assert not dataset.verified
        missing = atdex.load_dataset(f"{url}/no.tar", Digit, cache_dir=tmp_path / "c")
        with pytest.raises(FetchFailed, match="404"):
            len(missing)


def test_own_data_needs_a_type_and_takes_neither_node_nor_split(tmp_path: Path) -> None:
    path = write(tmp_path / "d.tar", shard_bytes(digits(2)))
    with pytest.raises(BadSource, match="pass a sample type"):
        atdex.load_dataset(path)
    with pytest.raises(BadSource, match="for datasets of the network"):
        atdex.load_dataset(path, Digit, split="train")
    with pytest.raises(BadSource, match="for datasets of the network"):
        atdex.load_dataset(path, Digit, node="http://127.0.0.1:9")
    raw = atdex.load_dataset(path, dict)[0]
    assert np.array_equal(atdex.decode_array(raw["image"]), digits(2)[0]["image"])


def test_schemas_that_refer_to_each_other_are_fetched_with_them(
    node: FakeNode, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        files = stack.enter_context(serve_directory(tmp_path))
        write(tmp_path / "n.tar", shard_bytes([{"inner": {"a": 1}, "many": [{"a": 2}]}]))
        inner, outer = (
            node.put(f"at://{ALICE}/app.bsky.atdata.schema/{rkey}", record)
            for rkey, record in nested_schemas().items()
        )
        assert inner in str(node.records[outer])
        shards = [{"url": f"{files}/n.tar", "checksum": {"algorithm": "none", "digest": ""}}]
        node.put(DATASET, entry("nested", shards, schemaRef=outer))
        sample = load(DATASET, node, tmp_path)[0]
        assert (sample.inner.a, sample.many[0].a) == (1, 2)


def nested_schemas() -> dict[str, dict[str, Any]]:
    """Two schema records of this project's own family; the second refers to the first."""
    from atdex_lexicons.families import to_record
    from atdex_lexicons.model import Field, ListOf, Nested, Primitive, Schema

    inner = Schema("Inner", "1.0.0", (Field("a", Primitive("int")),), created_at=NOW)
    at = f"at://{ALICE}/app.bsky.atdata.schema/3kfixture2266"
    outer = Schema(
        "Outer",
        "1.0.0",
        (Field("inner", Nested(at)), Field("many", ListOf(Nested(at)))),
        created_at=NOW,
    )
    return {
        "3kfixture2266": to_record(inner, "app.bsky.atdata"),
        "3kfixture2267": to_record(outer, "app.bsky.atdata"),
    }


def test_a_split_is_a_run_of_the_shards(node: FakeNode, files: str, tmp_path: Path) -> None:
    from atdex_lexicons.families import to_record
    from atdex_lexicons.model import Checksum, Dataset, HttpShard, Split

    digests = [
        s["checksum"]["digest"] for s in fixture_record("entry_http.json")["storage"]["shards"]
    ]
    model = Dataset(
        "splits",
        SCHEMA,
        tuple(
            HttpShard(f"{files}/{path.name}", Checksum("sha256", digest))
            for path, digest in zip(SHARDS, digests, strict=True)
        ),
        splits=(Split("train", 0, 2), Split("test", 2, 3)),
        created_at=NOW,
    )
    at = f"at://{ALICE}/app.bsky.atdata.dataset/3kfixture2277"
    node.put(at, to_record(model, "app.bsky.atdata"))
    assert len(load(at, node, tmp_path, split="train")) == 80
    assert load(at, node, tmp_path, split="test")[-1] == load(at, node, tmp_path)[-1]
    with pytest.raises(UnknownSplit, match="it has train, test"):
        load(at, node, tmp_path, split="validation")
