"""How records of `science.alt.dataset` in the wild deviate from their lexicons."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from atdex_lexicons.model import Kind
from atdex_lexicons.syntax import is_uri

from .base import Rewritten, without_nulls
from .shards import is_empty_checksum
from .values import is_bytes

DIALECTS: Mapping[str, str] = {
    "flat-schema": "a schema's JSON Schema stands beside $type, not under content",
    "schema-body": "a schema's JSON Schema stands under schemaBody, not under content",
    "bare-version-key": "a schema has atdataSchemaVersion in place of $atdataSchemaVersion",
    "plain-metadata": "a dataset's metadata is an object, not msgpack bytes",
    "no-checksum": "a shard's checksum is there and empty: nobody can verify the shard",
    "local-path": "a shard's URL is a path on the publisher's machine",
    "external-storage": "the storage is storageExternal, which its union does not name any more",
    "module-path": "a lens names its code as module:function, not as file.py:function",
    "null-fields": "fields that are not set are null, not left out",
}

NAME = "science.alt.dataset"
JSON_SCHEMA = f"{NAME}.schema#jsonSchemaFormat"
HTTP = f"{NAME}.storageHttp"
S3 = f"{NAME}.storageS3"
BLOBS = f"{NAME}.storageBlobs"
EXTERNAL = f"{NAME}.storageExternal"

_OPAQUE = frozenset({"schema", "metadata", "contentMetadata"})
"""Fields whose content belongs to the publisher: a null in them is theirs."""

_ENVELOPE = frozenset({"$type", "draft", "arrayFormatVersions"})
_WITH_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_PATH = re.compile(
    r"[/\\~.][^\x00-\x1f\x7f]*"  # absolute, or relative and saying so
    r"|[A-Za-z]:[/\\][^\x00-\x1f\x7f]*"  # on a drive
    r"|(?!.*//)[^\s:\x00-\x1f\x7f]+"  # relative
)
_MODULE_PATH = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)", re.ASCII)
_FILE_SUFFIXES = frozenset({"py", "ipynb", "ts", "js", "mjs", "rs", "go", "jl", "r", "R"})


def rewrite(kind: Kind, record: Mapping[str, Any]) -> Rewritten | None:
    """See `Family.rewrite`."""
    found: set[str] = set()
    moved: dict[str, str] = {}
    result = without_nulls(record, _OPAQUE)
    if result is not record:
        found.add("null-fields")
    if kind == "schema":
        envelope = _enveloped(result.get("schema"))
        if envelope is not None:
            name, definition, place = envelope
            found.add(name)
            moved["/schema/content"] = place
            result = {**result, "schema": definition}
    shadow = result
    if kind == "dataset":
        if _is_plain_metadata(result.get("metadata")):
            found.add("plain-metadata")
            shadow = {key: value for key, value in result.items() if key != "metadata"}
        storage = _with_file_urls(result.get("storage"))
        if storage is not None:
            found.add("local-path")
            shadow = {**shadow, "storage": storage}
    return Rewritten(result, shadow, frozenset(found), moved) if found else None


def breaks(kind: Kind, record: Mapping[str, Any]) -> bool:
    """See `Family.breaks`. What the atdata library writes does, every schema and most datasets."""
    if kind == "dataset":
        return _is_plain_metadata(record.get("metadata"))
    return kind == "schema" and _enveloped(record.get("schema")) is not None


def marks(kind: Kind, record: Mapping[str, Any]) -> frozenset[str]:
    """See `Family.marks`."""
    found: set[str] = set()
    if kind == "schema" and "atdataSchemaVersion" in record:
        found.add("bare-version-key")
    if kind == "lens" and any(
        module_path(record[code]["path"]) for code in ("getterCode", "putterCode")
    ):
        found.add("module-path")
    if kind == "dataset":
        found |= _storage_marks(record["storage"])
    return frozenset(found)


def _is_plain_metadata(metadata: Any) -> bool:
    return isinstance(metadata, Mapping) and not is_bytes(metadata)


def _storage_marks(storage: Mapping[str, Any]) -> set[str]:
    kind = storage["$type"]
    found: set[str] = set()
    urls: Any = []
    if kind == EXTERNAL:
        found.add("external-storage")
        urls = storage.get("urls")
    elif kind in (HTTP, S3, BLOBS):
        entries = storage["blobs" if kind == BLOBS else "shards"]
        if any("checksum" in entry and is_empty_checksum(entry["checksum"]) for entry in entries):
            found.add("no-checksum")
        urls = [entry["url"] for entry in entries] if kind == HTTP else []
    if isinstance(urls, list) and any(isinstance(url, str) and is_local(url) for url in urls):
        found.add("local-path")
    return found


def is_local(url: str) -> bool:
    """Whether `url` is a path, or a URL of one, that means something on one machine only."""
    if _WITH_SCHEME.match(url):
        return url[:5].lower() == "file:"
    return _PATH.fullmatch(url) is not None


def is_url_or_path(url: str) -> bool:
    """Whether `url` is a URL, or a local path."""
    return is_uri(url) or is_local(url)


def module_path(path: str) -> tuple[str, str] | None:
    """The module and the function of a path such as `lenses.vision:to_grey`."""
    match = _MODULE_PATH.fullmatch(path)
    if match is None or match[1].rpartition(".")[2] in _FILE_SUFFIXES:
        return None
    return match[1], match[2]


def _enveloped(schema: Any) -> tuple[str, dict[str, Any], str] | None:
    """The dialect, the schema in its envelope, and where its content stood."""
    if not isinstance(schema, Mapping) or schema.get("$type") != JSON_SCHEMA:
        return None
    if "content" in schema:
        return None
    kept = {key: value for key, value in schema.items() if key in _ENVELOPE}
    kept.setdefault("draft", "draft-07")
    body = schema.get("schemaBody")
    if isinstance(body, Mapping):
        return "schema-body", {**kept, "content": body}, "/schema/schemaBody"
    content = {key: value for key, value in schema.items() if key not in _ENVELOPE}
    if "properties" in content or content.get("type") == "object":
        return "flat-schema", {**kept, "content": content}, "/schema"
    return None


def _with_file_urls(storage: Any) -> dict[str, Any] | None:
    """An HTTP storage with a URL of the same length in place of each path; None without paths."""
    if not isinstance(storage, Mapping) or storage.get("$type") != HTTP:
        return None
    shards = storage.get("shards")
    if not isinstance(shards, list):
        return None
    result = [_with_file_url(shard) for shard in shards]
    if all(new is old for new, old in zip(result, shards, strict=True)):
        return None
    return {**storage, "shards": result}


def _with_file_url(shard: Any) -> Any:
    url = shard.get("url") if isinstance(shard, Mapping) else None
    if not isinstance(url, str) or is_uri(url) or not is_local(url):
        return shard
    return {**shard, "url": "file:".ljust(max(6, len(url.encode("utf-8", "replace"))), "x")}
