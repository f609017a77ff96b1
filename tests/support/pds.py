"""A PDS's sync methods over real HTTP on 127.0.0.1, for repos made by `tests.support.repo`.

with FakePds() as pds:
    pds.repos[repo.did] = repo
    pds.answers[repo.did] = [(429, {"retry-after": "1"}, b"")]    # before it serves again
"""

from __future__ import annotations

import json
import threading
from collections import Counter, deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.support.repo import Repo

Answer = tuple[int, dict[str, str], bytes]


class FakePds:
    """Serves getRepo, getRecord, getLatestCommit, listRepos, describeRepo, and resolveHandle for
    `handles`; with `by_collection`, also listReposByCollection, as relays do.

    `answers[did]` come first for getRepo, one a request. `changed[did]` rewrites the CAR, of
    getRecord too. While `gates[did]` is a cleared event, getRepo and getRecord of that DID wait.
    `requests` counts by (method, did).
    """

    def __init__(self, *, by_collection: bool = False) -> None:
        self.repos: dict[str, Repo] = {}
        self.answers: dict[str, deque[Answer]] = {}
        self.changed: dict[str, Callable[[bytes], bytes]] = {}
        self.gates: dict[str, threading.Event] = {}
        self.requests: Counter[tuple[str, str]] = Counter()
        self.handles: dict[str, str] = {}
        self.page = 500
        self._by_collection = by_collection
        pds = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                params = {key: values[0] for key, values in parse_qs(parts.query).items()}
                status, headers, body = pds.answer(parts.path.rpartition("/")[2], params)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for gate in self.gates.values():
            gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, method: str, params: dict[str, str]) -> Answer:
        did = params.get("did") or params.get("repo") or ""
        self.requests[method, did] += 1
        if method == "com.atproto.identity.resolveHandle":
            found = self.handles.get(params["handle"])
            if found is None:
                return _json(
                    400, {"error": "HandleNotFound", "message": "Unable to resolve handle"}
                )
            return _json(200, {"did": found})
        if method == "com.atproto.sync.listRepos":
            return self._list(params, sorted(self.repos))
        if method == "com.atproto.sync.listReposByCollection" and self._by_collection:
            having = [did for did in sorted(self.repos) if params["collection"] in self._of(did)]
            return self._list(params, having)
        repo = self.repos.get(did)
        if repo is None or not repo.commit_block:
            return _json(400, {"error": "RepoNotFound", "message": f"Could not find {did}"})
        if method == "com.atproto.sync.getLatestCommit":
            return _json(200, {"cid": "unused", "rev": repo.rev})
        if method == "com.atproto.repo.describeRepo":
            return _json(200, {"did": did, "collections": self._of(did)})
        if method == "com.atproto.sync.getRepo":
            return self._repo(did, repo)
        if method == "com.atproto.sync.getRecord":
            return self._record(did, repo, f"{params['collection']}/{params['rkey']}")
        return _json(501, {"error": "MethodNotImplemented", "message": "Method Not Implemented"})

    def _repo(self, did: str, repo: Repo) -> Answer:
        gate = self.gates.get(did)
        if gate is not None:
            gate.wait(30)
        if self.answers.get(did):
            return self.answers[did].popleft()
        car = repo.export()
        if did in self.changed:
            car = self.changed[did](car)
        return 200, {"content-type": "application/vnd.ipld.car"}, car

    def _record(self, did: str, repo: Repo, path: str) -> Answer:
        gate = self.gates.get(did)
        if gate is not None:
            gate.wait(30)
        car = repo.prove(path)
        if did in self.changed:
            car = self.changed[did](car)
        return 200, {"content-type": "application/vnd.ipld.car"}, car

    def _list(self, params: dict[str, str], dids: list[str]) -> Answer:
        start = int(params.get("cursor") or 0)
        end = start + min(self.page, int(params["limit"]))
        body: dict[str, Any] = {"repos": [{"did": did} for did in dids[start:end]]}
        if end < len(dids):
            body["cursor"] = str(end)
        return _json(200, body)

    def _of(self, did: str) -> list[str]:
        return sorted({path.partition("/")[0] for path in self.repos[did].records})


def _json(status: int, body: Any) -> Answer:
    return status, {"content-type": "application/json"}, json.dumps(body).encode()
