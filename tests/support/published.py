"""The records of the atdata library's fixtures, published on a real PDS by two accounts.

What the fixtures leave open is filled in: DIDs and record keys as the PDS gives them, the
addresses of the shards, blobs that were uploaded, and the CID that a verification names.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.devnet import Account, Written
from tests.support.expected import ATDATA

FIXTURE_DID = "did:plc:fixture000000000000000000"
FIXTURE_SERVER = "http://127.0.0.1:8000"
SHARDS = ("fix-000000.tar", "fix-000001.tar", "fix-000002.tar")


@dataclass(frozen=True, slots=True)
class Published:
    """By the name of the fixture file. Alice owns schemas, lens and label; Bob the rest."""

    alice: Account
    bob: Account
    records: dict[str, Written]

    def uri(self, name: str) -> str:
        return self.records[name].uri

    @property
    def datasets(self) -> set[str]:
        return {w.uri for name, w in self.records.items() if name.startswith("entry_")}


def fixture(name: str) -> dict[str, Any]:
    """A fixture as it is: `uri`, `cid` and `value`."""
    loaded: dict[str, Any] = json.loads((ATDATA / f"{name}.json").read_text("utf-8"))
    return loaded


def publish_fixtures(alice: Account, bob: Account, shards: str) -> Published:
    """Publishes all of them; `shards` is the base URL where the tar files are served."""
    owners = {
        "schema": alice,
        "schema_view": alice,
        "entry_http": alice,
        "entry_http_nochecksum": alice,
        "label": alice,
        "lens": alice,
        "lens_verification": bob,
        "entry_s3": bob,
        "entry_blobs": bob,
    }
    written: dict[str, Written] = {}
    replaced = {FIXTURE_SERVER: shards}
    for name, owner in owners.items():
        source = fixture(name)
        value = _adapted(source["value"], replaced)
        if name == "entry_blobs":
            for entry, shard in zip(value["storage"]["blobs"], SHARDS, strict=True):
                content = (ATDATA / shard).read_bytes()
                entry["blob"] = owner.upload_blob(content, "application/x-tar")
        if name == "lens_verification":
            value["lensCommit"] = written["lens"].cid
        written[name] = owner.create_record(value["$type"], value)
        replaced[source["uri"]] = written[name].uri
    return Published(alice, bob, written)


def _adapted(value: Any, replaced: dict[str, str]) -> Any:
    """A copy with the beginning of every text replaced where it is known."""
    if isinstance(value, dict):
        return {key: _adapted(inner, replaced) for key, inner in value.items()}
    if isinstance(value, list):
        return [_adapted(inner, replaced) for inner in value]
    if isinstance(value, str):
        for old, new in replaced.items():
            if value.startswith(old):
                return new + value.removeprefix(old)
        assert FIXTURE_DID not in value, f"a reference to what is not published yet: {value}"
    return value
