"""A setting as data: its name, its type, its default, its help.

The same table reads `atdex.toml`, `ATDEX_*` variables and flags, prints the configuration and
is compared with the guide by a test. Nothing here reads a file or the environment.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from atdex_lexicons.syntax import is_at_identifier, is_did, is_nsid

MAX_TEXT_CHARS = 4096
"""Characters of one setting's text: longer than any path or URL that a node would use."""

TRUE_WORDS = frozenset({"1", "true", "yes", "on"})
FALSE_WORDS = frozenset({"0", "false", "no", "off"})


class WrongValue(ValueError):
    """A value that does not fit its setting. The text says what would; the caller adds where."""


Parse = Callable[[object], Any]
"""From a TOML value, or from the text of a variable or a flag, to the value that the node uses.

Raises WrongValue.
"""


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table. `type` is the word that the guide shows.

    `flag` is the command line's name for it: a list is given as one flag per item, so its name
    is in the singular. `secret`: left out wherever the configuration is printed, and without a
    flag, which others on the machine could read. `file_only`: too much for a variable or a flag.
    """

    name: str
    type: str
    default: object
    help: str
    parse: Parse
    flag: str
    secret: bool = False
    file_only: bool = False

    @property
    def variable(self) -> str:
        """Empty where only the file has it."""
        return "" if self.file_only else f"ATDEX_{self.name.upper()}"


def text(value: object) -> str:
    if not isinstance(value, str):
        raise WrongValue(f"must be text, not {_word(value)}")
    if not value or len(value) > MAX_TEXT_CHARS or not value.isprintable():
        raise WrongValue(f"must be 1 to {MAX_TEXT_CHARS} printable characters")
    return value


def choice(*words: str) -> Parse:
    def parse(value: object) -> str:
        word = text(value).lower()
        if word not in words:
            raise WrongValue(f"must be one of {', '.join(words)}, not {value!r}")
        return word

    return parse


def did(value: object) -> str:
    found = text(value)
    if not is_did(found):
        raise WrongValue(f"must be a DID, such as did:plc:…, not {found!r}")
    return found


def identifier(value: object) -> str:
    """A handle or a DID."""
    found = text(value).removeprefix("@")
    if not is_at_identifier(found):
        raise WrongValue(f"must be a handle or a DID, not {found!r}")
    return found


def flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        word = value.strip().lower()
        if word in TRUE_WORDS:
            return True
        if word in FALSE_WORDS:
            return False
        raise WrongValue(f"must be true or false, not {value!r}")
    raise WrongValue(f"must be true or false, not {_word(value)}")


def integer(minimum: int, maximum: int) -> Parse:
    def parse(value: object) -> int:
        if isinstance(value, str):
            if not value.strip().isdecimal():
                raise WrongValue(f"must be a whole number, not {value!r}")
            value = int(value[:32])
        if isinstance(value, bool) or not isinstance(value, int):
            raise WrongValue(f"must be a whole number, not {_word(value)}")
        if not minimum <= value <= maximum:
            raise WrongValue(f"must be from {minimum} to {maximum}, not {value}")
        return value

    return parse


def seconds(minimum: float, maximum: float) -> Parse:
    def parse(value: object) -> float:
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                raise WrongValue(f"must be a number of seconds, not {value!r}") from None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise WrongValue(f"must be a number of seconds, not {_word(value)}")
        if not math.isfinite(value) or not minimum <= value <= maximum:
            raise WrongValue(f"must be from {minimum} to {maximum} seconds, not {value}")
        return float(value)

    return parse


def folder(value: object) -> Path:
    if isinstance(value, Path):
        return value.expanduser()
    return Path(text(value)).expanduser()


def url(*schemes: str, path: bool = True) -> Parse:
    """An absolute URL without credentials, query or fragment; a trailing slash is cut off.

    `path` false: nothing may follow the host and its port.
    """

    def parse(value: object) -> str:
        found = text(value).strip()
        expected = " or ".join(f"{scheme}://" for scheme in schemes)
        try:
            parts = urlsplit(found)
            host, port = parts.hostname, parts.port
        except ValueError as wrong:
            raise WrongValue(f"is no URL: {wrong}") from None
        if parts.scheme not in schemes:
            raise WrongValue(f"must be a URL that starts with {expected}, not {found!r}")
        if not host or any(c.isspace() for c in found) or port == 0:
            raise WrongValue(f"is no URL with a host: {found!r}")
        if parts.username is not None or parts.password is not None:
            raise WrongValue("must carry no user name or password")
        if parts.query or parts.fragment:
            raise WrongValue(f"must have no query and no fragment: {found!r}")
        if not path and parts.path not in ("", "/"):
            raise WrongValue(f"must have no path: {found!r}")
        return found.rstrip("/")

    return parse


def nsid_pattern(value: object) -> str:
    """A collection's NSID, or every one below a name: `app.bsky.atdata.*`."""
    pattern = text(value)
    stem = pattern.removesuffix(".*")
    probe = f"{stem}.name" if stem != pattern else stem
    if not is_nsid(probe):
        raise WrongValue(f"must be an NSID or an NSID prefix with '.*', not {pattern!r}")
    return pattern


def many(parse_one: Parse, *, at_least: int = 0, at_most: int = 64) -> Parse:
    """A list; in a variable its items are separated by commas or spaces. Doubles are dropped."""

    def parse(value: object) -> tuple[Any, ...]:
        if isinstance(value, str):
            value = value.replace(",", " ").split()
        if not isinstance(value, list | tuple):
            raise WrongValue(f"must be a list, not {_word(value)}")
        if not at_least <= len(value) <= at_most:
            raise WrongValue(f"must have {at_least} to {at_most} items, not {len(value)}")
        return tuple(dict.fromkeys(parse_one(item) for item in value))

    return parse


def optional(parse_one: Parse) -> Parse:
    """Empty text stands for "not set", so that a variable can undo what the file sets."""

    def parse(value: object) -> Any:
        return None if value is None or value == "" else parse_one(value)

    return parse


def _word(value: object) -> str:
    words = {bool: "true or false", int: "a number", float: "a number", str: "text"}
    words |= {list: "a list", dict: "a table"}
    return words.get(type(value), type(value).__name__)
