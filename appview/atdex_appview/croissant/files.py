"""The shards of a dataset as the distribution of a Croissant document.

A shard is listed where anybody can fetch it over HTTP: by its URL, by that of its bucket, or as a
blob of its publisher's PDS. Local paths, other schemes, URLs with credentials and hosts that are
private by their name are not: a reader would open them on its own machine or in its own network.
How many are listed of how many is said, so that nobody takes a part for the whole.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from atdex_lexicons import Cid
from atdex_lexicons.cid import RAW
from atdex_lexicons.errors import InvalidSyntax
from atdex_lexicons.model import BlobShard, HttpShard, S3Shard, Shard
from atdex_xrpc import AddressPolicy, check_address, check_url
from atdex_xrpc.errors import UnsafeAddress, UnsafeUrl

MAX_FILES = 5_000
"""Shards that one document lists: a page of some 2 MB. Of what has more, the record says all."""

MAX_URL_CHARACTERS = 4_000_000
"""Of all URLs in one document: 800 each where there are 5,000."""

FILE_SET = "sample-files"
TAR = "application/x-tar"
MSGPACK = "application/vnd.msgpack"

_PRIVATE_SUFFIXES = ("localhost", "local", "internal", "intranet", "lan", "home.arpa", "test")
"""Names that no public host has (RFC 6761, RFC 6762, RFC 8375, and what routers hand out)."""

_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
"""A bucket that can be a label of a host name."""
_REGION = re.compile(r"[a-z0-9-]{1,40}")
_DIGESTS = {"sha256": re.compile(r"[0-9a-f]{64}"), "md5": re.compile(r"[0-9a-f]{32}")}
"""The checksums that Croissant knows, in hex."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Files:
    """`distribution`, empty where no shard can be listed. `fixed`: each has a checksum."""

    distribution: list[Json]
    listed: int
    fixed: bool


def distribution(shards: Sequence[Shard], *, did: str, pds: str | None, private: bool) -> Files:
    """A `cr:FileObject` for each shard, and the `cr:FileSet` of the samples inside of them.

    `did` and `pds` are where its blobs are. `private`: hosts of private networks are listed too,
    for sandboxes.
    """
    objects: list[Json] = []
    room = MAX_URL_CHARACTERS
    for number, shard in enumerate(shards):
        url = _address(shard, did, pds, AddressPolicy(allow_private=private))
        if url is None:
            continue
        room -= len(url)
        if len(objects) == MAX_FILES or room < 0:
            break
        objects.append(_file_object(shard, f"shard-{number:05}", url))
    fixed = all("sha256" in each or "md5" in each for each in objects)
    if not objects:
        return Files([], 0, fixed)
    samples = {
        "@type": "cr:FileSet",
        "@id": FILE_SET,
        "name": FILE_SET,
        "description": "One msgpack map a sample; arrays in it are bytes in their own encodings."
        + part_note(len(objects), len(shards)),
        "containedIn": [{"@id": each["@id"]} for each in objects],
        "encodingFormat": MSGPACK,
        "includes": "*.msgpack",
    }
    return Files([*objects, samples], len(objects), fixed)


def part_note(listed: int, of: int) -> str:
    """What is said where some shards are not listed."""
    if listed == of:
        return ""
    return f" {listed} of {of} shards are listed; the dataset's record names the others."


def _file_object(shard: Shard, uid: str, url: str) -> Json:
    made: Json = {
        "@type": "cr:FileObject",
        "@id": uid,
        "name": uid,
        "contentUrl": url,
        "encodingFormat": TAR,
    }
    if isinstance(shard, BlobShard):
        made["contentSize"] = f"{shard.size} B"
    made.update(_digests(shard))
    return made


def _digests(shard: Shard) -> Iterator[tuple[str, str]]:
    if shard.checksum is not None:
        name = shard.checksum.algorithm.lower().replace("-", "")
        digest = shard.checksum.digest.lower()
        if name in _DIGESTS and _DIGESTS[name].fullmatch(digest):
            yield name, digest
            return
    if isinstance(shard, BlobShard):
        # The CID of a blob is its SHA-256, written otherwise.
        try:
            cid = Cid.parse(shard.cid)
        except InvalidSyntax:
            return
        if cid.is_blessed and cid.codec == RAW:
            yield "sha256", bytes(cid)[-32:].hex()


def _address(shard: Shard, did: str, pds: str | None, policy: AddressPolicy) -> str | None:
    url: str | None
    if isinstance(shard, HttpShard):
        url = shard.url
    elif isinstance(shard, S3Shard):
        url = _s3_url(shard)
    else:
        url = None if pds is None else _blob_url(pds, did, shard.cid)
    return None if url is None else _public(url, policy)


def _blob_url(pds: str, did: str, cid: str) -> str:
    query = urlencode({"did": did, "cid": cid})
    return f"{pds.rstrip('/')}/xrpc/com.atproto.sync.getBlob?{query}"


def _s3_url(shard: S3Shard) -> str | None:
    """The address of an object for who has no credentials; None where the record makes none."""
    key = quote(shard.key)
    if shard.endpoint is not None:
        return f"{shard.endpoint.rstrip('/')}/{quote(shard.bucket, safe='')}/{key}"
    region = shard.region
    if region is not None and _REGION.fullmatch(region) is None:
        return None
    host = "s3.amazonaws.com" if region is None else f"s3.{region}.amazonaws.com"
    if _BUCKET_NAME.fullmatch(shard.bucket):
        return f"https://{shard.bucket}.{host}/{key}"
    return f"https://{host}/{quote(shard.bucket, safe='')}/{key}"


def _public(url: str, policy: AddressPolicy) -> str | None:
    """The URL as it is sent; None where it is not for everybody."""
    try:
        parsed = check_url(url)
        host = parsed.host
        if _is_address(host):
            check_address(host, policy)
        elif not policy.allow_private and _is_private_name(host):
            return None
    except (UnsafeUrl, UnsafeAddress):
        return None
    return str(parsed)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_private_name(host: str) -> bool:
    name = host.rstrip(".").lower()
    return "." not in name or name.endswith(tuple(f".{suffix}" for suffix in _PRIVATE_SUFFIXES))
