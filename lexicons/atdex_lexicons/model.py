"""The one model that the records of every family map to.

A family (see `atdex_lexicons.families`) turns a record in its own dialect into one of the
five classes here, and back. Nothing else in atdex knows how a family spells a field.

Values in `metadata` and in field operations are plain: None, bool, int, float, str, bytes,
and lists and string-keyed dicts of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["schema", "dataset", "lens", "label", "verification"]
KINDS: tuple[Kind, ...] = ("schema", "dataset", "lens", "label", "verification")

PrimitiveName = Literal["str", "int", "float", "bool", "bytes"]


@dataclass(frozen=True, slots=True)
class Primitive:
    """A scalar."""

    name: PrimitiveName


@dataclass(frozen=True, slots=True)
class NDArray:
    """An array with a dtype (NumPy's spelling) and a shape, where the schema states them.

    A dynamic dimension is `-1`. `format` names the byte encoding of the array:
    `ndarrayBytes`, `sparseBytes`, `structuredBytes`, `arrowTensor`, `safetensors`
    or `dataframe`.
    """

    dtype: str | None = None
    shape: tuple[int, ...] | None = None
    dimension_names: tuple[str, ...] | None = None
    format: str = "ndarrayBytes"
    format_version: str | None = None


@dataclass(frozen=True, slots=True)
class Nested:
    """A sample inside a sample, by the AT-URI of its schema record."""

    schema_uri: str


@dataclass(frozen=True, slots=True)
class ListOf:
    items: FieldType


@dataclass(frozen=True, slots=True)
class MapOf:
    """A map from string to `values`."""

    values: FieldType


@dataclass(frozen=True, slots=True)
class Record:
    """An inline object: its fields are written in the schema itself."""

    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class AnyType:
    """A type that the schema leaves open, or that this version does not know."""

    reason: str = ""


FieldType = Primitive | NDArray | Nested | ListOf | MapOf | Record | AnyType


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a sample. `optional`: the value may be None or missing."""

    name: str
    type: FieldType
    optional: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True)
class Schema:
    """The type of a sample."""

    name: str
    version: str
    fields: tuple[Field, ...]
    description: str = ""
    license: str | None = None
    tags: tuple[str, ...] = ()
    created_at: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Checksum:
    """A digest in hex. `verified by nobody` is the absence of a Checksum, never an empty one."""

    algorithm: str
    digest: str


@dataclass(frozen=True, slots=True)
class HttpShard:
    """A shard behind an HTTP(S) URL. Whether the URL is safe to open is the loader's question."""

    url: str
    checksum: Checksum | None = None


@dataclass(frozen=True, slots=True)
class S3Shard:
    bucket: str
    key: str
    checksum: Checksum | None = None
    region: str | None = None
    endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class BlobShard:
    """A shard stored as a blob of the publisher's own PDS, by CID."""

    cid: str
    mime_type: str
    size: int
    checksum: Checksum | None = None


Shard = HttpShard | S3Shard | BlobShard


@dataclass(frozen=True, slots=True)
class Split:
    """A named run of shards: `start` is the first index, `stop` is one past the last."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset: where its shards are, and which schema its samples have.

    `sample_count` and `byte_count` are what the publisher states. `shards` is empty where the
    record uses a kind of storage that this version does not know.
    """

    name: str
    schema_uri: str
    shards: tuple[Shard, ...]
    description: str = ""
    tags: tuple[str, ...] = ()
    license: str | None = None
    sample_count: int | None = None
    byte_count: int | None = None
    splits: tuple[Split, ...] = ()
    previous_version: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    created_at: str = ""

    @property
    def checksummed(self) -> bool:
        """Whether there are shards and every one carries a checksum (a blob's CID is one)."""
        return bool(self.shards) and all(
            s.checksum is not None or isinstance(s, BlobShard) for s in self.shards
        )


@dataclass(frozen=True, slots=True)
class CodeReference:
    """Code in a repository at a commit. `path` is `file.py:function`."""

    repository: str
    commit: str
    path: str
    branch: str | None = None
    language: str | None = None


@dataclass(frozen=True, slots=True)
class PythonCode:
    """Python source kept in the record. Read, shown, and never run unless trusted by name."""

    source: str


@dataclass(frozen=True, slots=True)
class FieldOps:
    """A declarative transformation: operations in order, each a plain mapping with `op`.

    | `op` | other keys |
    | --- | --- |
    | `rename` | `from`, `to` |
    | `drop` | `field`, `default` (a value) |
    | `add` | `field`, `value` (a value) |
    | `cast` | `field`, `from`, `to` (a primitive's name or a dtype) |
    | `map` | `field`, `values` (a list of `[from, to]` pairs of values) |
    | `select` | `fields` (names) |
    | `nest` | `fields` (names), `into` |
    | `hoist` | `field`, `fields` (names) |

    Any other `op` is one that this version does not know: such a lens cannot be applied.
    """

    ops: tuple[Mapping[str, Any], ...]


Code = CodeReference | PythonCode | FieldOps


@dataclass(frozen=True, slots=True)
class Lens:
    """A getter from source schema to target schema, with a putter back."""

    name: str
    source: str
    target: str
    getter: Code | None
    putter: Code | None
    description: str = ""
    source_version: str | None = None
    target_version: str | None = None
    created_at: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Label:
    """A named version of a dataset."""

    name: str
    dataset_uri: str
    version: str | None = None
    description: str = ""
    created_at: str = ""


@dataclass(frozen=True, slots=True)
class Verification:
    """A statement, in the verifier's own repo, about one lens record at one CID."""

    lens_uri: str
    lens_cid: str
    method: str
    description: str = ""
    created_at: str = ""
    code_hash: Checksum | None = None
    proof: CodeReference | None = None


Model = Schema | Dataset | Lens | Label | Verification
