"""One dataset as a Croissant 1.1 document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from atdex_appview.croissant.fields import left_out_note, record_fields
from atdex_appview.croissant.files import FILE_SET, distribution, part_note
from atdex_appview.store.columns import datetime_micros
from atdex_appview.views import datetime_text
from atdex_lexicons.errors import InvalidSyntax
from atdex_lexicons.model import Dataset, Schema
from atdex_lexicons.tid import tid_micros

CONFORMS_TO = "http://mlcommons.org/croissant/1.1"

SAMPLES = "samples"
"""Id of the record set with the fields of the schema."""
MEMBERS = "members"
"""Id of the record set with the files in the shards, as any reader of archives sees them."""
SPLITS = "splits"

MAX_SPLITS = 1_000
"""Splits that are listed; datasets have three."""

INVALID_HANDLE = "handle.invalid"

_CROISSANT_WORDS = (
    *("arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field"),
    *("fileObject", "fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset"),
    *("jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex"),
    *("repeated", "replace", "samplingRate", "separator", "source", "subField", "transform"),
)

CONTEXT: Mapping[str, Any] = MappingProxyType(
    {
        "@language": "en",
        "@vocab": "https://schema.org/",
        "cr": "http://mlcommons.org/croissant/",
        "dct": "http://purl.org/dc/terms/",
        "rai": "http://mlcommons.org/croissant/RAI/",
        "sc": "https://schema.org/",
        "conformsTo": "dct:conformsTo",
        "data": {"@id": "cr:data", "@type": "@json"},
        "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
        "description": {"@container": "@language"},
        "examples": {"@id": "cr:examples", "@type": "@json"},
        "name": {"@container": "@language"},
        **{word: f"cr:{word}" for word in _CROISSANT_WORDS},
    }
)
"""The context that the Croissant specification asks for."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Described:
    """What a document is made of.

    `schema` is None where the node does not have it; `nested` are those that it refers to, by
    URI. `version` is what the publisher's label calls the dataset. `page` is the address of the
    record's view, `first_seen` in µs since the epoch. `private`: addresses in private networks are
    listed too.
    """

    uri: str
    did: str
    rev: str
    first_seen: int
    dataset: Dataset
    page: str
    handle: str | None = None
    pds: str | None = None
    schema: Schema | None = None
    nested: Mapping[str, Schema] = field(default_factory=dict)
    version: str | None = None
    private: bool = False


def croissant(of: Described) -> Json:
    """The document. Total, whatever a record says, and bounded: see `fields` and `files`."""
    dataset = of.dataset
    files = distribution(dataset.shards, did=of.did, pds=of.pds, private=of.private)
    made: Json = {
        "@context": dict(CONTEXT),
        "@type": "sc:Dataset",
        "name": dataset.name,
        "description": dataset.description.strip() or _about(of),
        "conformsTo": CONFORMS_TO,
        "url": of.page,
        "sameAs": of.uri,
        "identifier": of.uri,
        "creator": _account(of),
        "publisher": _account(of),
        "datePublished": _published(of),
    }
    modified = _rev_time(of.rev)
    if modified is not None:
        made["dateModified"] = modified
    if dataset.license and dataset.license.strip():
        made["license"] = license_address(dataset.license.strip())
    if dataset.tags:
        made["keywords"] = list(dict.fromkeys(dataset.tags))
    if of.version:
        made["version"] = of.version
    if not files.fixed:
        # What has no checksum may be another thing tomorrow.
        made["isLiveDataset"] = True
    if files.distribution:
        made["distribution"] = files.distribution
        made["recordSet"] = [*_samples(of, files.listed), _members(), *_splits(dataset)]
    return made


def license_address(name: str) -> str:
    """The page of a licence that SPDX lists; anything else as it is."""
    try:
        known = canonicalize_license_expression(name)
    except InvalidLicenseExpression:
        return name
    if any(mark in known for mark in (" ", "(", "+")) or known.startswith("LicenseRef-"):
        return known
    return f"https://spdx.org/licenses/{known}.html"


def _about(of: Described) -> str:
    kind = "" if of.schema is None else f" of {of.schema.name} samples"
    return f"A dataset{kind}, published on the AT Protocol by {_name(of)}."


def _name(of: Described) -> str:
    return of.did if of.handle in (None, INVALID_HANDLE) else of.handle


def _account(of: Described) -> Json:
    """An account may be a person's as well; nothing on the protocol says so."""
    made = {"@type": "sc:Organization", "@id": of.did, "name": _name(of)}
    if of.handle not in (None, INVALID_HANDLE):
        made["url"] = f"https://{of.handle}"
    return made


def _published(of: Described) -> str:
    """What the publisher says, or when this node first saw it."""
    said = datetime_micros(of.dataset.created_at)
    return _time(said) or _time(of.first_seen) or "1970-01-01"


def _rev_time(rev: str) -> str | None:
    try:
        return _time(tid_micros(rev))
    except InvalidSyntax:
        return None


def _time(micros: int | None) -> str | None:
    if micros is None:
        return None
    try:
        return datetime_text(micros)
    except OverflowError:  # beyond the year 9999
        return None


def _samples(of: Described, listed: int) -> list[Json]:
    if of.schema is None:
        return []
    fields, left_out = record_fields(of.schema, of.nested, parent=SAMPLES, file_set=FILE_SET)
    if not fields:
        return []
    count = of.dataset.sample_count
    notes = [
        of.schema.description.strip(),
        f"Schema {of.dataset.schema_uri}, version {of.schema.version}.",
        "" if count is None else f"{count} samples, as the publisher states.",
        part_note(listed, len(of.dataset.shards)).strip(),
        left_out_note(left_out),
    ]
    return [
        {
            "@type": "cr:RecordSet",
            "@id": SAMPLES,
            "name": of.schema.name,
            "description": " ".join(note for note in notes if note),
            "field": fields,
        }
    ]


def _members() -> Json:
    def member(name: str, file_property: str, **more: Json) -> Json:
        source = {"fileSet": {"@id": FILE_SET}, "extract": {"fileProperty": file_property}}
        return {
            "@type": "cr:Field",
            "@id": f"{MEMBERS}/{name}",
            "name": name,
            "dataType": "sc:Text",
            "source": source | more,
        }

    return {
        "@type": "cr:RecordSet",
        "@id": MEMBERS,
        "name": MEMBERS,
        "description": "The samples as they lie in the shards: a key, and the bytes of a msgpack "
        "map.",
        "field": [
            member("key", "filename", transform={"regex": r"^(.*)\.msgpack$"}),
            member("content", "content"),
        ],
    }


def _splits(dataset: Dataset) -> list[Json]:
    if not dataset.splits:
        return []
    fields = {"name": "sc:Text", "first": "sc:Integer", "last": "sc:Integer"}
    return [
        {
            "@type": "cr:RecordSet",
            "@id": SPLITS,
            "name": SPLITS,
            "description": "The splits, each a run of shards, by the numbers in their ids.",
            "dataType": "cr:Split",
            "key": {"@id": f"{SPLITS}/name"},
            "field": [
                {"@type": "cr:Field", "@id": f"{SPLITS}/{name}", "name": name, "dataType": kind}
                for name, kind in fields.items()
            ],
            "data": [
                {
                    f"{SPLITS}/name": split.name,
                    f"{SPLITS}/first": split.start,
                    f"{SPLITS}/last": split.stop - 1,
                }
                for split in dataset.splits[:MAX_SPLITS]
            ],
        }
    ]
