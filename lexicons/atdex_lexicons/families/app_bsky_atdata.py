"""The family `app.bsky.atdata`: this project's own design, under a tentative name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atdex_lexicons.errors import NotRepresentable, Problem
from atdex_lexicons.model import (
    BlobShard,
    Code,
    CodeReference,
    Dataset,
    FieldOps,
    HttpShard,
    Kind,
    Label,
    Lens,
    Model,
    PythonCode,
    S3Shard,
    Schema,
    Shard,
    Split,
    Verification,
)

from . import app_bsky_dialects as dialects
from .app_bsky_dialects import NAME
from .app_bsky_schema import SCHEMA, read_schema, write_fields
from .base import Rewritten
from .fieldops import read_ops, write_ops
from .shards import (
    all_of,
    read_blob,
    read_checksum,
    read_s3,
    read_urls,
    s3_place,
    shard_url,
    write_blob,
    write_checksum,
)
from .values import data_form, plain_map, read_metadata
from .write import record_of, schema_metadata

DATASET = f"{NAME}.dataset"
LENS = f"{NAME}.lens"


class AppBskyAtdata:
    """Schemas list typed fields, lenses are declarative or code."""

    name = NAME
    kinds: Mapping[str, Kind] = {
        SCHEMA: "schema",
        DATASET: "dataset",
        LENS: "lens",
        f"{NAME}.label": "label",
        f"{NAME}.lensVerification": "verification",
    }
    dialects = dialects.DIALECTS

    def rewrite(self, kind: Kind, record: Mapping[str, Any]) -> Rewritten | None:
        return dialects.rewrite(kind, record)

    def breaks(self, kind: Kind, record: Mapping[str, Any]) -> bool:
        return False

    def marks(self, kind: Kind, record: Mapping[str, Any]) -> frozenset[str]:
        return frozenset()

    def read(self, kind: Kind, record: Mapping[str, Any], problems: list[Problem]) -> Model:
        match kind:
            case "schema":
                return read_schema(record, problems)
            case "dataset":
                return _read_dataset(record, problems)
            case "lens":
                return Lens(
                    name=record["name"],
                    source=record["sourceSchema"],
                    target=record["targetSchema"],
                    getter=_read_code(record.get("getterCode"), "/getterCode", problems),
                    putter=_read_code(record.get("putterCode"), "/putterCode", problems),
                    description=record.get("description", ""),
                    source_version=record.get("sourceSchemaVersion"),
                    target_version=record.get("targetSchemaVersion"),
                    created_at=record["createdAt"],
                    metadata=plain_map(record.get("metadata"), "/metadata", problems),
                )
            case "label":
                return Label(
                    name=record["name"],
                    dataset_uri=record["dataset"],
                    version=record.get("version"),
                    description=record.get("description", ""),
                    created_at=record["createdAt"],
                )
            case "verification":
                proof = record.get("proof")
                return Verification(
                    lens_uri=record["lens"],
                    lens_cid=record["lensCid"],
                    method=record["method"],
                    description=record.get("description", ""),
                    created_at=record["createdAt"],
                    code_hash=read_checksum(record.get("codeHash")),
                    proof=_read_reference(proof) if proof is not None else None,
                )

    def write(self, model: Model) -> dict[str, Any]:
        match model:
            case Schema():
                return record_of(
                    SCHEMA,
                    name=model.name,
                    version=model.version,
                    description=model.description,
                    metadata=schema_metadata(model),
                    createdAt=model.created_at,
                ) | {"fields": write_fields(model.fields)}
            case Dataset():
                return _write_dataset(model)
            case Lens():
                return record_of(
                    LENS,
                    name=model.name,
                    sourceSchema=model.source,
                    targetSchema=model.target,
                    description=model.description,
                    getterCode=_write_code(model.getter, "/getterCode"),
                    putterCode=_write_code(model.putter, "/putterCode"),
                    sourceSchemaVersion=model.source_version,
                    targetSchemaVersion=model.target_version,
                    metadata=data_form(model.metadata, "/metadata"),
                    createdAt=model.created_at,
                )
            case Label():
                return record_of(
                    f"{NAME}.label",
                    name=model.name,
                    dataset=model.dataset_uri,
                    version=model.version,
                    description=model.description,
                    createdAt=model.created_at,
                )
            case Verification():
                return record_of(
                    f"{NAME}.lensVerification",
                    lens=model.lens_uri,
                    lensCid=model.lens_cid,
                    method=model.method,
                    codeHash=write_checksum(model.code_hash) if model.code_hash else None,
                    proof=_write_reference(model.proof) if model.proof else None,
                    description=model.description,
                    createdAt=model.created_at,
                )


FAMILY = AppBskyAtdata()


# --- dataset ----------------------------------------------------------------------------------


def _read_dataset(record: Mapping[str, Any], problems: list[Problem]) -> Dataset:
    size = record.get("size", {})
    shards = _read_shards(record, problems)
    splits = tuple(Split(s["name"], s["start"], s["stop"]) for s in record.get("splits", ()))
    for index, split in enumerate(splits):
        if split.start >= split.stop:
            reason = "a split ends after the shard it starts with"
            problems.append(Problem(f"/splits/{index}/stop", reason))
        elif shards and split.stop > len(shards):
            reason = f"the dataset has {len(shards)} shards"
            problems.append(Problem(f"/splits/{index}/stop", reason))
    return Dataset(
        name=record["name"],
        schema_uri=record["schemaRef"],
        shards=shards,
        description=record.get("description", ""),
        tags=tuple(record.get("tags", ())),
        license=record.get("license"),
        sample_count=size.get("samples"),
        byte_count=size.get("bytes"),
        splits=splits,
        previous_version=record.get("previousVersion"),
        metadata=read_metadata(record.get("metadata"), problems),
        created_at=record["createdAt"],
    )


def _read_shards(record: Mapping[str, Any], problems: list[Problem]) -> tuple[Shard, ...]:
    urls, storage = record.get("urls"), record.get("storage")
    if (urls is None) == (storage is None):
        reason = "has both urls and storage" if urls is not None else "has neither urls nor storage"
        problems.append(Problem("", f"{reason}: a dataset has one of them"))
        return ()
    if urls is not None:
        return read_urls(urls, "/urls", problems)
    assert storage is not None
    match str(storage["$type"]).removeprefix(f"{DATASET}#"):
        case "httpStorage":
            return tuple(
                HttpShard(entry["url"], read_checksum(entry["checksum"]))
                for entry in storage["shards"]
            )
        case "s3Storage":
            return read_s3(storage)
        case "blobStorage":
            return tuple(read_blob(entry) for entry in storage["shards"])
        case _:
            return ()


def _write_dataset(model: Dataset) -> dict[str, Any]:
    size = {"samples": model.sample_count, "bytes": model.byte_count}
    stated = {key: count for key, count in size.items() if count is not None}
    splits = [{"name": s.name, "start": s.start, "stop": s.stop} for s in model.splits]
    return record_of(
        DATASET,
        name=model.name,
        schemaRef=model.schema_uri,
        **_write_shards(model.shards),
        description=model.description,
        metadata=data_form(model.metadata, "/metadata"),
        tags=list(model.tags),
        size=stated | {"shards": len(model.shards)} if stated else None,
        license=model.license,
        splits=splits,
        previousVersion=model.previous_version,
        createdAt=model.created_at,
    )


def _write_shards(shards: Sequence[Shard]) -> dict[str, Any]:
    if not shards:
        raise NotRepresentable("/storage", "a dataset has at least one shard")
    if blobs := all_of(shards, BlobShard):
        return _storage("blobStorage", [write_blob(shard) for shard in blobs])
    if any(shard.checksum is None for shard in shards):
        return {"urls": [shard_url(s, f"/urls/{index}") for index, s in enumerate(shards)]}
    if http := all_of(shards, HttpShard):
        return _storage("httpStorage", [{"url": s.url, **_checksum(s)} for s in http])
    if s3 := all_of(shards, S3Shard):
        return _storage("s3Storage", [{"key": s.key, **_checksum(s)} for s in s3], **s3_place(s3))
    raise NotRepresentable("/storage", "all shards are of one kind: HTTP, S3 or blobs")


def _storage(name: str, shards: list[dict[str, Any]], **place: str) -> dict[str, Any]:
    return {"storage": {"$type": f"{DATASET}#{name}", **place, "shards": shards}}


def _checksum(shard: Shard) -> dict[str, Any]:
    return {"checksum": write_checksum(shard.checksum)} if shard.checksum else {}


# --- code -------------------------------------------------------------------------------------


def _read_code(code: Mapping[str, Any] | None, path: str, problems: list[Problem]) -> Code | None:
    if code is None:
        return None
    match str(code["$type"]).removeprefix(f"{LENS}#"):
        case "fieldOps":
            return read_ops(code["ops"], LENS, f"{path}/ops", problems)
        case "codeReference":
            return _read_reference(code)
        case "pythonCode":
            return PythonCode(code["source"])
        case _:
            return None


def _read_reference(code: Mapping[str, Any]) -> CodeReference:
    return CodeReference(
        repository=code["repository"],
        commit=code["commit"],
        path=code["path"],
        branch=code.get("branch"),
        language=code.get("language"),
    )


def _write_code(code: Code | None, path: str) -> dict[str, Any] | None:
    match code:
        case None:
            return None
        case CodeReference():
            return {"$type": f"{LENS}#codeReference", **_write_reference(code)}
        case PythonCode(source):
            return {"$type": f"{LENS}#pythonCode", "kind": "python", "source": source}
        case FieldOps():
            ops = write_ops(code, LENS, f"{path}/ops")
            return {"$type": f"{LENS}#fieldOps", "kind": "fieldOps", "ops": ops}


def _write_reference(code: CodeReference) -> dict[str, Any]:
    reference = {
        "kind": "reference",
        "repository": code.repository,
        "commit": code.commit,
        "path": code.path,
        "branch": code.branch,
        "language": code.language,
    }
    return {key: value for key, value in reference.items() if value is not None}
