"""What can be wrong with data and documents.

    LexiconsError
    ├── InvalidSyntax    (ValueError)   a text is not an identifier of the asked kind
    ├── InvalidData      (ValueError)   bytes or values outside the AT Protocol data model
    ├── InvalidDocument  (ValueError)   a lexicon document breaks the Lexicon specification
    ├── UnknownLexicon   (LookupError)  the catalog has no such document or definition
    ├── NotRepresentable (ValueError)   a family has no way to write what a model says
    ├── InvalidOps       (ValueError)   the operations of a declarative lens mean nothing
    ├── NotApplicable    (ValueError)   a declarative lens has no answer for this sample
    └── Invalid          (ValueError)   a value does not fit its lexicon
        ├── InvalidRecord
        ├── InvalidParams
        ├── InvalidInput
        ├── InvalidOutput
        └── InvalidMessage

Every class but `UnknownLexicon`, `NotRepresentable` and `InvalidOutput` says that the data, and
so whoever sent it, is at fault. `NotRepresentable` is the fault of the caller who asked for the
record, who can change the model or choose another family. `NotApplicable` is about one sample: the
lens is sound, and other samples may pass. `UnknownLexicon` is the fault of the
asking side (a wrong NSID, or a document that was not loaded), `InvalidOutput` of the service
that answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

SHOWN_CHARACTERS = 80
"""Characters of a foreign text that an error repeats: enough to find it, too few to flood a log."""

SHOWN_BITS = 256
"""Bits of an integer that an error repeats; Python refuses to write very long ones."""

SHOWN_PROBLEMS = 5
"""Problems that `str(error)` spells out; `.problems` has them all."""


SHOWN_NAME_CHARACTERS = 1_024
"""The same of the name of a document, which may be the path of a file: its end tells most."""


def shown(text: str, most: int = SHOWN_CHARACTERS) -> str:
    """`text` quoted and shortened, safe to print whatever it holds."""
    if len(text) > most:
        return f"{text[:most]!a}… ({len(text)} characters)"
    return repr(text) if text.isprintable() else ascii(text)


def shown_value(value: object) -> str:
    """A scalar quoted and shortened, anything else by its type: safe whatever it holds."""
    if isinstance(value, int) and value.bit_length() > SHOWN_BITS:
        return f"an integer of {value.bit_length()} bits"
    if value is None or isinstance(value, bool | int | float):
        return str(value)
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, bytes):
        return repr(value[:SHOWN_CHARACTERS])
    return f"a {type(value).__name__}"


class Problem(NamedTuple):
    """One thing that is wrong.

    `path` is a JSON Pointer (RFC 6901) such as `/storage/shards/0/url`; it is empty for the
    value as a whole, and `rkey` for the record key, which is no part of the record.
    """

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" if self.path else self.reason


def step_path(step: str | int) -> str:
    """One step of a JSON Pointer: a key, escaped and shortened, or an index."""
    if isinstance(step, int):
        return f"/{step}"
    if len(step) > SHOWN_CHARACTERS:
        step = step[:SHOWN_CHARACTERS] + "…"
    if not step.isprintable():
        step = step.encode("unicode_escape").decode()
    return "/" + step.replace("~", "~0").replace("/", "~1")


def listed(problems: Sequence[Problem]) -> str:
    """The first problems in one line."""
    text = "; ".join(str(problem) for problem in problems[:SHOWN_PROBLEMS])
    rest = len(problems) - SHOWN_PROBLEMS
    return f"{text}; and {rest} more" if rest > 0 else text


class LexiconsError(Exception):
    """The base of every error of this package."""


class InvalidSyntax(LexiconsError, ValueError):
    """A text is not of the form that its `kind` asks for (`kind` is a string format's name)."""

    def __init__(self, kind: str, text: str, reason: str = "") -> None:
        super().__init__(kind, text, reason)
        self.kind = kind
        self.text = text
        self.reason = reason

    def __str__(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        return f"{shown(self.text)} is not a valid {self.kind}{why}"


class InvalidData(LexiconsError, ValueError):
    """A value or its encoding is outside the data model. `path` is a JSON Pointer, where known."""

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(reason, path)
        self.reason = reason
        self.path = path

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" if self.path else self.reason


class InvalidDocument(LexiconsError, ValueError):
    """A lexicon document breaks the Lexicon specification. `problems` has every break."""

    def __init__(self, nsid: str, problems: Sequence[Problem]) -> None:
        super().__init__(nsid, tuple(problems))
        self.nsid = nsid
        self.problems = tuple(problems)

    def __str__(self) -> str:
        name = shown(self.nsid, SHOWN_NAME_CHARACTERS)
        return f"lexicon document {name} is not valid: {listed(self.problems)}"


class UnknownLexicon(LexiconsError, LookupError):
    """The catalog has no document, or no such definition, for `nsid` (maybe with `#name`)."""

    def __init__(self, nsid: str, wanted: str = "") -> None:
        super().__init__(nsid, wanted)
        self.nsid = nsid
        self.wanted = wanted

    def __str__(self) -> str:
        if self.wanted:
            return f"lexicon {shown(self.nsid)} does not define a {self.wanted}"
        return f"lexicon {shown(self.nsid)} is not in the catalog: load its document"


class NotRepresentable(LexiconsError, ValueError):
    """A record family cannot write a model. `path` is where in the record it would stand."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot be written as a record: {self.path}: {self.reason}"


class InvalidOps(LexiconsError, ValueError):
    """The operations of a declarative lens are none. `problems` has every reason, by operation."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(tuple(problems))
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return f"not a declarative lens: {listed(self.problems)}"


class NotApplicable(LexiconsError, ValueError):
    """A declarative lens has no answer for a sample. `op` is the operation's index, from 0."""

    def __init__(self, op: int, field: str, reason: str) -> None:
        super().__init__(op, field, reason)
        self.op = op
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"operation {self.op}, field {shown(self.field)}: {self.reason}"


class Invalid(LexiconsError, ValueError):
    """A value does not fit its lexicon. `problems` has every reason, in the value's order.

    The list is cut at `atdex_lexicons.checks.PROBLEMS_MAX`; its last entry then says so.
    """

    what = "value"

    def __init__(self, nsid: str, problems: Sequence[Problem]) -> None:
        super().__init__(nsid, tuple(problems))
        self.nsid = nsid
        self.problems = tuple(problems)

    @property
    def path(self) -> str:
        """Where the first problem is."""
        return self.problems[0].path if self.problems else ""

    @property
    def reason(self) -> str:
        """What the first problem is."""
        return self.problems[0].reason if self.problems else ""

    def __str__(self) -> str:
        return f"invalid {self.what} of {self.nsid}: {listed(self.problems)}"


class InvalidRecord(Invalid):
    """A record, or its record key, does not fit its collection."""

    what = "record"


class InvalidParams(Invalid):
    """Parameters of a request. The caller is at fault."""

    what = "parameters"


class InvalidInput(Invalid):
    """The body of a request. The caller is at fault."""

    what = "input"


class InvalidOutput(Invalid):
    """The body of an answer. The service that gave it is at fault."""

    what = "output"


class InvalidMessage(Invalid):
    """A message of an event stream. The stream is at fault."""

    what = "message"
