"""Limits on what the network may send. Units and reasons at each; sources are Sync v1.1."""

from __future__ import annotations

FRAME_BYTES = 5_000_000
"""One WebSocket message (specification)."""

FRAME_ITEMS = 100_000
"""CBOR items of one frame: 200 ops have 2,000. A frame of five million empty lists would take
seconds and 500 MB to decode."""

LARGE_FRAME_BYTES = 250_000
"""Only a frame with more is counted: fewer bytes cannot hold items enough to matter."""

BLOCKS_BYTES = 2_000_000
"""`#commit.blocks` (specification)."""

SYNC_BLOCKS_BYTES = 10_000
"""`#sync.blocks`: one commit block and nothing else (specification)."""

COMMIT_BYTES = SYNC_BLOCKS_BYTES
"""One commit object, some 250 bytes: a `#sync` must be able to carry it."""

RECORD_BYTES = 1_000_000
"""One record block (specification)."""

OPS = 200
"""Operations in one commit (specification)."""

PATH_CHARS = 830
"""Path of an op: an NSID of 317 characters, a slash, a record key of 512 (specification)."""

SEQ_MAX = 2**53 - 1
"""Sequence numbers stay exact in a double (specification)."""

CAR_HEADER_BYTES = 4_096
"""A header names one root, 60 bytes; more roots are tolerated, but not without end."""

DID_BYTES = 2_048
"""Longest DID (specification)."""

FUTURE_SECONDS = 300
"""How far a rev may lie ahead of our clock (specification: 5 minutes)."""

REJECTED_FRAME_BYTES = 65_536
"""How much of a rejected frame is kept: enough to reproduce most, small enough to store many."""

DID_DOCUMENT_BYTES = 65_536
"""A DID document is about 1 KB; a PLC operation is at most 7.5 KB."""
