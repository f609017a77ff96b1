"""From the firehose's mentions to the posts that are kept.

A post that breaks what a node reads of its lexicon, or cannot be read at all, is kept no more than
one that names no dataset; if an older version of it was kept, that one goes. What a post names is
not looked up here: a dataset may come after the post that announces it.
"""

from __future__ import annotations

import asyncio

from atdex_appview.feeds.naming import POST, datasets_named
from atdex_appview.feeds.posts import PostChange, Posts
from atdex_appview.store.plan import DELETED
from atdex_firehose.events import AccountEvent, CommitEvent, RecordOp
from atdex_lexicons import Catalog
from atdex_lexicons.datamodel import decode
from atdex_lexicons.errors import InvalidData, InvalidRecord


class PostCollector:
    """Returns when what an event came to is on disk. May raise StateUnavailable."""

    def __init__(self, posts: Posts, catalog: Catalog) -> None:
        self._posts = posts
        self._catalog = catalog

    async def take(self, event: CommitEvent) -> None:
        changes = [
            PostChange(f"at://{event.did}/{op.collection}/{op.rkey}", self._named(op))
            for op in event.mentions
            if op.collection == POST
        ]
        named = any(change.datasets is not None for change in changes)
        if named or (changes and self._posts.has(event.did)):
            await asyncio.to_thread(self._posts.write, event.did, event.rev, changes)

    async def account(self, event: AccountEvent) -> None:
        if self._posts.has(event.did):
            deleted = not event.active and event.status == DELETED
            await asyncio.to_thread(
                self._posts.account, event.did, active=event.active, deleted=deleted
            )

    def _named(self, op: RecordOp) -> tuple[str, ...] | None:
        if op.raw is None:
            return None
        try:
            post = decode(op.raw)
            self._catalog.validate_record(post, collection=POST, rkey=op.rkey)
        except (InvalidData, InvalidRecord, RecursionError):
            return None
        return datasets_named(post) or None
