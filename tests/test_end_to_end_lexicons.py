"""A collection that nobody here has heard of: its lexicon on a real PDS, its authority in DNS."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.appview.running import COMMAND, DEADLINE, Running, environment, node
from tests.devnet import Account, Devnet
from tests.support.dns import DnsServer

pytestmark = [pytest.mark.devnet, pytest.mark.timeout(180)]

NOTE = "com.example.lab.note"
DEFS = "com.example.lab.defs"
DOCUMENTS = {
    NOTE: {
        "main": {
            "type": "record",
            "key": "any",
            "record": {
                "type": "object",
                "required": ["text"],
                "properties": {
                    "text": {"type": "string", "maxLength": 20},
                    "place": {"type": "ref", "ref": f"{DEFS}#place"},
                },
            },
        }
    },
    DEFS: {
        "place": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string"}},
        }
    },
}


def note(text: str, **more: Any) -> dict[str, Any]:
    return {"$type": NOTE, "text": text} | more


async def publish_lexicon(authority: Account, nsid: str, **changes: Any) -> None:
    document = {
        "$type": "com.atproto.lexicon.schema",
        "lexicon": 1,
        "id": nsid,
        "defs": DOCUMENTS[nsid],
    }
    await asyncio.to_thread(
        authority.put_record, "com.atproto.lexicon.schema", nsid, document | changes
    )


async def write(account: Account, rkey: str, record: dict[str, Any]) -> str:
    written = await asyncio.to_thread(account.put_record, NOTE, rkey, record)
    return written.uri


async def texts(running: Running, wanted: set[str]) -> Any:
    """Waits until exactly these are listed."""
    while True:
        response = await running.get("/xrpc/app.bsky.atdata.listRecords", collection=NOTE)
        if response.status_code == 200:
            found = response.json()["records"]
            if {each["record"]["text"] for each in found} == wanted:
                return found
        await asyncio.sleep(0.05)


async def lexicon(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    def call() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, "lexicon", *arguments],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            env=environment(),
            check=False,
        )

    return await asyncio.to_thread(call)


async def test_a_collection_is_added_to_a_running_node_by_its_name(
    devnet: Devnet, tmp_path: Path
) -> None:
    authority = await asyncio.to_thread(devnet.create_account, "lab-authority.test")
    author = await asyncio.to_thread(devnet.create_account, "lab-author.test")
    for nsid in DOCUMENTS:
        await publish_lexicon(authority, nsid)
    before = await write(author, "before", note("before", place={"name": "here"}))
    folder = tmp_path / "data"
    async with DnsServer() as dns:
        dns.add("_lexicon.lab.example.com", "TXT", f'"did={authority.did}"')
        flags = (
            "--pds", devnet.pds, "--plc", devnet.plc, "--allow-private-hosts",
            "--batch-delay", "0.02", "--dns-server", dns.address,
        )  # fmt: skip
        async with node(folder, None, *flags) as running:
            refused = await running.get("/xrpc/app.bsky.atdata.listRecords", collection=NOTE)
            assert refused.status_code == 400
            added = await lexicon("add", NOTE, "--data-dir", folder)
            assert added.returncode == 0, added.stderr
            async with asyncio.timeout(4 * DEADLINE):
                await texts(running, {"before"})
                bad = await write(author, "bad", note("far too long to be allowed at all"))
                await write(author, "after", note("after"))
                found = await texts(running, {"before", "after"})
            assert [each["uri"] for each in found][1] == before
            assert found[0]["publisher"]["did"] == author.did
            assert "verified" not in found[0]
            status = await running.ask("getRecordStatus", uri=bad)
            assert status["status"] == "quarantined"
            assert status["problems"][0]["path"] == "/text"
            assert (await running.ask("getRecordStatus", uri=before))["status"] == "indexed"
            one = await running.ask("getRecord", uri=before)
            assert one["record"]["record"]["place"] == {"name": "here"}
            (known,) = (await running.ask("describeNode"))["lexicons"]
            assert (known["collection"], known["publisher"], known["records"]) == (
                NOTE,
                authority.did,
                2,
            )
            listed = await lexicon("list", "--data-dir", folder, "--json")
            assert json.loads(listed.stdout)["lexicons"][0]["publisher"] == authority.did

            await asyncio.to_thread(author.delete_record, NOTE, "after")
            async with asyncio.timeout(2 * DEADLINE):
                await texts(running, {"before"})
            await asyncio.to_thread(author.deactivate)
            async with asyncio.timeout(2 * DEADLINE):
                await texts(running, set())
            await asyncio.to_thread(author.activate)
            async with asyncio.timeout(2 * DEADLINE):
                await texts(running, {"before"})
            assert await running.stop() == 0
            assert "Traceback" not in running.log
    # The authority and its DNS are away: what was learned is kept.
    missed = note("missed")
    await write(author, "missed", missed)
    gone = ("--dns-server", dns.address)
    async with node(folder, None, *flags[:-2], *gone) as running:
        async with asyncio.timeout(4 * DEADLINE):
            await texts(running, {"before", "missed"})
        assert await running.stop() == 0
        assert "Traceback" not in running.log
    removed = await lexicon("remove", NOTE, "--data-dir", folder)
    assert removed.returncode == 0
    assert (await lexicon("list", "--data-dir", folder)).stdout == ""


async def test_the_command_refuses_what_is_no_collection_of_the_network(tmp_path: Path) -> None:
    for wrong in ("note", "science.alt.dataset.entry", "app.bsky.atdata.getLens"):
        assert (await lexicon("add", wrong, "--data-dir", tmp_path)).returncode == 2
    assert (await lexicon("remove", NOTE, "--data-dir", tmp_path)).returncode == 1
