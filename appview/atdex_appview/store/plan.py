"""What a batch of changes comes to: the last word on each record and each account.

No I/O. DuckDB lets the first of two equal keys in one statement win and refuses two writes of
one row, so a batch is folded here before any SQL.

Example: `put A, put B, put A again, delete C, account of B deleted` comes to: A with its last
version (and its first place), C absent, every record of B's account absent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from atdex_appview.store.base import (
    Change,
    Delete,
    HandleChange,
    Put,
    RepoChange,
    Reread,
    StatusChange,
)
from atdex_appview.store.repos import NOTHING_HELD, Repo, Repos

DELETED = "deleted"
"""The account status that removes records rather than hiding them."""


@dataclass(frozen=True, slots=True)
class Final:
    """The last word on one record within a batch.

    `put` is None for a deletion. `fresh`: by the commits' word the store does not hold it yet.
    `reset`: it was truly deleted on the way, so an older place in the listings is void.
    `entered`: a version was put on the way, and not truly deleted since. `keep_place`: see
    `Delete`. `verified`: a signature stands behind this version. `direct`: no other version, nor
    a deletion, came before it in the batch. `anew`: see `Reread`. The plan holds them in the order
    of their places.
    """

    did: str
    rev: str
    put: Put | None
    fresh: bool
    reset: bool
    entered: bool
    keep_place: bool
    verified: bool
    direct: bool
    anew: bool = False


class Plan:
    """The outcome of `changes`, given the accounts as they were before."""

    def __init__(self, known: Repos, number: int, changes: Iterable[Change]) -> None:
        self._known = known
        self._number = number
        self.finals: dict[str, Final] = {}
        self.purged: set[str] = set()
        self.repos: dict[str, Repo] = {}
        self.stale = 0
        for change in changes:
            match change:
                case RepoChange():
                    self._repo_change(change)
                case Reread():
                    self._reread(change)
                case HandleChange():
                    self._handle_change(change)
                case StatusChange():
                    self._status_change(change)

    def changed_repos(self) -> dict[str, Repo]:
        """The accounts whose state differs from before (their `held` not yet brought up)."""
        return {did: repo for did, repo in self.repos.items() if repo != self._known.get(did)}

    def flipped(self) -> dict[str, bool]:
        """Accounts that hold records and became active or inactive; not the purged ones."""
        flipped = {}
        for did, repo in self.repos.items():
            before = self._known.get(did)
            held = before is not None and any(before.held) and did not in self.purged
            if held and before is not None and before.active != repo.active:
                flipped[did] = repo.active
        return flipped

    def _repo(self, did: str) -> Repo:
        return self.repos.get(did) or self._known.get(did) or Repo(did)

    def _repo_change(self, change: RepoChange) -> None:
        repo = self._repo(change.did)
        if is_stale(change, repo):
            self.stale += 1
            return
        rev, fetched = repo.rev, repo.fetched
        if change.live:
            rev = change.rev
        else:
            fetched = change.rev
        self.repos[change.did] = self._identified(repo, change.handle, change.pds, rev, fetched)
        for op in change.changes:
            if isinstance(op, Put):
                self._put(change, op)
            else:
                self._delete(change, op)

    def _put(self, change: RepoChange, put: Put) -> None:
        before = self.finals.get(put.uri)
        same = before is not None and before.put is not None and before.put.cid == put.cid
        if before is not None and not before.entered:
            # Nothing of it was there within this batch: its place is counted from here.
            del self.finals[put.uri]
        self.finals[put.uri] = Final(
            did=change.did,
            rev=change.rev,
            put=put,
            fresh=before.fresh if before else put.created,
            reset=before is not None and before.reset,
            entered=True,
            keep_place=False,
            verified=change.verified or (same and before is not None and before.verified),
            direct=before is None or (same and before.direct),
        )

    def _delete(self, change: RepoChange, delete: Delete) -> None:
        before = self.finals.get(delete.uri)
        self.finals[delete.uri] = Final(
            did=change.did,
            rev=change.rev,
            put=None,
            fresh=before is not None and before.fresh,
            reset=not delete.keep_place or (before is not None and before.reset),
            entered=delete.keep_place and before is not None and before.entered,
            keep_place=delete.keep_place,
            verified=change.verified,
            direct=False,
        )

    def _reread(self, change: Reread) -> None:
        """As of the account's state: it is neither newer nor older than what is held."""
        self.repos[change.did] = self._repo(change.did)
        for op in change.changes:
            put = op if isinstance(op, Put) else None
            self.finals[op.uri] = Final(
                did=change.did,
                rev=change.revs[op.uri],
                put=put,
                fresh=False,
                reset=False,
                entered=put is not None,
                keep_place=put is None,
                verified=change.verified,
                direct=True,
                anew=True,
            )

    def _handle_change(self, change: HandleChange) -> None:
        if change.did in self.repos or change.did in self._known:
            repo = self._repo(change.did)
            self.repos[change.did] = self._identified(
                repo, change.handle, change.pds, repo.rev, repo.fetched
            )

    def _status_change(self, change: StatusChange) -> None:
        repo = self._repo(change.did)
        status = None if change.active else change.status
        repeated = change.at == repo.status_at > 0
        if change.at < repo.status_at or (
            repeated and (repo.active, repo.status) == (change.active, status)
        ):
            return
        self.repos[change.did] = replace(
            repo, active=change.active, status=status, status_at=change.at
        )
        if not change.active and change.status == DELETED:
            self.purged.add(change.did)
            self.finals = {
                uri: final for uri, final in self.finals.items() if final.did != change.did
            }
            # Both, so that `is_stale` can tell a part that is new from one that went.
            last = max(repo.rev or "", repo.fetched or "") or None
            self.repos[change.did] = replace(
                self.repos[change.did], rev=last, fetched=last, held=NOTHING_HELD
            )

    def _identified(
        self,
        repo: Repo,
        handle: str | None,
        pds: str | None,
        rev: str | None,
        fetched: str | None,
    ) -> Repo:
        # Once for every commit: `replace` would take most of the plan's time.
        return Repo(
            did=repo.did,
            handle=handle,
            handle_since=repo.handle_since if handle == repo.handle else self._number,
            pds=pds,
            active=repo.active,
            status=repo.status,
            status_at=repo.status_at,
            rev=rev,
            fetched=fetched,
            held=repo.held,
        )


def is_stale(change: RepoChange, repo: Repo) -> bool:
    """Whether the repo is past this change already; see `RepoChange`."""
    last = repo.rev or ""
    if change.live and change.verified:
        return change.rev <= last
    fetched = repo.fetched or ""
    if repo.status == DELETED and change.rev <= (fetched if change.live else last):
        # The deletion set both, and the first part of what is newer moved the other one.
        return True
    return change.rev < max(last, fetched)
