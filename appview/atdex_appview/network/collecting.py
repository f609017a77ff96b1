"""From the firehose's events to records of collections that no family knows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from atdex_appview.network.lexicons import NetworkLexicons
from atdex_appview.network.reading import read_generic
from atdex_appview.network.records import GenericDelete, GenericPut, GenericRecords
from atdex_appview.state import NO_NOTES, Notes, QuarantinedRecord
from atdex_firehose.events import AccountEvent, CommitEvent, RecordOp


class GenericCollector:
    """Returns when what an event came to is on disk, but for the notes, which the caller saves.

    May raise StateUnavailable. `clock` is seconds since the epoch.
    """

    def __init__(
        self,
        lexicons: NetworkLexicons,
        records: GenericRecords,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._lexicons = lexicons
        self._records = records
        self._clock = clock

    async def take(self, event: CommitEvent, ops: Sequence[RecordOp]) -> Notes:
        """The ops of an event in such collections: what to set aside of them, and what is not set
        aside any more."""
        changes: list[GenericPut | GenericDelete] = []
        quarantined: list[QuarantinedRecord] = []
        cleared: list[tuple[str, str]] = []
        for op in ops:
            if not self._lexicons.follows(op.collection):
                continue
            uri = f"at://{event.did}/{op.collection}/{op.rkey}"
            if op.action == "delete" or op.raw is None:
                changes.append(GenericDelete(uri))
                cleared.append((uri, event.rev))
                continue
            read = read_generic(self._lexicons.catalog, uri, op.cid or "", op.raw)
            if isinstance(read, GenericPut):
                changes.append(read)
                cleared.append((uri, event.rev))
                continue
            changes.append(GenericDelete(uri))
            quarantined.append(
                QuarantinedRecord(
                    uri=uri,
                    did=event.did,
                    cid=op.cid,
                    rev=event.rev,
                    problems=read,
                    raw=op.raw,
                    size=len(op.raw),
                    seen_at=int(self._clock() * 1_000_000),
                    verified=event.verified,
                )
            )
        if not changes:
            return NO_NOTES
        await asyncio.to_thread(
            self._records.apply,
            event.did,
            event.rev,
            changes,
            live=event.live,
            verified=event.verified,
        )
        return Notes(quarantined=tuple(quarantined), cleared=tuple(cleared))

    async def account(self, event: AccountEvent) -> None:
        if self._records.knows(event.did):
            await asyncio.to_thread(
                self._records.account, event.did, active=event.active, status=event.status
            )
