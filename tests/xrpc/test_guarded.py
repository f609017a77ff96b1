"""The guarded clients: what is checked, when, and that nothing leads around the check.

Only the resolver is made up here (names under .test); connections are real.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import inspect
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from atdex_xrpc import (
    AddressError,
    AddressPolicy,
    AsyncClient,
    Client,
    TransportFailed,
    UnsafeAddress,
    UnsafeUrl,
    guarded_async_client,
    guarded_client,
)
from tests.support.http import serve_app

SHUT, OPEN = AddressPolicy(), AddressPolicy(allow_private=True)
METADATA = "http://169.254.169.254/latest/meta-data/"

Get = Callable[..., httpx.Response]


def get_blocking(url: str, policy: AddressPolicy, **options: Any) -> httpx.Response:
    with guarded_client(policy, **options) as http:
        return http.get(url)


def get_async(url: str, policy: AddressPolicy, **options: Any) -> httpx.Response:
    async def run() -> httpx.Response:
        async with guarded_async_client(policy, **options) as http:
            return await http.get(url)

    return asyncio.run(run())


@pytest.fixture(params=[get_blocking, get_async], ids=["blocking", "async"])
def get(request: pytest.FixtureRequest) -> Get:
    """One request with a fresh guarded client."""
    found: Get = request.param
    return found


@dataclass
class Resolver:
    """Answers for names under .test, each time the next list; all others are really resolved."""

    names: dict[str, list[list[str]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def add(self, name: str, *answers: list[str]) -> None:
        self.names[name] = list(answers)

    def lookup(self, host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        answers = self.names.get(name)
        if answers is None:
            return REAL_LOOKUP(host, port, *args, **kwargs)
        self.asked.append(name)
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if not answer:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (
                socket.AF_INET6 if ":" in address else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (address, port, 0, 0) if ":" in address else (address, port),
            )
            for address in answer
        ]


REAL_LOOKUP = socket.getaddrinfo


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver.lookup)
    return resolver


async def hello(request: Request) -> Response:
    return PlainTextResponse(f"hello {request.headers['host']}")


async def away(request: Request) -> Response:
    return RedirectResponse(request.query_params["to"], 302)


async def endless(request: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1024
            await asyncio.sleep(0.01)

    return StreamingResponse(chunks())


APP = Starlette(routes=[Route("/hello", hello), Route("/away", away), Route("/endless", endless)])


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with serve_app(APP) as url:
        yield url


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port
    return port


def test_loopback_is_opened_only_where_private_networks_are_allowed(site: str, get: Get) -> None:
    assert get(f"{site}/hello", OPEN).status_code == 200
    with pytest.raises(UnsafeAddress, match=r"127\.0\.0\.1"):
        get(f"{site}/hello", SHUT)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"])
def test_names_and_spellings_of_loopback_are_refused(site: str, get: Get, host: str) -> None:
    with pytest.raises(UnsafeAddress):
        get(f"http://{host}:{port_of(site)}/hello", SHUT)


@pytest.mark.parametrize("host", ["0x7f.1", "2130706433", "0177.0.0.1", "127.1", "127%2e0.0.1"])
def test_odd_spellings_are_refused_even_where_loopback_is_allowed(
    site: str, get: Get, host: str
) -> None:
    with pytest.raises((UnsafeUrl, httpx.InvalidURL)):
        get(f"http://{host}:{port_of(site)}/hello", OPEN)


@pytest.mark.parametrize("policy", [SHUT, OPEN], ids=["shut", "open"])
def test_the_metadata_service_is_refused_always(get: Get, policy: AddressPolicy) -> None:
    with pytest.raises(UnsafeAddress):
        get(METADATA, policy)


def test_a_name_is_refused_if_a_single_one_of_its_addresses_is(get: Get, names: Resolver) -> None:
    names.add("mixed.test", ["8.8.8.8", "2606:4700::1", "10.0.0.1"])
    with pytest.raises(UnsafeAddress) as caught:
        get("http://mixed.test/", SHUT)
    assert (caught.value.host, caught.value.address) == ("mixed.test", "10.0.0.1")


def test_a_name_is_resolved_once_and_the_connection_goes_where_the_check_was(
    site: str, get: Get, names: Resolver
) -> None:
    names.add("rebinding.test", ["127.0.0.1"], ["169.254.169.254"])
    answer = get(f"http://rebinding.test:{port_of(site)}/hello", OPEN)
    assert answer.text == f"hello rebinding.test:{port_of(site)}"
    assert names.asked == ["rebinding.test"]


def test_the_next_address_is_tried_where_the_first_does_not_answer(
    site: str, get: Get, names: Resolver
) -> None:
    # Nothing listens on ::1 at that port.
    names.add("two.test", ["::1", "127.0.0.1"])
    assert get(f"http://two.test:{port_of(site)}/hello", OPEN).status_code == 200


def test_a_name_that_does_not_resolve_is_an_error_of_the_connection(
    get: Get, names: Resolver
) -> None:
    names.add("gone.test", [])
    with pytest.raises(httpx.ConnectError, match=r"gone\.test cannot be resolved"):
        get("http://gone.test/", SHUT)


def test_a_name_that_no_resolver_takes_is_an_error_of_the_connection(get: Get) -> None:
    with pytest.raises(httpx.ConnectError, match="cannot be resolved"):
        get(f"http://{'a' * 70}.example/", SHUT)


def test_nobody_answering_is_an_error_of_the_connection(get: Get) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(httpx.ConnectError):
        get(f"http://127.0.0.1:{port}/", OPEN)


def test_a_redirect_is_not_followed_unless_asked(site: str, get: Get) -> None:
    assert get(f"{site}/away?to=/hello", OPEN).status_code == 302


@pytest.mark.parametrize(
    "target",
    [
        METADATA,
        "http://[fe80::1]/",
        "http://2852039166/",
        "http://user:pw@127.0.0.1/",
        "file:///etc/passwd",
        "pipe:ls",
        "http://[",
        "http://xn--aaaaaaaaaa.com/",
        "https:ls",
    ],
)
def test_a_redirect_to_a_place_that_is_refused_is_refused(site: str, get: Get, target: str) -> None:
    with pytest.raises(AddressError):
        get(f"{site}/away?to={target}", OPEN, follow_redirects=True)


def test_each_hop_of_a_redirect_is_resolved_and_checked(
    site: str, get: Get, names: Resolver
) -> None:
    names.add("first.test", ["127.0.0.1"])
    names.add("second.test", ["127.0.0.1", "0.0.0.0"])
    start = f"http://first.test:{port_of(site)}/away?to=http://second.test:{port_of(site)}/hello"
    with pytest.raises(UnsafeAddress) as caught:
        get(start, OPEN, follow_redirects=True)
    assert caught.value.host == "second.test"
    names.add("second.test", ["127.0.0.1"])
    assert get(start, OPEN, follow_redirects=True).text.startswith("hello second.test")


def test_redirects_in_a_circle_end(site: str, get: Get) -> None:
    with pytest.raises(httpx.TooManyRedirects):
        get(f"{site}/away?to=/away%3Fto=/away", OPEN, follow_redirects=True, max_redirects=1)


def test_proxies_of_the_environment_are_ignored(
    site: str, get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert get(f"{site}/hello", OPEN).status_code == 200
    with pytest.raises(UnsafeAddress):
        get(f"{site}/hello", SHUT)


def test_what_would_lead_around_the_guard_is_no_parameter() -> None:
    for make in (guarded_client, guarded_async_client):
        parameters = inspect.signature(make).parameters.values()
        assert not any(p.kind is p.VAR_KEYWORD for p in parameters)
        assert not {"proxy", "mounts", "transport", "trust_env"} & {p.name for p in parameters}


def test_a_refused_redirect_gives_its_connection_back(site: str) -> None:
    one = httpx.Limits(max_connections=1)
    with guarded_client(OPEN, limits=one, timeout=2) as http:
        for _ in range(3):
            with pytest.raises(UnsafeUrl):
                http.get(f"{site}/away?to=pipe:ls")
        assert http.get(f"{site}/hello").status_code == 200


async def test_a_refused_redirect_gives_its_async_connection_back(site: str) -> None:
    one = httpx.Limits(max_connections=1)
    async with guarded_async_client(OPEN, limits=one, timeout=2) as http:
        for _ in range(3):
            with pytest.raises(UnsafeUrl):
                await http.get(f"{site}/away?to=pipe:ls")
        assert (await http.get(f"{site}/hello")).status_code == 200


def test_a_connection_is_used_again_for_the_same_name(site: str, names: Resolver) -> None:
    names.add("again.test", ["127.0.0.1"])
    with guarded_client(OPEN) as http:
        for _ in range(3):
            assert http.get(f"http://again.test:{port_of(site)}/hello").status_code == 200
    assert names.asked == ["again.test"]


def test_a_body_can_be_streamed_and_left(site: str) -> None:
    with guarded_client(OPEN) as http, http.stream("GET", f"{site}/endless") as response:
        assert next(response.iter_raw())


async def test_a_body_can_be_streamed_and_left_asynchronously(site: str) -> None:
    async with guarded_async_client(OPEN) as http, http.stream("GET", f"{site}/endless") as found:
        async for chunk in found.aiter_raw():
            assert chunk
            break


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        kept: list[socket.socket] = []

        def accept() -> None:
            listener.settimeout(5)
            try:
                kept.append(listener.accept()[0])
            except OSError:
                return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        thread.join(6)
        for connection in kept:
            connection.close()


def test_silence_is_a_timeout_under_its_usual_name(silent: str, get: Get) -> None:
    started = time.monotonic()
    with pytest.raises(httpx.ReadTimeout):
        get(silent, OPEN, timeout=0.2)
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;"]
)
def test_an_answer_that_drips_ends_without_a_deadline_of_the_caller(start: bytes) -> None:
    over = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(start)
            while not over.wait(0.02):
                connection.sendall(b"y")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,), daemon=True)
        thread.start()
        started = time.monotonic()
        with pytest.raises(httpx.ReadTimeout, match="too long"):
            get_blocking(f"http://127.0.0.1:{listener.getsockname()[1]}/", OPEN, timeout=0.1)
        assert time.monotonic() - started < 3
        over.set()
        thread.join(5)


async def test_a_resolver_that_hangs_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()

    def hanging(*args: Any, **kwargs: Any) -> Any:
        answer.wait(5)
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    try:
        async with guarded_async_client(SHUT, timeout=0.2) as http:
            with pytest.raises(httpx.ConnectTimeout):
                await http.get("http://slow.test/")
    finally:
        answer.set()


def test_a_client_over_a_guarded_one_says_what_was_refused(site: str) -> None:
    with guarded_client(SHUT) as http, pytest.raises(UnsafeAddress):
        Client(site, http=http).query("com.example.echo")
    with guarded_client(OPEN) as http, pytest.raises(TransportFailed):
        Client("http://127.0.0.1:9", http=http).query("com.example.echo")


async def test_an_async_client_over_a_guarded_one_says_what_was_refused(site: str) -> None:
    async with guarded_async_client(SHUT) as http, AsyncClient(site, http=http) as client:
        with pytest.raises(UnsafeAddress):
            await client.query("com.example.echo")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for secure.test, signed by itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "secure.test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("secure.test")]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


def test_a_certificate_is_checked_against_the_name_and_not_the_address(
    tls: tuple[Path, Path], get: Get, names: Resolver
) -> None:
    trust = ssl.create_default_context(cafile=str(tls[0]))
    names.add("secure.test", ["127.0.0.1"])
    names.add("other.test", ["127.0.0.1"])
    with serve_app(APP, tls=tls) as url:
        port = port_of(url)
        answer = get(f"https://secure.test:{port}/hello", OPEN, verify=trust)
        assert answer.text == f"hello secure.test:{port}"
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            get(f"https://other.test:{port}/hello", OPEN, verify=trust)
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            get(f"https://secure.test:{port}/hello", OPEN)


def test_a_connection_is_not_shared_by_two_names_of_one_address(
    tls: tuple[Path, Path], names: Resolver
) -> None:
    trust = ssl.create_default_context(cafile=str(tls[0]))
    names.add("secure.test", ["127.0.0.1"])
    names.add("other.test", ["127.0.0.1"])
    with serve_app(APP, tls=tls) as url, guarded_client(OPEN, verify=trust) as http:
        assert http.get(f"https://secure.test:{port_of(url)}/hello").status_code == 200
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            http.get(f"https://other.test:{port_of(url)}/hello")
