"""The demo's world: who publishes what, in which order. Read from `publishers/*.toml`.

The same on every run but for what a PDS decides: the DIDs, and so the references.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from demo.shards import make
from demo.spelling import SPELLINGS, LexiconSpelling, Refs, Storage

PUBLISHERS = Path(__file__).parent / "publishers"
BEGINNING = datetime(2026, 6, 1, 8, 0, 0, tzinfo=UTC)
BETWEEN_PUBLISHERS = timedelta(minutes=37)  # they take turns, so that a listing mixes the fields
BETWEEN_TURNS = timedelta(hours=19)
TID_ALPHABET = "234567abcdefghijklmnopqrstuvwxyz"
KINDS = ("schema", "lens", "dataset", "label", "verification")  # what refers comes after

Action = Literal["create", "update", "delete"]


@dataclass(frozen=True, slots=True)
class Publisher:
    """An account of the world. `name` is its word in references: `name/key`."""

    name: str
    handle: str
    number: int
    spelling: LexiconSpelling
    deactivated: bool
    content: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """One write. `ref` names the record within the world."""

    action: Action
    publisher: Publisher
    kind: str
    ref: str
    rkey: str
    moment: datetime
    entry: dict[str, Any]

    @property
    def collection(self) -> str:
        return self.publisher.spelling.collection(self.kind)

    def uri(self, did: str) -> str:
        return f"at://{did}/{self.collection}/{self.rkey}"

    def record(self, refs: Refs) -> dict[str, Any]:
        """The record, once everything that it refers to has an address."""
        spelling = self.publisher.spelling
        if self.kind == "dataset":
            return spelling.dataset(self.entry, self._storage(), refs, self.moment)
        build = getattr(spelling, self.kind)
        record: dict[str, Any] = build(self.entry, refs, self.moment)
        return record

    def _storage(self) -> Storage:
        entry = self.entry
        if "recipe" in entry:
            return Storage.real(make(entry["recipe"]))
        place = f"data.{self.publisher.name}.example/{entry['key']}/shard"
        checked = not entry.get("unchecked", False)
        return Storage.pretended(place, entry["shards"], entry["samples"], checked=checked)


def publishers() -> list[Publisher]:
    found = []
    for path in PUBLISHERS.glob("*.toml"):
        content = tomllib.loads(path.read_text("utf-8"))
        found.append(
            Publisher(
                name=path.stem,
                handle=content["handle"],
                number=content["number"],
                spelling=SPELLINGS[content["dialect"]],
                deactivated=content.get("ends") == "deactivated",
                content=content,
            )
        )
    return sorted(found, key=lambda publisher: publisher.number)


def steps() -> list[Step]:
    """Every write of the world, in order: creates, then updates, then deletes."""
    creates: list[Step] = []
    changes: list[Step] = []
    for publisher in publishers():
        own = list(_creates(publisher))
        creates += own
        changes += _changes(publisher, {step.ref: step for step in own})
    creates.sort(key=lambda step: (KINDS.index(step.kind), step.moment))
    changes.sort(key=lambda step: (step.action != "update", step.moment))
    return creates + changes


def _creates(publisher: Publisher) -> Iterator[Step]:
    turn = 0
    for kind in KINDS:
        for index, entry in enumerate(publisher.content.get(kind, [])):
            moment = BEGINNING + turn * BETWEEN_TURNS + publisher.number * BETWEEN_PUBLISHERS
            turn += 1
            word = entry["name"] if kind == "lens" else entry.get("key", f"{kind}-{index}")
            yield Step(
                "create", publisher, kind, f"{publisher.name}/{word}", tid(moment), moment, entry
            )


def _changes(publisher: Publisher, own: dict[str, Step]) -> Iterator[Step]:
    for action in ("update", "delete"):
        for change in publisher.content.get(action, []):
            step = own[f"{publisher.name}/{change['dataset']}"]
            entry = step.entry | {k: v for k, v in change.items() if k != "dataset"}
            yield Step(
                "update" if action == "update" else "delete",
                publisher,
                step.kind,
                step.ref,
                step.rkey,
                step.moment,
                entry,
            )


def tid(moment: datetime) -> str:
    """The record key that a client would have minted at `moment`."""
    number = int(moment.timestamp() * 1_000_000) << 10
    return "".join(TID_ALPHABET[number >> shift & 31] for shift in range(60, -1, -5))
