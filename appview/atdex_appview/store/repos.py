"""What the store knows of each account, in memory while it is open.

The rev guard asks it for every commit, and counts, handles and publishers are answered from
it without a scan. Only the writer replaces entries, after its transaction has committed; a
`Repo` never changes, so that a reader in another thread sees one state or the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from atdex_appview.store.base import Publisher
from atdex_lexicons.families import collections, kind_of
from atdex_lexicons.model import KINDS, Kind

INVALID_HANDLE = "handle.invalid"
"""What is shown of an account whose handle failed verification. It names nobody."""

COUNTED = collections()
"""What is counted one by one: the record types of every family."""

Held = tuple[int, ...]
"""How many records of each of COUNTED, in that order."""

NOTHING_HELD: Held = (0,) * len(COUNTED)

_PLACES = {collection: place for place, collection in enumerate(COUNTED)}
_OF_KIND: Mapping[Kind, tuple[int, ...]] = {
    kind: tuple(place for name, place in _PLACES.items() if kind_of(name) == kind) for kind in KINDS
}


def counted(collection: str) -> int:
    """Where the records of a collection are counted in a `Held`."""
    return _PLACES[collection]


def holds(held: Held, kind: Kind) -> bool:
    """Whether there are records of that kind among them."""
    return any(held[place] for place in _OF_KIND[kind])


@dataclass(frozen=True, slots=True)
class Repo:
    """The state of one account. `rev` is that of its last commit, None before the first.

    `fetched` is the rev at which it was fetched whole last. `handle_since` is the change number
    at which the handle was found to be this one, `status_at` when the status was said (µs since
    the epoch).
    """

    did: str
    handle: str | None = None
    handle_since: int = 0
    pds: str | None = None
    active: bool = True
    status: str | None = None
    status_at: int = 0
    rev: str | None = None
    fetched: str | None = None
    held: Held = NOTHING_HELD

    def holding(self, held: Held) -> Repo:
        return Repo(
            self.did,
            self.handle,
            self.handle_since,
            self.pds,
            self.active,
            self.status,
            self.status_at,
            self.rev,
            self.fetched,
            held,
        )


class Repos:
    def __init__(self, repos: Iterable[Repo] = ()) -> None:
        self._by_did: dict[str, Repo] = {}
        self._by_handle: dict[str, tuple[str, ...]] = {}
        self._visible = [0] * len(COUNTED)
        self._publishers = 0
        self.replace(repos)

    def __len__(self) -> int:
        return len(self._by_did)

    def __contains__(self, did: str) -> bool:
        return did in self._by_did

    def __iter__(self) -> Iterator[Repo]:
        return iter(self._by_did.values())

    def get(self, did: str) -> Repo | None:
        return self._by_did.get(did)

    def replace(self, repos: Iterable[Repo]) -> None:
        """Takes in new states. Writer only."""
        for repo in repos:
            before = self._by_did.get(repo.did)
            if before is not None:
                self._count(before, -1)
            self._count(repo, 1)
            self._by_did[repo.did] = repo
            self._move_handle(repo.did, before.handle if before else None, repo.handle)

    def publisher(self, did: str) -> Publisher | None:
        repo = self._by_did.get(did)
        if repo is None:
            return None
        return Publisher(repo.did, repo.handle, repo.pds, repo.active, repo.status, repo.rev)

    def did_of_handle(self, handle: str) -> str | None:
        """The active account that the handle was verified for last; handles ignore case."""
        holders = (self._by_did[did] for did in self._by_handle.get(handle.lower(), ()))
        last = max(((repo.handle_since, repo.did) for repo in holders if repo.active), default=None)
        return last[1] if last else None

    def counts(self) -> Mapping[Kind | Literal["publishers"], int]:
        """Visible records of each kind, and active accounts that have any."""
        counts: dict[Kind | Literal["publishers"], int] = dict.fromkeys(KINDS, 0)
        for collection, count in self.collection_counts().items():
            kind = kind_of(collection)
            assert kind is not None
            counts[kind] += count
        counts["publishers"] = self._publishers
        return counts

    def collection_counts(self) -> Mapping[str, int]:
        """Visible records of each collection."""
        return dict(zip(COUNTED, self._visible, strict=True))

    def _count(self, repo: Repo, sign: int) -> None:
        if repo.active and any(repo.held):
            self._publishers += sign
            for at, held in enumerate(repo.held):
                self._visible[at] += sign * held

    def _move_handle(self, did: str, before: str | None, after: str | None) -> None:
        old, new = _name(before), _name(after)
        if old == new:
            return
        if old:
            left = tuple(claim for claim in self._by_handle[old] if claim != did)
            if left:
                self._by_handle[old] = left
            else:
                del self._by_handle[old]
        if new:
            self._by_handle[new] = (*self._by_handle.get(new, ()), did)


def _name(handle: str | None) -> str | None:
    """The handle as somebody may be asked for by it."""
    name = handle.lower() if handle else None
    return None if name == INVALID_HANDLE else name
