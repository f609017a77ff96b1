"""Dialects of `science.alt.dataset`, alone and together with faults."""

from __future__ import annotations

import time
from typing import Any

import pytest

from atdex_lexicons.families import check_record, dialects_of
from atdex_lexicons.model import Checksum, Dataset, HttpShard, S3Shard

from .records import CATALOG, TID, entry, fixture, problems_of


def test_a_dialect_does_not_hide_another_fault() -> None:
    record = entry(name="x" * 201, license=None, tags=["a"] * 31)
    assert problems_of("science.alt.dataset.entry", record) == ["/name", "/tags"]


def test_a_required_field_that_is_null_is_missing() -> None:
    record = entry(name=None)
    assert problems_of("science.alt.dataset.entry", record) == ["/name"]


def test_several_dialects_are_named_in_their_documented_order() -> None:
    record = {**fixture("entry_http_nochecksum"), "license": None, "metadata": {"a": 1}}
    checked = check_record(CATALOG, "science.alt.dataset.entry", TID, record)
    assert dialects_of(checked.conformance) == (
        "plain-metadata",
        "no-checksum",
        "local-path",
        "null-fields",
    )


def test_a_path_in_a_flat_schema_is_reported_where_it_stands() -> None:
    record = fixture("schema")
    record["schema"]["required"] = "name"
    assert problems_of("science.alt.dataset.schema", record) == ["/schema/required"]
    body = {"$type": record["schema"].pop("$type"), "schemaBody": record["schema"]}
    assert problems_of("science.alt.dataset.schema", {**record, "schema": body}) == [
        "/schema/schemaBody/required"
    ]


def test_an_entry_of_one_collection_is_no_record_of_another() -> None:
    assert problems_of("science.alt.dataset.label", entry())[0] == "/$type"


def test_a_record_key_is_checked_where_it_is_given() -> None:
    assert problems_of("science.alt.dataset.entry", entry(), "self") == ["rkey"]
    check_record(CATALOG, "science.alt.dataset.entry", None, entry())
    for rkey in (TID, "example.alice.RetinaImage:1.0.0"):
        check_record(CATALOG, "science.alt.dataset.schema", rkey, fixture("schema"))


# --- shards -----------------------------------------------------------------------------------


def http(*urls: str) -> dict[str, Any]:
    shards = [{"url": url, "checksum": {"algorithm": "sha256", "digest": "00"}} for url in urls]
    return {"$type": "science.alt.dataset.storageHttp", "shards": shards}


def external(*urls: Any) -> dict[str, Any]:
    return {"$type": "science.alt.dataset.storageExternal", "urls": list(urls)}


def shards_of(storage: dict[str, Any]) -> tuple[Any, ...]:
    model = check_record(CATALOG, "science.alt.dataset.entry", TID, entry(storage=storage)).model
    assert isinstance(model, Dataset)
    return model.shards


@pytest.mark.parametrize(
    "url",
    ["/data/a.tar", "./a.tar", "data/train/a.tar", "~/a.tar", "C:\\data\\a.tar", "file:///etc/x"],
)
def test_a_local_path_is_kept_as_it_is_and_marked(url: str) -> None:
    checked = check_record(CATALOG, "science.alt.dataset.entry", TID, entry(storage=http(url)))
    assert "local-path" in dialects_of(checked.conformance)
    assert isinstance(checked.model, Dataset)
    assert [shard.url for shard in checked.model.shards if isinstance(shard, HttpShard)] == [url]


@pytest.mark.parametrize("url", ["", "a b.tar", "http//x.example/a.tar", "/a\x00.tar", "/" * 2001])
def test_what_is_neither_url_nor_path_is_refused(url: str) -> None:
    assert problems_of("science.alt.dataset.entry", entry(storage=http(url))) == [
        "/storage/shards/0/url"
    ]


def test_a_url_that_would_run_a_command_is_indexed_and_never_opened_here() -> None:
    assert shards_of(http("pipe:ls")) == (HttpShard("pipe:ls", Checksum("sha256", "00")),)


def test_external_patterns_are_expanded_in_order() -> None:
    found = shards_of(
        external("https://x.example/{a,b}-{08..10}.tar", "s3://bkt/k/{2..1}.tar", "https://x/{z}")
    )
    assert found == (
        *(HttpShard(f"https://x.example/{c}-{n}.tar") for c in "ab" for n in ("08", "09", "10")),
        S3Shard("bkt", "k/2.tar"),
        S3Shard("bkt", "k/1.tar"),
        HttpShard("https://x/{z}"),
    )


def test_a_pattern_for_a_billion_shards_costs_nothing() -> None:
    start = time.process_time()
    for pattern in ("{0..999999999999}", "{0..9999}{0..9999}{0..9999}", "{1,2,3}" * 60):
        record = entry(storage=external(f"https://x.example/{pattern}"))
        assert problems_of("science.alt.dataset.entry", record) == ["/storage/urls/0"]
    assert time.process_time() - start < 1


@pytest.mark.parametrize("urls", [[], [5], ["x" * 1001], ["no url"], None])
def test_external_storage_is_checked_although_its_union_is_open(urls: Any) -> None:
    storage = {"$type": "science.alt.dataset.storageExternal", "urls": urls}
    assert problems_of("science.alt.dataset.entry", entry(storage=storage))[0].startswith(
        "/storage/urls"
    )


def test_a_storage_of_a_kind_to_come_is_accepted_without_shards() -> None:
    assert shards_of({"$type": "com.example.storageTorrent", "magnet": "x"}) == ()
