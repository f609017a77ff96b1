"""Checks of single values: what a compiled lexicon is made of.

A check is a function of a value and its depth that returns None when the value fits, and
otherwise a list of `Problem`s with paths relative to the value. One check reads both forms of
the data model (see `datamodel`), without converting. A valid value costs no allocation beyond
the calls. Checks of objects, arrays and unions are in `containers`.

Lengths are counted as the Lexicon specification says: UTF-8 bytes, grapheme clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from .cid import Cid, is_link_text
from .dagcbor import DEPTH_MAX, INTEGER_MAX, INTEGER_MIN
from .errors import Problem, shown, step_path
from .jsonform import FLOAT_INTEGER_MAX, base64_size, blob_problem
from .syntax import FORMATS

PROBLEMS_MAX = 100
"""Problems listed for one value. A hostile record of 1 MB could have half a million."""

Problems = list[Problem]
Check = Callable[[Any, int], Problems | None]

LONE_SURROGATE = "text holds a lone surrogate, which has no UTF-8"
TOO_DEEP = f"nested deeper than {DEPTH_MAX} levels"
NULL = "null is not allowed here: leave the field out"


def one(reason: str, path: str = "") -> Problems:
    """A list with one problem."""
    return [Problem(path, reason)]


def under(step: str | int, problems: Problems) -> Problems:
    """The problems of an element, seen from its container."""
    start = step_path(step)
    return [Problem(start + path, reason) for path, reason in problems]


def kind_of(value: Any) -> str:
    """The data model's word for the type of `value`."""
    if value is None:
        return "null"
    if isinstance(value, dict):
        if "$link" in value:
            return "a link"
        if "$bytes" in value:
            return "bytes"
        return "a blob" if value.get("$type") == "blob" else "an object"
    for type_, word in _WORDS:
        if isinstance(value, type_):
            return word
    return f"a Python {type(value).__name__}, which is no type of the data model"


_WORDS = (
    (bool, "a boolean"),
    (int, "an integer"),
    (float, "a float"),
    (str, "a string"),
    (list, "an array"),
    (bytes, "bytes"),
    (Cid, "a link"),
)


def expected(wanted: str, value: Any) -> Problems:
    return one(f"expected {wanted}, got {kind_of(value)}")


def boolean(schema: Mapping[str, Any]) -> Check:
    constant = schema.get("const")

    def check(value: Any, depth: int) -> Problems | None:
        if value is not True and value is not False:
            return expected("a boolean", value)
        if constant is not None and value is not constant:
            return one(f"must be {str(constant).lower()}")
        return None

    return check


def integer(schema: Mapping[str, Any]) -> Check:
    least = max(schema.get("minimum", INTEGER_MIN), INTEGER_MIN)
    most = min(schema.get("maximum", INTEGER_MAX), INTEGER_MAX)
    allowed = _allowed(schema)

    def check(value: Any, depth: int) -> Problems | None:
        if type(value) is not int:
            if not is_whole(value):
                return expected("an integer", value)
            value = int(value)
        if not least <= value <= most:
            if not INTEGER_MIN <= value <= INTEGER_MAX:
                return one("an integer does not fit 64 signed bits")
            wanted = f"at least {least}" if value < least else f"at most {most}"
            return one(f"is {value}, must be {wanted}")
        if allowed is not None and value not in allowed:
            return one(f"is {value}, must be {_choices(allowed)}")
        return None

    return check


def is_whole(value: Any) -> bool:
    """Whether `value` is a whole number that JSON software wrote as a float, such as 123.0."""
    return isinstance(value, float) and value.is_integer() and abs(value) <= FLOAT_INTEGER_MAX


def string(schema: Mapping[str, Any]) -> Check:
    least = schema.get("minLength", 0)
    most = schema.get("maxLength", INTEGER_MAX)
    least_graphemes = schema.get("minGraphemes", 0)
    most_graphemes = schema.get("maxGraphemes", INTEGER_MAX)
    graphemes_count = "minGraphemes" in schema or "maxGraphemes" in schema
    format_name = schema.get("format")
    matches = FORMATS.get(format_name) if isinstance(format_name, str) else None
    allowed = _allowed(schema)
    plain = allowed is None and not graphemes_count

    def check(value: Any, depth: int) -> Problems | None:
        if not isinstance(value, str):
            return expected("a string", value)
        size = len(value)
        if not value.isascii():
            try:
                size = len(value.encode())
            except UnicodeEncodeError:
                return one(LONE_SURROGATE)
        if least <= size <= most and plain and (matches is None or matches(value)):
            return None
        found = []
        if size > most:
            found.append(Problem("", f"is {size} bytes long, at most {most} are allowed"))
        elif size < least:
            found.append(Problem("", f"is {size} bytes long, at least {least} are needed"))
        if graphemes_count and size <= most:
            # A grapheme has one code point at least, so counting is needed near the limits only.
            count = len(value)
            if count > most_graphemes or least_graphemes:
                count = graphemes(value)
            if count > most_graphemes:
                found.append(
                    Problem("", f"has {count} graphemes, at most {most_graphemes} are allowed")
                )
            elif count < least_graphemes:
                found.append(
                    Problem("", f"has {count} graphemes, at least {least_graphemes} are needed")
                )
        if matches is not None and not matches(value):
            found.append(Problem("", f"{shown(value)} is not a valid {format_name}"))
        if allowed is not None and value not in allowed:
            found.append(Problem("", f"is {shown(value)}, must be {_choices(allowed)}"))
        return found or None

    return check


def graphemes(text: str) -> int:
    """The number of extended grapheme clusters (UAX #29) in `text`."""
    if text.isascii():
        return len(text) - text.count("\r\n")
    import regex  # 20 ms to import, needed for few values

    return sum(1 for _ in regex.finditer(r"\X", text))


def _allowed(schema: Mapping[str, Any]) -> Collection[Any] | None:
    if "const" in schema:
        return (schema["const"],)
    return tuple(schema["enum"]) if "enum" in schema else None


def _choices(allowed: Collection[Any]) -> str:
    first = [shown(item) if isinstance(item, str) else str(item) for item in list(allowed)[:10]]
    rest = ", …" if len(allowed) > len(first) else ""
    return first[0] if len(allowed) == 1 else f"one of {', '.join(first)}{rest}"


def bytes_(schema: Mapping[str, Any]) -> Check:
    least = schema.get("minLength", 0)
    most = schema.get("maxLength", INTEGER_MAX)

    def check(value: Any, depth: int) -> Problems | None:
        if isinstance(value, bytes):
            size = len(value)
        elif isinstance(value, dict) and "$bytes" in value:
            problems = json_bytes_problem(value)
            if problems is not None:
                return problems
            size = base64_size(value["$bytes"]) or 0
        else:
            return expected("bytes", value)
        if size > most:
            return one(f"has {size} bytes, at most {most} are allowed")
        if size < least:
            return one(f"has {size} bytes, at least {least} are needed")
        return None

    return check


def json_bytes_problem(value: dict[Any, Any]) -> Problems | None:
    """What is wrong with an object that has `$bytes`."""
    text = value["$bytes"]
    if len(value) != 1 or not isinstance(text, str):
        return one('bytes are {"$bytes": base64} and nothing else')
    return one("its base64 does not decode", "/$bytes") if base64_size(text) is None else None


def link(value: Any, depth: int) -> Problems | None:
    """The check of a `cid-link`."""
    if isinstance(value, Cid):
        return None
    if isinstance(value, dict) and "$link" in value:
        return json_link_problem(value)
    return expected("a link", value)


def json_link_problem(value: dict[Any, Any]) -> Problems | None:
    """What is wrong with an object that has `$link`."""
    text = value["$link"]
    if len(value) != 1 or not isinstance(text, str):
        return one('a link is {"$link": CID} and nothing else')
    return None if is_link_text(text) else one(f"{shown(text)} is not a CID", "/$link")


def blob(schema: Mapping[str, Any]) -> Check:
    most = schema.get("maxSize", INTEGER_MAX)
    accept = tuple(kind.lower() for kind in schema.get("accept", ("*/*",)))
    exact = frozenset(kind for kind in accept if not kind.endswith("*"))
    prefixes = tuple(kind[:-1] for kind in accept if kind.endswith("/*") and kind != "*/*")
    anything = "*/*" in accept

    def check(value: Any, depth: int) -> Problems | None:
        if not isinstance(value, dict):
            return expected("a blob", value)
        if value.get("$type") != "blob":
            if "$type" not in value and "cid" in value and "mimeType" in value:
                return one("is a blob in the old form {cid, mimeType}: upload it anew")
            return expected("a blob", value)
        wrong = blob_problem(value)
        if wrong is not None:
            return one(wrong[1], step_path(wrong[0]))
        found = any_object(value, depth) or []
        size, mime_type = value["size"], value["mimeType"]
        if size > most:
            found.append(Problem("/size", f"is {size} bytes, at most {most} are allowed"))
        if not anything:
            essence = mime_type.partition(";")[0].strip().lower()
            if essence not in exact and not essence.startswith(prefixes):
                reason = f"is {shown(mime_type)}, must be {_choices(accept)}"
                found.append(Problem("/mimeType", reason))
        return found or None

    return check


def any_value(value: Any, depth: int) -> Problems | None:
    """The check of a value that no lexicon describes: only the data model holds."""
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                return one(LONE_SURROGATE)
        return None
    if value is None or value is True or value is False or isinstance(value, (bytes, Cid)):
        return None
    if isinstance(value, int):
        fits = INTEGER_MIN <= value <= INTEGER_MAX
        return None if fits else one("an integer does not fit 64 signed bits")
    if isinstance(value, dict):
        if "$link" in value:
            return json_link_problem(value)
        if "$bytes" in value:
            return json_bytes_problem(value)
        if value.get("$type") == "blob":
            wrong = blob_problem(value)
            if wrong is not None:
                return one(wrong[1], step_path(wrong[0]))
        return any_object(value, depth)
    if isinstance(value, list):
        return _any_array(value, depth)
    if is_whole(value):
        return None
    if isinstance(value, float):
        return one("floats are not allowed: write a string or an integer")
    return one(f"expected a value, got {kind_of(value)}")


def any_object(value: dict[Any, Any], depth: int) -> Problems | None:
    """The data model's rules for the fields of an object; that it is a plain one is known."""
    if depth >= DEPTH_MAX:
        return one(TOO_DEEP)
    found: Problems = []
    for key, element in value.items():
        problems = undeclared(key, element, depth + 1)
        if problems is not None:
            found += under(key, problems) if isinstance(key, str) else problems
            if len(found) > PROBLEMS_MAX:
                break
    return found or None


def undeclared(key: Any, element: Any, depth: int) -> Problems | None:
    """The check of a field that the lexicon does not name. It is let through if it is data."""
    if not isinstance(key, str):
        return one(f"a key is {kind_of(key)}, must be a string")
    if not key.isascii() and any_value(key, depth) is not None:
        return one("the name of the field holds a lone surrogate")
    if key == "$type" and (not isinstance(element, str) or not element):
        return one("expected the name of a type")
    return any_value(element, depth)


def _any_array(value: list[Any], depth: int) -> Problems | None:
    if depth >= DEPTH_MAX:
        return one(TOO_DEEP)
    found: Problems = []
    for index, element in enumerate(value):
        problems = any_value(element, depth + 1)
        if problems is not None:
            found += under(index, problems)
            if len(found) > PROBLEMS_MAX:
                break
    return found or None


def unknown(value: Any, depth: int) -> Problems | None:
    """The check of an `unknown`: an object, not a link, bytes or a blob; inside, any data."""
    if not isinstance(value, dict):
        return expected("an object", value)
    if "$link" in value or "$bytes" in value or value.get("$type") == "blob":
        return expected("an object", value)
    return any_object(value, depth)
