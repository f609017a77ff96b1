"""`atdex feed`: the feeds of a node, and their declaration on Bluesky.

The node's packages are imported when `publish` is called, not before.
"""

from __future__ import annotations

import asyncio
import difflib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.table import Table
from rich.text import Text

from atdex.cli.options import AsJson, NodeUrl
from atdex.cli.output import clean, console, print_json
from atdex.errors import NoNode

app = App(name="feed", help="List the feeds of a node; declare one on Bluesky.")

CONFIG_FILE = "atdex.toml"


@app.command(name="list")
def list_(*, node: NodeUrl = None, as_json: AsJson = False) -> int:
    """Print the feeds that a node has, each with its address for feed readers."""
    from atdex_lexicons.families.app_bsky_atdata import FAMILY
    from atdex_xrpc import Client

    if node is None:
        raise NoNode
    with Client(node) as client:
        feeds = client.query(f"{FAMILY.name}.listFeeds")["feeds"]
    if as_json:
        print_json({"feeds": feeds})
        return 0
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for feed in feeds:
        address = f"{node.rstrip('/')}/feeds/{feed['feed']}.atom"
        about = clean(feed["title"])
        if feed.get("description"):
            about += f": {clean(feed['description'])}"
        table.add_row(Text(clean(feed["feed"]), style="bold"), Text(about), Text(clean(address)))
    console().print(table)
    return 0


@app.command
def publish(
    name: str,
    /,
    *,
    config: Path | None = None,
    account: str | None = None,
    account_service: str | None = None,
    public_url: str | None = None,
    allow_private_hosts: Annotated[bool | None, Parameter(negative="")] = None,
    as_json: AsJson = False,
) -> int:
    """Declare a feed of your node on Bluesky, in the repository of your account.

    Reads the node's configuration: the feed, public_url, account and account_service; the password
    is ATDEX_APP_PASSWORD. Doing it again changes nothing, or brings the title and the description
    up to date.

    Parameters
    ----------
    name
        The feed's name in the configuration.
    config
        Configuration file; without it, atdex.toml in the current folder where there is one.
    account
        The account, handle or DID.
    account_service
        Where the account logs in.
    public_url
        What the node is called from outside.
    allow_private_hosts
        Declare a node that has no public_url as well. For sandboxes.
    """
    from atdex_appview.config import load_config
    from atdex_appview.errors import ConfigError
    from atdex_appview.feeds.account import open_account
    from atdex_appview.feeds.declaring import Declared, declare

    file = config
    if file is None and Path(CONFIG_FILE).is_file():
        file = Path(CONFIG_FILE)
    flags = {
        "account": account,
        "account_service": account_service,
        "public_url": public_url,
        "allow_private_hosts": allow_private_hosts,
    }
    settings = load_config(file, os.environ, flags)
    feeds = {feed.name: feed for feed in settings.feeds}
    feed = feeds.get(name)
    if feed is None:
        nearest = difflib.get_close_matches(name, feeds, n=1, cutoff=0.0)[0]
        raise ConfigError("the feeds", name, "is not one of them", nearest=nearest)
    if settings.account is None or settings.app_password is None:
        raise ConfigError("the settings", "account", "and ATDEX_APP_PASSWORD say who declares")
    if settings.public_url is None and not settings.allow_private_hosts:
        raise ConfigError("the settings", "public_url", "says which node answers: set it")
    identifier, password = settings.account, settings.app_password

    async def declared() -> Declared:
        async with open_account(settings.account_service, identifier, password) as opened:
            return await declare(opened, feed, settings.did(), now=datetime.now(UTC))

    done = asyncio.run(declared())
    answers = settings.feed_publisher == done.publisher
    if as_json:
        print_json({"uri": done.uri, "outcome": done.outcome, "did": settings.did()})
        return 0
    console().print(Text(f"{done.outcome} {done.uri}"), soft_wrap=True)
    if not answers:
        setting = f'feed_publisher = "{done.publisher}"'
        hint = f"The node answers for it once its configuration says {setting}"
        console().print(Text(hint, style="yellow"), soft_wrap=True)
    return 0
