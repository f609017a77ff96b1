"""Whether a lexicon document keeps to the Lexicon specification, version 1.

Source: https://atproto.com/specs/lexicon. Decisions where it leaves room:

- Fields that the specification does not define are ignored, wherever they stand.
- `properties` is required on objects and params, as the specification lists it.
- `default` and `const` exclude each other on every type, not on strings alone.
- A reference into a document that is not at hand is taken on trust.
- Names of definitions are written like the last segment of an NSID: letters and digits.
- Properties may start with `$` (live documents do), but not be `$type`, `$link` or `$bytes`.
- Permissions for resources other than `repo` and `rpc` are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .checks import kind_of
from .errors import Problem, shown, step_path
from .language import is_language
from .schemas import DEFINITION_NAME, DOCUMENT_PROBLEMS_MAX, PRIMARY, Resolve, SchemaReader
from .syntax import is_nsid, is_record_key

LANGUAGE_VERSION = 1
"""The only version of the Lexicon language."""

_ENCODING = re.compile(r"[^\s/]+/[^\s/]+")
_LITERAL = "literal:"
_ACTIONS = frozenset({"create", "update", "delete"})


def check_document(document: object, resolve: Resolve | None = None) -> list[Problem]:
    """Every break of the specification in a parsed JSON document; empty when it is valid.

    `resolve` gives other documents by NSID, so that references into them are checked too;
    without it, only references inside the document are. Paths are JSON Pointers. The list is
    cut at `DOCUMENT_PROBLEMS_MAX`, and its last entry then says so.
    """
    if not isinstance(document, dict):
        return [Problem("", f"expected a lexicon document, got {kind_of(document)}")]
    nsid = document.get("id")
    defs = document.get("defs")
    known = defs if isinstance(defs, dict) else {}
    reader = _DocumentReader(nsid if isinstance(nsid, str) else "", known, resolve)
    reader.document(document)
    problems = reader.problems
    if len(problems) > DOCUMENT_PROBLEMS_MAX:
        problems = problems[:DOCUMENT_PROBLEMS_MAX]
        problems.append(Problem("", f"more problems than the {DOCUMENT_PROBLEMS_MAX} listed"))
    return problems


def unresolved(document: Mapping[str, Any], resolve: Resolve) -> list[str]:
    """NSIDs that a valid document refers to and `resolve` does not give, sorted."""
    missing = set()
    todo: list[Any] = [document["defs"]]
    while todo:
        node = todo.pop()
        if isinstance(node, list):
            todo += node
        elif isinstance(node, dict):
            refs = [node.get("ref")] if node.get("type") == "ref" else []
            refs += node.get("refs", ()) if node.get("type") == "union" else ()
            for ref in refs:
                nsid = str(ref).partition("#")[0]
                if nsid and nsid != document["id"] and resolve(nsid) is None:
                    missing.add(nsid)
            todo += node.values()
    return sorted(missing)


class _DocumentReader(SchemaReader):
    def document(self, document: dict[str, Any]) -> None:
        version = document.get("lexicon")
        if type(version) is not int or version != LANGUAGE_VERSION:
            self.add("/lexicon", f"must be the number {LANGUAGE_VERSION}")
        nsid = document.get("id")
        if not isinstance(nsid, str):
            self.add("/id", "is required, and a string")
        elif not is_nsid(nsid):
            self.add("/id", f"{shown(nsid)} is not a valid NSID")
        self.text(document, "", "description")
        defs = document.get("defs")
        if not isinstance(defs, dict) or not defs:
            return self.add("/defs", "expected an object with one definition or more")
        for name, definition in defs.items():
            self._definition(str(name), definition)
        return None

    def _definition(self, name: str, definition: Any) -> None:
        path = f"/defs{step_path(name)}"
        if DEFINITION_NAME.fullmatch(name) is None:
            self.add(path, f"{shown(name)} cannot be the name of a definition")
        kind = definition.get("type") if isinstance(definition, dict) else None
        if not isinstance(kind, str) or kind not in PRIMARY:
            return self.schema(definition, path, "a named definition")
        if name != "main":
            self.add(path, f"a {kind} can only be the definition main")
        self.text(definition, path, "description")
        if kind == "record":
            self._record(definition, path)
        elif kind == "permission-set":
            self._permission_set(definition, path)
        else:
            self._method(definition, path, kind)
        return None

    def _record(self, definition: dict[str, Any], path: str) -> None:
        key = definition.get("key")
        if not isinstance(key, str):
            self.add(f"{path}/key", "is required, and a string")
        elif key not in ("tid", "nsid", "any") and not (
            key.startswith(_LITERAL) and is_record_key(key.removeprefix(_LITERAL))
        ):
            self.add(f"{path}/key", f"is {shown(key)}, must be tid, nsid, any or literal:<key>")
        if "record" not in definition:
            return self.add(path, "record without the schema of its object in record")
        return self.schema(definition["record"], f"{path}/record", "the schema of a record")

    def _method(self, definition: dict[str, Any], path: str, kind: str) -> None:
        if "parameters" in definition:
            place = "the parameters of a method"
            self.schema(definition["parameters"], f"{path}/parameters", place)
        if "input" in definition:
            if kind == "procedure":
                self._body(definition["input"], f"{path}/input")
            else:
                self.add(f"{path}/input", f"a {kind} has no input")
        if kind == "subscription":
            self._message(definition, path)
        elif "output" in definition:
            self._body(definition["output"], f"{path}/output")
        self._errors(definition, path)

    def _message(self, definition: dict[str, Any], path: str) -> None:
        message = definition.get("message")
        if not isinstance(message, dict):
            return self.add(f"{path}/message", "is required, and an object")
        self.text(message, f"{path}/message", "description")
        if "schema" not in message:
            return self.add(f"{path}/message/schema", "is required, and a union")
        place = "the schema of messages"
        return self.schema(message["schema"], f"{path}/message/schema", place)

    def _body(self, body: Any, path: str) -> None:
        if not isinstance(body, dict):
            return self.add(path, f"expected an object, got {kind_of(body)}")
        self.text(body, path, "description")
        encoding = body.get("encoding")
        if not isinstance(encoding, str) or _ENCODING.fullmatch(encoding) is None:
            self.add(f"{path}/encoding", "is required, and a MIME type")
        if "schema" in body:
            self.schema(body["schema"], f"{path}/schema", "the schema of a body")
        return None

    def _errors(self, definition: dict[str, Any], path: str) -> None:
        errors = definition.get("errors", [])
        if not isinstance(errors, list):
            return self.add(f"{path}/errors", f"expected an array, got {kind_of(errors)}")
        seen = set()
        for index, error in enumerate(errors):
            step = f"{path}/errors/{index}"
            if not isinstance(error, dict):
                self.add(step, f"expected an object, got {kind_of(error)}")
                continue
            self.text(error, step, "description")
            name = error.get("name")
            if not isinstance(name, str) or not name or any(map(str.isspace, name)):
                self.add(f"{step}/name", "is required, a string without whitespace")
            elif name in seen:
                self.add(f"{step}/name", f"{shown(name)} is there twice")
            else:
                seen.add(name)
        return None

    def _permission_set(self, definition: dict[str, Any], path: str) -> None:
        for field in ("title", "detail"):
            self.text(definition, path, field)
            texts = definition.get(f"{field}:lang", {})
            if not isinstance(texts, dict):
                self.add(f"{path}/{field}:lang", f"expected an object, got {kind_of(texts)}")
                continue
            for language, text in texts.items():
                step = f"{path}/{field}:lang{step_path(str(language))}"
                if not isinstance(language, str) or not is_language(language):
                    self.add(step, "its key is not a language")
                if not isinstance(text, str):
                    self.add(step, f"expected a string, got {kind_of(text)}")
        permissions = definition.get("permissions")
        if not isinstance(permissions, list):
            return self.add(f"{path}/permissions", "is required, and an array")
        for index, permission in enumerate(permissions):
            self._permission(permission, f"{path}/permissions/{index}")
        return None

    def _permission(self, permission: Any, path: str) -> None:
        if not isinstance(permission, dict) or permission.get("type") != "permission":
            return self.add(path, "expected an object with the type permission")
        resource = permission.get("resource")
        if not isinstance(resource, str):
            self.add(f"{path}/resource", "is required, and a string")
        elif resource == "repo":
            self._nsids(permission, path, "collection", wildcard=False)
            if self.texts(permission, path, "action", unique=True):
                for index, action in enumerate(permission.get("action", ())):
                    if action not in _ACTIONS:
                        reason = f"is {shown(action)}, must be create, update or delete"
                        self.add(f"{path}/action/{index}", reason)
        elif resource == "rpc":
            self._rpc(permission, path)
        return None

    def _rpc(self, permission: dict[str, Any], path: str) -> None:
        # The specification refuses the wildcard here and the public vectors accept it.
        self._nsids(permission, path, "lxm", wildcard=True)
        self.flag(permission, path, "inheritAud")
        inherits = permission.get("inheritAud") is True
        if "aud" not in permission:
            if not inherits:
                self.add(path, 'a permission for rpc needs aud "*" or inheritAud')
        elif inherits:
            self.add(f"{path}/aud", "aud and inheritAud exclude each other")
        elif permission["aud"] != "*":
            self.add(f"{path}/aud", 'must be "*": a permission set names no service')
        elif permission.get("lxm") == ["*"]:
            self.add(path, "aud and lxm cannot both be the wildcard")

    def _nsids(self, permission: dict[str, Any], path: str, name: str, *, wildcard: bool) -> None:
        values = permission.get(name)
        if not isinstance(values, list) or not values:
            return self.add(f"{path}/{name}", "is required, an array of one NSID or more")
        for index, value in enumerate(values):
            good = isinstance(value, str) and (is_nsid(value) or (wildcard and value == "*"))
            if not good:
                given = shown(value) if isinstance(value, str) else kind_of(value)
                self.add(f"{path}/{name}/{index}", f"{given} is not a valid NSID")
        if self.texts(permission, path, name):
            self.texts(permission, path, name, unique=True)
        return None
