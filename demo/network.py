"""The recorded network as an ASGI app: a PDS's firehose and repos, and a PLC directory.

What a node asks for, it gets as from the real servers: frames and CARs are their bytes. Only
the DID documents are changed, for they name the PDS of the day of the recording.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cbor2
import libipld
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from demo.recording import Recording

POLICY_VIOLATION = 1008  # WebSocket close code after an error frame


class Network:
    """`url` must be set to where the app is served before the first request comes."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self.url = ""

    def app(self) -> Starlette:
        xrpc = {
            "com.atproto.sync.getRepo": self._get_repo,
            "com.atproto.sync.getLatestCommit": self._latest_commit,
            "com.atproto.sync.listRepos": self._list_repos,
            "com.atproto.repo.describeRepo": self._describe_repo,
            "com.atproto.identity.resolveHandle": self._resolve_handle,
        }
        stream = "/xrpc/com.atproto.sync.subscribeRepos"
        return Starlette(
            routes=[
                WebSocketRoute(stream, self._subscribe),
                *(Route(f"/xrpc/{method}", handler) for method, handler in xrpc.items()),
                Route("/{did}", self._document),
            ]
        )

    async def _subscribe(self, socket: WebSocket) -> None:
        """Everything after the cursor (exclusive, as on the real PDS), then silence."""
        await socket.accept()
        recording = self._recording
        text = socket.query_params.get("cursor")
        cursor = int(text) if text and text.isdigit() else None
        if cursor is not None and cursor > recording.last_seq:
            await socket.send_bytes(_error_frame("FutureCursor", "Cursor in the future."))
            await socket.close(POLICY_VIOLATION)
            return
        if cursor is not None:
            for seq, frame in zip(recording.seqs, recording.frames, strict=True):
                if seq > cursor:
                    await socket.send_bytes(frame)
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass  # consumers have nothing to say here

    async def _document(self, request: Request) -> Response:
        document = self._recording.documents.get(request.path_params["did"])
        if document is None:
            return JSONResponse({"message": "DID not registered"}, 404)
        return JSONResponse(_hosted_at(document, self.url), media_type="application/did+ld+json")

    async def _get_repo(self, request: Request) -> Response:
        did = request.query_params.get("did", "")
        status = self._recording.inactive.get(did)
        if status is not None:
            return _refusal(f"Repo{status.capitalize()}", f"Repo is {status}: {did}")
        if did not in self._recording.repos:
            return _refusal("RepoNotFound", f"Could not find repo for DID: {did}")
        return Response(self._recording.repos[did], media_type="application/vnd.ipld.car")

    async def _latest_commit(self, request: Request) -> Response:
        did = request.query_params.get("did", "")
        if did not in self._recording.repos:
            return _refusal("RepoNotFound", f"Could not find repo for DID: {did}")
        cid, rev = _root(self._recording.repos[did])
        return JSONResponse({"cid": cid, "rev": rev})

    async def _describe_repo(self, request: Request) -> Response:
        """Without what nobody here asks for: the handle and its document."""
        did = request.query_params.get("repo", "")
        if did not in self._recording.repos:
            return _refusal("RepoNotFound", f"Could not find repo for DID: {did}")
        _, blocks = libipld.decode_car(self._recording.repos[did])
        types = {block["$type"] for block in blocks.values() if "$type" in block}
        return JSONResponse({"did": did, "collections": sorted(types)})

    async def _list_repos(self, request: Request) -> Response:
        repos = [self._listed(did) for did in sorted(self._recording.repos)]
        return JSONResponse({"repos": repos})

    def _listed(self, did: str) -> dict[str, Any]:
        head, rev = _root(self._recording.repos[did])
        status = self._recording.inactive.get(did)
        listed = {"did": did, "head": head, "rev": rev, "active": status is None}
        return listed | ({"status": status} if status else {})

    async def _resolve_handle(self, request: Request) -> Response:
        did = self._recording.did_of(request.query_params.get("handle", ""))
        if did is None:
            return _refusal("HandleNotFound", "Unable to resolve handle")
        return JSONResponse({"did": did})


def _hosted_at(document: Mapping[str, Any], url: str) -> dict[str, Any]:
    services = [{**service, "serviceEndpoint": url} for service in document["service"]]
    return {**document, "service": services}


def _root(car: bytes) -> tuple[str, str]:
    """The CID and the rev of a repo's commit, from its CAR."""
    header, blocks = libipld.decode_car(car)
    root = header["roots"][0]
    commit = blocks[root]
    return libipld.encode_cid(root), str(commit["rev"])


def _refusal(error: str, message: str) -> Response:
    return JSONResponse({"error": error, "message": message}, 400)


def _error_frame(error: str, message: str) -> bytes:
    return cbor2.dumps({"op": -1}) + cbor2.dumps({"error": error, "message": message})
