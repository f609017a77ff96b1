"""Where test data lives."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
FIXTURES = TESTS / "fixtures"

INTEROP = TESTS.parent.parent / "shared" / "interop"
"""The AT Protocol's public test vectors: read where they are, not part of the repository."""
