from __future__ import annotations

import atdex_firehose


def test_the_public_names() -> None:
    assert sorted(atdex_firehose.__all__) == [
        "AccountEvent",
        "Backfill",
        "CommitEvent",
        "ConfigError",
        "Consumer",
        "Event",
        "FirehoseError",
        "Identity",
        "IdentityEvent",
        "Mentions",
        "RecordOp",
        "RejectedEvent",
        "ResyncPolicy",
        "StateError",
        "Stats",
        "SyncEvent",
        "UpstreamStats",
    ]
    assert all(hasattr(atdex_firehose, name) for name in atdex_firehose.__all__)
