"""Records of other collections that are looked at only where they name something of interest.

Some records matter for what they point at: a post of one account that links to a dataset of
another. Their collections are far too large to be followed, and their accounts are no publishers
to be tracked. So a commit that touches such a collection is passed on only if the raw frame holds
one of a few words, or if something of that account was kept before, so that its deletion is seen.

    mentions = Mentions(["app.bsky.feed.post"], [b"science.alt.dataset.entry"])
    consumer = Consumer(relays, ["science.alt.dataset.*"], mentions=mentions)

What is passed on is in `CommitEvent.mentions`, verified like any commit: host, rev not from the
future, CAR, commit object, signature, the operations undone on its tree. Of a repo that is not
tracked, the one thing that is not known is whether it continues the repo's chain: a commit that the
repo has never had, or an old one that is sent again, comes too. Nothing is saved of such a repo, it
is not fetched, and what the stream left out stays missing.

A word may stand in the frame without meaning anything: whoever reads the records decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from atdex_firehose.errors import ConfigError
from atdex_firehose.patterns import CollectionPatterns
from atdex_lexicons.syntax import is_nsid


class Mentions:
    """`collections` are NSIDs. `keeps` answers at once whether anything is kept of a DID; it is
    asked on the event loop, for each commit that touches one of the collections.

    Raises ConfigError for what is no NSID, and where a list is empty or has an empty word.
    """

    def __init__(
        self,
        collections: Sequence[str],
        words: Sequence[bytes],
        keeps: Callable[[str], bool] = lambda did: False,
    ) -> None:
        if not all(map(is_nsid, collections)):
            raise ConfigError("mentions", collections, "these collections are not all NSIDs")
        if not words or not all(words):
            raise ConfigError("mentions", words, "name at least one word, and no empty one")
        self.patterns = CollectionPatterns(collections)
        self.words = tuple(words)
        self.keeps = keeps

    def wants(self, body: Mapping[str, Any], raw: bytes) -> bool:
        """Whether a `#commit` body, not checked yet, is to be passed on. `raw` is its frame."""
        if not self.patterns.wants(body):
            return False
        # Only now the search, which costs as much as decoding the frame did.
        if any(word in raw for word in self.words):
            return True
        repo = body.get("repo")
        return type(repo) is str and self.keeps(repo)
