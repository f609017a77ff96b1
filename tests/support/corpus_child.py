"""A consumer in a process of its own, to be killed: see `corpus_conformance.conform_killed`.

python -m tests.support.corpus_child RELAY PLC STATE MODEL SHIFT COLLECTION...

Says so on its output when it follows.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

from atdex_firehose import Consumer
from tests.support.corpus_conformance import POLICY, clock_of, timing
from tests.support.corpus_model import Model

FLUSH_SECONDS = 0.2


async def main(relay: str, plc: str, state: str, kept: str, shift: str, *collections: str) -> None:
    with Model(Path(kept)) as model:
        async with Consumer(
            relays=[relay],
            collections=collections,
            state=state,
            plc=plc,
            allow_private_hosts=True,
            timing=timing,
            resync=POLICY,
            clock=clock_of(float(shift)),
        ) as consumer:
            print("following", flush=True)
            flushing = asyncio.create_task(_flush_often(consumer))
            async for event in consumer:
                model.apply(event)
                consumer.ack(event)
            await flushing


async def _flush_often(consumer: Consumer) -> None:
    """A process that lives for seconds cannot wait as long until its progress is kept."""
    while True:
        await asyncio.sleep(FLUSH_SECONDS)
        await consumer.flush()


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    asyncio.run(main(*sys.argv[1:]))
