"""Croissant documents, held against mlcroissant, and the page that serves them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlcroissant
import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atdex_appview.croissant.document import Described, croissant, license_address
from atdex_appview.croissant.fields import MAX_FIELD_CHARACTERS, MAX_FIELDS
from atdex_appview.croissant.files import MAX_FILES, MAX_URL_CHARACTERS
from atdex_appview.croissant.page import COLLECTIONS, croissant_path
from atdex_lexicons import Catalog, Cid
from atdex_lexicons.datamodel import from_json
from atdex_lexicons.families import check_record, to_record
from atdex_lexicons.model import (
    AnyType,
    BlobShard,
    Checksum,
    Dataset,
    Field,
    HttpShard,
    ListOf,
    MapOf,
    NDArray,
    Nested,
    Primitive,
    Record,
    S3Shard,
    Schema,
    Split,
)
from tests.appview.index import ALICE, CLASSIC, CREATED, NAMESPACE, Index, dataset, error_of, label
from tests.appview.index import schema as image_schema
from tests.lexicons.test_families_roundtrip import datasets, schemas
from tests.support.expected import ATDATA, expected_samples
from tests.support.http import serve_directory

pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated")
"""rdflib says so of itself."""

CATALOG = Catalog.bundled()
EXAMPLES = Path(__file__).resolve().parents[2] / "lexicons" / "atdex_lexicons" / "examples"
SHA = Checksum("sha256", "ab" * 32)
SCHEMA_URI = f"at://{ALICE}/{CLASSIC}.schema/3kschema00001"
PLAIN = Dataset(
    "Cats", SCHEMA_URI, (HttpShard("https://a.example/0.tar", SHA),), created_at=CREATED
)


def described(of: Dataset, schema: Schema | None = None, **more: Any) -> Described:
    facts: dict[str, Any] = {
        "uri": f"at://{ALICE}/{CLASSIC}.entry/3kdataset0001",
        "did": ALICE,
        "rev": "3l3abcdefgh2x",
        "first_seen": 1_700_000_000_000_000,
        "page": "https://index.example/xrpc/of.it",
        "pds": "https://pds.example",
    }
    return Described(dataset=of, schema=schema, **(facts | more))


def accepted(document: dict[str, Any]) -> mlcroissant.Dataset:
    """The document, through its JSON, as mlcroissant reads it: it raises for any error."""
    read = mlcroissant.Dataset(jsonld=json.loads(json.dumps(document)))
    assert not read.metadata.ctx.issues.errors
    return read


def field_of(kind: Any) -> dict[str, Any] | None:
    """The Croissant field of a sample's only field of that type; None where it is left out."""
    schema = Schema("S", "1.0.0", (Field("x", kind), Field("y", Primitive("int"))))
    document = croissant(described(PLAIN, schema))
    accepted(document)
    found = [each for each in document["recordSet"][0]["field"] if each["name"] == "x"]
    return found[0] if found else None


# --- documents -------------------------------------------------------------------------------


def _published(folder: Path) -> Iterator[tuple[str, Any]]:
    for path in sorted(folder.rglob("*.json")):
        if "invalid" not in path.parts:
            value = json.loads(path.read_text())
            value = value.get("value", value) if isinstance(value, dict) else None
            if isinstance(value, dict) and "$type" in value:
                yield f"{path.parent.name}/{path.name}", value


RECORDS = dict([*_published(ATDATA), *_published(EXAMPLES)])


def _models(kind: str) -> dict[str, Any]:
    checked = {
        name: check_record(CATALOG, value["$type"], None, from_json(value))
        for name, value in RECORDS.items()
    }
    return {name: each.model for name, each in checked.items() if each.kind == kind}


@pytest.mark.parametrize("name", sorted(_models("dataset")))
def test_every_dataset_of_the_fixtures_and_the_examples_is_accepted(name: str) -> None:
    fixture = _models("schema")["atdata/schema.json"]
    accepted(croissant(described(_models("dataset")[name], fixture)))


@pytest.mark.parametrize("name", sorted(_models("schema")))
def test_every_schema_of_the_fixtures_and_the_examples_is_accepted(name: str) -> None:
    schema = _models("schema")[name]
    document = croissant(described(PLAIN, schema))
    accepted(document)
    sets = {each["@id"] for each in document["recordSet"]}
    assert "members" in sets
    assert ("samples" in sets) == any(not isinstance(f.type, AnyType) for f in schema.fields)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.one_of(schemas(True), schemas(False)),
    st.one_of(datasets(True), datasets(False)),
    st.sampled_from(["alice.example", "handle.invalid", None]),
)
def test_any_dataset_of_any_schema_of_both_families_is_accepted(
    schema: Schema, of: Dataset, handle: str | None
) -> None:
    nested = {SCHEMA_URI: schema}
    nesting = replace(schema, fields=(*schema.fields, Field("nested", Nested(SCHEMA_URI))))
    document = croissant(described(of, nesting, nested=nested, handle=handle, version="1.0"))
    read = accepted(document)
    assert len(read.metadata.file_objects) == len(of.shards)


def test_a_document_says_what_the_record_says() -> None:
    of = replace(PLAIN, description="Many cats", license="cc-by-4.0", tags=("cat", "pet", "cat"))
    document = croissant(described(of, image_schema(), handle="alice.example", version="2.0.1"))
    read = accepted(document).metadata
    assert (read.name, read.description) == ("Cats", "Many cats")
    assert read.license == ["https://spdx.org/licenses/CC-BY-4.0.html"]
    assert sorted(read.keywords) == ["cat", "pet"]
    assert read.version == "2.0.1"
    assert read.same_as == [f"at://{ALICE}/{CLASSIC}.entry/3kdataset0001"]
    assert [each.name for each in read.creators] == ["alice.example"]
    assert [each.name for each in read.publisher] == ["alice.example"]
    assert read.date_published.isoformat() == "2026-01-02T03:04:05+00:00"
    assert read.date_modified is not None
    (shard,) = read.file_objects
    assert (shard.content_url, shard.sha256) == ("https://a.example/0.tar", "ab" * 32)
    image, word = read.record_sets[0].fields
    assert (image.name, image.array_shape_tuple) == ("image", (-1, -1, 3))
    assert (word.name, word.data_type) == ("label", bytes)  # what mlcroissant makes of sc:Text


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("MIT", "https://spdx.org/licenses/MIT.html"),
        ("apache-2.0", "https://spdx.org/licenses/Apache-2.0.html"),
        ("https://example.org/terms", "https://example.org/terms"),
        ("MIT OR Apache-2.0", "MIT OR Apache-2.0"),
        ("ask Bob", "ask Bob"),
    ],
)
def test_a_licence_that_spdx_lists_is_its_page(name: str, said: str) -> None:
    assert license_address(name) == said


@pytest.mark.parametrize(
    ("kind", "data_type", "shape"),
    [
        (Primitive("str"), "sc:Text", None),
        (Primitive("int"), "sc:Integer", None),
        (Primitive("float"), "sc:Float", None),
        (Primitive("bool"), "sc:Boolean", None),
        (Primitive("bytes"), "cr:UInt8", "-1"),
        (NDArray("uint8", (32, 32, 3)), "cr:UInt8", "32,32,3"),
        (NDArray("<f4", (-1, 8)), "cr:Float32", "-1,8"),
        (NDArray("float64", ()), "cr:Float64", None),
        (NDArray("bool", (4,)), "sc:Boolean", "4"),
        (NDArray("<U10", (4,)), "sc:Text", "4"),
        (NDArray("M8[ns]", (4,)), "sc:DateTime", "4"),
        (NDArray("complex64", (4, 4)), "cr:UInt8", "-1"),
        (NDArray(None, None), "cr:UInt8", "-1"),
        (ListOf(Primitive("int")), "sc:Integer", "-1"),
        (ListOf(ListOf(Primitive("str"))), "sc:Text", "-1,-1"),
        (ListOf(NDArray("int64", (2, 3))), "cr:Int64", "-1,2,3"),
    ],
)
def test_types_and_shapes_are_those_of_the_schema(
    kind: Any, data_type: str, shape: str | None
) -> None:
    found = field_of(kind)
    assert found is not None
    assert found["dataType"] == data_type
    assert found.get("arrayShape") == shape
    assert found.get("isArray", False) == (shape is not None)


def test_an_array_whose_shape_is_not_stated_is_given_none() -> None:
    found = field_of(NDArray("int16", None))
    assert found is not None
    assert (found["dataType"], found["isArray"]) == ("cr:Int16", True)
    assert "arrayShape" not in found
    assert "its shape is not stated" in found["description"]


@pytest.mark.parametrize(
    "kind",
    [
        AnyType("of tomorrow"),
        ListOf(AnyType()),
        MapOf(AnyType()),
        Nested("at://did:plc:x/unknown.of.us/1"),
        Record(()),
    ],
)
def test_a_type_that_cannot_be_told_is_left_out_and_named(kind: Any) -> None:
    assert field_of(kind) is None
    schema = Schema("S", "1.0.0", (Field("x", kind), Field("y", Primitive("int"))))
    samples = croissant(described(PLAIN, schema))["recordSet"][0]
    assert samples["description"].endswith("cannot be told here: x.")


def test_maps_and_records_have_fields_of_their_own() -> None:
    pair = field_of(MapOf(NDArray("int8", (2,))))
    assert pair is not None and pair["isArray"]
    assert [each["name"] for each in pair["subField"]] == ["key", "value"]
    inner = field_of(Record((Field("a", Record((Field("b", Primitive("int")),))),)))
    assert inner is not None
    leaf = inner["subField"][0]["subField"][0]
    assert leaf["@id"] == "samples/x/a/b"
    assert leaf["source"]["extract"] == {"column": "x"}
    assert leaf["source"]["transform"] == {"jsonPath": '$["a"]["b"]'}


def test_schemas_that_nest_each_other_end() -> None:
    one, other = f"{SCHEMA_URI}a", f"{SCHEMA_URI}b"
    wide = tuple(Field(f"f{n}", Nested(other)) for n in range(40))
    nested = {
        one: Schema("A", "1.0.0", wide),
        other: Schema("B", "1.0.0", tuple(Field(f"g{n}", Nested(one)) for n in range(40))),
    }
    deep = {
        f"{SCHEMA_URI}{n}": Schema(
            "D",
            "1.0.0",
            tuple(Field(f"d{m}" * 50, Nested(f"{SCHEMA_URI}{n + 1}")) for m in range(9))
            or (Field("end", Primitive("int")),),
        )
        for n in range(8)
    }
    deep[f"{SCHEMA_URI}8"] = Schema("E", "1.0.0", (Field("end", Primitive("int")),))
    for start, known in ((nested[one], nested), (deep[f"{SCHEMA_URI}0"], deep)):
        raw = json.dumps(croissant(described(PLAIN, start, nested=known)))
        assert raw.count('"cr:Field"') <= MAX_FIELDS + 2
        assert len(raw) < 10 * MAX_FIELD_CHARACTERS


def test_names_that_mean_something_in_an_iri_are_only_names() -> None:
    names = [
        "..",
        ".",
        "",
        "a b",
        "a/b",
        "#a",
        "?a",
        "a:b",
        "//a",
        "%2e",
        "\x00\n",
        "é</script>",
        "~",
    ]
    schema = Schema("S", "1.0.0", tuple(Field(name, Primitive("int")) for name in names))
    read = accepted(croissant(described(PLAIN, schema)))
    fields = read.metadata.record_sets[0].fields
    assert sorted(each.name for each in fields) == sorted(filter(None, names))
    assert len({each.uuid for each in fields}) == len(fields)


# --- shards ----------------------------------------------------------------------------------


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


# --- the page --------------------------------------------------------------------------------


def test_a_dataset_of_each_family_has_its_document(tmp_path: Path) -> None:
    with Index.open(tmp_path) as index:
        for family in (CLASSIC, NAMESPACE):
            (schema,) = index.publish(ALICE, image_schema(), family=family)
            (put,) = index.publish(ALICE, dataset("cats", schema.uri), family=family)
            index.publish(ALICE, label("cats", put.uri, "3.1.4"), family=family)
            with index.serve() as node:
                response = node.http.get(f"/datasets/{ALICE}/{put.rkey}/croissant.json")
                assert response.status_code == 200
                assert response.headers["content-type"] == "application/ld+json"
                assert response.headers["x-content-type-options"] == "nosniff"
                read = accepted(response.json()).metadata
                assert (read.name, read.version) == ("cats", "3.1.4")
                assert {each.uuid for each in read.record_sets} == {"samples", "members"}
                own = f"https://index.example{croissant_path(put.uri)}"
                assert f'<{own}>; rel="canonical"' in response.headers["link"]
                again = node.http.get(croissant_path(put.uri))
                assert again.content == response.content
                view = node.http.get(read.url.removeprefix("https://index.example"))
                assert view.json()["dataset"]["uri"] == put.uri


def test_where_two_families_hold_one_key_the_collection_is_asked_for(tmp_path: Path) -> None:
    with Index.open(tmp_path) as index:
        (schema,) = index.publish(ALICE, image_schema())
        puts = [
            index.put(ALICE, to_record(dataset(family, schema.uri), family), "3kdataset2222")
            for family in (CLASSIC, NAMESPACE)
        ]
        index.commit(ALICE, *puts)
        with index.serve() as node:
            path = f"/datasets/{ALICE}/3kdataset2222/croissant.json"
            status, error, message = error_of(node.http.get(path))
            assert (status, error) == (400, "AmbiguousDataset")
            assert all(f"?collection={nsid}" in message for nsid in COLLECTIONS)
            for put in puts:
                found = node.http.get(path, params={"collection": put.collection}).json()
                assert found["sameAs"] == put.uri


def test_a_document_is_revalidated_by_its_etag_until_it_changes(tmp_path: Path) -> None:
    with Index.open(tmp_path) as index:
        (schema,) = index.publish(ALICE, image_schema())
        (put,) = index.publish(ALICE, dataset("cats", schema.uri))
        path = croissant_path(put.uri)
        with index.serve() as node:
            first = node.http.get(path)
            tag = first.headers["etag"]
            for sent in (tag, f'"x", W/{tag}', "*"):
                same = node.http.get(path, headers={"if-none-match": sent})
                assert (same.status_code, same.content) == (304, b"")
                assert same.headers["etag"] == tag
            head = node.http.head(path)
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["content-length"] == str(len(first.content))
        index.publish(ALICE, label("cats", put.uri, "1.0.0"))
        with index.serve() as node:
            changed = node.http.get(path, headers={"if-none-match": tag})
            assert changed.status_code == 200
            assert changed.headers["etag"] != tag


def test_what_is_not_there_is_an_error_of_the_usual_shape(tmp_path: Path) -> None:
    with Index.open(tmp_path) as index:
        (schema,) = index.publish(ALICE, image_schema())
        (put,) = index.publish(ALICE, dataset("cats", schema.uri))
        path = f"/datasets/{ALICE}/{put.rkey}/croissant.json"
        with index.serve() as node:
            refusals = {
                f"/datasets/{ALICE}/3kunknown0000/croissant.json": (404, "DatasetNotFound"),
                f"/datasets/{ALICE}/{schema.rkey}/croissant.json": (404, "DatasetNotFound"),
                f"/datasets/nobody.example/{put.rkey}/croissant.json": (400, "InvalidRequest"),
                f"/datasets/not%20an%20account/{put.rkey}/croissant.json": (400, "InvalidRequest"),
                f"/datasets/{ALICE}/a%00b/croissant.json": (400, "InvalidRequest"),
                f"/datasets/{ALICE}/%FF/croissant.json": (400, "InvalidRequest"),
                f"{path}?collection={schema.collection}": (400, "InvalidRequest"),
                f"{path}?collection=": (400, "InvalidRequest"),
                f"{path}?collection=a&collection=b": (400, "InvalidRequest"),
                f"{path}?%zz=1": (400, "InvalidRequest"),
                f"{path}/": (404, "NotFound"),
            }
            for asked, (status, name) in refusals.items():
                assert error_of(node.http.get(asked))[:2] == (status, name), asked
            assert node.http.get(path, params={"unknown": "1"}).status_code == 200
            assert node.http.get(path.replace(ALICE, "alice.test")).status_code == 200
            assert error_of(node.http.post(path))[:2] == (405, "MethodNotAllowed")
            assert node.http.options(path).status_code == 204
        index.set_status(ALICE, active=False, status="takendown")
        with index.serve() as node:
            assert error_of(node.http.get(path))[:2] == (404, "DatasetNotFound")
        with index.serve() as node:
            index.close("store")
            assert error_of(node.http.get(path))[:2] == (503, "NodeUnavailable")


def test_text_of_a_record_cannot_end_the_element_that_a_page_puts_it_into(tmp_path: Path) -> None:
    with Index.open(tmp_path) as index:
        (schema,) = index.publish(ALICE, image_schema())
        named = "</script><script>alert(1)</script> & <!--"
        (put,) = index.publish(ALICE, dataset(named, schema.uri, tags=("<b>",)))
        with index.serve() as node:
            response = node.http.get(croissant_path(put.uri))
            assert not set(b"<>&") & set(response.content)
            assert response.json()["name"] == named


LOAD = """
import json, sys, warnings
warnings.filterwarnings("ignore")
import mlcroissant
read = mlcroissant.Dataset(jsonld=json.loads(sys.argv[1]))
for record in read.records("members"):
    print(json.dumps([record["members/key"].decode(), record["members/content"].hex()]))
"""


@pytest.mark.timeout(180)
def test_mlcroissant_loads_the_samples_of_the_shards_that_a_document_names(tmp_path: Path) -> None:
    """The bytes of each; msgpack is nothing that it knows. In a process of its own, because it
    keeps what it fetches in a folder that is read from the environment when it is imported."""
    entry = json.loads((ATDATA / "entry_http.json").read_text())["value"]
    with Index.open(tmp_path / "node") as index, serve_directory(ATDATA) as shards:
        moved = json.loads(json.dumps(entry).replace("http://127.0.0.1:8000", shards))
        put = index.put(ALICE, moved)
        index.commit(ALICE, put)
        with index.serve(allow_private_hosts=True) as node:
            document = node.http.get(croissant_path(put.uri)).text
        loaded = subprocess.run(
            [sys.executable, "-c", LOAD, document],
            env=os.environ | {"CROISSANT_CACHE": str(tmp_path / "cache"), "NO_PROXY": "*"},
            capture_output=True,
            text=True,
            timeout=150,
        )
    assert loaded.returncode == 0, loaded.stderr
    rows = [json.loads(line) for line in loaded.stdout.splitlines()]
    expected = [sample["name"] for sample in expected_samples()]
    names = [msgpack.unpackb(bytes.fromhex(content))["name"] for _, content in rows]
    assert sorted(names) == sorted(expected)
    assert len({key for key, _ in rows}) == len(rows)
