"""Which collections are wanted: exact NSIDs, `a.b.*` for everything below `a.b`, `*` for all.

A wildcard stands at a dot: `a.b.*` takes `a.b.c` and `a.b.c.d`, neither `a.bc.d` nor `a.b`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from atdex_firehose.errors import ConfigError
from atdex_lexicons.syntax import NSID_CHARACTERS_MAX, is_nsid

_REMEMBERED = 4_096
"""Answers kept for collections seen; publishers can invent names without end."""


class CollectionPatterns:
    """Answers for one set of patterns. Raises ConfigError for a pattern that is neither form."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns = tuple(patterns)
        if not self.patterns:
            raise ConfigError("collections", self.patterns, "name at least one collection")
        exact, prefixes = set(), []
        for pattern in self.patterns:
            stem = pattern.removesuffix(".*")
            if pattern == "*":
                prefixes.append("")
            elif pattern.endswith(".*") and is_nsid(f"{stem}.x.x"):
                prefixes.append(f"{stem}.")
            elif is_nsid(pattern):
                exact.add(pattern)
            else:
                raise ConfigError(
                    "collections", pattern, "neither an NSID nor of the form a.b.*, nor *"
                )
        self._exact = frozenset(exact)
        self._prefixes = tuple(prefixes)
        self.everything = "" in prefixes
        self.exact = tuple(sorted(exact))
        """The NSIDs that are wanted by name."""
        self.wildcards = tuple(p for p in self.patterns if p not in exact)
        """The other patterns, which no host can list by."""
        self._seen: dict[str, bool] = {}

    def __contains__(self, collection: str) -> bool:
        answer = self._seen.get(collection)
        if answer is None:
            answer = collection in self._exact or collection.startswith(self._prefixes)
            if len(collection) > NSID_CHARACTERS_MAX:
                return False
            if len(self._seen) >= _REMEMBERED:
                self._seen.clear()
            self._seen[collection] = answer
        return answer

    def wants(self, body: Mapping[str, Any]) -> bool:
        """Whether a `#commit` body, not checked yet, has an op in a wanted collection."""
        # On the way of every frame: tenths of a microsecond count.
        ops = body.get("ops")
        if type(ops) is not list:
            return False
        seen = self._seen
        for op in ops:
            if type(op) is dict:
                path = op.get("path")
                if type(path) is str:
                    collection = path.partition("/")[0]
                    answer = seen.get(collection)
                    if answer or (answer is None and collection in self):
                        return True
        return False
