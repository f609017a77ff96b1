"""Datasets that this node does not have, read from their publishers' repos for one answer.

What is read is verified as the firehose's commits are (see `atdex_firehose.fetch_record`), held
against its lexicon like any other record, and remembered for a moment, so that a question which
is asked often is not passed on to the publishers as often. It is not indexed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from time import monotonic, time

from atdex_appview.reading import read_record
from atdex_appview.store.base import DatasetSummary, StoredRecord
from atdex_firehose.errors import FirehoseError, NotServed, Rejected
from atdex_firehose.fetch_record import FetchedRecord
from atdex_firehose.rates import Rates
from atdex_lexicons import Catalog, InvalidRecord, UnknownLexicon
from atdex_lexicons.aturi import AtUri
from atdex_lexicons.errors import InvalidData
from atdex_lexicons.model import Dataset

log = logging.getLogger(__name__)

FETCHED_AT_ONCE = 25
"""Records fetched for one answer: a page of the default size, all of it unknown here."""

FETCHES_PER_SECOND, FETCH_BURST = 10.0, 100
"""Records fetched for everybody together: whoever asks must not make this node knock at the
publishers' doors without end."""

REMEMBERED_SECONDS = 60.0
"""For which a record counts as it was read; also that there was none."""

REMEMBERED = 256
"""Records remembered, none of more than REMEMBERED_BYTES: some 50 MB at the very most."""

REMEMBERED_BYTES = 100_000
"""Bytes of a record that is remembered."""

Fetch = Callable[[str, str], Awaitable[FetchedRecord | None]]
"""`Consumer.record`."""

Active = Callable[[str], Awaitable[bool]]
"""Whether an account may be shown, by what this node was told of it."""


@dataclass(frozen=True, slots=True)
class Read:
    """A dataset that was read, with the publisher's verified handle, if there is one."""

    record: StoredRecord
    model: Dataset
    handle: str | None


@dataclass(frozen=True, slots=True)
class _Kept:
    found: Read | None
    until: float


class RepoReader:
    """`clock` is monotonic, in seconds. For one event loop."""

    def __init__(
        self,
        fetch: Fetch,
        active: Active,
        catalog: Catalog,
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._fetch = fetch
        self._active = active
        self._catalog = catalog
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._rate = Rates(FETCHES_PER_SECOND, FETCH_BURST, clock=clock)

    async def read(self, uris: Iterable[str], seconds: float) -> tuple[dict[str, Read], int]:
        """Those of the datasets that there are, and how many could not be looked for in time.

        Left out without a word: what its repo does not hold, what breaks its lexicon, what is no
        dataset, and what accounts have that are not active. Never raises for any of it.
        """
        asked = list(uris)[:FETCHED_AT_ONCE]
        answers = await asyncio.gather(*(self._one(uri, seconds) for uri in asked))
        found = dict(zip(asked, answers, strict=True))
        read = {uri: each for uri, each in found.items() if isinstance(each, Read)}
        return read, sum(each is _UNKNOWN for each in answers)

    async def _one(self, uri: str, seconds: float) -> object:
        at = AtUri.parse(uri)
        assert at.collection is not None
        assert at.rkey is not None
        if not await self._active(at.authority):
            return None
        kept = self._kept.get(uri)
        if kept is not None and kept.until > self._clock():
            return kept.found
        if self._rate.book("all", longest=0.0) is None:
            return _UNKNOWN
        try:
            async with asyncio.timeout(seconds):
                fetched = await self._fetch(at.authority, f"{at.collection}/{at.rkey}")
                found = None
                if fetched is not None:
                    found = await asyncio.to_thread(self._checked, uri, at, fetched)
        except (NotServed, Rejected) as refused:
            log.info("not shown, for its repo says otherwise: %s", uri, extra={"why": str(refused)})
            found, fetched = None, None
        except (FirehoseError, TimeoutError) as failure:
            log.info("could not be read in time: %s", uri, extra={"why": str(failure)})
            return _UNKNOWN
        if fetched is None or len(fetched.raw) <= REMEMBERED_BYTES:
            self._keep(uri, found)
        return found

    def _checked(self, uri: str, at: AtUri, fetched: FetchedRecord) -> Read | None:
        assert at.collection is not None
        assert at.rkey is not None
        try:
            checked, json = read_record(self._catalog, at.collection, at.rkey, fetched.raw)
        except (InvalidRecord, InvalidData, UnknownLexicon):
            return None
        model = checked.model
        if not isinstance(model, Dataset):
            return None
        now = int(time() * 1_000_000)
        record = StoredRecord(
            uri=uri,
            cid=fetched.cid,
            rev=fetched.rev,
            did=at.authority,
            collection=at.collection,
            rkey=at.rkey,
            kind="dataset",
            conformance=checked.conformance,
            first_seen=now,
            indexed_at=now,
            json=json,
            summary=DatasetSummary(model.schema_uri, len(model.shards), model.checksummed),
        )
        return Read(record, model, fetched.identity.handle)

    def _keep(self, uri: str, found: Read | None) -> None:
        self._kept[uri] = _Kept(found, self._clock() + REMEMBERED_SECONDS)
        self._kept.move_to_end(uri)
        if len(self._kept) > REMEMBERED:
            self._kept.popitem(last=False)


_UNKNOWN = object()
"""Whether there is such a record could not be found out."""
