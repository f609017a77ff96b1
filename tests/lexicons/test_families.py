"""Families: the registry, and what the real atdata library writes."""

from __future__ import annotations

import pytest

from atdex_lexicons import UnknownLexicon
from atdex_lexicons.datamodel import decode, encode, from_json
from atdex_lexicons.families import (
    FAMILIES,
    check_record,
    collections,
    family_of,
    kind_of,
    project,
    to_record,
)
from atdex_lexicons.model import (
    KINDS,
    BlobShard,
    Checksum,
    CodeReference,
    Dataset,
    Field,
    HttpShard,
    Label,
    Lens,
    ListOf,
    Model,
    NDArray,
    Primitive,
    S3Shard,
    Schema,
    Verification,
)

from .records import AT, CATALOG, TID, WRITTEN_BY_ATDATA, fixture

DID = "did:plc:fixture000000000000000000"
DIGESTS = (
    "f96c0b99d151c924bdccd03f71eaefeba0a237495c58dc6f90efa7c1b5aa5ebd",
    "7f063ee2ba5c2860f8f1a2c39b9af3ede2e1d8638e95d9d61171a3922958110a",
    "3867460d8ed77a7821e3e6f3248562c71071e06424126b0284f621b83403bef1",
)
ARRAY = NDArray(format_version="1.0.0")


# --- the registry -----------------------------------------------------------------------------


def test_every_family_has_one_record_type_of_each_kind() -> None:
    for family in FAMILIES:
        assert tuple(family.kinds.values()) == KINDS
        for nsid in family.kinds:
            assert nsid.startswith(family.name + ".")
            assert family_of(nsid) is family
            assert kind_of(nsid) == family.kinds[nsid]


def test_collections_list_the_family_that_is_published_by_default_first() -> None:
    assert collections()[0] == "science.alt.dataset.schema"
    assert len(collections()) == len(set(collections())) == 10


def test_a_foreign_collection_belongs_to_no_family() -> None:
    assert kind_of("app.bsky.feed.post") is None
    assert family_of("app.bsky.feed.post") is None
    with pytest.raises(UnknownLexicon, match=r"app\.bsky\.feed\.post"):
        check_record(CATALOG, "app.bsky.feed.post", TID, {"$type": "app.bsky.feed.post"})
    with pytest.raises(UnknownLexicon):
        to_record(Label("n", "at://x", created_at=AT), "com.example.datasets")


# --- what the atdata library writes -----------------------------------------------------------

EXPECTED: dict[str, tuple[str, Model]] = {
    "schema": (
        "dialect:flat-schema+bare-version-key",
        Schema(
            name="Fix",
            version="1.0.0",
            description="Fixture sample.",
            created_at=AT,
            fields=(
                Field("name", Primitive("str")),
                Field("count", Primitive("int")),
                Field("score", Primitive("float")),
                Field("flag", Primitive("bool")),
                Field("raw", Primitive("bytes")),
                Field("image", ARRAY),
                Field("mask", ARRAY, optional=True),
                Field("tags", ListOf(Primitive("str"))),
                Field("nums", ListOf(Primitive("int"))),
            ),
        ),
    ),
    "schema_view": (
        "dialect:flat-schema+bare-version-key",
        Schema(
            name="FixView",
            version="1.0.0",
            created_at="2026-11-20T15:10:34.103509+00:00",
            fields=(Field("name", Primitive("str")), Field("image", ARRAY)),
        ),
    ),
    "entry_http": (
        "dialect:plain-metadata",
        Dataset(
            name="fixture",
            schema_uri=f"at://{DID}/science.alt.dataset.schema/3kfixture0001",
            shards=tuple(
                HttpShard(f"http://127.0.0.1:8000/fix-{index:06d}.tar", Checksum("sha256", digest))
                for index, digest in enumerate(DIGESTS)
            ),
            description="100 samples, 3 shards",
            tags=("fixture", "test"),
            license="MIT",
            metadata={"split": "train", "custom": {"maker": "agentA"}},
            created_at="2026-11-20T15:10:34.103825+00:00",
        ),
    ),
    "entry_s3": (
        "dialect:plain-metadata",
        Dataset(
            name="fixture",
            schema_uri=f"at://{DID}/science.alt.dataset.schema/3kfixture0001",
            shards=tuple(
                S3Shard(
                    bucket="bkt",
                    key=f"p/fix-{index:06d}.tar",
                    checksum=Checksum("sha256", digest),
                    region="us-east-1",
                    endpoint="http://127.0.0.1:9000",
                )
                for index, digest in enumerate(DIGESTS)
            ),
            description="100 samples, 3 shards",
            tags=("fixture", "test"),
            license="MIT",
            metadata={"split": "train", "custom": {"maker": "agentA"}},
            created_at="2026-11-20T15:10:34.103941+00:00",
        ),
    ),
    "entry_blobs": (
        "dialect:plain-metadata",
        Dataset(
            name="fixture",
            schema_uri=f"at://{DID}/science.alt.dataset.schema/3kfixture0001",
            shards=tuple(
                BlobShard(cid, "application/x-tar", size, Checksum("sha256", digest))
                for cid, size, digest in zip(
                    (
                        "bafkreihznqfztukrzesl3tgqh5y6v37lucrdosk4ldog7ehpu7a3lks6xu",
                        "bafkreid7ay7ofos4fbqpr4ncyonzv47n4lq5qy4osxm5melruojcswarbi",
                        "bafkreibym5da3dwxpj4cdy7g6msikywhcby6azbecjvqfbhweg4dia566e",
                    ),
                    (92160, 92160, 51200),
                    DIGESTS,
                    strict=True,
                )
            ),
            description="100 samples, 3 shards",
            tags=("fixture", "test"),
            license="MIT",
            metadata={"split": "train", "custom": {"maker": "agentA"}},
            created_at="2026-11-20T15:10:34.104330+00:00",
        ),
    ),
    "entry_http_nochecksum": (
        "dialect:no-checksum+local-path",
        Dataset(
            name="fixture-nochecksum",
            schema_uri=f"at://{DID}/science.alt.dataset.schema/3kfixture0001",
            shards=tuple(HttpShard(f"/data/fixture/fix-{index:06d}.tar") for index in range(3)),
            created_at="2026-11-20T15:10:34.104512+00:00",
        ),
    ),
    "label": (
        "valid",
        Label(
            name="fixture",
            dataset_uri=f"at://{DID}/science.alt.dataset.entry/3kfixture0003",
            version="1.0.0",
            description="first",
            created_at="2026-11-20T15:10:34.104596+00:00",
        ),
    ),
    "lens": (
        "valid",
        Lens(
            name="fix_to_view",
            source=f"at://{DID}/science.alt.dataset.schema/3kfixture0001",
            target=f"at://{DID}/science.alt.dataset.schema/3kfixture0002",
            getter=CodeReference(
                "https://github.com/example/lenses",
                "0123456789abcdef0123456789abcdef01234567",
                "lenses/fix.py:fix_to_view",
                language="python",
            ),
            putter=CodeReference(
                "https://github.com/example/lenses",
                "0123456789abcdef0123456789abcdef01234567",
                "lenses/fix.py:fix_to_view_put",
                language="python",
            ),
            description="name+image",
            source_version="1.0.0",
            target_version="1.0.0",
            created_at="2026-11-20T15:10:34.104655+00:00",
        ),
    ),
    "lens_verification": (
        "valid",
        Verification(
            lens_uri=f"at://{DID}/science.alt.dataset.lens/3kfixture0008",
            lens_cid="bafyreihnorpgfru2kigcf4liauqt3b4g7dgqbz7sbaxoqeredukhn26db4",
            method="signedHash",
            description="reviewed",
            created_at="2026-11-20T15:10:34.104725+00:00",
            code_hash=Checksum(
                "sha256", "5694d08a2e53ffcae0c3103e5ad6f6076abd960eb1f8a56577040bc1028f702b"
            ),
        ),
    ),
}


@pytest.mark.parametrize("name", WRITTEN_BY_ATDATA)
def test_a_record_of_the_atdata_library_is_accepted_and_means_what_it_should(name: str) -> None:
    record = fixture(name)
    conformance, model = EXPECTED[name]
    checked = check_record(CATALOG, record["$type"], TID, record)
    assert checked.conformance == conformance
    assert checked.model == model
    assert checked.kind == kind_of(record["$type"])
    assert project(record["$type"], record) == model


def test_a_record_is_never_changed_by_being_checked() -> None:
    for name in EXPECTED:
        record = fixture(name)
        check_record(CATALOG, record["$type"], TID, record)
        assert record == fixture(name)


def test_a_dataset_whose_shards_have_no_checksum_is_not_checksummed() -> None:
    for name, checksummed in (("entry_http", True), ("entry_http_nochecksum", False)):
        model = EXPECTED[name][1]
        assert isinstance(model, Dataset)
        assert model.checksummed is checksummed


def test_a_schema_that_a_repo_has_sorted_keeps_its_required_fields_in_order() -> None:
    stored = decode(encode(from_json(fixture("schema"))))
    model = check_record(CATALOG, "science.alt.dataset.schema", TID, stored).model
    assert isinstance(model, Schema)
    names = [field.name for field in model.fields]
    assert names == ["name", "count", "score", "flag", "raw", "image", "tags", "nums", "mask"]


def test_a_published_schema_keeps_the_order_of_all_its_fields() -> None:
    _, model = EXPECTED["schema"]
    stored = decode(encode(from_json(to_record(model))))
    assert project("science.alt.dataset.schema", stored) == model
