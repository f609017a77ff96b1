"""Who may call as whom: tokens over real HTTP, signed with real keys."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.datastructures import Headers

from atdex_firehose.crypto import parse_multikey
from atdex_xrpc import AuthRequired, RateLimitExceeded, Request, Server, ServiceAuth, SigningKey
from atdex_xrpc.replays import Replays
from atdex_xrpc.service_jwt import Algorithm, parse_token
from tests.support.http import serve_app
from tests.support.repo import K256_ORDER, P256_ORDER, K256Key, Key, P256Key, high_s
from tests.support.service_token import base64url, bearer, part, token
from tests.xrpc.documents import catalog
from tests.xrpc.raw import exchange

NODE = "did:web:node.example"
ALICE = "did:plc:alice000000000000000000a"
BOB = "did:plc:bob00000000000000000000b"
ECHO = "com.example.echo"
STORE = "com.example.store"
STORED = {"name": "a", "record": {}}


class Public:
    """A public key as the service sees it."""

    def __init__(self, key: Key) -> None:
        self._key = parse_multikey(key.multikey)
        self.name = key.multikey
        self.algorithm: Algorithm = "ES256K" if isinstance(key, K256Key) else "ES256"

    def verify(self, signature: bytes, message: bytes) -> bool:
        return self._key.verify(signature, message)


class Keyring:
    """`keys` as they are now, `cached` as they were when first asked for."""

    def __init__(self) -> None:
        self.keys: dict[str, Key] = {}
        self.cached: dict[str, Key] = {}
        self.asked: list[tuple[str, bool]] = []

    async def key(self, did: str, *, fresh: bool) -> SigningKey:
        self.asked.append((did, fresh))
        if did not in self.keys:
            raise AuthRequired(f"{did} is not known", error="BadJwtIss")
        if fresh or did not in self.cached:
            self.cached[did] = self.keys[did]
        return Public(self.cached[did])


class Service:
    """The example service behind tokens; `echo` answers who called."""

    def __init__(self, http: httpx.Client, ring: Keyring) -> None:
        self.http = http
        self.ring = ring
        self.key = K256Key()
        ring.keys[ALICE] = self.key

    def good(self, **claims: Any) -> str:
        return token(self.key, **{"iss": ALICE, "aud": NODE, "lxm": ECHO, **claims})

    def ask(self, text: str) -> httpx.Response:
        return self.http.get(f"/xrpc/{ECHO}", headers=bearer(text))

    def store(self, text: str) -> httpx.Response:
        return self.http.post(f"/xrpc/{STORE}", json=STORED, headers=bearer(text))

    def viewer(self, text: str) -> Any:
        answer = self.ask(text)
        assert answer.status_code == 200, answer.text
        return answer.json()["params"]["viewer"]

    def refused(self, text: str) -> str:
        """The name of the error, in the shape that every error has."""
        return refusal(self.ask(text))


def refusal(answer: httpx.Response) -> str:
    assert answer.status_code == 401, answer.text
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["access-control-allow-origin"] == "*"
    body = answer.json()
    assert set(body) == {"error", "message"}
    return str(body["error"])


async def who(request: Request) -> Any:
    return {"params": {"viewer": request.viewer}}


async def stored(request: Request) -> Any:
    return {"name": request.viewer or "nobody", "dry": False}


@pytest.fixture
def service() -> Iterator[Service]:
    ring = Keyring()
    times = [time.time() - 10]  # the start: the tokens of a test are all of later
    auth = ServiceAuth(
        NODE,
        ring,
        services=("#atdex_node",),
        clock=lambda: times.pop() if times else time.time(),
    )
    server = Server(catalog(), auth=auth).method(ECHO, who).method(STORE, stored)
    with serve_app(server.app()) as url, httpx.Client(base_url=url, trust_env=False) as http:
        yield Service(http, ring)


def test_without_a_token_a_caller_is_nobody(service: Service) -> None:
    assert service.http.get(f"/xrpc/{ECHO}").json() == {"params": {"viewer": None}}


def test_a_token_of_either_curve_says_who_calls(service: Service) -> None:
    key = P256Key()
    service.ring.keys[BOB] = key
    assert service.viewer(service.good()) == ALICE
    assert service.viewer(token(key, iss=BOB, aud=NODE, lxm=ECHO)) == BOB


def test_a_token_may_be_for_the_bare_did_or_a_service_of_its_document(service: Service) -> None:
    assert service.viewer(service.good(aud=f"{NODE}#atdex_node")) == ALICE


@pytest.mark.parametrize(
    "aud", ["did:web:other.example", f"{NODE}#bsky_appview", f"{NODE}#", NODE.upper(), "", [NODE]]
)
def test_a_token_for_another_service_is_refused(service: Service, aud: Any) -> None:
    assert service.refused(service.good(aud=aud)) in ("BadJwtAudience", "BadJwt")


def test_a_token_for_another_method_or_for_none_is_refused(service: Service) -> None:
    assert service.refused(service.good(lxm=STORE)) == "BadJwtLexiconMethod"
    assert service.refused(service.good(leave_out=("lxm",))) == "BadJwtLexiconMethod"
    assert service.refused(service.good(lxm=ECHO.upper())) == "BadJwtLexiconMethod"
    assert service.refused(service.good(lxm="*")) == "BadJwtLexiconMethod"
    assert service.refused(service.good(lxm=None)) == "BadJwt"


def test_a_token_has_an_end_that_has_not_come_and_is_an_hour_ahead_at_most(
    service: Service,
) -> None:
    now = int(time.time())
    assert service.refused(service.good(exp=now - 1)) == "JwtExpired"
    assert service.refused(service.good(leave_out=("exp",))) == "BadJwt"
    assert service.refused(service.good(exp=now + 7200)) == "BadJwt"
    assert service.refused(service.good(exp=str(now + 60))) == "BadJwt"
    assert service.refused(service.good(exp=True)) == "BadJwt"
    assert service.viewer(service.good(exp=now + 3000)) == ALICE


def test_a_token_may_come_from_a_clock_that_is_a_little_ahead(service: Service) -> None:
    now = int(time.time())
    assert service.viewer(service.good(iat=now + 40)) == ALICE
    assert service.viewer(service.good(leave_out=("iat",))) == ALICE
    assert service.refused(service.good(iat=now + 600)) == "BadJwt"
    assert service.refused(service.good(iat="now")) == "BadJwt"


@pytest.mark.parametrize(
    "iss", [f"{ALICE}#atproto_labeler", "alice.test", "", "did:", f"{ALICE} ", f"{ALICE}\n"]
)
def test_an_issuer_is_a_plain_did(service: Service, iss: str) -> None:
    assert service.refused(service.good(iss=iss)) == "BadJwtIss"
    assert not service.ring.asked


def test_an_issuer_that_cannot_be_found_is_refused(service: Service) -> None:
    assert service.refused(service.good(iss=BOB)) == "BadJwtIss"


@pytest.mark.parametrize(
    "typ", ["at+jwt", "refresh+jwt", "dpop+jwt", "AT+JWT", "application/at+jwt"]
)
def test_a_token_of_the_accounts_own_pds_is_refused_by_its_type(service: Service, typ: str) -> None:
    assert service.refused(service.good(header={"typ": typ})) == "BadJwtType"


def test_a_token_is_taken_once(service: Service) -> None:
    text = service.good()
    assert service.viewer(text) == ALICE
    assert service.refused(text) == "JwtReplayed"


def test_the_same_name_of_another_account_is_another_token(service: Service) -> None:
    service.ring.keys[BOB] = service.key
    assert service.viewer(service.good(jti="one")) == ALICE
    assert service.viewer(service.good(jti="one", iss=BOB)) == BOB


def test_a_query_takes_a_token_without_a_name_and_a_procedure_does_not(service: Service) -> None:
    text = service.good(leave_out=("jti",))
    assert service.viewer(text) == ALICE
    assert service.viewer(text) == ALICE
    assert refusal(service.store(service.good(lxm=STORE, leave_out=("jti",)))) == "BadJwt"
    assert service.store(service.good(lxm=STORE)).json()["name"] == ALICE


def test_a_procedure_is_not_called_twice_with_one_token(service: Service) -> None:
    text = service.good(lxm=STORE)
    assert service.store(text).status_code == 200
    assert refusal(service.store(text)) == "JwtReplayed"


def test_a_forged_token_does_not_use_up_the_name_of_a_genuine_one(service: Service) -> None:
    forged = token(K256Key(), iss=ALICE, aud=NODE, lxm=ECHO, jti="mine")
    assert service.refused(forged) == "BadJwtSignature"
    assert service.viewer(service.good(jti="mine")) == ALICE


def test_after_a_change_of_keys_the_new_one_is_asked_for_once(service: Service) -> None:
    assert service.viewer(service.good()) == ALICE
    old, service.key = service.key, K256Key()
    service.ring.keys[ALICE] = service.key
    service.ring.asked.clear()
    assert service.viewer(service.good()) == ALICE
    assert service.ring.asked == [(ALICE, False), (ALICE, True)]
    stale = token(old, iss=ALICE, aud=NODE, lxm=ECHO)
    assert service.refused(stale) == "BadJwtSignature"


def test_a_change_to_a_key_of_the_other_curve_is_followed(service: Service) -> None:
    assert service.viewer(service.good()) == ALICE
    key = P256Key()
    service.ring.keys[ALICE] = key
    assert service.viewer(token(key, iss=ALICE, aud=NODE, lxm=ECHO)) == ALICE


def test_a_signature_of_somebody_else_is_refused(service: Service) -> None:
    assert service.refused(token(K256Key(), iss=ALICE, aud=NODE, lxm=ECHO)) == "BadJwtSignature"


@pytest.mark.parametrize(("key", "order"), [(K256Key(), K256_ORDER), (P256Key(), P256_ORDER)])
def test_the_other_form_of_a_signature_is_refused(service: Service, key: Key, order: int) -> None:
    service.ring.keys[BOB] = key
    text = token(key, iss=BOB, aud=NODE, lxm=ECHO)
    signed, _, signature = text.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    assert service.refused(f"{signed}.{base64url(high_s(raw, order))}") == "BadJwtSignature"
    assert service.viewer(text) == BOB


def test_the_key_says_which_algorithm_holds_and_not_the_token(service: Service) -> None:
    assert service.refused(service.good(header={"alg": "ES256"})) == "BadJwtSignature"
    key = P256Key()
    service.ring.keys[BOB] = key
    confused = token(key, header={"alg": "ES256K"}, iss=BOB, aud=NODE, lxm=ECHO)
    assert service.refused(confused) == "BadJwtSignature"


@pytest.mark.parametrize(
    "alg", ["none", "None", "HS256", "RS256", "es256k", "", None, 1, ["ES256K"]]
)
def test_no_other_algorithm_is_taken(service: Service, alg: Any) -> None:
    text = service.good(header={"alg": alg})
    assert service.refused(text) == "BadJwt"
    assert service.refused(text.rpartition(".")[0] + ".") == "BadJwt"


def test_a_secret_that_is_the_public_key_signs_nothing(service: Service) -> None:
    head = part({"typ": "JWT", "alg": "HS256"})
    body = part({"iss": ALICE, "aud": NODE, "lxm": ECHO, "exp": int(time.time()) + 60})
    mac = hmac.digest(service.key.point, f"{head}.{body}".encode(), "sha256")
    assert service.refused(f"{head}.{body}.{base64url(mac)}") == "BadJwt"


def test_extensions_that_must_be_understood_are_refused(service: Service) -> None:
    assert service.refused(service.good(header={"crit": ["exp"]})) == "BadJwt"


def mangled(text: str) -> Iterator[tuple[str, str]]:
    head, body, signature = text.split(".")
    deep = base64url(b"[" * 3000 + b"]" * 3000)
    yield "two parts", f"{head}.{body}"
    yield "four parts", f"{text}.{signature}"
    yield "many parts", ".".join(["a"] * 3000)
    yield "dots", "." * 3000
    yield "empty parts", ".."
    yield "no signature", f"{head}.{body}."
    yield "padding", f"{head}.{body}.{signature}=="
    yield "another alphabet", f"{head}.{body}.{'+' + signature[1:]}"
    yield "spaces inside", f"{head}. {body}.{signature}"
    for wrong in (b"{", b'{"exp": 1e999}', b'{"exp": NaN}', b"[]", b"null", b'{"\xff'):
        yield f"the payload {wrong!r}", f"{head}.{base64url(wrong)}.{signature}"
        yield f"the header {wrong!r}", f"{base64url(wrong)}.{body}.{signature}"
    yield "deep", f"{deep}.{body}.{signature}"
    yield "huge", f"{head}.{body}.{'A' * 20_000}"


def test_no_mangled_token_is_more_than_a_refusal(service: Service) -> None:
    for what, text in mangled(service.good()):
        assert service.refused(text) == "BadJwt", what
    assert not service.ring.asked


def test_a_shorter_or_longer_signature_is_refused(service: Service) -> None:
    head, body, signature = service.good().split(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    for wrong in (raw[:-1], raw + b"\0", b"\0" * 64, b"\xff" * 64):
        assert service.refused(f"{head}.{body}.{base64url(wrong)}") == "BadJwtSignature"


def test_the_last_character_of_a_signature_has_one_spelling(service: Service) -> None:
    head, body, signature = service.good().split(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(signature[-1])
    other = alphabet[last ^ 1]  # the same bytes for a reader that does not look at unused bits
    assert service.refused(f"{head}.{body}.{signature[:-1]}{other}") == "BadJwt"


@pytest.mark.parametrize("value", ["Basic YTpi", "DPoP abc", "Bearer", "Bearer\tx", "", "abc"])
def test_other_credentials_are_refused_and_not_ignored(service: Service, value: str) -> None:
    answer = service.http.get(f"/xrpc/{ECHO}", headers={"authorization": value})
    assert refusal(answer) == "AuthenticationRequired"


def test_two_authorization_headers_are_refused(service: Service) -> None:
    line = f"Authorization: Bearer {service.good()}\r\n"
    raw = f"GET /xrpc/{ECHO} HTTP/1.1\r\nHost: test\r\n{line}{line}\r\n"
    assert exchange(str(service.http.base_url), raw.encode()).status == 401


def test_parameters_are_looked_at_before_the_token_and_the_input_after_it(
    service: Service,
) -> None:
    answer = service.http.get(f"/xrpc/{ECHO}?limit=0", headers=bearer("nonsense"))
    assert answer.json()["error"] == "InvalidRequest"
    answer = service.http.post(f"/xrpc/{STORE}", content=b"{", headers=bearer("nonsense"))
    assert refusal(answer) == "BadJwt"


def test_a_server_that_checks_no_tokens_does_not_look_at_them() -> None:
    server = Server(catalog()).method(ECHO, who)
    with serve_app(server.app()) as url:
        answer = httpx.get(f"{url}/xrpc/{ECHO}", headers=bearer("nonsense"), trust_env=False)
    assert answer.json() == {"params": {"viewer": None}}


def test_the_message_quotes_no_control_characters(service: Service) -> None:
    message = service.ask(service.good(aud="did:web:\x1b[2Jx")).json()["message"]
    assert message.isprintable()
    assert json.dumps(message)


# What is remembered


def used(replays: Replays, *, now: float, changes: bool = True, **claims: Any) -> None:
    said: dict[str, Any] = {
        "iss": ALICE,
        "aud": NODE,
        "lxm": ECHO,
        "iat": 1000,
        "exp": 1060,
        **claims,
    }
    replays.take(parse_token(token(KEY, **said)), now=now, matters=changes)


KEY = K256Key()


def test_a_token_is_forgotten_at_its_end() -> None:
    replays = Replays(990.0)
    used(replays, now=1001, jti="a")
    used(replays, now=1002, jti="b", exp=2000)
    assert len(replays) == 2
    used(replays, now=1061, jti="c", exp=1100)
    assert len(replays) == 2
    with pytest.raises(AuthRequired, match="used before"):
        used(replays, now=1061, jti="b", exp=2000)


def test_what_may_have_been_used_before_the_start_changes_nothing() -> None:
    replays = Replays(1000.5)
    said: dict[str, Any] = {"iss": ALICE, "aud": NODE, "lxm": ECHO, "exp": 1060}
    for text in (
        token(KEY, **said, iat=999),
        token(KEY, **said, iat=1000),
        token(KEY, leave_out=("iat",), **said),
    ):
        with pytest.raises(AuthRequired, match="older than this service's start"):
            replays.take(parse_token(text), now=1001, matters=True)
        replays.take(parse_token(text), now=1001, matters=False)
    used(replays, now=1001, iat=1001)


def test_one_account_cannot_fill_the_memory() -> None:
    replays = Replays(990.0, max_of_one=3)
    for number in range(3):
        used(replays, now=1001, jti=str(number))
    with pytest.raises(RateLimitExceeded) as refused:
        used(replays, now=1001, jti="more")
    assert refused.value.retry_after == 59
    used(replays, now=1001, jti="more", iss=BOB)
    used(replays, now=1061, jti="more", exp=1100)


def test_a_full_memory_refuses_procedures_and_lets_queries_pass() -> None:
    replays = Replays(990.0, max_tokens=2)
    used(replays, now=1001, jti="a")
    used(replays, now=1001, jti="b")
    used(replays, now=1001, jti="c", changes=False)
    with pytest.raises(RateLimitExceeded):
        used(replays, now=1001, jti="c")
    assert len(replays) == 2


async def test_a_token_that_expires_while_its_key_is_asked_for_is_not_remembered_for_ever() -> None:
    ring = Keyring()
    key = K256Key()
    ring.keys[ALICE] = key
    times = iter([1.0, time.time(), time.time() + 120])
    auth = ServiceAuth(NODE, ring, clock=lambda: next(times))
    text = token(key, iss=ALICE, aud=NODE, lxm=ECHO)
    headers = Headers({"authorization": f"Bearer {text}"})
    assert await auth.viewer(headers, ECHO, changes=False) == ALICE
