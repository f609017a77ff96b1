"""Every error of the SDK, and whose fault it is.

    AtdexError
    ├── CallerError                 the call cannot work as it was made
    │   ├── NoNode                  no node was named
    │   ├── BadSource               not something that can be loaded (a ValueError too)
    │   ├── BadSampleType           a class that cannot hold samples (a TypeError too)
    │   ├── UnknownSplit            the dataset has no such split
    │   └── NotThere                the node knows no such record
    ├── RemoteError                 another machine failed; trying later may help
    │   ├── FetchFailed             a shard could not be downloaded
    │   ├── BadAnswer               a node answered something that is no answer
    │   └── NoAnswer                none of several nodes answered
    ├── DataError                   what the publisher wrote cannot be used
    │   ├── RecordMismatch          a node's record is not the one that its CID names
    │   ├── RecordRefused           a record that its lexicon does not allow
    │   ├── UnsafeShard             a shard address that is never opened for a record
    │   ├── ShardTooLarge           more bytes than the caller allows
    │   ├── BadChecksum             a checksum in a record that is none
    │   ├── ChecksumMismatch        the bytes are not those that the publisher described
    │   ├── BadShard                no readable tar file of samples
    │   ├── BadSample               one sample does not fit the sample type
    │   ├── BadArray                bytes that are no array
    │   ├── BadSchema               a schema record that describes no class
    │   └── Unsupported             valid, and not something this version can load
    └── CacheError                  this machine: the disk or its permissions

Retry on the class, never on the message.
"""

from __future__ import annotations

from collections.abc import Sequence

MAX_SHOWN = 200
"""Characters of somebody else's text that an error repeats: enough to recognise it by."""


def shown(text: object) -> str:
    """Somebody else's text, quoted, escaped and cut."""
    whole = str(text)
    return repr(whole if len(whole) <= MAX_SHOWN else whole[:MAX_SHOWN] + "…")


class AtdexError(Exception):
    """Base of everything the SDK raises on purpose."""


class CallerError(AtdexError):
    """The call cannot work as it was made."""


class RemoteError(AtdexError):
    """Another machine failed. Trying again later may help."""


class DataError(AtdexError):
    """What the publisher wrote cannot be used. Only the publisher can mend it."""


class NoNode(CallerError):
    """A question for a node, and none was named."""

    def __str__(self) -> str:
        return (
            "no node to ask: pass node=URL, call atdex.default_node(URL), "
            "or on the command line use --node URL or set ATDEX_NODE"
        )


class BadSource(CallerError, ValueError):
    """A source that is no AT-URI, `@publisher/name`, path, pattern or URL."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(source, reason)
        self.source = source
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot load {shown(self.source)}: {self.reason}"


class BadSampleType(CallerError, TypeError):
    """A class that cannot hold samples. `field` is empty when the class itself is the problem."""

    def __init__(self, sample_type: str, field: str, reason: str) -> None:
        super().__init__(sample_type, field, reason)
        self.sample_type = sample_type
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        where = f"{self.sample_type}.{self.field}" if self.field else self.sample_type
        return f"{where} cannot be loaded: {self.reason}"


class UnknownSplit(CallerError, KeyError):
    """The dataset has no split of this name."""

    def __init__(self, split: str, known: Sequence[str]) -> None:
        super().__init__(split, known)
        self.split = split
        self.known = tuple(known)

    def __str__(self) -> str:
        there = f"it has {', '.join(self.known)}" if self.known else "the dataset names no splits"
        return f"no split {shown(self.split)}: {there}"


class NotThere(CallerError, LookupError):
    """The node knows no such record. Another one may, and a new one appears within seconds."""

    def __init__(self, what: str, node: str) -> None:
        super().__init__(what, node)
        self.what = what
        self.node = node

    def __str__(self) -> str:
        return f"the node {self.node} knows no {self.what}: check its spelling, or ask another node"


class FetchFailed(RemoteError):
    """A shard could not be downloaded. `status` is None when no answer came."""

    def __init__(self, url: str, reason: str, status: int | None = None) -> None:
        super().__init__(url, reason, status)
        self.url = url
        self.reason = reason
        self.status = status

    def __str__(self) -> str:
        return f"cannot fetch {shown(self.url)}: {self.reason}"


class BadAnswer(RemoteError):
    """A node answered, and what it said is no answer to the question."""

    def __init__(self, node: str, method: str, reason: str) -> None:
        super().__init__(node, method, reason)
        self.node = node
        self.method = method
        self.reason = reason

    def __str__(self) -> str:
        return f"the node {self.node} answered {self.method} wrongly: {self.reason}; ask another"


class NoAnswer(RemoteError):
    """None of the nodes that were asked answered. `reasons` has (URL, why) of each."""

    def __init__(self, reasons: Sequence[tuple[str, str]]) -> None:
        super().__init__(reasons)
        self.reasons = tuple(reasons)

    def __str__(self) -> str:
        told = "; ".join(f"{url}: {shown(why)}" for url, why in self.reasons)
        return f"none of the nodes answered ({told}); try again, or ask others"


class RecordMismatch(DataError):
    """The record that the node handed out is not the one that its CID names."""

    def __init__(self, uri: str, expected: str, got: str) -> None:
        super().__init__(uri, expected, got)
        self.uri = uri
        self.expected = expected
        self.got = got

    def __str__(self) -> str:
        return (
            f"the record served for {self.uri} hashes to {self.got}, not to the CID "
            f"{self.expected} that it is said to have: do not trust this node's answer"
        )


class RecordRefused(DataError):
    """The record is not what its lexicon allows."""

    def __init__(self, uri: str, reason: str) -> None:
        super().__init__(uri, reason)
        self.uri = uri
        self.reason = reason

    def __str__(self) -> str:
        return f"the record {self.uri} is invalid: {self.reason}"


class UnsafeShard(DataError):
    """A shard address in a record that is never opened. Nothing was opened or run."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url = url
        self.reason = reason

    def __str__(self) -> str:
        return f"the shard address {shown(self.url)} is refused: {self.reason}"


class ShardTooLarge(DataError):
    """A shard of more bytes than the caller allows."""

    def __init__(self, url: str, limit: int) -> None:
        super().__init__(url, limit)
        self.url = url
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"{shown(self.url)} is larger than {self.limit:,} bytes: "
            "pass max_shard_bytes to allow more"
        )


class BadChecksum(DataError):
    """A checksum in a record that cannot be one. Nothing was fetched."""

    def __init__(self, shard: str, reason: str) -> None:
        super().__init__(shard, reason)
        self.shard = shard
        self.reason = reason

    def __str__(self) -> str:
        return f"the record's checksum of {shown(self.shard)} is wrong: {self.reason}"


class ChecksumMismatch(DataError):
    """The bytes differ from those that the publisher described. They were thrown away."""

    def __init__(self, url: str, algorithm: str, expected: str, got: str) -> None:
        super().__init__(url, algorithm, expected, got)
        self.url = url
        self.algorithm = algorithm
        self.expected = expected
        self.got = got

    def __str__(self) -> str:
        return (
            f"the checksum of {shown(self.url)} differs: expected {self.algorithm} "
            f"{self.expected}, got {self.got}; the file was thrown away"
        )


class BadShard(DataError):
    """A file that is no readable shard. `offset` is the byte where reading failed."""

    def __init__(self, shard: str, offset: int, reason: str) -> None:
        super().__init__(shard, offset, reason)
        self.shard = shard
        self.offset = offset
        self.reason = reason

    def __str__(self) -> str:
        return f"the shard {shown(self.shard)} cannot be read at byte {self.offset}: {self.reason}"


class BadSample(DataError):
    """One sample does not fit the sample type. `field` is empty where it has no such place."""

    def __init__(self, shard: str, key: str, field: str, reason: str) -> None:
        super().__init__(shard, key, field, reason)
        self.shard = shard
        self.key = key
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        what = f"field {shown(self.field)} of sample" if self.field else "sample"
        return f"{what} {shown(self.key)} in {shown(self.shard)}: {self.reason}"


class BadArray(DataError, ValueError):
    """Bytes that are no array, or an array of another dtype or shape than declared."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class BadSchema(DataError):
    """A schema record that describes no class."""

    def __init__(self, schema: str, field: str, reason: str) -> None:
        super().__init__(schema, field, reason)
        self.schema = schema
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        where = f", field {shown(self.field)}" if self.field else ""
        return f"the schema {shown(self.schema)}{where}: {self.reason}"


class Unsupported(DataError):
    """Valid, and not something that this version can load. `what` names it."""

    def __init__(self, what: str, instead: str) -> None:
        super().__init__(what, instead)
        self.what = what
        self.instead = instead

    def __str__(self) -> str:
        return f"{self.what} is not supported yet: {self.instead}"


class CacheError(AtdexError):
    """This machine: the cache folder cannot be used."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"the cache at {self.path} failed: {self.reason}; pass cache_dir to use another"
