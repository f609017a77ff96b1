"""Which repos have records from before we first connected: the listings of the upstreams.

- On a relay: `listReposByCollection` for every collection that is wanted by name.
- Where a host has no such listing (a PDS): `listRepos`, and for each repo that is not known yet,
  which collections it has.
- A listing is read once, page by page; a restart goes on at the page where it stopped. A
  collection that is wanted for the first time, or again, is listed then, and only repos that have
  it and were not fetched since are fetched.

Events flow meanwhile: the stream is connected before the first page is asked for, so that no repo
falls between.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from atdex_firehose import limits
from atdex_firehose.backoff import Backoff
from atdex_firehose.errors import FetchFailed, NotServed, RateLimited
from atdex_firehose.fetch_repo import RepoHosts
from atdex_firehose.ledger import Ledger
from atdex_firehose.patterns import CollectionPatterns
from atdex_firehose.pipeline import DOUBTS, OLDER
from atdex_firehose.repo import Repo
from atdex_firehose.state import State
from atdex_lexicons.syntax import is_did

log = logging.getLogger(__name__)

PAGE_REPOS = 500
"""What a host is asked for at a time; hosts give what they like."""
PAGES = 1_000_000
"""Pages of one listing: a host that never ends must not be read for ever."""
DESCRIBED = 4
"""Repos described at the same time, by one host."""
ALL_REPOS = "*"
"""The name under which `listRepos` is noted."""


@dataclass(slots=True)
class DiscoveryCounters:
    """`listed` repos were met in listings, `found` of them are to be fetched. `listing` is what is
    being read now, by host."""

    listed: int = 0
    found: int = 0
    listing: dict[str, str] = field(default_factory=dict)


class Discovery:
    """Reads the listings of `upstreams`. `found` is called when there are repos to be fetched."""

    def __init__(
        self,
        *,
        state: State,
        ledger: Ledger,
        hosts: RepoHosts,
        patterns: CollectionPatterns,
        upstreams: Sequence[str],
        epoch: int,
        found: Callable[[], None],
        schedule: Callable[[Repo, bool], None],
        backoff: Callable[[], Backoff] = lambda: Backoff(2.0, 600.0),
    ) -> None:
        self._state = state
        self._ledger = ledger
        self._hosts = hosts
        self._patterns = patterns
        self._upstreams = list(upstreams)
        self._epoch = epoch
        self._found = found
        self._schedule = schedule
        self._backoff = backoff
        self._missed: set[str] = set()
        self._again: dict[str, asyncio.Event] = {url: asyncio.Event() for url in self._upstreams}
        self.counters = DiscoveryCounters()

    def missed(self, upstream: str) -> None:
        """Events of this upstream were missed: its listings are read again."""
        self._missed.add(upstream)
        self._again[upstream].set()

    def want(self, patterns: CollectionPatterns) -> None:
        """These collections are wanted now: those that are new are listed."""
        self._patterns = patterns
        for again in self._again.values():
            again.set()

    async def run(self) -> None:
        """Read what is to be read, then wait for `missed` or `want`; until cancelled."""
        async with asyncio.TaskGroup() as listings:
            for url in self._upstreams:
                listings.create_task(self._follow(url))

    async def _follow(self, host: str) -> None:
        backoff = self._backoff()
        while True:
            failure: FetchFailed | None = None
            # Before the epochs: those of what is wanted now are known by now.
            patterns = self._patterns
            epochs = await self._state.collection_epochs()
            try:
                await self._discover(host, patterns, epochs)
            except FetchFailed as error:
                failure = error
            finally:
                self.counters.listing.pop(host, None)
            if failure is not None:
                delay = backoff.next_delay()
                log.warning("listing repos: %s; again in %.0f s", failure, delay)
                await asyncio.sleep(delay)
                continue
            backoff.reset()
            again = self._again[host]
            await again.wait()
            again.clear()
            if host in self._missed:
                self._missed.discard(host)
                await self._state.forget_listings(host)

    async def _discover(
        self, host: str, patterns: CollectionPatterns, epochs: dict[str, int]
    ) -> None:
        if not patterns.everything:
            try:
                for collection in patterns.exact:
                    await self._read(host, collection, epochs[collection], epochs)
            except NotServed as error:
                log.info("%s has no listing by collection (%s)", host, error.error)
            else:
                for pattern in patterns.wildcards:
                    log.warning(
                        "%s lists repos by collection: those of %s from before we connected are"
                        " found only where they have another wanted collection", host, pattern,
                    )  # fmt: skip
                if patterns.exact:
                    return
        try:
            await self._read(host, ALL_REPOS, max(epochs.values()), epochs)
        except NotServed as error:
            log.warning("%s lists no repos (%s): only what it streams is known", host, error.error)

    async def _read(self, host: str, listing: str, epoch: int, epochs: Mapping[str, int]) -> None:
        """Raises FetchFailed; NotServed only at the first page."""
        cursor, done = await self._state.listing(host, listing, epoch)
        if done:
            return
        self.counters.listing[host] = listing
        collection = None if listing == ALL_REPOS else listing
        for _ in range(PAGES):
            try:
                dids, following = await self._hosts.list_repos(host, cursor, PAGE_REPOS, collection)
            except NotServed as error:
                if cursor is None:
                    raise
                raise FetchFailed(host, f"{listing} cannot be continued: {error.error}") from None
            good = [
                did for did in dict.fromkeys(dids) if len(did) <= limits.DID_BYTES and is_did(did)
            ]
            self.counters.listed += len(good)
            wanted = [did for did in good if await self._lacks(did, epoch)]
            if collection is None:
                wanted = await self._having(host, wanted, epochs)
            done = following is None or following == cursor
            await self._track(host, listing, epoch, following, wanted, done=done)
            cursor = following
            if done:
                log.info("%s: %s is listed", host, listing)
                return
        raise FetchFailed(host, f"{listing} has more than {PAGES} pages")

    async def _lacks(self, did: str, epoch: int) -> bool:
        """Whether the repo was not fetched (or followed from its start) since that epoch."""
        if did not in self._ledger.tracked:
            return True
        repo = await self._ledger.load(did)
        return repo.epoch < epoch and (repo.state == "synchronized" or _in_doubt(repo))

    async def _having(self, host: str, dids: Sequence[str], epochs: Mapping[str, int]) -> list[str]:
        """Those that have a collection that is wanted since they were fetched last, as far as the
        host says."""
        if self._patterns.everything:
            return list(dids)
        places = asyncio.Semaphore(DESCRIBED)
        since: dict[int, CollectionPatterns] = {}

        async def has(did: str) -> bool:
            wanted = self._patterns
            if did in self._ledger.tracked:
                epoch = (await self._ledger.load(did)).epoch
                if epoch not in since:
                    new = [pattern for pattern, start in epochs.items() if start > epoch]
                    since[epoch] = CollectionPatterns(new or self._patterns.patterns)
                wanted = since[epoch]
            async with places:
                try:
                    found = await self._hosts.collections(host, did)
                except RateLimited:
                    raise
                except FetchFailed:
                    return True  # not to be described: fetching it will tell
                return any(collection in wanted for collection in found)

        having = await asyncio.gather(*(has(did) for did in dids))
        return [did for did, yes in zip(dids, having, strict=True) if yes]

    async def _track(
        self,
        host: str,
        listing: str,
        epoch: int,
        cursor: str | None,
        dids: list[str],
        *,
        done: bool,
    ) -> None:
        ledger = self._ledger
        new = [did for did in dids if did not in ledger.tracked]
        for did in new:
            ledger.tracked.add(did)
            ledger.states["incomplete"] += 1
        await self._state.discovered(host, listing, epoch, cursor, new, done=done)
        for did in dids:
            repo = ledger.repo(did)
            if did in new:
                if repo is not None and repo.state == "untracked":
                    repo.state, repo.reason = "incomplete", OLDER
                continue
            repo = await ledger.load(did)
            if repo.state == "synchronized":
                repo.reason = OLDER
                ledger.move(repo, "incomplete")
                self._schedule(repo, False)
            elif _in_doubt(repo):
                # To ask for its latest commit would be enough for what is known of it, only.
                repo.reason = OLDER
                ledger.touch(repo)
        if new:
            self._found()
        self.counters.found += len(dids)


def _in_doubt(repo: Repo) -> bool:
    """Whether the repo waits to be checked, which is less than to be fetched."""
    return repo.state == "incomplete" and repo.reason in DOUBTS
