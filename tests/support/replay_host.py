"""What the hosts of a replayed network answer over HTTP: a directory, and a PDS or relay.

Everything is as of one place in the stream, the furthest that was sent. No I/O: a request's path
and parameters in, an answer out.
"""

from __future__ import annotations

import copy
import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.support.corpus import Corpus
from tests.support.corpus_repo import Repositories, text
from tests.support.replay_faults import Faults

SYNC = "/xrpc/com.atproto.sync."
PAGE = 500  # repos of a page, unless fewer are asked for
SLOW_SECONDS = 0.5
RETRY_AFTER_SECONDS = 1
OLDER_COMMITS = 5  # at most, that an old repo is behind
CAR_TYPE = "application/vnd.ipld.car"


@dataclass(frozen=True, slots=True)
class Answer:
    """`delay`: seconds before it is given."""

    status: int
    body: bytes
    kind: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0


def _json(value: object, status: int = 200) -> Answer:
    return Answer(status, orjson.dumps(value))


def _error(status: int, error: str, message: str = "") -> Answer:
    return _json({"error": error, "message": message or error}, status)


class ReplayHost:
    """Answers for `corpus`. `position` is the seq up to which it has been sent; `requests` counts
    by method. `url` is the host's own, and where every DID document says that the repos are.

    `collections`: whether listReposByCollection is known here, as on a relay.
    """

    def __init__(self, corpus: Corpus, faults: Faults, *, collections: bool) -> None:
        self._corpus = corpus
        self._repos = Repositories(corpus)
        self._roll = faults.repo_dice()
        self._dice = random.Random(f"{faults.seed} answers")
        self._collections = collections
        self.url = ""
        self.position = 0
        self.requests: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()

    def directory(self, did: str) -> Answer:
        """The DID document that holds now."""
        self.requests["did"] += 1
        document = self._document(did)
        return (
            _json(document) if document else _error(404, "NotFound", f"DID not registered: {did}")
        )

    def xrpc(self, path: str, params: Mapping[str, str]) -> Answer:
        method = path.removeprefix("/xrpc/")
        self.requests[method.rpartition(".")[2]] += 1
        match method:
            case "com.atproto.sync.getRepo":
                return self._get_repo(params.get("did", ""))
            case "com.atproto.sync.getLatestCommit":
                return self._latest(params.get("did", ""))
            case "com.atproto.sync.getRepoStatus":
                return self._status(params.get("did", ""))
            case "com.atproto.sync.listRepos":
                return self._list(params, self._described)
            case "com.atproto.sync.listReposByCollection" if self._collections:
                return self._list_by_collection(params)
            case "com.atproto.repo.describeRepo":
                return self._describe(params.get("repo", ""))
            case "com.atproto.identity.resolveHandle":
                return self._resolve(params.get("handle", ""))
        return _error(501, "MethodNotImplemented")

    def _document(self, did: str) -> dict[str, Any] | None:
        versions = self._corpus.documents.get(did)
        if versions is None:
            return None
        at = bisect_right([version.after for version in versions], self.position)
        # What holds after the frame holds from it on: it was sent before it was asked about.
        document = copy.deepcopy(versions[max(at - 1, 0)].document)
        for service in document.get("service", []):
            if service["id"].endswith("#atproto_pds"):
                service["serviceEndpoint"] = self.url
        return document

    def _refusal(self, did: str) -> Answer | None:
        """Why there is nothing of this repo, in the words of the reference PDS."""
        if self._repos.head(did, self.position) is None:
            return _error(400, "RepoNotFound", f"Could not find repo for DID: {did}")
        match self._repos.status(did, self.position):
            case "active":
                return None
            case "deleted":
                return _error(400, "RepoNotFound", f"Could not find repo for DID: {did}")
            case status:
                return _error(400, f"Repo{status.capitalize()}", f"Repo is {status}: {did}")

    def _get_repo(self, did: str) -> Answer:
        refusal = self._refusal(did)
        if refusal is not None:
            return refusal
        car = self._car(did)
        fault = self._roll(did)
        if fault is not None:
            self.wrong[fault] += 1
        match fault:
            case "429":
                answer = _error(429, "RateLimitExceeded")
                headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
                return Answer(answer.status, answer.body, headers=headers)
            case "500":
                return _error(500, "InternalServerError")
            case "truncated":
                return Answer(200, car[: self._dice.randrange(len(car))], CAR_TYPE)
            case "another account's":
                others = [other for other in self._active() if other != did]
                return Answer(200, self._car(self._dice.choice(others or [did])), CAR_TYPE)
            case "older":
                ago = self._dice.randint(1, OLDER_COMMITS)
                old = self._repos.car(did, self.position, ago=ago)
                return Answer(200, old if old is not None else car, CAR_TYPE)
            case "slow":
                return Answer(200, car, CAR_TYPE, delay=SLOW_SECONDS)
        return Answer(200, car, CAR_TYPE)

    def _car(self, did: str) -> bytes:
        car = self._repos.car(did, self.position)
        assert car is not None
        return car

    def _active(self) -> list[str]:
        known = self._repos.known(self.position)
        return [did for did in known if self._repos.status(did, self.position) == "active"]

    def _latest(self, did: str) -> Answer:
        refusal = self._refusal(did)
        head = self._repos.head(did, self.position)
        if refusal is not None or head is None:
            return refusal or _error(400, "RepoNotFound")
        return _json({"cid": text(head[0]), "rev": head[1]})

    def _status(self, did: str) -> Answer:
        head = self._repos.head(did, self.position)
        status = "deleted" if head is None else self._repos.status(did, self.position)
        if head is None or status == "deleted":
            return _error(400, "RepoNotFound", f"Could not find repo for DID: {did}")
        if status == "active":
            return _json({"did": did, "active": True, "rev": head[1]})
        return _json({"did": did, "active": False, "status": status})

    def _described(self, did: str) -> dict[str, Any]:
        """One of listRepos."""
        head, rev = self._repos.head(did, self.position) or (b"", "")
        status = self._repos.status(did, self.position)
        known: dict[str, Any] = {"did": did, "head": text(head), "rev": rev}
        return known | (
            {"active": True} if status == "active" else {"active": False, "status": status}
        )

    def _list_by_collection(self, params: Mapping[str, str]) -> Answer:
        wanted = params.get("collection", "")

        def named(did: str) -> dict[str, Any] | None:
            held = self._repos.collections(did, self.position)
            return {"did": did} if wanted in held else None

        return self._list(params, named)

    def _list(
        self, params: Mapping[str, str], describe: Callable[[str], dict[str, Any] | None]
    ) -> Answer:
        """A page of what `describe` makes of the hosted accounts, None left out."""
        try:
            start, limit = int(params.get("cursor", 0)), int(params.get("limit", PAGE))
        except ValueError:
            return _error(400, "InvalidRequest", "the cursor or limit is no number")
        hosted = [
            did
            for did in self._repos.known(self.position)
            if self._repos.status(did, self.position) != "deleted"
        ]
        page = hosted[start : start + max(1, min(limit, PAGE))]
        repos = [found for did in page if (found := describe(did)) is not None]
        more = {"cursor": str(start + len(page))} if start + len(page) < len(hosted) else {}
        return _json({"repos": repos} | more)

    def _describe(self, did: str) -> Answer:
        refusal = self._refusal(did)
        document = self._document(did)
        if refusal is not None or document is None:
            return refusal or _error(400, "RepoNotFound")
        return _json(
            {
                "handle": document["alsoKnownAs"][0].removeprefix("at://"),
                "did": did,
                "didDoc": document,
                "collections": sorted(self._repos.collections(did, self.position)),
                "handleIsCorrect": True,
            }
        )

    def _resolve(self, handle: str) -> Answer:
        for did in self._repos.known(self.position):
            document = self._document(did)
            if document is not None and f"at://{handle}" in document["alsoKnownAs"]:
                return _json({"did": did})
        return _error(400, "InvalidRequest", "Unable to resolve handle")
