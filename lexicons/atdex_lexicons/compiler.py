"""From lexicon documents to checks: each named definition is compiled once, when first used."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from . import checks, containers
from .checks import Check, Problems
from .errors import UnknownLexicon

Documents = Callable[[str], Mapping[str, Any]]
"""Gives the document of an NSID, or raises `UnknownLexicon`."""


def split_ref(ref: str, nsid: str) -> tuple[str, str]:
    """NSID and definition name of a reference that stands in the document `nsid`."""
    base, _, name = ref.partition("#")
    return base or nsid, name or "main"


def type_name(nsid: str, name: str) -> str:
    """What `$type` says for a definition: main definitions go without their name."""
    return nsid if name == "main" else f"{nsid}#{name}"


class Compiler:
    """Compiled definitions over a source of valid documents. Thread-safe.

    A reference to a document that the source lacks raises `UnknownLexicon` when a value gets
    there, not before; in an open union it is a variant like any other unknown one.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._compiled: dict[str, Check] = {}
        self._pending: set[str] = set()
        self._lock = threading.RLock()

    def definition(self, nsid: str, name: str = "main") -> Mapping[str, Any]:
        """The definition as its document has it. Raises `UnknownLexicon`."""
        definition = self._documents(nsid)["defs"].get(name)
        if definition is None:
            raise UnknownLexicon(nsid, f"definition named {name!r}")
        return definition  # type: ignore[no-any-return]  # parsed JSON

    def named(self, nsid: str, name: str = "main") -> Check:
        """The check of a named definition: a record, an object or any data type."""
        key = f"{nsid}#{name}"
        compiled = self._compiled.get(key)
        if compiled is not None:
            return compiled
        with self._lock:
            if key in self._pending:
                return self._later(nsid, name)
            self._pending.add(key)
            try:
                definition = self.definition(nsid, name)
                if definition["type"] == "record":
                    check = containers.record(nsid, self.schema(definition["record"], nsid))
                else:
                    check = self.schema(definition, nsid)
            finally:
                self._pending.discard(key)
            self._compiled[key] = check
            return check

    def _later(self, nsid: str, name: str) -> Check:
        """A check that is looked up when it is called: what a recursive definition refers to."""

        def check(value: Any, depth: int) -> Problems | None:
            return self.named(nsid, name)(value, depth)

        return check

    def schema(self, schema: Mapping[str, Any], nsid: str) -> Check:
        """The check of an inline schema of the document `nsid`."""
        kind = schema["type"]
        simple = _SIMPLE.get(kind)
        if simple is not None:
            return simple(schema)
        if kind == "object":
            parts = {key: self.schema(part, nsid) for key, part in schema["properties"].items()}
            return containers.object_(schema, parts)
        if kind == "array":
            return containers.array(schema, self.schema(schema["items"], nsid))
        if kind == "ref":
            return self._reference(*split_ref(schema["ref"], nsid))
        if kind == "union":
            return self._union(schema, nsid)
        raise UnknownLexicon(nsid, f"data type {kind!r}")

    def _reference(self, nsid: str, name: str) -> Check:
        try:
            return self.named(nsid, name)
        except UnknownLexicon:
            return self._later(nsid, name)

    def _union(self, schema: Mapping[str, Any], nsid: str) -> Check:
        closed = schema.get("closed", False)
        variants = {}
        for ref in schema["refs"]:
            target = split_ref(ref, nsid)
            try:
                variants[type_name(*target)] = self.named(*target)
            except UnknownLexicon:
                if closed:
                    variants[type_name(*target)] = self._later(*target)
        return containers.union(variants, closed)


_SIMPLE: Mapping[str, Callable[[Mapping[str, Any]], Check]] = {
    "boolean": checks.boolean,
    "integer": checks.integer,
    "string": checks.string,
    "bytes": checks.bytes_,
    "blob": checks.blob,
    "cid-link": lambda _: checks.link,
    "unknown": lambda _: checks.unknown,
}
