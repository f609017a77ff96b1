"""`python -m demo`: a small network and a node that indexes it, on this machine alone."""

from __future__ import annotations

import argparse
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

from demo.node import NodeFailed, NodeProcess
from demo.recording import Recording
from demo.sandbox import Sandbox
from demo.serving import LOOPBACK
from demo.shards import PORT as SHARD_PORT
from demo.suggestions import failure, suggestions

NODE_PORT = 3180  # where the node listens unless told otherwise; a free one where it is taken
INDEX_SECONDS = 60  # for the whole recording; it takes about one
PLURALS = {"schema": "schemas", "dataset": "datasets", "lens": "lenses", "label": "labels"}


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, _interrupt)
    # Said explicitly, because a shell starts what runs in its background with SIGINT ignored.
    signal.signal(signal.SIGINT, _interrupt)
    try:
        with tempfile.TemporaryDirectory(prefix="atdex-demo-") as folder:
            return _run(Path(folder), options.port, check=options.check)
    except KeyboardInterrupt:
        _say("stopped")
        return 0
    except NodeFailed as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--port", type=int, help=f"where the node listens ({NODE_PORT} if free)")
    parser.add_argument(
        "--check", action="store_true", help="run what it suggests, and stop: 0 if all of it works"
    )
    return parser.parse_args()


def _run(folder: Path, port: int | None, *, check: bool) -> int:
    recording = Recording.load()
    _say("generating shards and starting a sandbox network")
    shards = folder / "shards"
    shards.mkdir()
    with Sandbox(recording, shards) as sandbox:
        if not sandbox.shards:
            _say(
                f"port {SHARD_PORT} is taken by another program: searching works, loading samples "
                "does not (the addresses of the shards are part of signed records)"
            )
        _say("starting a node that follows it")
        with NodeProcess(
            sandbox.url,
            sandbox.url,
            folder / "node",
            folder / "node.log",
            handles=sandbox.url,
            port=_free(NODE_PORT) if port is None else port,
        ) as node:
            _say(f"the node indexes {len(recording.frames)} recorded frames")
            took = node.wait(lambda: indexed(node, recording), "complete index", INDEX_SECONDS)
            _say(f"indexed in {took:.1f} s")
            return _check(node, sandbox) if check else _stay(node, sandbox, recording)


def indexed(node: NodeProcess, recording: Recording) -> bool:
    """Everything is there and can be searched, and the account that leaves at the end has left."""
    counts = node.query("app.bsky.atdata.describeNode")["counts"]
    hits = node.query("app.bsky.atdata.searchDatasets", limit=1)["hitsTotal"]
    expected = {plural: recording.counts[kind] for kind, plural in PLURALS.items()}
    return bool(expected.items() <= counts.items() and hits == expected["datasets"])


def _stay(node: NodeProcess, sandbox: Sandbox, recording: Recording) -> int:
    counts = recording.counts
    inside = ", ".join(f"{counts[kind]} {plural}" for kind, plural in PLURALS.items())
    print(f"\nnode     {node.url}\nnetwork  {sandbox.url}  (relay, PDS and PLC directory)")
    if sandbox.shards:
        print(f"shards   http://{LOOPBACK}:{SHARD_PORT}")
    print(f"\n{inside}. Try:\n")
    for suggestion in suggestions(node.url, shards=sandbox.shards):
        print(f"  {suggestion.text}\n      {suggestion.why}")
    print("\nCtrl-C stops it and leaves nothing behind.", flush=True)
    while node.process.poll() is None:
        time.sleep(0.5)
    raise NodeFailed(f"the node ended by itself:\n{node.output()}")


def _check(node: NodeProcess, sandbox: Sandbox) -> int:
    failed = 0
    for suggestion in suggestions(node.url, shards=sandbox.shards):
        reason = failure(suggestion)
        _say(f"{'failed' if reason else 'works'}: {suggestion.text}")
        if reason:
            failed += 1
            _say(f"  {reason}")
    return 1 if failed else 0


def _free(port: int) -> int:
    """`port` if nobody listens there, else 0: any."""
    try:
        socket.create_server((LOOPBACK, port)).close()
    except OSError:
        return 0
    return port


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _say(line: str) -> None:
    print(f"demo: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
