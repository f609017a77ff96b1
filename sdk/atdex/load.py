"""Loading a dataset: from the network by its name, or from files."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, Final, TypeVar, overload

from platformdirs import user_cache_path

from atdex.cache import ShardCache
from atdex.checksum import expected
from atdex.dataset import Dataset, ShardSource
from atdex.errors import BadSource, UnknownSplit, Unsupported
from atdex.fetch import MAX_SHARD_BYTES, Fetcher, Progress, check_shard_url
from atdex.node import Checked, Node
from atdex.pattern import expand_braces, find_files
from atdex.resolve import ByPath, ByUrl, find_dataset, parse_source
from atdex.schema import class_of
from atdex_lexicons.model import (
    BlobShard,
    FieldType,
    HttpShard,
    ListOf,
    MapOf,
    Nested,
    Record,
    S3Shard,
    Schema,
)
from atdex_lexicons.model import Dataset as DatasetRecord
from atdex_lexicons.model import Shard as ShardRecord

S = TypeVar("S")

MAX_SCHEMAS: Final = 64
"""Schema records that one dataset's schema may need, those it refers to included."""


@overload
def load_dataset(
    source: str | PathLike[str],
    sample_type: type[S],
    *,
    node: str | None = ...,
    split: str | None = ...,
    cache_dir: str | PathLike[str] | None = ...,
    allow_private_hosts: bool = ...,
    max_shard_bytes: int = ...,
    progress: Callable[[Progress], None] | None = ...,
) -> Dataset[S]: ...
@overload
def load_dataset(
    source: str | PathLike[str],
    sample_type: None = None,
    *,
    node: str | None = ...,
    split: str | None = ...,
    cache_dir: str | PathLike[str] | None = ...,
    allow_private_hosts: bool = ...,
    max_shard_bytes: int = ...,
    progress: Callable[[Progress], None] | None = ...,
) -> Dataset[Any]: ...
def load_dataset(
    source: str | PathLike[str],
    sample_type: type[Any] | None = None,
    *,
    node: str | None = None,
    split: str | None = None,
    cache_dir: str | PathLike[str] | None = None,
    allow_private_hosts: bool = False,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    progress: Callable[[Progress], None] | None = None,
) -> Dataset[Any]:
    """Typed samples of a dataset.

    `source` is an AT-URI, `@publisher/name` or `@publisher/name@version` (through `node`, a URL,
    or else the default node), or your own data: a path, a folder, a glob, a brace pattern, an
    http(s) URL. Your own data says nothing of its fields, so it needs a `sample_type`: a class
    with `@atdex.packable`, or `dict` for the maps as they are stored.

    Without `sample_type`, a record's samples get a class made from its schema record. The record
    itself is checked; its shards are fetched when their samples are asked for, compared with
    the record's checksums, and kept in `cache_dir` (this user's cache folder by default).
    `allow_private_hosts`: also fetch a record's shards from hosts in private networks.
    `max_shard_bytes`: refuse larger shards. `progress` is called while shards arrive, from any
    thread.

    Raises the errors of `atdex.errors`, and of `atdex_xrpc` where a node cannot be asked.
    """
    place = parse_source(source)
    if isinstance(place, (ByPath, ByUrl)):
        if split is not None or node is not None:
            raise BadSource(str(source), "node and split are for datasets of the network")
        if sample_type is None:
            raise BadSource(
                str(source),
                "files do not say what is in them: pass a sample type, or dict for plain maps",
            )

    def fetcher(allow_private: bool) -> Fetcher:
        root = Path(cache_dir) if cache_dir is not None else user_cache_path("atdex")
        return Fetcher(
            ShardCache(root / "shards"),
            allow_private_hosts=allow_private,
            max_shard_bytes=max_shard_bytes,
            progress=progress,
        )

    match place:
        case ByPath(pattern):
            files = [ShardSource(str(path), _given(path)) for path in find_files(pattern)]
            return Dataset(files, sample_type or dict, name=pattern)
        case ByUrl(pattern):
            # Typed by the user, not by a stranger: it may well be in the user's own network.
            own = fetcher(True)
            shards = [HttpShard(url) for url in expand_braces(pattern)]
            sources = [source_of(shard, own) for shard in shards]
            return Dataset(sources, sample_type or dict, name=pattern)
        case _:
            with Node(node) as asked:
                found = find_dataset(place, asked)
                schemas = _schemas(asked, found.model.schema_uri)
            return _from_record(found, schemas, sample_type, split, fetcher(allow_private_hosts))


def _from_record(
    found: Checked,
    schemas: dict[str, Schema],
    sample_type: type[Any] | None,
    split: str | None,
    fetcher: Fetcher,
) -> Dataset[Any]:
    record: DatasetRecord = found.model
    if not record.shards:
        raise Unsupported(f"the storage of {found.uri}", "it names no shards that can be fetched")
    shards = record.shards
    if split is not None:
        named = {s.name: s for s in record.splits}
        if split not in named:
            raise UnknownSplit(split, list(named))
        shards = shards[named[split].start : named[split].stop]
    schema = schemas[record.schema_uri]
    return Dataset(
        [source_of(shard, fetcher) for shard in shards],
        sample_type or class_of(schema, schemas),
        name=record.name,
        uri=found.uri,
        schema=schema,
        record=record,
    )


def source_of(shard: ShardRecord, fetcher: Fetcher) -> ShardSource:
    """How a record's shard gets here. Its address is checked now, before anything is fetched.

    Raises UnsafeShard, Unsupported, BadChecksum.
    """
    match shard:
        case HttpShard(url, checksum):
            check_shard_url(url)
            wanted = expected(checksum, url)
            return ShardSource(
                url, lambda: fetcher.fetch(url, wanted), verified=wanted is not None, cached=True
            )
        case S3Shard(bucket, key):
            raise Unsupported(
                f"the shard s3://{bucket}/{key} in an S3 bucket",
                "fetch it with your own tool and load the file by its path",
            )
        case BlobShard(cid):
            raise Unsupported(
                f"the shard {cid}, a blob of the publisher's own server",
                "fetch it with com.atproto.sync.getBlob and load the file by its path",
            )


def _schemas(node: Node, uri: str) -> dict[str, Schema]:
    """The schema at `uri`, and those that its fields refer to, by URI."""
    schemas: dict[str, Schema] = {}
    waiting = [uri]
    while waiting:
        wanted = waiting.pop()
        if wanted in schemas:
            continue
        if len(schemas) >= MAX_SCHEMAS:
            raise Unsupported(f"the schema {uri}", f"it needs more than {MAX_SCHEMAS} others")
        schemas[wanted] = schema = node.schema(wanted).model
        waiting += [inner for field in schema.fields for inner in _references(field.type)]
    return schemas


def _references(kind: FieldType) -> list[str]:
    match kind:
        case Nested(uri):
            return [uri]
        case ListOf(inner) | MapOf(inner):
            return _references(inner)
        case Record(fields):
            return [uri for field in fields for uri in _references(field.type)]
        case _:
            return []


def _given(path: Path) -> Callable[[], Path]:
    return lambda: path
