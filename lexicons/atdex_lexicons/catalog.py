"""A set of lexicon documents, and the checking of values against them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from .checks import PROBLEMS_MAX, Check, Problems, expected, one
from .compiler import Compiler, split_ref, type_name
from .document import check_document
from .errors import (
    Invalid,
    InvalidDocument,
    InvalidInput,
    InvalidMessage,
    InvalidOutput,
    InvalidParams,
    InvalidRecord,
    Problem,
    UnknownLexicon,
    shown,
)
from .params import Params
from .reading import read_document
from .syntax import is_nsid, is_record_key, is_tid

DOCUMENTS = Path(__file__).parent / "documents"
"""The documents that come with this package, as `<nsid as path>.json`."""

RKEY_PATH = "rkey"
"""The path of a problem with the record key, which is no part of the record."""

_METHODS = ("query", "procedure")

ENVELOPE_LEVELS = 16
"""Levels that a body or message may have beyond those of a record: it has records in it, and one
of as many levels as allowed must not spoil the page that lists it. Bodies in use have 6 around."""


class Catalog:
    """Lexicon documents by NSID. Immutable, and safe to use from any thread.

    Definitions are compiled when they are first needed, then kept. Values are checked in
    JSON form or in data-model form, as they are.
    """

    def __init__(self, documents: Mapping[str, Mapping[str, Any] | Path]) -> None:
        """`documents` by NSID, already known to be valid; a path is read when it is needed."""
        self._documents = dict(documents)
        self._compiler = Compiler(self.document)
        self._params: dict[str, Params] = {}
        self._bodies: dict[tuple[str, str], Check] = {}

    @staticmethod
    @cache
    def bundled() -> Catalog:
        """The documents that come with this package. Made once; reads a document when used."""
        return Catalog({_nsid_of(path, DOCUMENTS): path for path in DOCUMENTS.rglob("*.json")})

    @classmethod
    def from_documents(cls, documents: Iterable[Mapping[str, Any]]) -> Catalog:
        """A catalog of parsed documents, checked against the specification and each other.

        Raises `InvalidDocument`. References to documents outside are allowed; a value that
        gets there raises `UnknownLexicon`.
        """
        given: dict[str, Mapping[str, Any]] = {}
        for document in documents:
            nsid = document.get("id") if isinstance(document, dict) else None
            if not isinstance(nsid, str):
                raise InvalidDocument("", check_document(document))
            if nsid in given and given[nsid] != document:
                raise InvalidDocument(nsid, one("is there twice, with different contents", "/id"))
            given[nsid] = document
        for nsid, document in given.items():
            problems = check_document(document, given.get)
            if problems:
                raise InvalidDocument(nsid, problems)
        return cls(given)

    @classmethod
    def from_directory(cls, path: Path | str) -> Catalog:
        """A catalog of all `.json` files under a folder, whatever their names.

        Raises `OSError` for what cannot be read, `InvalidDocument` for what is not valid.
        """
        return cls.from_documents(
            read_document(file) for file in sorted(Path(path).rglob("*.json"))
        )

    def extended(self, documents: Mapping[str, Mapping[str, Any]]) -> Catalog:
        """A catalog that has these too, by NSID, already known to be valid.

        One that is here already stays as it is.
        """
        return Catalog({**documents, **self._documents})

    def __contains__(self, nsid: object) -> bool:
        return nsid in self._documents

    def nsids(self) -> list[str]:
        """The NSIDs of all documents, sorted."""
        return sorted(self._documents)

    def document(self, nsid: str) -> dict[str, Any]:
        """The document as parsed. Do not change it. Raises `UnknownLexicon`."""
        document = self._documents.get(nsid)
        if isinstance(document, Path):
            document = self._documents[nsid] = read_document(document)
        if document is None:
            raise UnknownLexicon(nsid)
        return document  # type: ignore[return-value]  # a dict, typed as Mapping on the way in

    def kind(self, nsid: str) -> str:
        """The type of the main definition, such as `record` or `query`; `defs` if there is none.

        Raises `UnknownLexicon`.
        """
        main = self.document(nsid)["defs"].get("main")
        return "defs" if main is None else str(main["type"])

    def validate_record(
        self, value: object, *, collection: str | None = None, rkey: str | None = None
    ) -> None:
        """Check a record in either form, and its key if `rkey` is given.

        Without `collection`, the record's `$type` says which lexicon holds. Raises
        `InvalidRecord` with all problems, `UnknownLexicon` where the catalog has no such record.
        """
        if not isinstance(value, dict):
            raise InvalidRecord(collection or "unknown type", expected("an object", value))
        if collection is None:
            collection = value.get("$type")
            if not isinstance(collection, str) or not is_nsid(collection):
                raise InvalidRecord(
                    "unknown type", one("is required, and the NSID of the record's type", "/$type")
                )
        key_type = self._main(collection, "record")["key"]
        found = self._compiler.named(collection)(value, 0)
        if rkey is not None and not _key_fits(rkey, key_type):
            found = [*(found or ()), Problem(RKEY_PATH, f"{shown(rkey)} does not fit {key_type}")]
        if found:
            raise InvalidRecord(collection, _cut(found))

    def parse_params(self, nsid: str, pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """Parameters of a method from the decoded pairs of a query string.

        The answer is typed, has the defaults, and leaves undeclared names out. Raises
        `InvalidParams`, `UnknownLexicon`.
        """
        values, found = self._parameters(nsid).parse(pairs)
        if found:
            raise InvalidParams(nsid, _cut(found))
        return values

    def validate_params(self, nsid: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Like `parse_params`, from typed values; None stands for one that is not given."""
        values, found = self._parameters(nsid).check(params)
        if found:
            raise InvalidParams(nsid, _cut(found))
        return values

    def validate_input(self, nsid: str, value: object) -> None:
        """Check the body of a request, in either form. Raises `InvalidInput`."""
        self._body(nsid, "input", value, InvalidInput)

    def validate_output(self, nsid: str, value: object) -> None:
        """Check the body of an answer, in either form. Raises `InvalidOutput`."""
        self._body(nsid, "output", value, InvalidOutput)

    def validate_message(self, nsid: str, value: object, kind: str | None = None) -> None:
        """Check a message of a subscription, in either form. Raises `InvalidMessage`.

        `kind` is the `t` of its frame's header (`#name`); without it, the message carries it as
        `$type`. A kind that the lexicon does not name is let through, if the union is open.
        """
        main = self._main(nsid, "subscription")
        if not isinstance(value, dict):
            raise InvalidMessage(nsid, expected("an object", value))
        told = value.get("$type") if kind is None else kind
        if not isinstance(told, str) or not told:
            raise InvalidMessage(nsid, one("is required to tell the message", "/$type"))
        base, name = split_ref(told, nsid)
        variant = type_name(base, name)
        check = self._part(nsid, "message", main["message"]["schema"])
        found = check({**value, "$type": variant}, -ENVELOPE_LEVELS)
        if found:
            raise InvalidMessage(nsid, _cut(found))

    def _main(self, nsid: str, *kinds: str) -> Mapping[str, Any]:
        main = self._compiler.definition(nsid)
        if main["type"] not in kinds:
            raise UnknownLexicon(nsid, " or ".join(kinds))
        return main

    def _parameters(self, nsid: str) -> Params:
        params = self._params.get(nsid)
        if params is None:
            main = self._main(nsid, "query", "procedure", "subscription")
            schema = main.get("parameters", {})
            parts = {
                name: self._compiler.schema(part, nsid)
                for name, part in schema.get("properties", {}).items()
            }
            params = self._params[nsid] = Params(schema, parts)
        return params

    def _body(self, nsid: str, part: str, value: object, error: type[Invalid]) -> None:
        main = self._main(nsid, "procedure") if part == "input" else self._main(nsid, *_METHODS)
        body = main.get(part)
        if body is None:
            if value is not None:
                raise error(nsid, one(f"this method has no {part}"))
            return
        schema = body.get("schema")
        if schema is None:
            return
        found = self._part(nsid, part, schema)(value, -ENVELOPE_LEVELS)
        if found:
            raise error(nsid, _cut(found))

    def _part(self, nsid: str, part: str, schema: Mapping[str, Any]) -> Check:
        check = self._bodies.get((nsid, part))
        if check is None:
            check = self._bodies[nsid, part] = self._compiler.schema(schema, nsid)
        return check


def _nsid_of(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts)


def _key_fits(rkey: str, key_type: str) -> bool:
    if key_type == "tid":
        return is_tid(rkey)
    if key_type == "nsid":
        return is_nsid(rkey)
    if key_type == "any":
        return is_record_key(rkey)
    return rkey == key_type.removeprefix("literal:")


def _cut(found: Problems) -> Problems:
    if len(found) <= PROBLEMS_MAX:
        return found
    return [*found[:PROBLEMS_MAX], Problem("", f"more problems than the {PROBLEMS_MAX} listed")]
