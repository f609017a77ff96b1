"""An account on the devnet's PDS, and what its owner can do with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from tests.devnet.errors import Refused

Json = Mapping[str, Any]
LIST_PAGE = 100  # records; what listRecords gives at most
WRITES_PER_COMMIT = 200  # of applyWrites, by the PDS


@dataclass(frozen=True, slots=True)
class Written:
    """A record as the PDS has it after a write; `cid` and `rev` are the PDS's own words."""

    uri: str
    cid: str
    rev: str | None = None

    @property
    def rkey(self) -> str:
        return self.uri.rsplit("/", 1)[1]


def query(http: httpx.Client, method: str, params: Json, authorization: str | None = None) -> Any:
    """Calls a query. Returns the decoded JSON, or the bytes of any other answer (a CAR, a blob)."""
    response = http.get(f"/xrpc/{method}", params=dict(params), headers=_headers(authorization))
    return _answer(method, response)


def procedure(http: httpx.Client, method: str, body: Any, authorization: str | None = None) -> Any:
    """Calls a procedure; `body` is JSON, or None for the ones that take nothing."""
    headers = _headers(authorization)
    path = f"/xrpc/{method}"
    sent = {} if body is None else {"json": body}
    return _answer(method, http.post(path, headers=headers, **sent))


def _headers(authorization: str | None) -> dict[str, str]:
    return {"Authorization": authorization} if authorization else {}


def _answer(method: str, response: httpx.Response) -> Any:
    is_json = response.headers.get("content-type", "").startswith("application/json")
    if response.is_error:
        told = response.json() if is_json else {}
        raise Refused(
            method,
            response.status_code,
            str(told.get("error", "")),
            str(told.get("message", response.text[:200])),
        )
    return response.json() if is_json else response.content


class Forwarded:
    """What the PDS forwards (`atproto-proxy`): it looks the service's DID up, makes a token with
    the account's key, and passes the answer on. A service's refusal is raised as Refused.

    The PDS here finds did:plc in the devnet's directory, and `did:web:localhost%3APORT` by plain
    HTTP at that port: a node that runs with its defaults is such a service as it is.
    """

    def __init__(self, http: httpx.Client, authorization: str, service: str) -> None:
        self._http = http
        self._headers = _headers(authorization) | {"atproto-proxy": service}

    def query(self, method: str, **params: Any) -> Any:
        return _answer(
            method, self._http.get(f"/xrpc/{method}", params=params, headers=self._headers)
        )

    def procedure(self, method: str, body: Any) -> Any:
        return _answer(method, self._http.post(f"/xrpc/{method}", json=body, headers=self._headers))


class Account:
    """Calls the PDS in the name of `did`. May be shared between threads: the PDS orders writes."""

    def __init__(self, http: httpx.Client, did: str, handle: str, token: str) -> None:
        self._http = http
        self._authorization = f"Bearer {token}"
        self.did = did
        self.handle = handle

    def query(self, method: str, **params: Any) -> Any:
        return query(self._http, method, params, self._authorization)

    def procedure(self, method: str, body: Any) -> Any:
        return procedure(self._http, method, body, self._authorization)

    @property
    def session_token(self) -> str:
        """What opens the account on its PDS: for nobody else."""
        return self._authorization.removeprefix("Bearer ")

    def through_pds(self, service: str) -> Forwarded:
        """Calls another service, `DID#fragment`, in this account's name; see `Forwarded`."""
        return Forwarded(self._http, self._authorization, service)

    def service_token(self, audience: str, method: str, **more: Any) -> str:
        """A token of the PDS for one call of `method` at the service `audience` (its DID).

        It lasts a minute, or until `exp` (seconds since the epoch).
        """
        asked = {"aud": audience, "lxm": method, **more}
        token = self.query("com.atproto.server.getServiceAuth", **asked)["token"]
        assert isinstance(token, str)
        return token

    def create_record(self, collection: str, record: Json, rkey: str | None = None) -> Written:
        """Raises Refused where `rkey` is taken. The PDS does not validate the record."""
        body = self._write(collection, record, rkey)
        return _written(self.procedure("com.atproto.repo.createRecord", body))

    def put_record(self, collection: str, rkey: str, record: Json) -> Written:
        """Creates or replaces. A record that is there already, and equal, makes no commit."""
        body = self._write(collection, record, rkey)
        return _written(self.procedure("com.atproto.repo.putRecord", body))

    def delete_record(self, collection: str, rkey: str) -> None:
        body = {"repo": self.did, "collection": collection, "rkey": rkey}
        self.procedure("com.atproto.repo.deleteRecord", body)

    def apply_writes(self, writes: Sequence[Json]) -> list[Written | None]:
        """All of `writes` in one commit; None stands for a delete.

        A write is what the lexicon of applyWrites says, with its `$type` as `create`, `update`
        or `delete` alone.
        """
        if len(writes) > WRITES_PER_COMMIT:
            raise ValueError(f"a commit takes at most {WRITES_PER_COMMIT} writes")
        spelled = [
            {**write, "$type": f"com.atproto.repo.applyWrites#{write['$type']}"} for write in writes
        ]
        body = {"repo": self.did, "writes": spelled, "validate": False}
        results = self.procedure("com.atproto.repo.applyWrites", body)["results"]
        return [_written(result) if "uri" in result else None for result in results]

    def upload_blob(self, content: bytes, mime_type: str) -> Any:
        """The blob reference to put into a record."""
        method = "com.atproto.repo.uploadBlob"
        headers = _headers(self._authorization) | {"Content-Type": mime_type}
        response = self._http.post(f"/xrpc/{method}", content=content, headers=headers)
        return _answer(method, response)["blob"]

    def list_records(self, collection: str) -> dict[str, str]:
        """The CID of every record of the collection by its URI, as the PDS has them now."""
        found: dict[str, str] = {}
        cursor: str | None = None
        while True:
            params: dict[str, Any] = {"repo": self.did, "collection": collection}
            params |= {"limit": LIST_PAGE} | ({"cursor": cursor} if cursor else {})
            page = self.query("com.atproto.repo.listRecords", **params)
            found |= {record["uri"]: record["cid"] for record in page["records"]}
            cursor = page.get("cursor")
            if not cursor:
                return found

    def change_handle(self, handle: str) -> None:
        self.procedure("com.atproto.identity.updateHandle", {"handle": handle})
        self.handle = handle

    def deactivate(self) -> None:
        self.procedure("com.atproto.server.deactivateAccount", {})

    def activate(self) -> None:
        self.procedure("com.atproto.server.activateAccount", None)

    def _write(self, collection: str, record: Json, rkey: str | None) -> dict[str, Any]:
        body = {"repo": self.did, "collection": collection, "record": record, "validate": False}
        return body | ({"rkey": rkey} if rkey is not None else {})


def _written(answer: Json) -> Written:
    return Written(answer["uri"], answer["cid"], answer.get("commit", {}).get("rev"))
