"""Shards as records name them: URLs, URL patterns, checksums, blobs."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from atdex_lexicons.errors import NotRepresentable, Problem
from atdex_lexicons.model import BlobShard, Checksum, HttpShard, S3Shard, Shard

from .values import as_link

SHARDS_MAX = 50_000
"""Shards that the URL patterns of one record may stand for. LAION-400M has 41,455."""

_PATTERN = re.compile(r"\{(\d{1,12})\.\.(\d{1,12})\}|\{([^{},]*(?:,[^{},]*)+)\}")
_S3 = re.compile(r"s3://([^/]+)/(.+)", re.DOTALL)

One = TypeVar("One", HttpShard, S3Shard, BlobShard)


def is_pattern(url: str) -> bool:
    """Whether `url` holds a range `{000..099}` or a choice `{train,test}`."""
    return _PATTERN.search(url) is not None


def expand(url: str, limit: int) -> list[str] | None:
    """The URLs that a pattern stands for, in order; None where they are more than `limit`.

    As WebDataset writes them: ranges keep leading zeros and may run down, several groups
    multiply, the last one fastest. Anything else in braces stays as it is.
    """
    literals: list[str] = []
    groups: list[Sequence[str] | range] = []
    widths: list[int] = []
    position = 0
    count = 1
    for match in _PATTERN.finditer(url):
        literals.append(url[position : match.start()])
        position = match.end()
        first, last, choices = match.groups()
        if choices is not None:
            groups.append(choices.split(","))
            widths.append(0)
        else:
            start, stop = int(first), int(last)
            groups.append(range(start, stop + 1) if start <= stop else range(start, stop - 1, -1))
            padded = (first.startswith("0") and len(first) > 1) or (
                last.startswith("0") and len(last) > 1
            )
            widths.append(max(len(first), len(last)) if padded else 0)
        count *= len(groups[-1])
        if count > limit:
            return None
    tail = url[position:]
    return [
        "".join(
            literal + str(part).zfill(width)
            for literal, part, width in zip(literals, parts, widths, strict=True)
        )
        + tail
        for parts in itertools.product(*groups)
    ]


def read_urls(urls: Sequence[str], path: str, problems: list[Problem]) -> tuple[Shard, ...]:
    """The shards of a list of URLs and URL patterns, none of which has a checksum."""
    shards: list[Shard] = []
    for index, url in enumerate(urls):
        expanded = expand(url, SHARDS_MAX - len(shards))
        if expanded is None:
            problems.append(Problem(f"{path}/{index}", f"stands for more than {SHARDS_MAX} shards"))
            return ()
        shards.extend(map(url_shard, expanded))
    return tuple(shards)


def url_shard(url: str) -> Shard:
    """The shard behind a URL without a checksum."""
    match = _S3.fullmatch(url)
    return S3Shard(match[1], match[2]) if match else HttpShard(url)


def shard_url(shard: Shard, path: str) -> str:
    """The URL that says all about a shard without a checksum. Raises `NotRepresentable`."""
    if isinstance(shard, BlobShard) or shard.checksum is not None:
        raise NotRepresentable(path, "either all shards have a checksum or none")
    if isinstance(shard, HttpShard):
        url = shard.url
    elif shard.region is None and shard.endpoint is None:
        url = f"s3://{shard.bucket}/{shard.key}"
    else:
        raise NotRepresentable(path, "an S3 shard with a region or an endpoint needs a checksum")
    if is_pattern(url) or url_shard(url) != shard:
        raise NotRepresentable(path, f"the URL {url} would be read as something else")
    return url


def read_checksum(value: Mapping[str, Any] | None) -> Checksum | None:
    """The checksum; None where there is none, or one that says that nobody made it."""
    if value is None or is_empty_checksum(value):
        return None
    return Checksum(value["algorithm"], value["digest"])


def is_empty_checksum(value: Mapping[str, Any]) -> bool:
    """Whether a checksum is written out and yet checks nothing."""
    return value["algorithm"].lower() == "none" or not value["digest"]


def write_checksum(checksum: Checksum) -> dict[str, str]:
    return {"algorithm": checksum.algorithm, "digest": checksum.digest}


def read_blob(entry: Mapping[str, Any]) -> BlobShard:
    """A shard of `{blob, checksum?}`, which is how both families write it."""
    blob = entry["blob"]
    return BlobShard(
        cid=as_link(blob["ref"]),
        mime_type=blob["mimeType"],
        size=blob["size"],
        checksum=read_checksum(entry.get("checksum")),
    )


def write_blob(shard: BlobShard) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "blob": {
            "$type": "blob",
            "ref": {"$link": shard.cid},
            "mimeType": shard.mime_type,
            "size": shard.size,
        }
    }
    if shard.checksum is not None:
        entry["checksum"] = write_checksum(shard.checksum)
    return entry


def read_s3(storage: Mapping[str, Any]) -> tuple[S3Shard, ...]:
    """The shards of `{bucket, region?, endpoint?, shards}`, which is how both families write it."""
    bucket, region, endpoint = storage["bucket"], storage.get("region"), storage.get("endpoint")
    return tuple(
        S3Shard(bucket, entry["key"], read_checksum(entry["checksum"]), region, endpoint)
        for entry in storage["shards"]
    )


def s3_place(shards: Sequence[S3Shard]) -> dict[str, str]:
    """The bucket, region and endpoint of all `shards`. Raises `NotRepresentable`."""
    places = {(shard.bucket, shard.region, shard.endpoint) for shard in shards}
    if len(places) != 1:
        raise NotRepresentable("/storage", "the shards lie in more than one bucket")
    names = ("bucket", "region", "endpoint")
    return {n: part for n, part in zip(names, places.pop(), strict=True) if part is not None}


def all_of(shards: Sequence[Shard], kind: type[One]) -> list[One] | None:
    """`shards` if all are of that kind."""
    found = [shard for shard in shards if isinstance(shard, kind)]
    return found if len(found) == len(shards) else None
