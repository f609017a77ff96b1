"""Everything that this package raises, and what to do about each.

    FirehoseError
    ├── ConfigError             the caller's mistake: fix the argument
    ├── StateError              our own file is not what we wrote: stop, do not guess
    ├── UpstreamError           the stream ended or refused us: back off, connect again
    │   ├── ConnectionLost
    │   ├── FutureCursor        the saved cursor is ahead of the upstream: the operator decides
    │   ├── ConsumerTooSlow
    │   ├── RefusedByUpstream   an error frame with any other name
    │   └── ProtocolViolation   the upstream broke the protocol: drop the connection
    │       ├── InvalidFrame
    │       └── BackwardSeq
    ├── Ignored                 nothing to do and nobody at fault: go on
    │   ├── StaleRev
    │   ├── InactiveAccount
    │   └── UntrackedRepo
    ├── Desynchronized          commits are missing before this one: fetch the repo whole
    ├── IdentityUnavailable     the directory or host did not answer: try again later
    ├── FetchFailed             a repo could not be had from a host: ask another, or later
    │   ├── RateLimited         the host says when to ask again
    │   └── NotServed           the host does not have it, or not this method
    └── Rejected                the publisher's data is bad: set the frame aside with its reason
        ├── InvalidEvent        a field of the frame is missing or of the wrong form
        ├── InvalidCar
        ├── InvalidCommit
        ├── FutureRev
        ├── OlderRepo           a repo as fetched is older than what was taken of it
        ├── BadSignature        refresh the identity once, then reject
        ├── WrongHost           the same: the account may have moved
        └── InvalidIdentity     the DID document cannot be used
            └── IdentityGone    the DID is tombstoned or was never registered

Decisions are taken on the class, never on the message.
"""

from __future__ import annotations


class FirehoseError(Exception):
    """The base of every error of this package."""


class ConfigError(FirehoseError, ValueError):
    """An argument cannot be used. `name` is the argument, `value` what was given."""

    def __init__(self, name: str, value: object, reason: str) -> None:
        super().__init__(name, value, reason)
        self.name = name
        self.value = value
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.name}={self.value!r}: {self.reason}"


class StateError(FirehoseError):
    """The state file is damaged or was written by a newer version. Never repaired by guessing."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"state file {self.path}: {self.reason}"


class UpstreamError(FirehoseError):
    """The connection to `url` is of no more use: back off and connect again."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url = url
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.url}: {self.reason}"


class ConnectionLost(UpstreamError):
    """Connecting failed, or the connection closed (cleanly or not). Ordinary; connect again."""


class FutureCursor(UpstreamError):
    """The upstream says that our cursor is ahead of its last event.

    Its sequence was reset, or the cursor belongs to another host. Starting over is the
    operator's decision (remove the cursor), so the consumer keeps asking, ever more slowly.
    """


class ConsumerTooSlow(UpstreamError):
    """The upstream dropped us because we read too slowly; it resumes from the cursor."""


class RefusedByUpstream(UpstreamError):
    """An error frame whose name is not one that we know. `error` is that name."""

    def __init__(self, url: str, error: str, reason: str) -> None:
        super().__init__(url, f"{error}: {reason}" if reason else error)
        self.error = error


class ProtocolViolation(UpstreamError):
    """The upstream sent what the protocol forbids: nothing after it can be trusted."""


class InvalidFrame(ProtocolViolation):
    """A frame is not two DAG-CBOR maps in the form of an event stream, or is too large."""

    def __init__(self, reason: str, url: str = "frame") -> None:
        super().__init__(url, reason)


class BackwardSeq(ProtocolViolation):
    """A sequence number was repeated or went back within one connection."""

    def __init__(self, url: str, seq: int, last: int) -> None:
        super().__init__(url, f"seq {seq} came after {last}")
        self.seq = seq
        self.last = last


class Ignored(FirehoseError):
    """The event is superseded or of no account: acknowledge it and go on."""


class StaleRev(Ignored):
    """The commit is not newer than the last one taken: a replay or another relay's copy."""

    def __init__(self, did: str, rev: str, last: str) -> None:
        super().__init__(did, rev, last)
        self.did = did
        self.rev = rev
        self.last = last

    def __str__(self) -> str:
        return f"{self.did}: rev {self.rev} is not newer than {self.last}"


class InactiveAccount(Ignored):
    """The account is not active upstream, so its commits are not taken."""

    def __init__(self, did: str, status: str | None) -> None:
        super().__init__(did, status)
        self.did = did
        self.status = status

    def __str__(self) -> str:
        return f"{self.did} is not active ({self.status or 'no reason given'})"


class UntrackedRepo(Ignored):
    """The repo has never had a record in a wanted collection, so its `#sync` says nothing to us."""

    def __init__(self, did: str) -> None:
        super().__init__(did)
        self.did = did

    def __str__(self) -> str:
        return f"{self.did} is not tracked"


class Desynchronized(FirehoseError):
    """The commit does not continue the last one taken: events are missing, or it lies."""

    def __init__(self, did: str, reason: str) -> None:
        super().__init__(did, reason)
        self.did = did
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.did}: {self.reason}"


class IdentityUnavailable(FirehoseError):
    """The DID document could not be had now. The network's fault; the event must be kept."""

    def __init__(self, did: str, reason: str) -> None:
        super().__init__(did, reason)
        self.did = did
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot resolve {self.did} now: {self.reason}"


class FetchFailed(FirehoseError):
    """`host` did not answer what was asked of it. The host's fault, or the network's."""

    def __init__(self, host: str, reason: str) -> None:
        super().__init__(host, reason)
        self.host = host
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.host}: {self.reason}"


class RateLimited(FetchFailed):
    """The host answered 429. `seconds` is how long it asks to be left alone, where it says so."""

    def __init__(self, host: str, seconds: float | None) -> None:
        super().__init__(host, "it asks to be left alone for a while (429)")
        self.seconds = seconds


class NotServed(FetchFailed):
    """The host does not serve this repo or does not know the method. `error` is its word."""

    def __init__(self, host: str, error: str) -> None:
        super().__init__(host, f"not served there: {error}")
        self.error = error


class Rejected(FirehoseError):
    """The data breaks a rule. `did` is whose it is, `reason` which rule; fix it at the source."""

    def __init__(self, did: str, reason: str) -> None:
        super().__init__(did, reason)
        self.did = did
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.did}: {self.reason}" if self.did else self.reason


class InvalidEvent(Rejected):
    """A field of the frame's body is missing, of the wrong type, or over its limit."""


class InvalidCar(Rejected):
    """`blocks` is not a CAR v1, or a block does not have the hash that it claims."""


class InvalidCommit(Rejected):
    """The commit object, or what the frame says about it, is not as the specification asks."""


class FutureRev(Rejected):
    """The commit's rev lies too far in the future: its author's clock cannot be trusted."""


class BadSignature(Rejected):
    """The signature does not fit the key of the identity: perhaps the key was rotated."""


class WrongHost(Rejected):
    """The event came from a PDS directly that is not the account's: perhaps it has moved."""


class OlderRepo(Rejected):
    """A repo as fetched is older than the last commit taken of it."""


class InvalidIdentity(Rejected):
    """The DID cannot be used: bad syntax, unknown method, or a document that lacks what it must."""


class IdentityGone(InvalidIdentity):
    """The DID is tombstoned (410) or not registered (404). Not an outage."""
