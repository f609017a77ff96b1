"""How a publisher of the demo spells its records: one class per dialect seen on the network.

- `lexicon`: as the documents of `science.alt.dataset` say.
- `sdk`: as the atdata library writes them: the JSON Schema beside its `$type` (or under
  `schemaBody`), metadata as a plain object, `+00:00` times, nulls for what is not set.
- `atdata`: the family `app.bsky.atdata`.

These are the spellings of others, kept apart from the families that read them: a demo that
wrote its records with the code under show would prove nothing.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from demo.shards import Shard

Json = dict[str, Any]

JSON_TYPES: dict[str, Json] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "bytes": {"type": "string", "format": "byte", "contentEncoding": "base64"},
    "array": {"$ref": "https://alt.science/schemas/atdata-ndarray-bytes/1.0.0#/$defs/ndarray"},
    "list[str]": {"type": "array", "items": {"type": "string"}},
}


@dataclass(frozen=True, slots=True)
class Storage:
    """The shards that a dataset record names: real ones, or made-up ones elsewhere."""

    urls: list[str]
    digests: list[str | None]
    samples: int
    bytes: int
    pattern: str = ""

    @classmethod
    def real(cls, shards: list[Shard]) -> Storage:
        return cls(
            [shard.url for shard in shards],
            [shard.sha256 for shard in shards],
            sum(shard.samples for shard in shards),
            sum(len(shard.content) for shard in shards),
        )

    @classmethod
    def pretended(cls, place: str, count: int, samples: int, *, checked: bool) -> Storage:
        """Shards of a host that does not exist. `place` is `host/path`."""
        urls = [f"https://{place}-{index:06d}.tar" for index in range(count)]
        digests = [hashlib.sha256(url.encode()).hexdigest() if checked else None for url in urls]
        size = samples * 20_480 + int(hashlib.sha256(place.encode()).hexdigest()[:6], 16)
        pattern = f"https://{place}-{{000000..{count - 1:06d}}}.tar"
        return cls(urls, digests, samples, size, pattern)


@dataclass(frozen=True, slots=True)
class Refs:
    """What a record may refer to by the time it is written: URIs, and CIDs of what is there."""

    uris: Mapping[str, str]
    cids: Mapping[str, str] = field(default_factory=dict)


class LexiconSpelling:
    """Records as the documents of `science.alt.dataset` say."""

    family = "science.alt.dataset"
    dataset_name = "entry"

    def collection(self, kind: str) -> str:
        names = {"dataset": self.dataset_name, "verification": "lensVerification"}
        return f"{self.family}.{names.get(kind, kind)}"

    def time(self, moment: datetime) -> str:
        return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")

    def schema(self, entry: Json, refs: Refs, moment: datetime) -> Json:
        content = {"$schema": "http://json-schema.org/draft-07/schema#"} | _json_schema(entry)
        return self._record("schema", moment) | {
            "name": entry["name"],
            "version": entry["version"],
            "description": entry["description"],
            "schemaType": "jsonSchema",
            "schema": {
                "$type": f"{self.family}.schema#jsonSchemaFormat",
                "draft": "draft-07",
                "content": content,
                "arrayFormatVersions": {"ndarrayBytes": "1.0.0"},
            },
            "metadata": {k: entry[k] for k in ("license", "tags") if k in entry},
            "$atdataSchemaVersion": 1,
        }

    def dataset(self, entry: Json, storage: Storage, refs: Refs, moment: datetime) -> Json:
        metadata = msgspec.msgpack.encode({"curator": "the demo", "edition": 1})
        return self._record("dataset", moment) | {
            "name": entry["name"],
            "schemaRef": refs.uris[entry["schema"]],
            "storage": self._storage(entry, storage),
            "description": entry["description"],
            "metadata": {"$bytes": base64.b64encode(metadata).decode().rstrip("=")},
            "tags": entry["tags"],
            "license": entry["license"],
            "size": {
                "samples": storage.samples,
                "bytes": storage.bytes,
                "shards": len(storage.urls),
            },
        }

    def lens(self, entry: Json, refs: Refs, moment: datetime) -> Json:
        return self._record("lens", moment) | {
            "name": entry["name"],
            "sourceSchema": refs.uris[entry["source"]],
            "targetSchema": refs.uris[entry["target"]],
            "description": entry["description"],
            "getterCode": _code(entry["name"], f"lenses/demo.py:{entry['name']}"),
            "putterCode": _code(entry["name"], f"lenses/demo.py:{entry['name']}_put"),
            "sourceSchemaVersion": ">=1.0.0 <4.0.0",
        }

    def label(self, entry: Json, refs: Refs, moment: datetime) -> Json:
        record = {"name": entry["name"], "datasetUri": refs.uris[entry["dataset"]]}
        return self._record("label", moment) | record | _some(entry, "version", "description")

    def verification(self, entry: Json, refs: Refs, moment: datetime) -> Json:
        return self._record("verification", moment) | {
            "lens": refs.uris[entry["lens"]],
            "lensCommit": refs.cids[entry["lens"]],
            "verificationMethod": entry["method"],
            **_some(entry, "description"),
        }

    def _record(self, kind: str, moment: datetime) -> Json:
        return {"$type": self.collection(kind), "createdAt": self.time(moment)}

    def _storage(self, entry: Json, storage: Storage) -> Json:
        if entry.get("legacy"):
            return {"$type": f"{self.family}.storageExternal", "urls": [storage.pattern]}
        return {"$type": f"{self.family}.storageHttp", "shards": _shards(storage)}


class SdkSpelling(LexiconSpelling):
    """Records as the atdata library writes them."""

    def time(self, moment: datetime) -> str:
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%f+00:00")

    def schema(self, entry: Json, refs: Refs, moment: datetime) -> Json:
        body = {"$schema": "http://json-schema.org/draft-07/schema#"} | _json_schema(entry)
        return self._record("schema", moment) | {
            "name": entry["name"],
            "version": entry["version"],
            "schemaType": "jsonSchema",
            "schema": {
                "$type": f"{self.family}.schema#jsonSchemaFormat",
                **({"schemaBody": body} if entry.get("body") else body),
                "arrayFormatVersions": {"ndarrayBytes": "1.0.0"},
            },
            "atdataSchemaVersion": 1,
            "description": entry["description"],
        }

    def dataset(self, entry: Json, storage: Storage, refs: Refs, moment: datetime) -> Json:
        plain = {"split": "train", "custom": {"maker": "the demo"}}
        return super().dataset(entry, storage, refs, moment) | {
            "metadata": plain,
            "contentMetadata": None,
        }

    def lens(self, entry: Json, refs: Refs, moment: datetime) -> Json:
        record = super().lens(entry, refs, moment)
        record["getterCode"]["path"] = f"lenses.demo:{entry['name']}"
        record["putterCode"]["path"] = f"lenses.demo:{entry['name']}_put"
        return record | {"language": "python"}


class AtdataSpelling(LexiconSpelling):
    """Records of the family `app.bsky.atdata`."""

    family = "app.bsky.atdata"
    dataset_name = "dataset"

    def schema(self, entry: Json, refs: Refs, moment: datetime) -> Json:
        return self._record("schema", moment) | {
            "name": entry["name"],
            "version": entry["version"],
            "description": entry["description"],
            "fields": [self._field(name, spec) for name, spec in entry["fields"].items()],
            "metadata": {k: entry[k] for k in ("license", "tags") if k in entry},
        }

    def dataset(self, entry: Json, storage: Storage, refs: Refs, moment: datetime) -> Json:
        record = super().dataset(entry, storage, refs, moment)
        count = len(storage.urls)
        splits = [{"name": "train", "start": 0, "stop": max(1, count - 1)}]
        if count > 1:
            splits.append({"name": "test", "start": count - 1, "stop": count})
        return record | {"metadata": {"curator": "the demo"}, "splits": splits}

    def lens(self, entry: Json, refs: Refs, moment: datetime) -> Json:
        record = super().lens(entry, refs, moment)
        del record["sourceSchemaVersion"]
        if "ops" in entry:
            ops = [{"$type": f"{self.family}.lens#{op['op']}Op", **op} for op in entry["ops"]]
            del record["putterCode"]
            return record | {"getterCode": self._variant("lens#fieldOps", "fieldOps", ops=ops)}
        for side in ("getterCode", "putterCode"):
            record[side] = self._variant("lens#codeReference", "reference", **record[side])
        return record

    def label(self, entry: Json, refs: Refs, moment: datetime) -> Json:
        record = super().label(entry, refs, moment)
        record["dataset"] = record.pop("datasetUri")
        return record

    def verification(self, entry: Json, refs: Refs, moment: datetime) -> Json:
        return self._record("verification", moment) | {
            "lens": refs.uris[entry["lens"]],
            "lensCid": refs.cids[entry["lens"]],
            "method": entry["method"],
            **_some(entry, "description"),
        }

    def _storage(self, entry: Json, storage: Storage) -> Json:
        return {"$type": f"{self.family}.dataset#httpStorage", "shards": _shards(storage)}

    def _field(self, name: str, spec: str) -> Json:
        kind = spec.removesuffix("?")
        if kind.startswith("array"):
            _, *rest = kind.split()
            kinds = {"dtype": rest[0]} if rest else {}
            shape = {"shape": _shape(rest[1])} if len(rest) > 1 else {}
            type_ = self._variant("schema#arrayType", "ndarray", **kinds, **shape)
        elif kind == "list[str]":
            items = self._variant("schema#primitiveType", "primitive", primitive="str")
            type_ = self._variant("schema#listType", "list", items=items)
        else:
            type_ = self._variant("schema#primitiveType", "primitive", primitive=kind)
        return {"name": name, "type": type_} | ({"optional": True} if spec.endswith("?") else {})

    def _variant(self, name: str, kind: str, **rest: Any) -> Json:
        return {"$type": f"{self.family}.{name}", "kind": kind, **rest}


SPELLINGS: dict[str, LexiconSpelling] = {
    "lexicon": LexiconSpelling(),
    "sdk": SdkSpelling(),
    "atdata": AtdataSpelling(),
}


def _json_schema(entry: Json) -> Json:
    fields: dict[str, str] = entry["fields"]
    return {
        "type": "object",
        "properties": {k: JSON_TYPES[spec.removesuffix("?")] for k, spec in fields.items()},
        "required": [name for name, spec in fields.items() if not spec.endswith("?")],
    }


def _shards(storage: Storage) -> list[Json]:
    checksums = [
        {"algorithm": "sha256", "digest": digest} if digest else {"algorithm": "none", "digest": ""}
        for digest in storage.digests
    ]
    pairs = zip(storage.urls, checksums, strict=True)
    return [{"url": url, "checksum": checksum} for url, checksum in pairs]


def _code(name: str, path: str) -> Json:
    return {
        "repository": "https://git.example/demo/lenses",
        "commit": hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest(),
        "path": path,
        "language": "python",
    }


def _shape(text: str) -> list[int]:
    """`8x8`, `-1`."""
    return [int(size) for size in text.split("x")]


def _some(entry: Json, *names: str) -> Json:
    return {name: entry[name] for name in names if name in entry}
