"""The shards in a Croissant document: addresses that anybody can fetch, and no others."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from atdex_appview.croissant.document import croissant
from atdex_appview.croissant.files import MAX_FILES, MAX_URL_CHARACTERS
from atdex_lexicons import Cid
from atdex_lexicons.model import (
    BlobShard,
    Checksum,
    HttpShard,
    S3Shard,
    Split,
)
from tests.appview.croissant.described import (
    PLAIN,
    SHA,
    accepted,
    described,
)
from tests.appview.index import ALICE
from tests.appview.index import schema as image_schema

pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated")
"""rdflib says so of itself."""


@pytest.mark.parametrize(
    "shard",
    [
        HttpShard("/etc/passwd", SHA),
        HttpShard("file:///etc/passwd", SHA),
        HttpShard("pipe:curl evil.example", SHA),
        HttpShard("C:\\data\\0.tar", SHA),
        HttpShard("ftp://a.example/0.tar", SHA),
        HttpShard("http://user:secret@a.example/0.tar", SHA),
        HttpShard("http://127.0.0.1/0.tar", SHA),
        HttpShard("http://localhost:8000/0.tar", SHA),
        HttpShard("http://169.254.169.254/latest/meta-data", SHA),
        HttpShard("http://[::ffff:10.0.0.1]/0.tar", SHA),
        HttpShard("http://2130706433/0.tar", SHA),
        HttpShard("http://nas/0.tar", SHA),
        HttpShard("http://nas.local/0.tar", SHA),
        HttpShard("http://metadata.google.internal/x", SHA),
        S3Shard("b", "k", SHA, endpoint="http://10.0.0.1:9000"),
        S3Shard("b", "k", SHA, endpoint="file:///srv"),
        S3Shard("b", "k", SHA, region="eu.evil.example/"),
    ],
)
def test_what_is_local_or_private_is_never_an_address(shard: Any) -> None:
    both = replace(PLAIN, shards=(*PLAIN.shards, shard))
    document = croissant(described(both, image_schema()))
    accepted(document)
    addresses = [each["contentUrl"] for each in document["distribution"] if "contentUrl" in each]
    assert addresses == ["https://a.example/0.tar"]
    assert "1 of 2 shards are listed" in document["recordSet"][0]["description"]
    alone = croissant(described(replace(PLAIN, shards=(shard,)), image_schema()))
    accepted(alone)
    assert "distribution" not in alone


def test_a_sandbox_lists_what_is_on_its_own_network_and_nothing_worse() -> None:
    urls = ("http://127.0.0.1:8000/0.tar", "http://169.254.169.254/x", "/etc/passwd")
    of = replace(PLAIN, shards=tuple(HttpShard(url) for url in urls))
    document = croissant(described(of, private=True))
    assert [each.get("contentUrl") for each in document["distribution"]] == [urls[0], None]


@pytest.mark.parametrize(
    ("shard", "url"),
    [
        (S3Shard("bkt", "a b/0.tar", SHA), "https://bkt.s3.amazonaws.com/a%20b/0.tar"),
        (
            S3Shard("bkt", "0.tar", SHA, "eu-north-1"),
            "https://bkt.s3.eu-north-1.amazonaws.com/0.tar",
        ),
        (S3Shard("My.Bkt", "0.tar", SHA), "https://s3.amazonaws.com/My.Bkt/0.tar"),
        (
            S3Shard("bkt", "k?#.tar", SHA, endpoint="https://s3.example.net/"),
            "https://s3.example.net/bkt/k%3F%23.tar",
        ),
        (HttpShard("https://a.example/ü.tar", SHA), "https://a.example/%C3%BC.tar"),
    ],
)
def test_shards_have_addresses_that_anybody_can_fetch(shard: Any, url: str) -> None:
    document = croissant(described(replace(PLAIN, shards=(shard,))))
    assert document["distribution"][0]["contentUrl"] == url


def test_a_blob_is_fetched_from_the_pds_and_its_cid_is_its_checksum() -> None:
    content = b"some shard"
    blob = BlobShard(str(Cid.of_raw(content)), "application/x-tar", len(content))
    document = croissant(described(replace(PLAIN, shards=(blob,)), pds="https://pds.example/"))
    shard = document["distribution"][0]
    query = f"did={ALICE.replace(':', '%3A')}&cid={blob.cid}"
    assert shard["contentUrl"] == f"https://pds.example/xrpc/com.atproto.sync.getBlob?{query}"
    assert shard["sha256"] == hashlib.sha256(content).hexdigest()
    assert "isLiveDataset" not in document
    assert "distribution" not in croissant(described(replace(PLAIN, shards=(blob,)), pds=None))


def test_shards_without_a_checksum_that_croissant_knows_make_the_dataset_live() -> None:
    for checksum in (None, Checksum("blake3", "ab" * 32), Checksum("sha256", "short")):
        of = replace(PLAIN, shards=(HttpShard("https://a.example/0.tar", checksum),))
        document = croissant(described(of))
        accepted(document)
        assert document["isLiveDataset"] is True
    md5 = replace(PLAIN, shards=(HttpShard("https://a.example/0.tar", Checksum("MD5", "AB" * 16)),))
    document = croissant(described(md5))
    assert document["distribution"][0]["md5"] == "ab" * 16
    assert "isLiveDataset" not in document


def test_a_dataset_of_very_many_shards_lists_a_part_and_says_so() -> None:
    many = tuple(HttpShard(f"https://a.example/{n}.tar", SHA) for n in range(MAX_FILES + 7))
    document = croissant(described(replace(PLAIN, shards=many), image_schema()))
    assert len(document["distribution"]) == MAX_FILES + 1
    assert f"{MAX_FILES} of {MAX_FILES + 7} shards are listed" in json.dumps(document)
    long = tuple(HttpShard(f"https://a.example/{'x' * 8000}{n}", SHA) for n in range(1000))
    document = croissant(described(replace(PLAIN, shards=long)))
    assert len(json.dumps(document)) < 1.5 * MAX_URL_CHARACTERS


def test_splits_are_runs_of_shards() -> None:
    of = replace(PLAIN, shards=PLAIN.shards * 3, splits=(Split("train", 0, 2), Split("test", 2, 3)))
    document = croissant(described(of, image_schema()))
    read = accepted(document)
    assert list(read.records("splits")) == [
        {"splits/name": "train", "splits/first": 0, "splits/last": 1},
        {"splits/name": "test", "splits/first": 2, "splits/last": 2},
    ]
