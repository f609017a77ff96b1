"""`atdex firehose`: follow the network from a terminal, and look at what was refused.

The packages of the `node` extra are imported when a command is called, not before.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from atdex.cli.options import AsJson
from atdex.cli.output import clean, console, print_json, rows

app = App(name="firehose", help="Follow the network, one JSON object a line.")

Repeated = Annotated[list[str] | None, Parameter(negative="")]
Switch = Annotated[bool, Parameter(negative="")]


@app.command
def tail(
    *,
    relay: Repeated = None,
    pds: Repeated = None,
    jetstream: Annotated[str | None, Parameter()] = None,
    plc: str = "https://plc.directory",
    collection: Repeated = None,
    cursor: int | None = None,
    state: Path | None = None,
    backfill: Switch = False,
    no_verify: Switch = False,
    allow_private_hosts: Switch = False,
    stop_after_idle: float | None = None,
    stats: Switch = False,
    quiet: Annotated[bool, Parameter(name=("--quiet", "-q"), negative="")] = False,
) -> int:
    """Print events of the firehose as JSON lines, verified, until Ctrl-C.

    Parameters
    ----------
    relay
        Relay to follow, its base URL or that of subscribeRepos. Repeat for several.
    pds
        PDS to follow directly: it may speak of its own accounts only. Repeat for several.
    jetstream
        Jetstream to follow in place of relays: light, and without signatures.
    plc
        PLC directory.
    collection
        Collection to print, an NSID or NSID.*; all where none is given. Repeat for several.
    cursor
        Start after this sequence number; without it, after the one in --state, else at the oldest.
    state
        SQLite file that keeps the cursor and the repos' state, to go on from the next time.
    backfill
        Also print records from before the stream, of the repos that the upstream lists.
    no_verify
        Check no signatures, chains or trees; print what the upstream says.
    allow_private_hosts
        Also ask hosts in private networks that others name.
    stop_after_idle
        Stop after so many seconds in which nothing came.
    stats
        At the end, print one JSON object of counts to stderr.
    quiet
        Print nothing to stdout: count only.
    """
    from atdex.cli.tail import Options, run

    return run(
        Options(
            relays=tuple(relay or ()),
            hosts=tuple(pds or ()),
            jetstream=jetstream,
            plc=plc,
            collections=tuple(collection or ("*",)),
            cursor=cursor,
            state=state,
            backfill=backfill,
            verify=not no_verify,
            allow_private_hosts=allow_private_hosts,
            stop_after_idle=stop_after_idle,
            stats=stats,
            quiet=quiet,
        )
    )


@app.command
def rejected(
    *,
    state: Path,
    did: str | None = None,
    limit: Annotated[int, Parameter(name=("--limit", "-n"))] = 20,
    as_json: AsJson = False,
) -> int:
    """List what failed verification, newest first, with the reason.

    Parameters
    ----------
    state
        State file of `atdex firehose tail --state`, or `state.sqlite` in a node's data folder.
    did
        Only of this account.
    limit
        How many.
    """
    import asyncio

    from atdex.cli.tail import read_rejected

    found = asyncio.run(read_rejected(state, limit, did))
    if as_json:
        print_json(found)
        return 0
    for each in found:
        facts = [("error", each["error"]), ("reason", each["reason"]), ("did", each["did"])]
        facts += [("rev", each["rev"] or ""), ("from", f"{each['source']} seq {each['seq']}")]
        facts += [("seen", each["seenAt"])]
        console().print(rows([(name, clean(str(value))) for name, value in facts if value]))
        console().print()
    if not found:
        console().print("nothing was rejected")
    return 0
