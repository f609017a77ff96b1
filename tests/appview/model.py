"""What the store should hold: the plain reading of its documentation, in a dict and a list."""

from __future__ import annotations

from dataclasses import dataclass, field

from atdex_appview.store.base import Change, Delete, Put, RepoChange, StatusChange


@dataclass
class Model:
    revs: dict[str, str] = field(default_factory=dict)
    inactive: dict[str, str | None] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    """URIs by first_seen, oldest first, with those whose place is kept."""
    held: dict[str, Put] = field(default_factory=dict)
    fetched: dict[str, str] = field(default_factory=dict)
    """The rev at which a repo was fetched whole last."""
    gone: dict[str, str] = field(default_factory=dict)
    """The newest rev of an account when it was deleted last."""
    verified: dict[str, bool] = field(default_factory=dict)
    """Whether a signature stands behind what is held."""

    def apply(self, change: Change) -> None:
        match change:
            case RepoChange(did=did, rev=rev, changes=ops):
                if self._is_old(change):
                    return
                (self.revs if change.live else self.fetched)[did] = rev
                for op in ops:
                    self._op(op, verified=change.verified)
            case StatusChange(did=did, active=active, status=status):
                if active:
                    self.inactive.pop(did, None)
                else:
                    self.inactive[did] = status
                if not active and status == "deleted":
                    last = max(self.revs.get(did, ""), self.fetched.get(did, ""))
                    self.revs[did] = self.fetched[did] = self.gone[did] = last
                    for gone in [uri for uri in self.order if uri.startswith(f"at://{did}/")]:
                        self.order.remove(gone)
                        self.held.pop(gone, None)

    def _is_old(self, change: RepoChange) -> bool:
        last = self.revs.get(change.did, "")
        if change.live and change.verified:
            return change.rev <= last
        if self.inactive.get(change.did) == "deleted" and change.rev <= self.gone[change.did]:
            return True
        return change.rev < max(last, self.fetched.get(change.did, ""))

    def _op(self, op: Put | Delete, *, verified: bool) -> None:
        if isinstance(op, Put):
            before = self.held.get(op.uri)
            same = before is not None and before.cid == op.cid
            self.verified[op.uri] = verified or (same and self.verified[op.uri])
            if op.uri not in self.order:
                self.order.append(op.uri)
            self.held[op.uri] = op
        else:
            self.held.pop(op.uri, None)
            if not op.keep_place and op.uri in self.order:
                self.order.remove(op.uri)

    def of(self, did: str) -> list[tuple[str, str, bool]]:
        """The records of an account, visible or not, oldest first: URI, CID, verified."""
        held = [self.held[uri] for uri in self.order if uri in self.held]
        return [(put.uri, put.cid, self.verified[put.uri]) for put in held if put.did == did]

    def visible(self) -> list[Put]:
        """Newest first."""
        return [
            self.held[uri]
            for uri in reversed(self.order)
            if uri in self.held and self.held[uri].did not in self.inactive
        ]
