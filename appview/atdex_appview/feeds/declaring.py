"""Declaring a feed: the record in the operator's repo that makes it a feed on Bluesky.

Declaring twice changes nothing. What the operator added to the record by other means (an avatar)
is kept, as is the time of the first declaration.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from atdex_appview.errors import ConfigError
from atdex_appview.feeds.account import Account
from atdex_appview.feeds.bluesky import GENERATOR, declaration
from atdex_appview.feeds.definition import Feed
from atdex_lexicons import Catalog
from atdex_lexicons.errors import InvalidRecord, listed

OURS = ("did", "displayName", "description")
"""What the configuration decides of the record."""


@dataclass(frozen=True, slots=True)
class Declared:
    uri: str
    publisher: str
    outcome: Literal["created", "updated", "unchanged"]


async def declare(account: Account, feed: Feed, did: str, *, now: datetime) -> Declared:
    """Declares that the node `did` answers for the feed.

    Raises ConfigError where Bluesky takes no such title or description, before anything is sent;
    AccountUnavailable and AccountRefused.
    """
    wanted = {"did": did, "displayName": feed.title}
    if feed.description:
        wanted["description"] = feed.description
    created = now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    _check(feed, {"$type": GENERATOR, "createdAt": created, **wanted})
    publisher = await account.did()
    uri = declaration(publisher, feed)
    before = await account.get(GENERATOR, feed.name)
    if before is None:
        await account.put(GENERATOR, feed.name, {**wanted, "createdAt": created})
        return Declared(uri, publisher, "created")
    kept = {key: value for key, value in before.items() if key not in OURS}
    if before == kept | wanted:
        return Declared(uri, publisher, "unchanged")
    await account.put(GENERATOR, feed.name, {"createdAt": created, **kept, **wanted})
    return Declared(uri, publisher, "updated")


def _check(feed: Feed, record: dict[str, Any]) -> None:
    try:
        Catalog.bundled().validate_record(record, collection=GENERATOR, rkey=feed.name)
    except InvalidRecord as wrong:
        words = listed(wrong.problems).replace("/displayName", "title").replace("/", "")
        reason = f"is nothing that Bluesky takes: {words}"
        raise ConfigError("the feeds", feed.name, reason) from None
