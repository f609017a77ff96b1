"""From the model to a record of each family, and back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atdex_lexicons import Catalog
from atdex_lexicons.datamodel import decode, encode, from_json
from atdex_lexicons.families import NotRepresentable, check_record, project, to_record
from atdex_lexicons.families.jsonschema import ARRAY_FORMATS
from atdex_lexicons.model import (
    AnyType,
    BlobShard,
    Checksum,
    Code,
    CodeReference,
    Dataset,
    Field,
    FieldOps,
    FieldType,
    HttpShard,
    Label,
    Lens,
    ListOf,
    MapOf,
    Model,
    NDArray,
    Nested,
    Primitive,
    PythonCode,
    Record,
    S3Shard,
    Schema,
    Split,
    Verification,
)

CATALOG = Catalog.bundled()
LIVE, OWN = "science.alt.dataset", "app.bsky.atdata"
AT = "2026-03-14T09:26:53.589Z"
ALICE = "at://did:plc:k7dqmn3xw2t5hjv4yzr6apce"
CID = "bafkreihznqfztukrzesl3tgqh5y6v37lucrdosk4ldog7ehpu7a3lks6xu"
SHA = Checksum("sha256", "f96c0b99d151c924bdccd03f71eaefeba0a237495c58dc6f90efa7c1b5aa5ebd")

text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
words = st.from_regex(r"[a-z][a-z0-9_]{0,10}", fullmatch=True)
texts = st.one_of(st.just(""), text)
uris = st.from_regex(r"[a-z]{1,8}/3[a-z2-7]{12}", fullmatch=True).map(
    lambda rest: f"{ALICE}/app.example.{rest}"
)
integers = st.integers(-(1 << 63), (1 << 63) - 1)
scalars = st.one_of(st.none(), st.booleans(), integers, text, st.binary(max_size=8))
floats = st.floats(allow_nan=False, allow_infinity=False)


def values(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=3)
        ),
        max_leaves=6,
    )


data_maps = st.dictionaries(words, values(scalars), max_size=3)
msgpack_maps = st.dictionaries(words, values(st.one_of(scalars, floats)), max_size=3)
literals = values(st.one_of(scalars, floats))
versions = st.one_of(st.none(), st.just("1.2.0"))
checksums = st.builds(
    Checksum, st.sampled_from(["sha256", "blake3"]), st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
)
references = st.builds(
    CodeReference,
    repository=st.just("https://git.example.org/alice/lenses"),
    commit=st.from_regex(r"[0-9a-f]{40}", fullmatch=True),
    path=words.map(lambda name: f"lenses/{name}.py:{name}"),
    branch=st.one_of(st.none(), words),
    language=st.one_of(st.none(), words),
)


# --- strategies of models ---------------------------------------------------------------------


def arrays(live: bool) -> st.SearchStrategy[NDArray]:
    formats = sorted(array_format for array_format, _ in ARRAY_FORMATS.values())
    known = st.sampled_from(["1.0.0", "1.1.0"])
    return st.builds(
        NDArray,
        dtype=st.one_of(st.none(), st.sampled_from(["uint8", "float32", "<U10"])),
        shape=st.one_of(st.none(), st.lists(st.integers(-1, 512), max_size=4).map(tuple)),
        dimension_names=st.one_of(st.none(), st.lists(words, max_size=4).map(tuple)),
        format=st.sampled_from(formats),
        format_version=known if live else st.one_of(st.none(), known),
    )


def field_types(live: bool) -> st.SearchStrategy[FieldType]:
    leaves: list[st.SearchStrategy[FieldType]] = [
        st.sampled_from(["str", "int", "float", "bool", "bytes"]).map(Primitive),  # type: ignore[arg-type]  # sampled from literals
        arrays(live),
        uris.map(Nested),
    ]
    if live:
        leaves.append(texts.map(AnyType))

    def nest(inner: st.SearchStrategy[FieldType]) -> st.SearchStrategy[FieldType]:
        kinds: list[st.SearchStrategy[FieldType]] = [inner.map(ListOf), inner.map(MapOf)]
        if live:
            kinds.append(fields(inner).map(Record))
        return st.one_of(kinds)

    return st.recursive(st.one_of(leaves), nest, max_leaves=4)


def fields(types: st.SearchStrategy[FieldType]) -> st.SearchStrategy[tuple[Field, ...]]:
    one = st.builds(Field, name=text, type=types, optional=st.booleans(), description=texts)
    return st.lists(one, max_size=5, unique_by=lambda field: field.name).map(tuple)


def schemas(live: bool) -> st.SearchStrategy[Schema]:
    return st.builds(
        Schema,
        name=text,
        version=st.just("1.0.0"),
        fields=fields(field_types(live)),
        description=texts,
        license=st.one_of(st.none(), st.just("MIT")),
        tags=st.lists(text, max_size=3).map(tuple),
        created_at=st.just(AT),
        metadata=data_maps.map(lambda m: {k: m[k] for k in m if k not in ("license", "tags")}),
    )


def lists_of(one: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(one, min_size=1, max_size=4).map(tuple)


urls = words.map(lambda word: f"https://data.example.org/{word}.tar")
sums = st.one_of(st.none(), checksums)
http_shards = lists_of(st.builds(HttpShard, urls, checksums))
blob_shards = lists_of(
    st.builds(BlobShard, st.just(CID), st.just("application/x-tar"), st.integers(1, 999), sums)
)


@st.composite
def s3_shards(draw: st.DrawFn, checksum: st.SearchStrategy[Checksum | None]) -> tuple[S3Shard, ...]:
    region = draw(st.one_of(st.none(), st.just("eu-north-1")))
    endpoint = draw(st.one_of(st.none(), st.just("https://s3.example.net")))
    one = st.builds(S3Shard, st.just("bkt"), words, checksum, st.just(region), st.just(endpoint))
    return draw(lists_of(one))


def datasets(live: bool) -> st.SearchStrategy[Dataset]:
    shards: list[st.SearchStrategy[tuple[Any, ...]]] = [http_shards, blob_shards]
    if live:
        shards += [lists_of(st.builds(HttpShard, urls, sums)), s3_shards(sums)]
    else:
        plain_s3 = st.builds(S3Shard, st.just("bkt"), words)
        shards += [s3_shards(checksums), lists_of(st.one_of(st.builds(HttpShard, urls), plain_s3))]
    split = st.builds(Split, words, st.just(0), st.just(1))
    return st.builds(
        Dataset,
        name=text,
        schema_uri=uris,
        shards=st.one_of(shards),
        description=texts,
        tags=st.lists(text, max_size=3).map(tuple),
        license=st.one_of(st.none(), st.just("CC-BY-4.0")),
        sample_count=st.one_of(st.none(), st.integers(0, 1 << 40)),
        byte_count=st.one_of(st.none(), st.integers(0, 1 << 50)),
        splits=st.just(()) if live else st.lists(split, max_size=2).map(tuple),
        previous_version=st.none() if live else st.one_of(st.none(), uris),
        metadata=msgpack_maps if live else data_maps,
        created_at=st.just(AT),
    )


def op(name: str, **keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"op": st.just(name), **keys})


names = st.lists(words, min_size=1, max_size=3)
tables = st.lists(
    st.lists(literals, min_size=2, max_size=2), min_size=1, max_size=3, unique_by=lambda p: repr(p)
).filter(lambda rows: len({repr(row[0]) for row in rows}) == len(rows))
ops = st.one_of(
    st.fixed_dictionaries({"op": st.just("rename"), "from": words, "to": words}),
    op("drop", field=words, default=literals),
    op("add", field=words, value=literals),
    st.fixed_dictionaries({"op": st.just("cast"), "field": words, "from": words, "to": words}),
    op("map", field=words, values=tables),
    op("select", fields=names),
    op("nest", fields=names, into=words),
    op("hoist", field=words, fields=names),
)


def lenses(live: bool) -> st.SearchStrategy[Lens]:
    code: st.SearchStrategy[Code | None] = references
    if not live:
        code = st.one_of(
            st.none(),
            references,
            text.map(PythonCode),
            st.lists(ops, max_size=4).map(lambda found: FieldOps(tuple(found))),
        )
    return st.builds(
        Lens,
        name=text,
        source=uris,
        target=uris,
        getter=code,
        putter=code,
        description=texts,
        source_version=versions,
        target_version=versions,
        created_at=st.just(AT),
        metadata=data_maps,
    )


labels = st.builds(Label, text, uris, versions, texts, st.just(AT))
verifications = st.builds(
    Verification,
    lens_uri=uris,
    lens_cid=st.just(CID),
    method=st.sampled_from(["codeReview", "signedHash"]),
    description=texts,
    created_at=st.just(AT),
    code_hash=sums,
    proof=st.one_of(st.none(), references),
)


def models(live: bool) -> st.SearchStrategy[Model]:
    return st.one_of(schemas(live), datasets(live), lenses(live), labels, verifications)


def through(model: Model, family: str) -> Model:
    record = to_record(model, family)
    checked = check_record(CATALOG, record["$type"], None, record)
    stored = decode(encode(from_json(record)))
    assert project(record["$type"], stored) == checked.model
    return checked.model


relaxed = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@relaxed
@given(models(live=True))
def test_a_model_survives_a_record_of_the_live_family(model: Model) -> None:
    assert through(model, LIVE) == model


@relaxed
@given(models(live=False))
def test_a_model_survives_a_record_of_our_own_family(model: Model) -> None:
    assert through(model, OWN) == model


# --- what a family cannot say -----------------------------------------------------------------

SCHEMA = Schema("S", "1.0.0", (Field("x", Primitive("int")),), created_at=AT)
DATASET = Dataset(
    "D", f"{ALICE}/app.example.schema/x", (HttpShard("https://x/a.tar"),), created_at=AT
)
LENS = Lens("L", f"{ALICE}/a.b.c/x", f"{ALICE}/a.b.c/y", None, None, created_at=AT)


@pytest.mark.parametrize(
    ("family", "model", "path"),
    [
        (LIVE, replace(SCHEMA, created_at=""), "/createdAt"),
        (LIVE, replace(SCHEMA, fields=SCHEMA.fields * 2), "/schema/content/properties/x"),
        (LIVE, replace(SCHEMA, metadata={"license": "MIT"}), "/metadata/license"),
        (LIVE, replace(SCHEMA, metadata={"mean": 0.5}), "/metadata/mean"),
        (LIVE, replace(DATASET, shards=()), "/storage"),
        (LIVE, replace(DATASET, splits=(Split("train", 0, 1),)), "/splits"),
        (LIVE, replace(DATASET, previous_version=ALICE), "/previousVersion"),
        (LIVE, replace(DATASET, metadata={"x": object()}), "/metadata"),
        (
            LIVE,
            replace(DATASET, shards=(S3Shard("a", "k", SHA), S3Shard("b", "k", SHA))),
            "/storage",
        ),
        (
            LIVE,
            replace(DATASET, shards=(S3Shard("a", "k"), HttpShard("https://x/a"))),
            "/storage",
        ),
        (LIVE, LENS, "/getterCode"),
        (
            LIVE,
            replace(LENS, getter=FieldOps(())),
            "/getterCode",
        ),
        (OWN, replace(SCHEMA, fields=(Field("x", Record(())),)), "/fields/0/type"),
        (OWN, replace(SCHEMA, fields=(Field("x", ListOf(AnyType("?"))),)), "/fields/0/type/items"),
        (OWN, replace(DATASET, metadata={"mean": [0.5]}), "/metadata/mean/0"),
        (OWN, replace(DATASET, metadata={"$link": "x"}), "/metadata"),
        (
            OWN,
            replace(DATASET, shards=(HttpShard("https://x/a"), HttpShard("https://x/b", SHA))),
            "/urls/1",
        ),
        (OWN, replace(DATASET, shards=(HttpShard("https://x/{0..9}.tar"),)), "/urls/0"),
        (OWN, replace(DATASET, shards=(HttpShard("s3://bkt/a.tar"),)), "/urls/0"),
        (OWN, replace(DATASET, shards=(S3Shard("b", "k", None, "eu"),)), "/urls/0"),
        (OWN, replace(LENS, getter=FieldOps(({"op": "melt"},))), "/getterCode/ops/0/op"),
        (OWN, replace(LENS, getter=FieldOps(({"op": "drop", "field": "x"},))), "/getterCode/ops/0"),
        (
            OWN,
            replace(LENS, getter=FieldOps(({"op": "add", "field": "x", "value": float("nan")},))),
            "/getterCode/ops/0/value",
        ),
    ],
)
def test_what_a_family_cannot_say_is_an_error_with_its_place(
    family: str, model: Model, path: str
) -> None:
    with pytest.raises(NotRepresentable) as caught:
        to_record(model, family)
    assert caught.value.path == path


def test_an_array_without_a_version_is_written_with_the_one_that_has_what_it_states() -> None:
    fields = (Field("a", NDArray()), Field("b", NDArray(dtype="uint8")))
    model = through(replace(SCHEMA, fields=fields), LIVE)
    assert isinstance(model, Schema)
    versions_found = [f.type.format_version for f in model.fields if isinstance(f.type, NDArray)]
    assert versions_found == ["1.0.0", "1.1.0"]


def test_an_operation_of_a_later_version_is_kept_and_named() -> None:
    record = to_record(replace(LENS, getter=FieldOps(())), OWN)
    record["getterCode"]["ops"] = [{"$type": f"{OWN}.lens#meltOp", "op": "melt", "field": "x"}]
    model = check_record(CATALOG, record["$type"], None, record).model
    assert isinstance(model, Lens)
    assert model.getter == FieldOps(({"op": f"{OWN}.lens#meltOp", "field": "x"},))
