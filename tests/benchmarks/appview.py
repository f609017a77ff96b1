"""A node with a million datasets, 100,000 schemas and a million lenses: writing, reading over HTTP,
restarting; and PostgreSQL's full-text search beside it, where that is installed.

Everything goes through the real node (`appview_node`): validation, DuckDB, tantivy, the lens graph,
uvicorn. The node and this client are processes of their own. No query is asked twice, so that
nothing is remembered. `python -m tests.benchmarks.appview 1000000` is the run that the targets are
for; `make bench` takes 20,000.
"""

from __future__ import annotations

import itertools
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import libipld
import orjson

from tests.appview.records import COLLECTIONS
from tests.benchmarks.appview_client import Connection, Reader, latencies, path, throughput
from tests.benchmarks.appview_postgres import POSTGRES_DATASETS, Postgres
from tests.benchmarks.appview_records import LICENSES, PARTS, VOCABULARY, Records, read, words

Row = tuple[str, float, str, str]

DATASETS = 20_000
REPEATS = 200
SECONDS = 3.0
"""For each rate."""
CLIENTS = 8
PAGE = 25
COMMON = 20
"""The commonest words."""
BEFORE_KILL = 3.0
"""Seconds of writing."""
TEXTS = 5_000
REST_SECONDS = 180.0
RESTING_TICKS = 5
DEAD_RELAY = "http://127.0.0.1:9"
"""The discard port: nobody is there."""


class Node:
    """The node's process on that folder; `started` is how long it took until it answered."""

    def __init__(self, folder: Path) -> None:
        begun = time.perf_counter()
        command = [sys.executable, "-m", "tests.benchmarks.appview_node", "node", "run"]
        command += ["--data-dir", str(folder), "--port", "0", "--relay", DEAD_RELAY]
        command += ["--log-level", "error", "--allow-private-hosts"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self._in, self._out = self.process.stdin, self.process.stdout
        line = self._out.readline()
        if "listening on" not in line:
            raise RuntimeError(f"the node did not start: {line!r}")
        self.url = line.split()[-1]
        connection = Connection(self.url)
        connection.get(path("searchDatasets", q="", limit=1))
        connection.close()
        self.started = time.perf_counter() - begun

    def begin(self, part: Path) -> None:
        """Index the part; `done` waits for it."""
        self._in.write(f"{part}\n")
        self._in.flush()

    def done(self) -> float:
        """Seconds that the part took."""
        told = orjson.loads(self._out.readline())
        return float(told["seconds"])

    def rest(self) -> None:
        """Waits until nothing is left to do of what was written: the index merges its segments."""
        end = time.monotonic() + REST_SECONDS
        spent = self._ticks()
        while time.monotonic() < end:
            time.sleep(1)
            before, spent = spent, self._ticks()
            if spent - before <= RESTING_TICKS:
                break

    def memory(self, name: str = "VmRSS") -> float:
        """MB of the node and of the processes that work for it; what they share counts for each."""
        statuses = [Path(f"/proc/{pid}/status").read_text() for pid in self._pids()]
        return sum(int(status.split(f"{name}:")[1].split()[0]) for status in statuses) / 1024

    def _pids(self) -> list[str]:
        pids = [str(self.process.pid)]
        for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
            pids += (thread / "children").read_text().split()
        return pids

    def _ticks(self) -> int:
        """Hundredths of a second of processor time."""
        stats = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1] for pid in self._pids()]
        return sum(int(stat.split()[11]) + int(stat.split()[12]) for stat in stats)

    def end(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(60)
        self._in.close()
        self._out.close()


class Questions:
    """Requests, none of them twice, over what the first `datasets` are."""

    def __init__(self, records: Records, datasets: int, seed: int) -> None:
        self._records, self._datasets = records, datasets
        self._dice = random.Random(seed)
        self._words: list[str] = words()
        # From the commonest to the rarest word, evenly on a logarithmic scale.
        self._ranks: list[int] = [
            round(VOCABULARY ** (n / (REPEATS - 1))) - 1 for n in range(REPEATS)
        ]
        self._texts = self._read_texts(records)

    @staticmethod
    def _read_texts(records: Records) -> list[str]:
        """Descriptions that there are: for phrases."""
        found: list[str] = []
        for chunk in read(records.parts()[0]):
            for op in (event.ops[0] for event in chunk):
                if op.collection == COLLECTIONS["dataset"] and op.raw is not None:
                    found.append(libipld.decode_dag_cbor(op.raw)["description"])
            if len(found) > TEXTS:
                break
        return found

    def word(self) -> str:
        return self._words[self._ranks[self._dice.randrange(REPEATS)]]

    def of_ranks(self) -> list[str]:
        return list(dict.fromkeys(self._words[rank] for rank in self._ranks))

    def common(self) -> list[str]:
        return self._words[:COMMON]

    def phrase(self) -> str:
        text: list[str] = self._dice.choice(self._texts).split()
        at = self._dice.randrange(len(text) - 1)
        return f'"{text[at]} {text[at + 1]}"'

    def search(self, q: str, **more: object) -> str:
        return path("searchDatasets", q=q, limit=PAGE, **more)

    def some(self, make: Callable[[], str], count: int = REPEATS) -> list[str]:
        found: dict[str, None] = {}
        for _ in range(count * 20):
            found[make()] = None
            if len(found) == count:
                break
        return list(found)

    def schema(self) -> str:
        there = self._datasets // 10
        return self._records.schema(self._dice.randrange(max(there, 2)))

    def dataset(self) -> str:
        return self._records.dataset(self._dice.randrange(self._datasets))

    def filtered(self) -> str:
        more: tuple[dict[str, object], ...] = (
            {"tags": self._words[self._dice.randrange(30)]},
            {"license": self._dice.choice(LICENSES[:5])},
            {"minSamples": self._dice.randrange(2000), "maxSamples": 10**6},
            {"schema": self._records.schema(self._dice.randrange(50))},
        )
        return self.search(self.word(), **more[self._dice.randrange(len(more))])

    def kinds(self) -> dict[str, tuple[list[str], str]]:
        """Name to requests and target."""
        quick, wide = "p50 <= 6, p99 <= 30", "p50 <= 45"
        sorts = ("newest", "largest")
        facets = ["tags", "licenses", "schemas"]

        def path_of(limit: int) -> Callable[[], str]:
            return lambda: path(
                "getLensPath", source=self.schema(), target=self.schema(), limit=limit
            )

        return {
            "search, a word of any rank": ([self.search(w) for w in self.of_ranks()], quick),
            "search, the commonest words": ([self.search(w) for w in self.common()], quick),
            "search, two words": (
                self.some(lambda: self.search(f"{self.word()} {self.word()}")),
                quick,
            ),
            "search, two common words": (
                [
                    self.search(f"{one} {two}")
                    for one, two in itertools.combinations(self._words[:COMMON], 2)
                ],
                quick,
            ),
            "search, a phrase": (self.some(lambda: self.search(self.phrase())), quick),
            "search, a word and a filter": (self.some(self.filtered), quick),
            "search, other orders": (
                self.some(lambda: self.search(self.word(), sort=self._dice.choice(sorts))),
                quick,
            ),
            "search, three facets": (
                [self.search(w, facets=facets) for w in self.of_ranks()],
                wide,
            ),
            "search, the commonest words, three facets": (
                [self.search(w, facets=facets) for w in self.common()],
                wide,
            ),
            "search, a misspelt word": (
                self.some(lambda: self.search(f"{(w := self.word())[:3]}q{w[3:]}")),
                "",
            ),
            "viewableAs, a word": (
                self.some(lambda: self.search(self.word(), viewableAs=self.schema())),
                "p50 <= 40",
            ),
            "getLensPath": (self.some(path_of(1)), "p50 <= 2, p99 <= 15"),
            "getLensPath, 5 paths": (self.some(path_of(5)), "p50 <= 10"),
            "getDataset": (self.some(lambda: path("getDataset", uri=self.dataset())), ""),
        }

    def lists(self, url: str) -> list[str]:
        """Pages of listDatasets at any depth: what a walk by big steps was given."""
        connection = Connection(url)
        found = [path("listDatasets", limit=PAGE)]
        cursor = ""
        for _ in range(60):
            answer = orjson.loads(
                connection.get(
                    path("listDatasets", limit=100, **({"cursor": cursor} if cursor else {}))
                )
            )
            cursor = answer.get("cursor", "")
            if not cursor:
                break
            found.append(path("listDatasets", limit=PAGE, cursor=cursor))
        connection.close()
        return found


def percentile(took: Sequence[float], share: float) -> float:
    return took[min(len(took) - 1, int(len(took) * share))]


def asked(url: str, questions: Questions) -> dict[str, tuple[float, float, str]]:
    """Name to p50, p99 and target."""
    answers = {}
    for name, (requests, target) in questions.kinds().items():
        took = latencies(url, requests)
        answers[name] = (statistics.median(took), percentile(took, 0.99), target)
    return answers


def rates(url: str, questions: Questions) -> list[Row]:
    datasets = questions.some(lambda: path("getDataset", uri=questions.dataset()), 5_000)
    described = [path("describeNode")]
    asked_for = {
        "getDataset": (datasets, ">= 3000"),
        "listDatasets, a page of 25 at any depth": (questions.lists(url), ">= 1200"),
        "describeNode": (described, ">= 3000"),
    }
    return [
        (name, throughput(url, requests, CLIENTS, SECONDS), "requests/s", target)
        for name, (requests, target) in asked_for.items()
    ]


def index(node: Node, parts: Sequence[Path], records: Records) -> tuple[list[float], list[float]]:
    """Seconds of each part, and of each request of somebody who reads meanwhile."""
    dice = random.Random(9)
    vocabulary = words()
    requests = [path("searchDatasets", q=dice.choice(vocabulary[:3000])) for _ in range(2000)]
    spent = []
    with Reader(node.url, requests) as reader:
        for part in parts:
            node.begin(part)
            spent.append(node.done())
            print(f"# {part.name}: {records.total / PARTS / spent[-1]:,.0f} records/s, "
                  f"{node.memory():,.0f} MB", file=sys.stderr, flush=True)  # fmt: skip
    return spent, reader.took


def measure(folder: Path, records: Records) -> list[Row]:
    parts = records.parts()
    data = folder / "data"
    node = Node(data)
    rows: list[Row] = []
    try:
        spent, waited = index(node, parts[:1], records)
        node.rest()
        small = asked(node.url, Questions(records, records.datasets // PARTS, 1))
        more, waited_more = index(node, parts[1:], records)
        spent, waited = spent + more, waited + waited_more
        share = records.total / PARTS
        rows += [
            ("ingest, all kinds", records.total / sum(spent), "records/s", ">= 8000"),
            ("ingest, the slowest tenth", share / max(spent), "records/s", ">= 8000"),
            ("longest wait of a reader meanwhile", max(waited), "s", "<= 1"),
            ("p99 of a reader meanwhile", percentile(sorted(waited), 0.99) * 1000, "ms", ""),
            ("memory while ingesting and serving", node.memory("VmHWM"), "MB highest", "<= 2500"),
        ]
        node.rest()
        questions = Questions(records, records.datasets, 2)
        large = asked(node.url, questions)
        for name, (half, last, target) in large.items():
            rows.append((f"{name} (p99 {last:.1f})", half, "ms p50", target))
        rows += rates(node.url, questions)
        grown = {name: large[name][0] / small[name][0] for name in large}
        worst = max(grown, key=lambda name: grown[name])
        rows.append((f"a p50 grew tenfold by at most ({worst})", grown[worst], "times", "<= 3"))
        rows += [("resident memory, serving", node.memory(), "MB", "<= 2500")]
        node.end()
        node = Node(data)
        rows.append(("ready after a restart", node.started, "s", "<= 8"))
        rows.append(killed(node, data, records))
    finally:
        if node.process.poll() is None:
            node.end(signal.SIGKILL)
    if records.datasets >= POSTGRES_DATASETS and (postgres := Postgres.found(folder)) is not None:
        rows += beside(postgres, folder, records)
    return rows


def killed(node: Node, data: Path, records: Records) -> Row:
    """Killed in the middle of writing, and started again."""
    node.begin(records.more())
    time.sleep(BEFORE_KILL)
    node.end(signal.SIGKILL)
    node = Node(data)
    node.end()
    return ("ready after kill -9 while writing", node.started, "s", "<= 30")


def beside(postgres: Postgres, folder: Path, records: Records) -> list[Row]:
    """The same datasets in PostgreSQL and in a node, both at PostgreSQL's size."""
    few = Records(POSTGRES_DATASETS)
    node = Node(folder / "few")
    try:
        index(node, few.parts(), few)
        node.rest()
        questions = Questions(few, few.datasets, 3)
        # Other words first, as on PostgreSQL's side: what is measured is a node that is in use.
        common = questions.common()
        latencies(node.url, [questions.search(w) for w in questions.of_ranks() if w not in common])
        ours = latencies(node.url, [questions.search(word) for word in common])
    finally:
        node.end()
    with postgres:
        postgres.fill(few)
        theirs = {
            total: statistics.median(postgres.latencies(common, PAGE, total=total))
            for total in (True, False)
        }
    half, size = statistics.median(ours), f"{POSTGRES_DATASETS:,}"
    return [
        (f"{size}: the commonest words, over HTTP", half, "ms p50", ""),
        (f"{size}: PostgreSQL tsvector, in the server", theirs[True], "ms p50", ""),
        ("… so many times faster", theirs[True] / half, "times", ">= 50"),
        (f"{size}: PostgreSQL tsvector, without a total", theirs[False], "ms p50", ""),
        ("… so many times faster", theirs[False] / half, "times", ""),
    ]


def run(datasets: int = DATASETS) -> list[Row]:
    """The table: name, figure, unit, target."""
    with tempfile.TemporaryDirectory(prefix="atdex-benchmark-") as folder:
        return measure(Path(folder), Records(datasets))


if __name__ == "__main__":
    for name, figure, unit, target in run(int(sys.argv[1]) if len(sys.argv) > 1 else DATASETS):
        print(f"{name:<62} {figure:>12,.2f} {unit:<12} {target}")
