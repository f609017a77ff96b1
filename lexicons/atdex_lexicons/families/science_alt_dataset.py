"""The family `science.alt.dataset`: live on the network, and what is published by default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atdex_lexicons.checks import under, unknown
from atdex_lexicons.errors import NotRepresentable, Problem
from atdex_lexicons.model import (
    BlobShard,
    Checksum,
    Code,
    CodeReference,
    Dataset,
    Field,
    HttpShard,
    Kind,
    Label,
    Lens,
    Model,
    S3Shard,
    Schema,
    Shard,
    Verification,
)

from . import science_alt_dialects as dialects
from .base import Rewritten
from .jsonschema import read_fields
from .jsonschema_write import array_versions, write_content
from .science_alt_dialects import BLOBS, EXTERNAL, HTTP, JSON_SCHEMA, NAME, S3
from .shards import (
    all_of,
    read_blob,
    read_checksum,
    read_s3,
    read_urls,
    s3_place,
    write_blob,
    write_checksum,
)
from .values import (
    MSGPACK_BYTES_MAX,
    bytes_json,
    data_form,
    is_bytes,
    plain_map,
    read_metadata,
    write_msgpack,
)
from .write import record_of, schema_metadata

ENTRY = f"{NAME}.entry"
EMPTY_CHECKSUM = {"algorithm": "none", "digest": ""}
"""What the atdata library writes where there is no checksum: the lexicon wants one."""
EXTERNAL_URL_BYTES_MAX = 1000
"""Bytes of one URL in `storageExternal`, by its lexicon."""


class ScienceAltDataset:
    """Schemas are JSON Schema in an envelope, lenses are code references."""

    name = NAME
    kinds: Mapping[str, Kind] = {
        f"{NAME}.schema": "schema",
        ENTRY: "dataset",
        f"{NAME}.lens": "lens",
        f"{NAME}.label": "label",
        f"{NAME}.lensVerification": "verification",
    }
    dialects = dialects.DIALECTS

    def rewrite(self, kind: Kind, record: Mapping[str, Any]) -> Rewritten | None:
        return dialects.rewrite(kind, record)

    def breaks(self, kind: Kind, record: Mapping[str, Any]) -> bool:
        return dialects.breaks(kind, record)

    def marks(self, kind: Kind, record: Mapping[str, Any]) -> frozenset[str]:
        return dialects.marks(kind, record)

    def read(self, kind: Kind, record: Mapping[str, Any], problems: list[Problem]) -> Model:
        match kind:
            case "schema":
                return _read_schema(record, problems)
            case "dataset":
                return _read_dataset(record, problems)
            case "lens":
                return Lens(
                    name=record["name"],
                    source=record["sourceSchema"],
                    target=record["targetSchema"],
                    getter=_read_code(record["getterCode"], record.get("language")),
                    putter=_read_code(record["putterCode"], record.get("language")),
                    description=record.get("description", ""),
                    source_version=record.get("sourceSchemaVersion"),
                    target_version=record.get("targetSchemaVersion"),
                    created_at=record["createdAt"],
                    metadata=plain_map(record.get("metadata"), "/metadata", problems),
                )
            case "label":
                return Label(
                    name=record["name"],
                    dataset_uri=record["datasetUri"],
                    version=record.get("version"),
                    description=record.get("description", ""),
                    created_at=record["createdAt"],
                )
            case "verification":
                code_hash, proof = record.get("codeHash"), record.get("proofRef")
                return Verification(
                    lens_uri=record["lens"],
                    lens_cid=record["lensCommit"],
                    method=record["verificationMethod"],
                    description=record.get("description", ""),
                    created_at=record["createdAt"],
                    code_hash=read_checksum(code_hash),
                    proof=_read_code(proof, None) if proof is not None else None,
                )

    def write(self, model: Model) -> dict[str, Any]:
        match model:
            case Schema():
                return _write_schema(model)
            case Dataset():
                return _write_dataset(model)
            case Lens():
                return record_of(
                    f"{NAME}.lens",
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
                    datasetUri=model.dataset_uri,
                    version=model.version,
                    description=model.description,
                    createdAt=model.created_at,
                )
            case Verification():
                code_hash, proof = model.code_hash, model.proof
                return record_of(
                    f"{NAME}.lensVerification",
                    lens=model.lens_uri,
                    lensCommit=model.lens_cid,
                    verificationMethod=model.method,
                    codeHash=write_checksum(code_hash) if code_hash else None,
                    proofRef=_write_code(proof, "/proofRef") if proof else None,
                    description=model.description,
                    createdAt=model.created_at,
                )


FAMILY = ScienceAltDataset()


# --- schema -----------------------------------------------------------------------------------


def _read_schema(record: Mapping[str, Any], problems: list[Problem]) -> Schema:
    definition = record["schema"]
    fields: tuple[Field, ...] = ()
    if definition.get("$type") == JSON_SCHEMA:
        fields = read_fields(
            definition["content"],
            definition.get("arrayFormatVersions"),
            "/schema/content",
            problems,
        )
    metadata = plain_map(record.get("metadata"), "/metadata", problems)
    return Schema(
        name=record["name"],
        version=record["version"],
        fields=fields,
        description=record.get("description", ""),
        license=metadata.pop("license", None),
        tags=tuple(metadata.pop("tags", ())),
        created_at=record["createdAt"],
        metadata=metadata,
    )


def _write_schema(model: Schema) -> dict[str, Any]:
    definition: dict[str, Any] = {
        "$type": JSON_SCHEMA,
        "draft": "draft-07",
        "content": write_content(model.fields, "/schema/content"),
    }
    versions = array_versions(model.fields)
    if versions:
        definition["arrayFormatVersions"] = versions
    return record_of(
        f"{NAME}.schema",
        name=model.name,
        version=model.version,
        schemaType="jsonSchema",
        schema=definition,
        description=model.description,
        metadata=schema_metadata(model),
        createdAt=model.created_at,
    ) | {"$atdataSchemaVersion": 1}


# --- dataset ----------------------------------------------------------------------------------


def _read_dataset(record: Mapping[str, Any], problems: list[Problem]) -> Dataset:
    size = record.get("size", {})
    return Dataset(
        name=record["name"],
        schema_uri=record["schemaRef"],
        shards=_read_storage(record["storage"], problems),
        description=record.get("description", ""),
        tags=tuple(record.get("tags", ())),
        license=record.get("license"),
        sample_count=size.get("samples"),
        byte_count=size.get("bytes"),
        metadata=_read_metadata(record.get("metadata"), problems),
        created_at=record["createdAt"],
    )


def _read_metadata(value: Any, problems: list[Problem]) -> dict[str, Any]:
    if value is not None and not is_bytes(value):
        # `plain-metadata` hid it from the lexicon, so nobody has asked yet whether it is data.
        wrong = unknown(value, 1)
        if wrong is not None:
            problems += under("metadata", wrong)
            return {}
    metadata = read_metadata(value, problems)
    if is_bytes(value) or problems:
        return metadata
    if len(write_msgpack(metadata, "/metadata")) > MSGPACK_BYTES_MAX:
        reason = f"longer than {MSGPACK_BYTES_MAX} bytes when encoded as msgpack"
        problems.append(Problem("/metadata", reason))
    return metadata


def _read_storage(storage: Mapping[str, Any], problems: list[Problem]) -> tuple[Shard, ...]:
    kind = storage["$type"]
    if kind == HTTP:
        return tuple(
            HttpShard(shard["url"], read_checksum(shard["checksum"])) for shard in storage["shards"]
        )
    if kind == S3:
        return read_s3(storage)
    if kind == BLOBS:
        return tuple(read_blob(entry) for entry in storage["blobs"])
    if kind == EXTERNAL:
        return _read_external(storage, problems)
    return ()


def _read_external(storage: Mapping[str, Any], problems: list[Problem]) -> tuple[Shard, ...]:
    """The union does not name this one any more, so that its lexicon is checked here."""
    urls = storage.get("urls")
    if not isinstance(urls, list) or not urls:
        problems.append(Problem("/storage/urls", "expected a list of at least one URL"))
        return ()
    for index, url in enumerate(urls):
        if not isinstance(url, str) or len(url.encode()) > EXTERNAL_URL_BYTES_MAX:
            reason = f"expected a URL of at most {EXTERNAL_URL_BYTES_MAX} bytes"
            problems.append(Problem(f"/storage/urls/{index}", reason))
        elif not dialects.is_url_or_path(url):
            problems.append(Problem(f"/storage/urls/{index}", "neither a URL nor a path"))
    return () if problems else read_urls(urls, "/storage/urls", problems)


def _write_dataset(model: Dataset) -> dict[str, Any]:
    if model.splits:
        raise NotRepresentable("/splits", f"{ENTRY} has no splits")
    if model.previous_version is not None:
        raise NotRepresentable("/previousVersion", f"{ENTRY} has no previous version")
    size = {"samples": model.sample_count, "bytes": model.byte_count}
    stated = {key: count for key, count in size.items() if count is not None}
    return record_of(
        ENTRY,
        name=model.name,
        schemaRef=model.schema_uri,
        storage=_write_storage(model.shards),
        description=model.description,
        metadata=bytes_json(write_msgpack(model.metadata, "/metadata")) if model.metadata else None,
        tags=list(model.tags),
        size=stated | {"shards": len(model.shards)} if stated else None,
        license=model.license,
        createdAt=model.created_at,
    )


def _write_storage(shards: Sequence[Shard]) -> dict[str, Any]:
    if not shards:
        raise NotRepresentable("/storage", "a dataset has at least one shard")
    if http := all_of(shards, HttpShard):
        entries = [{"url": s.url, "checksum": _checksum(s.checksum)} for s in http]
        return {"$type": HTTP, "shards": entries}
    if s3 := all_of(shards, S3Shard):
        entries = [{"key": s.key, "checksum": _checksum(s.checksum)} for s in s3]
        return {"$type": S3, **s3_place(s3), "shards": entries}
    if blobs := all_of(shards, BlobShard):
        return {"$type": BLOBS, "blobs": [write_blob(shard) for shard in blobs]}
    raise NotRepresentable("/storage", "all shards are of one kind: HTTP, S3 or blobs")


def _checksum(checksum: Checksum | None) -> dict[str, str]:
    return dict(EMPTY_CHECKSUM) if checksum is None else write_checksum(checksum)


# --- code -------------------------------------------------------------------------------------


def _read_code(code: Mapping[str, Any], language: str | None) -> CodeReference:
    path = code["path"]
    module = dialects.module_path(path)
    return CodeReference(
        repository=code["repository"],
        commit=code["commit"],
        path=path if module is None else f"{module[0].replace('.', '/')}.py:{module[1]}",
        branch=code.get("branch"),
        language=code.get("language", language),
    )


def _write_code(code: Code | None, path: str) -> dict[str, Any]:
    if not isinstance(code, CodeReference):
        raise NotRepresentable(path, "code is a reference to a repository at a commit")
    reference = {
        "repository": code.repository,
        "commit": code.commit,
        "path": code.path,
        "branch": code.branch,
        "language": code.language,
    }
    return {key: value for key, value in reference.items() if value is not None}
