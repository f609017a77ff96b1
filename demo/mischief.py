"""Records that somebody should not have written, and an honest node must live with.

The first kind breaks its lexicon: a node sets it aside and says why. The second kind is valid
and names shards that a loader must refuse to open.
"""

from __future__ import annotations

from typing import Any

from demo.spelling import Refs

Json = dict[str, Any]
HANDLE = "mischief.test"
ENTRY = "science.alt.dataset.entry"
SCHEMA = "science.alt.dataset.schema"
TIME = "2026-06-30T00:00:00.000Z"
DIGEST = "0" * 64
LONG_NAME = 100_000  # characters; the lexicon allows 200 bytes
DEEP = 40  # levels inside `contentMetadata`, which may be anything


def broken(refs: Refs) -> list[tuple[str, Json]]:
    """Collection and record, each against its lexicon in one way."""
    whole = _entry(refs, "Whole", "https://mischief.example/a.tar")
    without_schema = {k: v for k, v in whole.items() if k != "schemaRef"}
    return [
        (ENTRY, without_schema | {"name": "No schema at all"}),
        (ENTRY, whole | {"name": "N" * LONG_NAME}),
        (ENTRY, whole | {"name": 7, "tags": "not, a, list"}),
        (ENTRY, whole | {"name": "A storage that holds nothing", "storage": {}}),
        (ENTRY, whole | {"name": "Yesterday", "createdAt": "yesterday, about noon"}),
        (SCHEMA, {"$type": SCHEMA, "name": "NoVersion", "createdAt": TIME}),
        (
            "app.bsky.atdata.lens",
            {"$type": "app.bsky.atdata.lens", "name": "nowhere", "createdAt": TIME},
        ),
    ]


def tempting(refs: Refs) -> list[tuple[str, Json]]:
    """Collection and record, valid each, with a shard that no loader may open."""
    shards = {
        "Runs a command when opened": "pipe:ls",
        "The password file": "file:///etc/passwd",
        "The cloud's own secrets": "http://169.254.169.254/latest/meta-data/",
    }
    found = [(ENTRY, _entry(refs, name, url)) for name, url in shards.items()]
    deep: Json = {"bottom": True}
    for _ in range(DEEP):
        deep = {"down": deep}
    rabbit_hole = _entry(refs, "A rabbit hole", "https://mischief.example/b.tar")
    return [*found, (ENTRY, rabbit_hole | {"contentMetadata": deep})]


def _entry(refs: Refs, name: str, url: str) -> Json:
    shard = {"url": url, "checksum": {"algorithm": "sha256", "digest": DIGEST}}
    return {
        "$type": ENTRY,
        "name": name,
        "schemaRef": refs.uris["open-types/image"],
        "storage": {"$type": "science.alt.dataset.storageHttp", "shards": [shard]},
        "description": "Published to see who opens it.",
        "tags": ["mischief"],
        "createdAt": TIME,
    }
