"""`atdex firehose`, as a process of its own: its lines, its state, its counts."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

from atdex.cli import run
from tests.firehose.network import DEADLINE, NOTE, network, until
from tests.support.repo import K256Key, Repo, account_frame, identity_frame

TAIL = [sys.executable, "-c", "from atdex.cli import main; main()", "firehose", "tail"]
IDLE = ("--stop-after-idle", "0.4")


class Ran:
    """What a finished process said."""

    def __init__(self, code: int, out: bytes, err: bytes) -> None:
        self.code = code
        self.lines: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines()]
        self.err = err.decode()

    @property
    def stats(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.err.splitlines()[-1])
        return found

    def keys(self) -> list[str]:
        return [line["rkey"] for line in self.lines if line["type"] == "record"]


async def start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *TAIL,
        "--allow-private-hosts",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def tail(*arguments: str) -> Ran:
    process = await start(*arguments)
    async with asyncio.timeout(DEADLINE):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Ran(process.returncode, out, err)


async def test_it_prints_one_object_a_line_and_counts_at_the_end() -> None:
    async with network() as net:
        alice, mallory = net.account("alice"), net.account("mallory")
        net.write(alice, "one")
        net.relay.send(
            alice.commit({"app.test.note/one": None, "app.other.thing/2": NOTE}).encode(net.seq()),
            identity_frame(net.seq(), alice.did),
            account_frame(net.seq(), alice.did, False, "deactivated"),
        )
        mallory.key = K256Key()
        net.write(mallory, "forged")
        ran = await tail(
            *("--relay", net.relay.url, "--plc", net.plc.url, "--collection", "app.test.*"),
            *("--stats", *IDLE),
        )
    first, second, identity, account = ran.lines
    note = NOTE | {"name": "one"}
    assert first == {
        "seq": 1,
        "type": "record",
        "did": alice.did,
        "rev": first["rev"],
        "collection": "app.test.note",
        "rkey": "one",
        "action": "create",
        "cid": first["cid"],
        "record": note,
        "live": True,
    }
    assert (second["action"], second["cid"], second["record"]) == ("delete", None, None)
    assert (identity["type"], identity["did"], identity["claimed"]) == (
        "identity",
        alice.did,
        "alice.test",
    )
    assert account == {
        "seq": 4,
        "type": "account",
        "did": alice.did,
        "active": False,
        "status": "deactivated",
        "time": account["time"],
    }
    assert ran.code == 0
    assert ran.stats.pop("seconds") >= 0
    assert ran.stats | {"seconds": 0} == {
        "frames": 5,
        "events": 5,
        "commits_verified": 2,
        "rejected": 1,
        "desynchronized": 0,
        "resyncs": 0,
        "seconds": 0,
    }
    assert "BadSignature" in ran.err


async def test_everything_is_printed_where_no_collection_is_named() -> None:
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, "one")
        net.write(alice, "two", collection="app.other.thing")
        url = f"{net.relay.url.replace('http', 'ws')}/xrpc/com.atproto.sync.subscribeRepos"
        ran = await tail("--relay", url, "--plc", net.plc.url, *IDLE)
    assert ran.keys() == ["one", "two"]


async def test_a_state_file_goes_on_where_it_stopped_and_a_cursor_starts_where_it_says(
    tmp_path: Path,
) -> None:
    async with network() as net:
        alice = net.account("alice")
        common = ("--relay", net.relay.url, "--plc", net.plc.url, *IDLE)
        net.write(alice, "one", "two")
        kept = ("--state", str(tmp_path / "state.sqlite"))
        assert (await tail(*common, *kept)).keys() == ["one", "two"]
        net.write(alice, "three")
        assert (await tail(*common, *kept)).keys() == ["three"]
        ran = await tail(*common, "--cursor", "1")
        # What came before the cursor is fetched: a first record in an old repo.
        assert sorted(ran.keys()) == ["one", "three", "two"]
        assert {line["rkey"] for line in ran.lines if not line["live"]} >= {"one"}


async def test_without_verification_nobody_is_asked() -> None:
    async with network() as net:
        alice, mallory = net.account("alice"), net.account("mallory")
        mallory.key = K256Key()
        net.write(alice, "one")
        net.write(mallory, "forged")
        ran = await tail(
            "--relay", net.relay.url, "--plc", net.plc.url, "--no-verify", "--stats", *IDLE
        )
    assert ran.keys() == ["one", "forged"]
    assert all(line["verified"] is False for line in ran.lines)
    assert (ran.stats["commits_verified"], sum(net.plc.requests.values())) == (0, 0)


async def test_older_records_are_printed_where_that_is_asked_for() -> None:
    async with network() as net:
        alice = net.account("alice")
        alice.commit({"app.test.note/old": NOTE})
        ran = await tail(
            *("--pds", net.pds.url, "--relay", net.relay.url, "--plc", net.plc.url),
            *("--backfill", "--collection", "app.test.note", "--stats", *IDLE),
        )
    assert [(line["rkey"], line["live"], line["seq"]) for line in ran.lines] == [
        ("old", False, None)
    ]
    assert ran.stats["resyncs"] == 1


async def test_a_signal_ends_it_with_what_was_read(tmp_path: Path) -> None:
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, "one")
        process = await start("--relay", net.relay.url, "--plc", net.plc.url, "--stats")
        assert process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            assert json.loads(await process.stdout.readline())["rkey"] == "one"
            process.send_signal(signal.SIGINT)
            _, err = await process.communicate()
        assert process.returncode == 0
        assert json.loads(err.splitlines()[-1])["events"] == 1


async def test_what_was_refused_is_listed_with_its_reason(tmp_path: Path, capsys: Any) -> None:
    state = tmp_path / "state.sqlite"
    async with network() as net:
        alice = net.account("alice")
        net.write(alice, "one")
        forged = Repo(alice.did, K256Key(), clock=alice.clock)
        forged.commit({"app.test.note/x": NOTE})
        raw = forged.commit({"app.test.note/forged": NOTE}).encode(net.seq())
        net.relay.send(raw)
        async with net.consumer(state) as consumer:
            await until(lambda: consumer.stats().rejected == 1)
    listed = await asyncio.to_thread(run, ["firehose", "rejected", "--state", str(state), "--json"])
    assert listed == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["did"], found["seq"], found["error"]) == (alice.did, 2, "BadSignature")
    assert "not signed by" in found["reason"]
    assert await asyncio.to_thread(run, ["firehose", "rejected", "--state", str(state)]) == 0
    assert "BadSignature" in capsys.readouterr().out
    missing = await asyncio.to_thread(
        run, ["firehose", "rejected", "--state", str(tmp_path / "no")]
    )
    assert missing == 1
    assert not (tmp_path / "no").exists()


async def test_a_wrong_command_line_is_one_clear_line() -> None:
    ran = await tail("--collection", "not an nsid", "--relay", "http://127.0.0.1:1")
    assert (ran.code, ran.lines) == (1, [])
    assert "neither an NSID" in ran.err
    assert len(ran.err.strip().splitlines()) == 1
    nobody = await tail()
    assert "name at least one relay" in nobody.err
