"""The demo: what is recorded, the sandbox that replays it, and the program as people start it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import httpx
import libipld
import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from demo.__main__ import indexed
from demo.node import NodeProcess
from demo.recording import FILE, Recording
from demo.sandbox import Sandbox, fingerprint
from demo.shards import PORT, make, write_all
from demo.world import PUBLISHERS, publishers, steps

MAX_RECORDING_BYTES = 3_000_000
ROOT = Path(__file__).parent.parent
RUN_SECONDS = 100  # of the whole demo with `--check`, on a busy machine


@pytest.fixture(scope="module")
def recording() -> Recording:
    return Recording.load()


@pytest.fixture(scope="module")
def sandbox(recording: Recording, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox(recording, tmp_path_factory.mktemp("shards")) as running:
        yield running


def replayed(sandbox: Sandbox, cursor: int, count: int) -> list[bytes]:
    url = sandbox.url.replace("http", "ws", 1)
    found: list[bytes] = []
    stream = f"{url}/xrpc/com.atproto.sync.subscribeRepos?cursor={cursor}"
    with connect(stream, max_size=None, proxy=None) as socket_:
        while len(found) < count:
            frame = socket_.recv(timeout=10)
            assert isinstance(frame, bytes)
            found.append(frame)
        with pytest.raises(TimeoutError):  # it stays open, and silent
            socket_.recv(timeout=0.2)
    return found


def test_the_world_is_lively_enough_to_search_in(recording: Recording) -> None:
    assert len(publishers()) >= 12
    counts = recording.counts
    assert counts["dataset"] >= 60
    assert counts["schema"] >= 15
    assert counts["lens"] >= 20
    assert counts["label"] >= 15
    recipes = {step.entry["recipe"] for step in steps() if "recipe" in step.entry}
    assert len(recipes) >= 8
    assert {step.action for step in steps()} == {"create", "update", "delete"}


def test_the_recording_is_small_enough_to_clone() -> None:
    assert FILE.stat().st_size <= MAX_RECORDING_BYTES


def test_the_recorded_checksums_are_those_of_the_shards_made_here(recording: Recording) -> None:
    recorded: dict[str, str] = {}
    for car in recording.repos.values():
        for block in libipld.decode_car(car)[1].values():
            for shard in block.get("storage", {}).get("shards", []):
                recorded[shard["url"]] = shard["checksum"]["digest"]
    recipes = [step.entry["recipe"] for step in steps() if "recipe" in step.entry]
    shards = [shard for recipe in recipes for shard in make(recipe)]
    assert {shard.url: shard.sha256 for shard in shards}.items() <= recorded.items()


def test_every_reference_of_the_world_is_spelled_right() -> None:
    refs = {step.ref for step in steps()}
    for path in PUBLISHERS.glob("*.toml"):
        content = tomllib.loads(path.read_text("utf-8"))
        used = [lens[side] for lens in content.get("lens", []) for side in ("source", "target")]
        used += [dataset["schema"] for dataset in content.get("dataset", [])]
        used += [label["dataset"] for label in content.get("label", [])]
        assert set(used) <= refs, path.name


def test_the_port_of_the_shards_may_be_taken_by_a_stranger(
    recording: Recording, tmp_path: Path
) -> None:
    try:
        stranger = socket.create_server(("127.0.0.1", PORT))
    except OSError:
        pytest.skip("the port of the shards is in use by another sandbox")
    with stranger, Sandbox(recording, tmp_path) as sandbox:
        assert not sandbox.shards
        with httpx.Client(base_url=sandbox.url, trust_env=False) as http:
            assert http.get("/xrpc/com.atproto.sync.listRepos").status_code == 200


def test_the_sandbox_replays_the_frames_byte_for_byte(
    sandbox: Sandbox, recording: Recording
) -> None:
    assert replayed(sandbox, 0, len(recording.frames)) == recording.frames


def test_the_sandbox_starts_after_the_cursor(sandbox: Sandbox, recording: Recording) -> None:
    assert replayed(sandbox, recording.seqs[-3], 2) == recording.frames[-2:]
    assert replayed(sandbox, recording.last_seq, 0) == []


def test_the_sandbox_refuses_a_cursor_in_the_future(sandbox: Sandbox, recording: Recording) -> None:
    url = sandbox.url.replace("http", "ws", 1)
    stream = f"{url}/xrpc/com.atproto.sync.subscribeRepos?cursor={recording.last_seq + 1}"
    with connect(stream, proxy=None) as socket_:
        frame = socket_.recv(timeout=10)
        assert isinstance(frame, bytes)
        header, body = libipld.decode_dag_cbor_multi(frame)
        assert (header, body["error"]) == ({"op": -1}, "FutureCursor")
        with pytest.raises(ConnectionClosedError) as closed:
            socket_.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


def test_the_sandbox_is_directory_and_host_of_every_account(
    sandbox: Sandbox, recording: Recording
) -> None:
    with httpx.Client(base_url=sandbox.url, trust_env=False) as http:
        listed = {r["did"]: r for r in http.get("/xrpc/com.atproto.sync.listRepos").json()["repos"]}
        assert listed.keys() == recording.documents.keys()
        for did in recording.documents:
            document = http.get(f"/{did}").json()
            assert document["service"][0]["serviceEndpoint"] == sandbox.url
            handle = {"handle": recording.handle(did)}
            resolved = http.get("/xrpc/com.atproto.identity.resolveHandle", params=handle)
            assert resolved.json() == {"did": did}
            repo = http.get("/xrpc/com.atproto.sync.getRepo", params={"did": did})
            latest = http.get("/xrpc/com.atproto.sync.getLatestCommit", params={"did": did})
            assert latest.json()["rev"] == listed[did]["rev"]
            described = http.get("/xrpc/com.atproto.repo.describeRepo", params={"repo": did})
            assert described.json()["collections"]
            if listed[did]["active"]:
                assert repo.content == recording.repos[did]
            else:
                assert repo.json()["error"] == "RepoDeactivated"
        assert http.get("/did:plc:nobody").status_code == 404


def test_a_second_sandbox_uses_the_shards_of_the_first(
    sandbox: Sandbox, recording: Recording, tmp_path: Path
) -> None:
    assert sandbox.shards
    with Sandbox(recording, tmp_path) as second:
        assert second.shards
        assert second.url != sandbox.url


def test_the_shards_are_the_same_bytes_every_time(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("once", "again")]
    for folder in folders:
        folder.mkdir()
        write_all(folder)
    assert fingerprint(folders[0]) == fingerprint(folders[1])


@pytest.mark.timeout(RUN_SECONDS + 20)
def test_everything_that_the_demo_suggests_works() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "demo", "--check", "--port", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    without_shards = "is taken by another program" in ended.stdout
    assert ended.stdout.count("works:") == (3 if without_shards else 5)
    assert "failed:" not in ended.stdout


def test_the_first_lines_of_python_that_the_readme_shows_work_on_the_demo(
    sandbox: Sandbox, recording: Recording, tmp_path: Path
) -> None:
    [program] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert sandbox.shards
    log = tmp_path / "node.log"
    with NodeProcess(sandbox.url, sandbox.url, tmp_path / "node", log, handles=sandbox.url) as node:
        node.wait(lambda: indexed(node, recording), "complete index", RUN_SECONDS)
        ended = subprocess.run(
            [sys.executable, "-c", program.replace("http://127.0.0.1:3180", node.url)],
            env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
    assert ended.returncode == 0, ended.stderr
    first, *samples = ended.stdout.splitlines()
    assert re.fullmatch(r"FundusPhoto \d+ samples", first)
    assert samples[0].startswith("(64, 64, 3)")
    assert len(samples) == 3


@pytest.mark.timeout(RUN_SECONDS + 20)
@pytest.mark.parametrize("word", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_prints_its_addresses_and_leaves_nothing_behind(
    word: signal.Signals, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "demo", "--port", "0"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        try:
            lines = []
            for line in demo.stdout:
                lines.append(line)
                if line.startswith("Ctrl-C"):
                    break
            node = next(line.split()[1] for line in lines if line.startswith("node "))
            assert httpx.get(f"{node}/xrpc/_health", trust_env=False).status_code == 200
            demo.send_signal(word)
            assert demo.wait(20) == 0
        finally:
            demo.kill()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(node, trust_env=False)
