"""The benchmark's network: commits of datasets, schemas and lenses, seeded, in parts on disk.

Part k of `PARTS` holds the k-th tenth of the schemas, then of the lenses, then of the datasets, so
that after each part the index has the proportions of the whole. Names, tags and descriptions are
drawn from a Zipf vocabulary; the ends of lenses and the schemas of datasets by a power law (rank to
the -0.8), so that some are hubs. Three lenses of ten are declarative. A dataset's record is about
1 KB. Parts are made once and kept in the cache directory.
"""

from __future__ import annotations

import marshal
import os
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import libipld
import numpy as np
import orjson
import platformdirs

from atdex_firehose.events import CommitEvent, Identity, RecordOp
from tests.appview.records import COLLECTIONS, rev, uri
from tests.support.paths import FIXTURES

PARTS = 10
VOCABULARY = 50_000
PUBLISHERS = 20_000
SCHEMAS_SHARE = 10
"""Datasets for each schema; there are as many lenses as datasets."""
LICENSES = ("MIT", "Apache-2.0", "CC-BY-4.0", "CC0-1.0", "ODbL-1.0", None)
DECLARATIVE = "app.bsky.atdata.lens"
DECLARATIVE_SHARE = 0.3
CHUNK = 500
"""Commits that are read at once."""
MADE = 4
"""Of this module: parts that another version made are made anew."""

CODE = {
    "repository": "https://git.example.org/lenses",
    "commit": "0123456789abcdef0123456789abcdef01234567",
    "path": "lenses.py:get",
    "language": "python",
}
OPS = [
    {
        "$type": f"{DECLARATIVE}#renameOp",
        "op": "rename",
        "from": "name",
        "to": "title",
    },
    {
        "$type": f"{DECLARATIVE}#renameOp",
        "op": "rename",
        "from": "title",
        "to": "name",
    },
]


Commit = tuple[int, str, str, str, str, str, bytes]
"""What is kept of one: seq, DID, rev, and the collection, record key, CID and DAG-CBOR of its one
record. Reading it costs the node's process 6 µs, where pickled events took 11."""


def publisher(number: int) -> str:
    """The DID whose repo has the record of that number."""
    return f"did:plc:{number % PUBLISHERS:024}".replace("0", "a").replace("1", "b")


def words() -> list[str]:
    """The vocabulary, the commonest word first: word n comes up 1/n times as often."""
    dice = random.Random(1)
    consonants, vowels = "bcdfghklmnprstvz", "aeiou"
    made: dict[str, None] = {}
    while len(made) < VOCABULARY:
        pairs = dice.choice((2, 3, 4))
        made["".join(dice.choice(consonants) + dice.choice(vowels) for _ in range(pairs))] = None
    return list(made)


@dataclass(frozen=True)
class Records:
    """What there is to index: `datasets` of them, and what goes with them."""

    datasets: int

    @property
    def schemas(self) -> int:
        return max(self.datasets // SCHEMAS_SHARE, PARTS)

    @property
    def lenses(self) -> int:
        return self.datasets

    @property
    def total(self) -> int:
        return self.schemas + self.lenses + self.datasets

    # Every kind has its own range of numbers, so that each record has a rev of its own.

    def dataset(self, number: int) -> str:
        return uri(publisher(number), "dataset", rev(10**9 + number))

    def schema(self, number: int) -> str:
        return uri(publisher(number), "schema", rev(1 + number))

    def parts(self) -> list[Path]:
        """The parts' files, made where they are not there yet."""
        return self._files(range(PARTS))

    def more(self) -> Path:
        """A tenth of datasets more, none of them in the parts."""
        return self._files(range(PARTS, PARTS + 1))[0]

    def _files(self, parts: range) -> list[Path]:
        folder = platformdirs.user_cache_path("atdex", appauthor=False) / "benchmark-appview"
        folder = folder / f"{self.datasets}-{MADE}"
        folder.mkdir(parents=True, exist_ok=True)
        paths = {part: folder / f"{part}.marshal" for part in parts}
        missing = {part: path for part, path in paths.items() if not path.exists()}
        if missing:
            with ProcessPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(_write, [self] * len(missing), missing, missing.values()))
        return list(paths.values())

    def commits(self, part: int) -> Iterator[Commit]:
        """The commits of a part."""

        def share(total: int) -> range:
            return range(total * part // PARTS, total * (part + 1) // PARTS)

        if part < PARTS:
            yield from self._schemas(share(self.schemas), part)
            yield from self._lenses(share(self.lenses), part)
        yield from self._datasets(share(self.datasets), part)

    def _ends(self, dice: np.random.Generator, part: int, count: tuple[int, ...]) -> Any:
        """Schemas that are there by the end of this part, drawn by a power law."""
        there = min(self.schemas * (part + 1) // PARTS, self.schemas)
        weights = np.arange(1, there + 1) ** -0.8
        popular = np.random.default_rng(7).permutation(self.schemas)
        popular = popular[popular < there]
        return popular[dice.choice(there, count, p=weights / weights.sum())]

    def _schemas(self, numbers: range, part: int) -> Iterator[Commit]:
        value = _fixture("schema.json")
        for number in numbers:
            record = value | {"name": f"Schema{number % 5000}", "version": f"1.{number % 7}.0"}
            yield _commit(COLLECTIONS["schema"], part, number, 1 + number, record)

    def _lenses(self, numbers: range, part: int) -> Iterator[Commit]:
        dice = np.random.default_rng(1000 + part)
        ends = self._ends(dice, part, (2, len(numbers)))
        declarative = dice.random(len(numbers)) < DECLARATIVE_SHARE
        for at, number in enumerate(numbers):
            nsid = DECLARATIVE if declarative[at] else COLLECTIONS["lens"]
            record: dict[str, Any] = {
                "$type": nsid,
                "name": f"lens{number}",
                "sourceSchema": self.schema(int(ends[0][at])),
                "targetSchema": self.schema(int(ends[1][at])),
                "createdAt": "2026-01-01T00:00:00Z",
            }
            if declarative[at]:
                ops = {"$type": f"{nsid}#fieldOps", "kind": "fieldOps", "ops": OPS}
                record["getterCode"] = ops
            else:
                record |= {"getterCode": CODE, "putterCode": CODE, "language": "python"}
            yield _commit(nsid, part, number, 10**8 + number, record)

    def _datasets(self, numbers: range, part: int) -> Iterator[Commit]:
        dice = np.random.default_rng(2000 + part)
        weights = 1 / np.arange(1, VOCABULARY + 1)
        vocabulary = words()
        value = _fixture("entry_http.json")
        schemas = self._ends(dice, part, (len(numbers),))
        samples = (1000 * dice.pareto(1.0, len(numbers))).clip(0, 10**15)
        for start in range(0, len(numbers), CHUNK):
            some = numbers[start : start + CHUNK]
            drawn = dice.choice(VOCABULARY, (len(some), 65), p=weights / weights.sum())
            for at, number in enumerate(some):
                text = [vocabulary[n] for n in drawn[at]]
                record = value | {
                    "schemaRef": self.schema(int(schemas[start + at])),
                    "size": {"samples": int(samples[start + at])},
                    "name": " ".join(text[:4]),
                    "tags": sorted(set(text[4:7])),
                    "description": " ".join(text[7:]),
                }
                licence = LICENSES[number % len(LICENSES)]
                if licence is None:
                    del record["license"]
                else:
                    record["license"] = licence
                yield _commit(COLLECTIONS["dataset"], part, number, 10**9 + number, record)


def _fixture(name: str) -> dict[str, Any]:
    value: dict[str, Any] = orjson.loads((FIXTURES / "atdata" / name).read_bytes())["value"]
    return value


def _commit(nsid: str, part: int, number: int, moment: int, record: dict[str, Any]) -> Commit:
    raw = libipld.encode_dag_cbor(record)
    cid = libipld.encode_cid(b"\x01\x71\x12\x20" + sha256(raw).digest())
    at = rev(part * 10**10 + moment)  # a publisher's kinds take turns; its revs only grow
    return moment, publisher(number), at, nsid, rev(moment), cid, raw


def _write(records: Records, part: int, path: Path) -> None:
    made = path.with_suffix(".part")
    with made.open("wb") as file:
        chunk: list[Commit] = []
        for commit in records.commits(part):
            chunk.append(commit)
            if len(chunk) == CHUNK:
                marshal.dump(chunk, file)
                chunk = []
        marshal.dump(chunk, file)
    made.rename(path)


def read(path: Path) -> Iterator[list[CommitEvent]]:
    """The commits of a part, in chunks."""
    with path.open("rb") as file:
        while True:
            try:
                chunk: list[Commit] = marshal.load(file)
            except EOFError:
                return
            yield [
                CommitEvent(
                    "bench",
                    moment,
                    did,
                    at,
                    "2026-01-01T00:00:00Z",
                    (RecordOp("create", nsid, rkey, cid, raw),),
                    Identity(did, None, None, None),
                )
                for moment, did, at, nsid, rkey, cid, raw in chunk
            ]
