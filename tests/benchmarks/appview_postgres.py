"""PostgreSQL's full-text search over the benchmark's datasets, in a cluster of its own.

The query is what a search page needs at the least: the 25 best by `ts_rank`, with the number of all
that match or without it. The time is the server's own (planning and execution), without its
protocol.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import libipld

from tests.appview.records import COLLECTIONS
from tests.benchmarks.appview_records import Records, read

POSTGRES_DATASETS = 200_000
SECONDS = 600
USER = "postgres"
"""Whom the server runs as: it refuses to run as root."""
TIMES = re.compile(r"(?:Planning|Execution) Time: ([0-9.]+) ms")


class Postgres:
    """Use `found`, and `with`."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder = programs, folder

    @classmethod
    def found(cls, folder: Path) -> Postgres | None:
        """PostgreSQL of this machine with its files in `folder`; None where there is none."""
        there = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if not there or shutil.which("psql") is None or shutil.which("runuser") is None:
            return None
        return cls(there[-1].parent, folder / "postgres")

    def __enter__(self) -> Postgres:
        self._folder.mkdir()
        self._folder.parent.chmod(0o755)
        shutil.chown(self._folder, USER)
        self._run("initdb", "-D", f"{self._folder}/data", "-A", "trust")
        settings = "-c listen_addresses='' -c shared_buffers=2GB -c maintenance_work_mem=1GB"
        settings += f" -c work_mem=64MB -c unix_socket_directories={self._folder}"
        self._run(
            "pg_ctl", "-D", f"{self._folder}/data", "-l", f"{self._folder}/log", "-w", "start",
            "-o", settings,
        )  # fmt: skip
        return self

    def __exit__(self, *args: object) -> None:
        self._run("pg_ctl", "-D", f"{self._folder}/data", "-m", "fast", "stop")

    def fill(self, records: Records) -> None:
        rows: list[str] = []
        for part in records.parts():
            for chunk in read(part):
                for op in (event.ops[0] for event in chunk):
                    if op.collection == COLLECTIONS["dataset"] and op.raw is not None:
                        value = libipld.decode_dag_cbor(op.raw)
                        text = (value["name"], " ".join(value["tags"]), value["description"])
                        rows.append("\t".join((f"{len(rows)}", *text)))
        self._sql("CREATE TABLE dataset (id int PRIMARY KEY, name text, tags text, about text)")
        self._sql("COPY dataset FROM STDIN", "\n".join(rows) + "\n")
        self._sql(
            "ALTER TABLE dataset ADD v tsvector GENERATED ALWAYS AS ("
            "setweight(to_tsvector('simple', name), 'A') || setweight(to_tsvector('simple', tags),"
            " 'B') || setweight(to_tsvector('simple', about), 'C')) STORED"
        )
        self._sql("CREATE INDEX ON dataset USING gin (v)")
        self._sql("VACUUM ANALYZE dataset")

    def latencies(self, words: Sequence[str], limit: int, *, total: bool) -> list[float]:
        """Milliseconds of each word, sorted."""
        columns = "id, name, count(*) OVER ()" if total else "id, name"
        asked = [
            f"EXPLAIN (ANALYZE, TIMING OFF) SELECT {columns} FROM dataset, to_tsquery('simple',"
            f" '{word}') q WHERE v @@ q ORDER BY ts_rank(v, q) DESC LIMIT {limit}"
            for word in words
        ]
        self._sql(asked[0])  # reads the index into memory
        return sorted(sum(map(float, TIMES.findall(self._sql(one)))) for one in asked)

    def _sql(self, statement: str, given: str = "") -> str:
        command = ["psql", "-h", str(self._folder), "-U", USER, "-v", "ON_ERROR_STOP=1"]
        ran = subprocess.run(
            [*command, "-c", statement, "postgres"],
            input=given, capture_output=True, text=True, check=True, timeout=SECONDS,
        )  # fmt: skip
        return ran.stdout

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        if os.geteuid() == 0:
            command = ["runuser", "-u", USER, "--", *command]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=SECONDS)
