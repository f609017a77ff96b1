"""Follow the AT Protocol's firehose: verified commits, account and identity events."""

from __future__ import annotations

from atdex_firehose.consumer import Consumer
from atdex_firehose.errors import ConfigError, FirehoseError, StateError
from atdex_firehose.events import (
    AccountEvent,
    CommitEvent,
    Event,
    Identity,
    IdentityEvent,
    RecordOp,
    RejectedEvent,
    SyncEvent,
)
from atdex_firehose.mentions import Mentions
from atdex_firehose.resync_turns import ResyncPolicy
from atdex_firehose.stats import Backfill, Stats, UpstreamStats

__all__ = [
    "Consumer",
    "Event",
    "CommitEvent",
    "RecordOp",
    "Identity",
    "IdentityEvent",
    "AccountEvent",
    "SyncEvent",
    "RejectedEvent",
    "Mentions",
    "ResyncPolicy",
    "Stats",
    "UpstreamStats",
    "Backfill",
    "FirehoseError",
    "ConfigError",
    "StateError",
]
