"""The operator's own account: records of the node are put into its repo, and taken out again.

Spoken by the atproto SDK, which is loaded when an account is opened and not before. A write that
lost its answer may have happened: writes here go to record keys that the caller chose, so that
repeating one changes nothing.

The password is an app password. It leaves this process in one request, to the service that the
operator named, and is in no error and no log line.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from atdex_appview.errors import AccountRefused, AccountUnavailable

TIMEOUT_SECONDS = 30.0
"""For one answer: a PDS that has not answered by then counts as away, and is asked again later."""

STALE_SESSION = frozenset({"ExpiredToken", "InvalidToken", "AuthMissing", "AuthenticationRequired"})
"""Names of errors after which a new login is worth one try."""


class Account:
    """An account that logs in when it is first needed, and again when its session has ended.

    Every method may raise AccountUnavailable (try again later) and AccountRefused (the service
    says no to the login or to the request; repeating it gives the same answer).
    """

    def __init__(self, service: str, identifier: str, password: str) -> None:
        """Use `open_account`."""
        from atproto_client import AsyncClient, models  # type: ignore[import-untyped]  # no types
        from atproto_client.request import AsyncRequest  # type: ignore[import-untyped]  # nor here

        self.service = service
        self.identifier = identifier
        self._password = password
        self._models = models
        asked = AsyncRequest(timeout=TIMEOUT_SECONDS, trust_env=False)
        self._client = AsyncClient(service, request=asked)
        self._client.on_session_change(self._session_changed)
        self._did: str | None = None

    async def did(self) -> str:
        """The account's DID, by its login."""
        if self._did is None:
            await self._login()
        assert self._did is not None
        return self._did

    async def get(self, collection: str, rkey: str) -> dict[str, Any] | None:
        """The record, None where there is none."""
        repo = await self.did()
        params = self._models.ComAtprotoRepoGetRecord.Params(
            repo=repo, collection=collection, rkey=rkey
        )
        try:
            found = await self._call(
                lambda: self._client.invoke_query("com.atproto.repo.getRecord", params=params)
            )
        except AccountRefused as refused:
            if refused.error == "RecordNotFound":
                return None
            raise
        value = found.content.get("value") if isinstance(found.content, dict) else None
        if not isinstance(value, dict):
            raise AccountUnavailable(self.service, "it gave an answer that is no record")
        return value

    async def put(self, collection: str, rkey: str, record: Mapping[str, Any]) -> str:
        """Creates or replaces the record; its AT-URI."""
        data = {
            "repo": await self.did(),
            "collection": collection,
            "rkey": rkey,
            "record": {"$type": collection, **record},
        }
        put = await self._call(lambda: self._client.com.atproto.repo.put_record(data))
        return str(put.uri)

    async def delete(self, collection: str, rkey: str) -> None:
        """Deletes the record, if it is there."""
        data = {"repo": await self.did(), "collection": collection, "rkey": rkey}
        await self._call(lambda: self._client.com.atproto.repo.delete_record(data))

    async def close(self) -> None:
        await self._client.request.close()

    async def _call(self, request: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await self._asked(request)
        except AccountRefused as refused:
            if refused.error not in STALE_SESSION:
                raise
        await self._login()
        return await self._asked(request)

    async def _login(self) -> None:
        login = self._client.login
        await self._asked(lambda: login(self.identifier, self._password, fetch_bsky_profile=False))

    def _session_changed(self, event: Any, session: Any) -> None:
        self._did = session.did

    async def _asked(self, request: Callable[[], Awaitable[Any]]) -> Any:
        import httpx
        from atproto_client import exceptions as sdk
        from pydantic import ValidationError

        try:
            return await request()
        except sdk.RateLimitExceededError as slow:
            raise AccountUnavailable(self.service, "it asks to wait", slow.retry_after) from None
        except (sdk.NetworkError, httpx.HTTPError) as away:
            raise AccountUnavailable(self.service, str(away) or type(away).__name__) from None
        except sdk.RequestErrorBase as answered:
            status, name, message = _said(answered)
            if status >= 500:
                raise AccountUnavailable(self.service, f"it answered {status}") from None
            raise AccountRefused(self.service, self.identifier, name, message) from None
        except (sdk.ModelError, ValidationError, ValueError) as odd:
            reason = f"it gave an answer that cannot be read ({type(odd).__name__})"
            raise AccountUnavailable(self.service, reason) from None


@asynccontextmanager
async def open_account(service: str, identifier: str, password: str) -> AsyncIterator[Account]:
    """The account, not logged in yet."""
    # Loading the SDK takes a second or so, in which an event loop has other things to do.
    account = await asyncio.to_thread(Account, service, identifier, password)
    try:
        yield account
    finally:
        await account.close()


def _said(error: Any) -> tuple[int, str, str]:
    """(status, error, message) of an answer that is no success."""
    response = error.response
    if response is None:
        return 500, "", ""
    content = response.content
    name = getattr(content, "error", None) or str(response.status_code)
    return response.status_code, name, getattr(content, "message", None) or ""
