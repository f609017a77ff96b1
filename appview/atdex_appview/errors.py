"""The errors of the node.

AppviewError
├── ConfigError               a setting that is unknown or does not fit (the operator's)
├── ListenFailed              the address is taken or not ours (the operator's)
├── StoreError
│   ├── StoreUnavailable      the record store cannot answer now (ours: disk, memory, closed)
│   ├── StoreInUse            another process holds the data directory (the operator's to end)
│   └── StoreFormatUnknown    the files were written by another version (the operator's to choose)
├── SearchError
│   └── SearchUnavailable     the search index cannot answer or write (ours)
├── StateError
│   └── StateUnavailable      the SQLite state cannot answer or write (ours)
├── AccountError              the operator's own account on its PDS
│   ├── AccountUnavailable    its service does not answer now (theirs: try again later)
│   └── AccountRefused        its service refuses the login or the request (the operator's)
├── StreamError
│   ├── StreamUnavailable     the change stream cannot be read or written (ours)
│   └── FellBehind            a reader was overtaken by the window of the stream (the reader's)
├── QueryTooLong              a search for too much at once (the caller's)
├── LexiconError
│   ├── LexiconAway           somebody on the way to a lexicon does not answer (try again)
│   └── LexiconRefused        there is none, or none that can be used (its authority's)
├── NotTakenUp                the node on a data folder does not react (the operator's)
├── InvalidPosition           a cursor that no page of ours has issued (the caller's)
└── WriteFailed               a batch could not be made durable (ours: the node stops, nothing is
                              acknowledged, and a restart repeats the work)
"""

from __future__ import annotations

from pathlib import Path


class AppviewError(Exception):
    """The base of everything that this package raises on purpose."""


class ConfigError(AppviewError):
    """The operator's: `key` (None: the whole `place`) is not usable. `nearest` is a known name."""

    def __init__(
        self, place: str, key: str | None, reason: str, *, nearest: str | None = None
    ) -> None:
        super().__init__(place, key, reason)
        self.place = place
        self.key = key
        self.reason = reason
        self.nearest = nearest

    def __str__(self) -> str:
        if self.key is None:
            return f"{self.place} {self.reason}"
        if self.nearest is None:
            return f"{self.place}: {self.key} {self.reason}"
        return f"{self.place}: {self.key!r} {self.reason}; the nearest is {self.nearest!r}"


class ListenFailed(AppviewError):
    """The operator's: the node cannot listen where it was told to."""

    def __init__(self, host: str, port: int, reason: str, flag: str = "--port") -> None:
        super().__init__(host, port, reason, flag)
        self.host = host
        self.port = port
        self.reason = reason
        self.flag = flag

    def __str__(self) -> str:
        return (
            f"cannot listen on {self.host} port {self.port}: {self.reason}; "
            f"choose another with {self.flag.replace('port', 'host')} and {self.flag}, "
            "or stop what listens there"
        )


class StoreError(AppviewError):
    """The record store."""


class StoreUnavailable(StoreError):
    """Ours: the record store cannot answer. Retry later; if it lasts, look at the disk."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the record store cannot answer: {self.reason}"


class StoreInUse(StoreError):
    """The operator's: DuckDB lets one process open a database file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return (
            f"another node uses this data directory ({self.path.parent}): "
            "stop it, or choose another directory with --data-dir"
        )


class StoreFormatUnknown(StoreError):
    """The operator's: a store, index or state file of a format that this version does not read."""

    def __init__(self, path: Path, found: str, known: str) -> None:
        super().__init__(path, found, known)
        self.path = path
        self.found = found
        self.known = known

    def __str__(self) -> str:
        return (
            f"{self.path} has format {self.found}, this version of atdex reads {self.known}: "
            "run the version that wrote it, or start with an empty data directory"
        )


class SearchError(AppviewError):
    """The search index."""


class SearchUnavailable(SearchError):
    """Ours: the search index cannot answer or write."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"the search index in {self.path} is unavailable: {self.reason} "
            "(it is derived data: with the node stopped, deleting that directory rebuilds it)"
        )


class QueryTooLong(AppviewError):
    """The caller's: a query has `count` of what it may have `limit` of at most."""

    def __init__(self, what: str, count: int, limit: int) -> None:
        super().__init__(what, count, limit)
        self.what = what
        self.count = count
        self.limit = limit

    def __str__(self) -> str:
        return f"a query has at most {self.limit} {self.what}, this one has {self.count}"


class StateError(AppviewError):
    """The SQLite state."""


class StateUnavailable(StateError):
    """Ours: the SQLite state cannot answer or write."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"the state file {self.path} is unavailable: {self.reason}"


class StreamError(AppviewError):
    """The change stream."""


class StreamUnavailable(StreamError):
    """Ours: the log of the change stream cannot answer or write."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"the change stream in {self.path} is unavailable: {self.reason}"


class FellBehind(StreamError):
    """The reader's: what comes after `seq` is not kept any more, or only for who is slower."""

    def __init__(self, seq: int) -> None:
        super().__init__(seq)
        self.seq = seq

    def __str__(self) -> str:
        return f"the reader of the change stream fell behind, at {self.seq}"


class LexiconError(AppviewError):
    """A lexicon document from the network. `nsid` is the one that was asked for."""

    def __init__(self, nsid: str, reason: str) -> None:
        super().__init__(nsid, reason)
        self.nsid = nsid
        self.reason = reason

    def __str__(self) -> str:
        return f"the lexicon {self.nsid} cannot be had: {self.reason}"


class LexiconAway(LexiconError):
    """The network's: somebody on the way to it does not answer. Try again."""


class LexiconRefused(LexiconError):
    """Its authority's: there is no such document, or it cannot be used."""


class NotTakenUp(AppviewError):
    """The operator's: a node that runs on the folder was asked for something and does not do it."""

    def __init__(self, folder: Path, seconds: float) -> None:
        super().__init__(folder, seconds)
        self.folder = folder
        self.seconds = seconds

    def __str__(self) -> str:
        return (
            f"what uses {self.folder} has not reacted within {self.seconds:g} s; the request "
            "stands, and is done by the next node that starts there"
        )


class AccountError(AppviewError):
    """The operator's account on its PDS."""


class AccountUnavailable(AccountError):
    """The service's: it does not answer, or asks to wait for `retry_after` seconds."""

    def __init__(self, service: str, reason: str, retry_after: float | None = None) -> None:
        super().__init__(service, reason, retry_after)
        self.service = service
        self.reason = reason
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.service} is unavailable: {self.reason}; try again later"


class AccountRefused(AccountError):
    """The operator's: the service refuses the login or a request of the account.

    `error` is the name that it gave, such as `AuthenticationRequired` for a wrong password.
    """

    def __init__(self, service: str, account: str, error: str, reason: str) -> None:
        super().__init__(service, account, error, reason)
        self.service = service
        self.account = account
        self.error = error
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"{self.service} refuses {self.account}: {self.error}: {self.reason}; check account, "
            "app_password (ATDEX_APP_PASSWORD) and account_service"
        )


class InvalidPosition(AppviewError):
    """The caller's: a page position that was not issued by this kind of listing."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"not a position of this listing: {self.reason}; start again without a cursor"


class WriteFailed(AppviewError):
    """Ours: a batch was not made durable. The cause is chained; nothing of it was acknowledged."""

    def __init__(self, stage: str, size: int) -> None:
        super().__init__(stage, size)
        self.stage = stage
        self.size = size

    def __str__(self) -> str:
        return (
            f"a batch of {self.size} changes failed at the {self.stage}; the node stops so that "
            "a restart repeats it from the saved cursor"
        )
