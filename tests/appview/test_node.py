"""A node as a process: `atdex node run`, against a relay and a directory on this machine."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from atdex.cli import node as commands
from atdex.cli import run
from atdex_appview import logs
from atdex_appview.config import SETTINGS, NodeConfig, load_config
from atdex_lexicons.families import to_record
from tests.appview.index import Index, dataset, schema
from tests.appview.running import COMMAND, DEADLINE, environment, node
from tests.appview.test_health import BACKFILL
from tests.support.relay import FakePlc, FakeRelay
from tests.support.repo import K256Key, Repo, account_frame, did_document, plc_did

ALICE = plc_did("alice")


@pytest_asyncio.fixture
async def relay() -> AsyncIterator[FakeRelay]:
    async with FakeRelay() as opened:
        yield opened


@pytest.fixture
def plc() -> Iterator[FakePlc]:
    with FakePlc() as opened:
        yield opened


async def test_a_node_is_ready_when_it_says_so_and_stops_when_it_is_told_to(
    tmp_path: Path, relay: FakeRelay
) -> None:
    async with node(tmp_path / "data", relay.url) as running:
        about = await running.ask("describeNode")
        assert about["counts"]["datasets"] == 0
        [upstream] = about["upstreams"]
        assert upstream["url"] == relay.url
        assert "cursor" not in upstream
        health = await running.until(lambda a: a["upstreams"][0]["connected"], "describeNode")
        assert health["did"] == f"did:web:localhost%3A{running.url.rpartition(':')[2]}"
        response = await running.get("/xrpc/_health")
        assert (response.status_code, response.json()["ingest"]) == (200, "ok")
        assert await running.stop() == 0
    assert "Traceback" not in running.log
    assert "stopping on SIGTERM" in running.log
    assert "the node has stopped" in running.log


async def test_a_node_says_which_collections_it_was_told_to_index(
    tmp_path: Path, relay: FakeRelay
) -> None:
    flags = ("--collection", "app.bsky.atdata.*", "--collection", "science.alt.dataset.entry")
    async with node(tmp_path / "data", relay.url, *flags) as running:
        families = (await running.ask("describeNode"))["families"]
        told = {family["name"]: family["collections"] for family in families}
        assert told["science.alt.dataset"] == ["science.alt.dataset.entry"]
        assert len(told["app.bsky.atdata"]) == 5
        assert await running.stop() == 0
    async with node(tmp_path / "data", relay.url, *flags[2:]) as running:
        families = (await running.ask("describeNode"))["families"]
        assert [family["name"] for family in families] == ["science.alt.dataset"]
        assert await running.stop() == 0


async def test_ctrl_c_stops_a_node_too_and_its_log_can_be_json(
    tmp_path: Path, relay: FakeRelay
) -> None:
    async with node(tmp_path / "data", relay.url, "--log-format", "json") as running:
        assert await running.stop(signal.SIGINT) == 0
    lines = [json.loads(line) for line in running.log.splitlines()]
    assert any("SIGINT" in line["message"] for line in lines)
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)


async def test_what_the_firehose_brings_is_served_and_still_there_after_a_restart(
    tmp_path: Path, relay: FakeRelay, plc: FakePlc
) -> None:
    key = K256Key()
    plc.documents[ALICE] = did_document(ALICE, key)
    repo = Repo(ALICE, key)
    image = f"at://{ALICE}/science.alt.dataset.schema/3k2aaaaaaaaa2"
    relay.send(
        repo.commit(
            {
                "science.alt.dataset.schema/3k2aaaaaaaaa2": to_record(schema()),
                "science.alt.dataset.entry/3k2aaaaaaaab2": to_record(dataset("retina", image)),
                "science.alt.dataset.entry/3k2aaaaaaaac2": {"$type": "science.alt.dataset.entry"},
            }
        ).encode(1)
    )
    flags = ("--plc", plc.url, "--batch-delay", "0.05")
    async with node(tmp_path / "data", relay.url, *flags) as running:
        found = await running.until(lambda a: a["hitsTotal"] == 1, "searchDatasets", q="retina")
        assert found["datasets"][0]["schema"]["uri"] == image
        bad = f"at://{ALICE}/science.alt.dataset.entry/3k2aaaaaaaac2"
        status = await running.ask("getRecordStatus", uri=bad)
        assert status["status"] == "quarantined"
        relay.send(account_frame(2, ALICE, False, "deactivated"))
        await running.until(lambda a: a["hitsTotal"] == 0, "searchDatasets", q="retina")
        relay.send(account_frame(3, ALICE, True))
        await running.until(lambda a: a["hitsTotal"] == 1, "searchDatasets", q="retina")
        assert await running.stop() == 0
    async with node(tmp_path / "data", relay.url, *flags) as running:
        assert (await running.ask("searchDatasets", q="retina"))["hitsTotal"] == 1
        await running.until(lambda a: a["upstreams"][0].get("cursor") == 3, "describeNode")
        assert await running.stop() == 0
    assert relay.cursors[-1] == 3


async def test_a_failure_of_our_own_ends_the_process_with_a_line_in_the_log(
    tmp_path: Path, relay: FakeRelay, plc: FakePlc
) -> None:
    key = K256Key()
    plc.documents[ALICE] = did_document(ALICE, key)
    flags = ("--plc", plc.url, "--batch-delay", "0.0")
    async with node(tmp_path / "data", relay.url, *flags) as running:
        # A table of the node's state goes missing: not anything that goes on as before.
        damaged = sqlite3.connect(tmp_path / "data" / "state.sqlite", timeout=DEADLINE)
        damaged.execute("DROP TABLE appview_meta")
        damaged.commit()
        damaged.close()
        record = {"$type": "science.alt.dataset.entry"}
        relay.send(Repo(ALICE, key).commit({"science.alt.dataset.entry/x": record}).encode(1))
        _, log = await asyncio.wait_for(running.process.communicate(), DEADLINE)
    assert running.process.returncode == 1
    assert "critical atdex_appview.running: the node stops" in log.decode()
    assert log.decode().splitlines()[-1].startswith("atdex: ")


async def test_a_second_node_on_the_same_folder_is_refused(
    tmp_path: Path, relay: FakeRelay
) -> None:
    async with node(tmp_path / "data", relay.url) as running:
        other = await asyncio.create_subprocess_exec(
            COMMAND,
            *("node", "run", "--relay", relay.url, "--port", "0"),
            *("--data-dir", str(tmp_path / "data")),
            stdout=PIPE,
            stderr=PIPE,
            env=environment(),
        )
        out, log = await asyncio.wait_for(other.communicate(), DEADLINE)
        assert (other.returncode, out) == (1, b"")
        assert "--data-dir" in log.decode()
        assert "Traceback" not in log.decode()
        assert await running.stop() == 0


def test_a_taken_port_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(["node", "run", "--port", str(port), "--data-dir", str(tmp_path)]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"atdex: cannot listen on 127.0.0.1 port {port}")
    assert "--port" in error


# The command line


def test_the_resulting_configuration_is_printed_and_reads_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        if name.startswith("ATDEX_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATDEX_PORT", "4000")
    monkeypatch.setenv("ATDEX_HOST", "a.example")
    Path("atdex.toml").write_text('host = "b.example"\nlog_format = "json"\n')
    flags = ["--host", "c.example", "--relay", "wss://one.example", "--relay", "wss://two.example"]
    assert run(["node", "run", "--print-config", *flags]) == 0
    printed = tmp_path / "printed.toml"
    printed.write_text(capsys.readouterr().out)
    assert load_config(printed, {}, {}) == NodeConfig(
        host="c.example",
        port=4000,
        relays=("wss://one.example", "wss://two.example"),
        log_format="json",
    )


def test_a_setting_that_does_not_exist_stops_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "my.toml"
    file.write_text("prot = 1\n")
    assert run(["node", "run", "--config", str(file)]) == 1
    assert "the nearest is 'port'" in capsys.readouterr().err
    assert run(["node", "run", "--port", "x"]) != 0
    assert run(["node", "run", "--relay", "nothing", "--print-config"]) == 1
    assert "--relay" in capsys.readouterr().err


def test_every_setting_has_its_flag() -> None:
    parameters = set(inspect.signature(commands.run).parameters)
    flags = {
        setting.flag.removeprefix("--").replace("-", "_") for setting in SETTINGS if setting.flag
    }
    assert parameters == flags | {"config", "print_config"}


def test_status_prints_how_a_node_is_and_fails_where_it_is_not_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Index.open(tmp_path) as index, index.serve() as served:
        url = str(served.http.base_url)
        assert run(["node", "status", "--url", url]) == 0
        out = capsys.readouterr().out
        assert "ok" in out
        assert "did:web:index.example" in out
        assert run(["node", "status", "--url", url, "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["health"]["store"] == "ok"
        assert said["node"]["counts"]["datasets"] == 0
        index.close("store")
        assert run(["node", "status", "--url", url]) == 1
        assert "does not answer" in capsys.readouterr().out


def test_status_prints_how_fetching_repos_goes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Index.open(tmp_path) as index, index.serve(backfill=lambda: BACKFILL) as served:
        assert run(["node", "status", "--url", str(served.http.base_url)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "5 synchronized, 2 incomplete, 1 being fetched" in out
    assert "to fetch 3 repos" in out
    assert "fetched 70 records, 12 a second" in out
    assert "3 done, 2 unchanged" in out
    assert "science.alt.dataset.entry of https://up.example" in out


def test_status_of_what_is_no_node_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"

        def answer() -> None:
            connection, _ = silent.accept()
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        assert run(["node", "status", "--url", url]) == 1
        thread.join()
        assert "no health" in capsys.readouterr().err
    assert run(["node", "status", "--url", url]) == 1
    assert capsys.readouterr().err.startswith("atdex: ")
    assert run(["node", "status", "--url", "ftp://x"]) == 1


def test_the_commands_load_no_server_package_until_they_run() -> None:
    program = (
        "import sys, atdex.cli.node\n"
        "heavy = {'starlette', 'uvicorn', 'duckdb', 'tantivy', 'pyarrow', 'websockets',"
        " 'picows', 'dns', 'prometheus_client'}\n"
        "sys.exit(bool(heavy & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# Logging


def test_a_log_line_is_one_line_whatever_a_stranger_wrote() -> None:
    for formatter in (logs.TextFormatter(), logs.JsonFormatter()):
        record = logging.getLogger("x").makeRecord(
            "x", logging.INFO, "f", 1, "said %s", ("a\nb\x1b[31m",), None, extra={"uri": "at://\n"}
        )
        line = formatter.format(record)
        assert "\n" not in line
        assert "\x1b" not in line
        assert "at://" in line
