"""`atdex node`: run an index node, or ask one how it is.

The server's packages are imported when `run` is called, not before: `atdex node status` and the
help page work without the `node` extra.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import httpx
import orjson
from cyclopts import App, Parameter
from rich.text import Text

from atdex.cli.options import AsJson
from atdex.cli.output import clean, console, print_json, rows
from atdex_xrpc import check_url
from atdex_xrpc.errors import (
    NodeUnavailable,
    ResponseTooLarge,
    TransportFailed,
    UnexpectedResponse,
)

app = App(name="node", help="Run an index node, or ask one how it is.")

DEFAULT_URL = "http://127.0.0.1:3180"

STATUS_SECONDS = 10.0
"""For each answer: a node that needs longer to say how it is, is not well."""

MAX_HEALTH_BYTES = 1_000_000
"""Of a health answer, which has some hundred."""

CONFIG_FILE = "atdex.toml"

STATE_WORDS = {"inProgress": "being fetched"}
"""States of repos whose name in the answer is no word."""

PARTS = ("store", "search", "state", "ingest")

NodeAddress = Annotated[str, Parameter(name=("--url", "--node"), env_var="ATDEX_NODE")]
Repeated = Annotated[list[str] | None, Parameter(negative="")]


@app.command
def run(
    *,
    config: Path | None = None,
    relay: Repeated = None,
    pds: Repeated = None,
    jetstream: str | None = None,
    backfill: bool | None = None,
    resync_workers: int | None = None,
    plc: str | None = None,
    handle_service: str | None = None,
    dns_server: Repeated = None,
    data_dir: Path | None = None,
    host: str | None = None,
    port: int | None = None,
    public_url: str | None = None,
    allow_private_hosts: bool | None = None,
    collection: Repeated = None,
    peer: Repeated = None,
    batch_size: int | None = None,
    batch_delay: float | None = None,
    memory_limit_mb: int | None = None,
    metrics_host: str | None = None,
    metrics_port: int | None = None,
    feed_publisher: str | None = None,
    account: str | None = None,
    account_service: str | None = None,
    announce: str | None = None,
    announce_per_hour: int | None = None,
    rate_limit: int | None = None,
    rate_limit_seconds: int | None = None,
    proxies: int | None = None,
    stream_events: int | None = None,
    stream_hours: int | None = None,
    slow_query_ms: int | None = None,
    log_level: str | None = None,
    log_format: str | None = None,
    print_config: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Follow the network's firehose, index dataset records, answer queries; until Ctrl-C.

    Flags win over ATDEX_* variables, variables over the file. docs/run-a-node.md lists every
    setting.

    Parameters
    ----------
    config
        Configuration file; without it, atdex.toml in the current folder where there is one.
    relay
        Relay to follow. Repeat for several.
    pds
        PDS to follow directly. Repeat for several.
    jetstream
        Jetstream to follow in place of both: light, and without signatures.
    backfill
        Also fetch what was published before the node connected (the default).
    resync_workers
        Repos that are fetched at the same time.
    plc
        PLC directory.
    handle_service
        Service that is asked which account a handle names, in place of DNS and HTTPS.
    dns_server
        DNS server to ask for handles, address[:port]. Repeat for several.
    data_dir
        Folder of the node's stores.
    host
        Address to listen on.
    port
        Port to listen on; 0 takes a free one.
    public_url
        What the node is called from outside.
    allow_private_hosts
        Also ask hosts in private and loopback networks that others name.
    collection
        Collection to index, an NSID or NSID.*. Repeat for several.
    peer
        Other node that federated searches ask as well. Repeat for several, at most 8.
    batch_size
        Changes in one transaction at most.
    batch_delay
        Seconds that a change waits for others.
    memory_limit_mb
        Memory that DuckDB may use, in MB.
    metrics_host
        Address of the metrics for Prometheus.
    metrics_port
        Port of the metrics for Prometheus; without it there are none.
    feed_publisher
        DID of the account that declares the feeds on Bluesky.
    account
        The operator's account, handle or DID. Its password is ATDEX_APP_PASSWORD.
    account_service
        Where the account logs in.
    announce
        Feed whose new datasets are posted from the account.
    announce_per_hour
        Announcements within an hour at most.
    rate_limit
        Points that one caller has in rate_limit_seconds; 0 for no limit.
    rate_limit_seconds
        Seconds for which rate_limit holds.
    proxies
        Reverse proxies of yours that every request comes through.
    stream_events
        Changes that subscribeRecords can repeat at most.
    stream_hours
        Hours for which it can repeat them at most.
    slow_query_ms
        Milliseconds from which on a query is logged as slow.
    log_level
        debug, info, warning or error.
    log_format
        text or json.
    print_config
        Print the resulting configuration, without secrets, and stop.
    """
    from atdex_appview.config import load_config, to_toml

    file = config
    if file is None and Path(CONFIG_FILE).is_file():
        file = Path(CONFIG_FILE)
    flags = {
        "relays": relay,
        "hosts": pds,
        "jetstream": jetstream,
        "backfill": backfill,
        "resync_workers": resync_workers,
        "plc": plc,
        "handle_service": handle_service,
        "dns_servers": dns_server,
        "data_dir": data_dir,
        "host": host,
        "port": port,
        "public_url": public_url,
        "allow_private_hosts": allow_private_hosts,
        "collections": collection,
        "peers": peer,
        "batch_size": batch_size,
        "batch_delay": batch_delay,
        "memory_limit_mb": memory_limit_mb,
        "metrics_host": metrics_host,
        "metrics_port": metrics_port,
        "feed_publisher": feed_publisher,
        "account": account,
        "account_service": account_service,
        "announce": announce,
        "announce_per_hour": announce_per_hour,
        "rate_limit": rate_limit,
        "rate_limit_seconds": rate_limit_seconds,
        "proxies": proxies,
        "stream_events": stream_events,
        "stream_hours": stream_hours,
        "slow_query_ms": slow_query_ms,
        "log_level": log_level,
        "log_format": log_format,
    }
    settings = load_config(file, os.environ, flags)
    if print_config:
        print(to_toml(settings), end="")
        return 0

    from atdex_appview import logs
    from atdex_appview.running import run_node

    logs.configure(settings.log_level, settings.log_format)
    run_node(settings, ready=lambda line: print(line, flush=True))
    return 0


@app.command
def reindex(
    *,
    config: Path | None = None,
    data_dir: Path | None = None,
    memory_limit_mb: int | None = None,
    wait: bool = True,
    as_json: AsJson = False,
) -> int:
    """Read every record anew from the node's own disk, and make all that is derived of it again.

    A node that runs on the data folder does it while it goes on; else it is done here. What is
    interrupted goes on at the next start of the node, or the next call.

    Parameters
    ----------
    config
        Configuration file; without it, atdex.toml in the current folder where there is one.
    data_dir
        Folder of the node's stores.
    memory_limit_mb
        Memory that DuckDB may use, in MB, where it is done here.
    wait
        Wait until a running node has done it, and show how far it is (the default).
    """
    from atdex_appview.config import load_config
    from atdex_appview.errors import ConfigError
    from atdex_appview.places import RECORDS_FILE
    from atdex_appview.rebuild.command import reindex as rebuild
    from atdex_appview.rebuild.progress import Progress

    file = config
    if file is None and Path(CONFIG_FILE).is_file():
        file = Path(CONFIG_FILE)
    flags = {"data_dir": data_dir, "memory_limit_mb": memory_limit_mb}
    settings = load_config(file, os.environ, flags)
    if not (settings.data_dir / RECORDS_FILE).exists():
        raise ConfigError("--data-dir", None, f"{settings.data_dir} holds no node's records")
    said = ""

    def say(progress: Progress) -> None:
        nonlocal said
        line = f"{progress.phase}: {progress.done:,} of {progress.total:,}"
        if line != said:
            said = line
            print(line, file=sys.stderr)

    last = asyncio.run(rebuild(settings, say=say, wait=wait))
    if last is None:
        print("the node was asked to")
    elif as_json:
        print_json(last.to_json())
    else:
        print(
            f"done: {last.done:,} records, {last.changed:,} changed, {last.set_aside:,} set aside, "
            f"{last.restored:,} out of quarantine"
        )
        if last.incomplete:
            print(f"{last.incomplete:,} in quarantine are kept in part, and could not be fetched")
    return 0


@app.command
def status(*, url: NodeAddress = DEFAULT_URL, as_json: AsJson = False) -> int:
    """Ask a node how it is. Exit code 1 where it is not well or does not answer.

    Parameters
    ----------
    url
        Base URL of the node.
    """
    from atdex_lexicons.families.app_bsky_atdata import FAMILY
    from atdex_xrpc import Client

    health = _ask_health(url)
    with Client(url, timeout=STATUS_SECONDS) as client:
        try:
            about = client.query(f"{FAMILY.name}.describeNode")
        except NodeUnavailable:
            about = None  # the health says why
    well = bool(health.get("ok"))
    if as_json:
        print_json({"url": url, "health": health, "node": about})
    else:
        _print_status(url, health, about)
    return 0 if well else 1


def _ask_health(url: str) -> dict[str, Any]:
    """What `/xrpc/_health` says, with status 200 or 503. Raises XrpcError for anything else."""
    address = f"{str(check_url(url)).rstrip('/')}/xrpc/_health"
    body = b""
    try:
        with (
            httpx.Client(timeout=STATUS_SECONDS, trust_env=False) as http,
            http.stream("GET", address) as response,
        ):
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > MAX_HEALTH_BYTES:
                    raise ResponseTooLarge(address, MAX_HEALTH_BYTES)
    except httpx.TransportError as failure:
        raise TransportFailed(address, str(failure) or type(failure).__name__) from failure
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        said = None
    if response.status_code not in (200, 503) or not isinstance(said, dict):
        raise UnexpectedResponse(address, f"it answered {response.status_code} and no health")
    if "ok" not in said:  # a 503 of the server itself: {error, message}
        said = {"ok": response.status_code == 200, "status": said.get("message", "unavailable")}
    return said


def _print_status(url: str, health: dict[str, Any], about: Any) -> None:
    well = bool(health.get("ok"))
    word = Text(clean(health.get("status", "")), style="green" if well else "bold red")
    pairs: list[tuple[str, object]] = [("node", url), ("status", word)]
    pairs += [(part, health.get(part, "")) for part in PARTS]
    if isinstance(about, dict):
        pairs += [("did", about.get("did", "")), ("version", about.get("version", ""))]
        counts = about.get("counts")
        if isinstance(counts, dict):
            held = ", ".join(f"{number:,} {name}" for name, number in counts.items() if number)
            pairs.append(("holds", held or "nothing yet"))
    for upstream in health.get("upstreams", ()):
        pairs.append(("upstream", _upstream(upstream)))
    backfill = health.get("backfill")
    if isinstance(backfill, dict):
        pairs += _backfill(backfill)
    console().print(rows(pairs))


def _upstream(upstream: dict[str, Any]) -> str:
    facts = [str(upstream.get("url", ""))]
    if upstream.get("connected"):
        facts.append("connected")
    else:
        facts.append(f"not connected for {upstream.get('disconnectedSeconds', 0):,} s")
    if "cursor" in upstream:
        facts.append(f"cursor {upstream['cursor']}")
    if "lagSeconds" in upstream:
        facts.append(f"{upstream['lagSeconds']:,} s behind")
    return ", ".join(facts)


def _backfill(backfill: dict[str, Any]) -> list[tuple[str, object]]:
    """How fetching whole repos goes; a line that would say nothing is left out."""
    states = backfill.get("repos")
    counts = states.items() if isinstance(states, dict) else ()
    repos = ", ".join(f"{count:,} {STATE_WORDS.get(name, name)}" for name, count in counts if count)
    records, rate = backfill.get("records", 0), backfill.get("recordsPerSecond", 0)
    outcomes = ", ".join(
        f"{each.get('count', 0):,} {each.get('outcome', '')}"
        for each in backfill.get("outcomes", ())
    )
    listing = ", ".join(
        f"{each.get('listing', '')} of {each.get('host', '')}"
        for each in backfill.get("listing", ())
    )
    pairs: list[tuple[str, object]] = [("repos", repos or "none yet")]
    if backfill.get("remaining"):
        pairs.append(("to fetch", f"{backfill['remaining']:,} repos"))
    if records:
        pairs.append(("fetched", f"{records:,} records, {rate:,} a second"))
    if outcomes:
        pairs.append(("outcomes", outcomes))
    if listing:
        pairs.append(("listing", listing))
    return pairs
