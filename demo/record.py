"""Records the demo: `python -m demo.record`, by hand, whenever the world or the shards change.

Drives a real PDS through the whole world and keeps what came out of it. Everything that is
signed here stays signed: the demo replays these very bytes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import libipld
from websockets.sync.client import connect

from demo import mischief
from demo.recording import FILE, Recording
from demo.spelling import Refs
from demo.world import KINDS, Step, publishers, steps
from tests.devnet import Account, Devnet

MAX_BYTES = 3_000_000  # of the committed file
NAPPER = "deepsky"  # is deactivated and comes back
FRAME_SECONDS = 20  # to wait for the next frame of a PDS that has them all


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        Devnet.start(Path(folder), say=print) as devnet,
    ):
        recording = record(devnet)
    recording.save()
    size = FILE.stat().st_size
    print(f"{len(recording.frames)} frames, {len(recording.repos)} repos, {size:,} bytes: {FILE}")
    print(recording.counts)
    if size > MAX_BYTES:
        raise SystemExit(f"the recording is larger than {MAX_BYTES:,} bytes")


def record(devnet: Devnet) -> Recording:
    everybody = publishers()
    accounts = {p.name: devnet.create_account(p.handle) for p in everybody}
    world = steps()
    uris = {step.ref: step.uri(accounts[step.publisher.name].did) for step in world}
    cids: dict[str, str] = {}
    refs = Refs(uris, cids)
    for step in world:
        _write(step, accounts[step.publisher.name], refs, cids)
    stranger = devnet.create_account(mischief.HANDLE)
    for collection, bad in [*mischief.broken(refs), *mischief.tempting(refs)]:
        stranger.create_record(collection, bad)

    accounts[NAPPER].deactivate()
    accounts[NAPPER].activate()
    gone = [accounts[p.name] for p in everybody if p.deactivated]
    dids = [account.did for account in accounts.values()] + [stranger.did]
    repos = {did: devnet.get_repo(did) for did in dids}  # a PDS refuses those of inactive accounts
    for account in gone:
        account.deactivate()
    return Recording(
        frames=_frames(devnet, until_inactive=gone[-1].did),
        documents={did: devnet.did_document(did) for did in dids},
        repos=repos,
        inactive={account.did: "deactivated" for account in gone},
        counts=_counts(world, refs),
    )


def _write(step: Step, account: Account, refs: Refs, cids: dict[str, str]) -> None:
    match step.action:
        case "create":
            written = account.create_record(step.collection, step.record(refs), step.rkey)
            cids[step.ref] = written.cid
        case "update":
            account.put_record(step.collection, step.rkey, step.record(refs))
        case "delete":
            account.delete_record(step.collection, step.rkey)


def _frames(devnet: Devnet, until_inactive: str) -> list[bytes]:
    """Every frame up to the one that deactivates `until_inactive`."""
    found: list[bytes] = []
    url = f"{devnet.ws}/xrpc/com.atproto.sync.subscribeRepos?cursor=0"
    with connect(url, max_size=None, proxy=None) as socket:
        while True:
            frame = socket.recv(timeout=FRAME_SECONDS)
            assert isinstance(frame, bytes)
            found.append(frame)
            header, body = libipld.decode_dag_cbor_multi(frame)
            if header["t"] == "#account" and (body["did"], body["active"]) == (
                until_inactive,
                False,
            ):
                return found


def _counts(world: list[Step], refs: Refs) -> dict[str, int]:
    """What is visible at the end: created, not deleted, by an account that is active."""
    deleted = {step.ref for step in world if step.action == "delete"}
    visible = [
        step
        for step in world
        if step.action == "create" and step.ref not in deleted and not step.publisher.deactivated
    ]
    counts = {kind: sum(step.kind == kind for step in visible) for kind in KINDS}
    counts["dataset"] += len(mischief.tempting(refs))
    return counts


if __name__ == "__main__":
    main()
