"""Settings of the property tests: no deadline for one example, since a busy machine breaks it."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
