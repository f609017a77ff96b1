"""The last step: an event enters the books, and is handed out when there is room for it.

Guarantee: an event is in the ledger before anybody can acknowledge it, and nothing is handed out
while as many as allowed are not acknowledged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from atdex_firehose import limits
from atdex_firehose.errors import IdentityUnavailable, Rejected
from atdex_firehose.events import Event, RecordOp, RejectedEvent
from atdex_firehose.items import Item
from atdex_firehose.lanes import Rest
from atdex_firehose.ledger import After, Ledger
from atdex_firehose.outbox import Outbox
from atdex_firehose.repo import Repo
from atdex_firehose.state import Rejection
from atdex_firehose.stats import Counters
from atdex_firehose.watermark import Watermark
from atdex_lexicons.syntax import is_tid

log = logging.getLogger(__name__)


class HandOver:
    """Hands events out for all upstreams of one consumer."""

    def __init__(
        self, ledger: Ledger, outbox: Outbox, counters: Counters, clock: Callable[[], float]
    ) -> None:
        self._ledger = ledger
        self._outbox = outbox
        self._counters = counters
        self._clock = clock

    def deliver(
        self,
        event: Event,
        repo: Repo,
        after: After,
        *,
        holds: list[tuple[Watermark, int]],
        ops: tuple[RecordOp, ...] = (),
        row: int | None = None,
        resync: bool = False,
    ) -> Rest | None:
        """Enter the event in the books and hand it out. Await the result, where there is one."""
        if self._ledger.full:
            return self._deliver_when_acked(event, repo, after, holds, ops, row, resync)
        self._ledger.deliver(event, repo, holds, after, ops=ops, row=row, resync=resync)
        self._counters.events += 1
        return None if self._outbox.offer(event) else self._outbox.put(event)

    async def _deliver_when_acked(
        self,
        event: Event,
        repo: Repo,
        after: After,
        holds: list[tuple[Watermark, int]],
        ops: tuple[RecordOp, ...],
        row: int | None,
        resync: bool,
    ) -> None:
        log.warning("%d events are not acknowledged: waiting", self._ledger.unacked)
        while self._ledger.full:
            await self._ledger.wait_for_room()
        rest = self.deliver(event, repo, after, holds=holds, ops=ops, row=row, resync=resync)
        if rest is not None:
            await rest

    def announce(self, event: RejectedEvent) -> Rest | None:
        """Deliver what was refused and holds no number."""
        self._keep(event)
        return None if self._outbox.offer(event) else self._outbox.put(event)

    def rejected(self, item: Item, error: Rejected | IdentityUnavailable) -> RejectedEvent:
        """The event of a frame that was refused; counted, logged and kept."""
        name = type(error).__name__
        self._counters.reject(name)
        log.warning("%s: rejected seq %d: %s: %s", item.source, item.seq, name, error)
        rev = item.body.get("rev")
        event = RejectedEvent(
            source=item.source,
            seq=item.seq,
            did=item.did,
            rev=rev if type(rev) is str and is_tid(rev) else None,
            error=name,
            reason=error.reason,
            frame=item.raw[: limits.REJECTED_FRAME_BYTES],
        )
        self._keep(event)
        return event

    def _keep(self, event: RejectedEvent) -> None:
        self._ledger.reject(
            Rejection(
                event.source,
                event.seq,
                event.did,
                event.rev,
                event.error,
                event.reason,
                event.frame,
                self._clock(),
            )
        )

    def fail(self, error: BaseException) -> None:
        """An error of ours: whoever iterates gets it."""
        self._outbox.fail(error)
