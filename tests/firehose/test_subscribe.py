"""One connection, against servers that write frames by hand: what the protocol forbids as well."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from atdex_firehose import limits, subscribe
from atdex_firehose.errors import ConnectionLost
from atdex_firehose.subscribe import USER_AGENT, Rest, follow, one_by_one

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
CONTINUATION = 0
DEADLINE = 15.0  # seconds after which a test is stuck


def frame(payload: bytes, kind: int = BINARY, *, fin: bool = True, reserved: int = 0) -> bytes:
    """A frame as a server sends it: not masked."""
    first, size = fin << 7 | reserved << 4 | kind, len(payload)
    if size < 126:
        head = bytes((first, size))
    elif size < 65536:
        head = bytes((first, 126)) + size.to_bytes(2)
    else:
        head = bytes((first, 127)) + size.to_bytes(8)
    return head + payload


class Peer:
    """The server's side of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.request = b""
        self.written = 0

    async def accept(self) -> None:
        self.request = await self.reader.readuntil(b"\r\n\r\n")
        key = next(
            line.partition(b":")[2].strip()
            for line in self.request.split(b"\r\n")
            if line.lower().startswith(b"sec-websocket-key:")
        )
        accept = base64.b64encode(
            hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        )
        self.writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )

    async def send(self, *frames: bytes) -> None:
        for data in frames:
            self.writer.write(data)
            await self.writer.drain()
            self.written += len(data)

    async def receive(self) -> tuple[int, bytes]:
        """Opcode and payload of a frame of the client, which are short and masked."""
        first, second = await self.reader.readexactly(2)
        assert second & 0x80
        mask = await self.reader.readexactly(4)
        data = await self.reader.readexactly(second & 0x7F)
        return first & 0x0F, bytes(byte ^ mask[n % 4] for n, byte in enumerate(data))


Script = Callable[[Peer], Coroutine[Any, Any, None]]


@asynccontextmanager
async def serving(
    script: Script, *, accept: bool = True, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """A server that runs `script` on each connection, and closes it then."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        peer = Peer(reader, writer)
        try:
            if accept:
                await peer.accept()
            await script(peer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    try:
        scheme = "ws" if tls is None else "wss"
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/stream"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def nothing() -> None:
    pass


async def end_of(
    url: str, take: Callable[[bytes], Rest | None], ping: float = 5, idle: float = 10
) -> str:
    """Why a connection ended."""
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(ConnectionLost) as caught:
            await follow(url, one_by_one(take), nothing, ping=ping, idle=idle)
    return caught.value.reason


async def messages_of(script: Script) -> tuple[list[bytes], str]:
    """The messages handed on, and why the connection ended."""
    found: list[bytes] = []
    async with serving(script) as url:
        reason = await end_of(url, found.append)
    return found, reason


async def stay(peer: Peer) -> None:
    await asyncio.sleep(DEADLINE)


async def test_messages_come_in_order_as_bytes_and_then_the_reason_of_the_close() -> None:
    async def script(peer: Peer) -> None:
        await peer.send(
            frame(b"one"), frame(b"two", TEXT), frame(b""), frame(bytes(70_000)),
            frame(b"\x03\xf0too slow", CLOSE), frame(b"never"),
        )  # fmt: skip

    found, reason = await messages_of(script)
    assert found == [b"one", b"two", b"", bytes(70_000)]
    assert reason == "connection closed: 1008 too slow"


async def test_a_close_with_a_private_code_is_a_close() -> None:
    async def private(peer: Peer) -> None:
        await peer.send(frame(b"one"), frame((4000).to_bytes(2) + b"mine", CLOSE))

    assert await messages_of(private) == ([b"one"], "connection closed: 4000 mine")


async def test_an_end_without_a_close_is_told_apart() -> None:
    async def script(peer: Peer) -> None:
        await peer.send(frame(b"one"), b"\x82\x7e")

    found, reason = await messages_of(script)
    assert (found, reason) == ([b"one"], "connection closed without a closing handshake")


async def test_the_request_names_this_software_and_asks_for_no_extension() -> None:
    requests: list[bytes] = []

    async def script(peer: Peer) -> None:
        requests.append(peer.request)

    await messages_of(script)
    (request,) = requests
    assert request.startswith(b"GET /stream HTTP/1.1\r\n")
    assert f"User-Agent: {USER_AGENT}\r\n".encode() in request
    assert b"extensions" not in request.lower()


async def test_proxies_are_not_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    async def script(peer: Peer) -> None:
        await peer.send(frame(b"one"))

    assert (await messages_of(script))[0] == [b"one"]


async def test_the_parts_of_a_message_are_put_together() -> None:
    async def script(peer: Peer) -> None:
        await peer.send(
            frame(b"a", fin=False), frame(b"", CONTINUATION, fin=False), frame(b"hi", PING),
            frame(b"b", CONTINUATION), frame(b"", fin=False), frame(b"", CONTINUATION), frame(b"c"),
        )  # fmt: skip
        assert await peer.receive() == (PONG, b"hi")

    assert (await messages_of(script))[0] == [b"ab", b"", b"c"]


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([frame(b"a", CONTINUATION)], "out of order"),
        ([frame(b"a", fin=False), frame(b"b")], "out of order"),
        ([frame(b"a", fin=False), frame(b"b", TEXT, fin=False)], "out of order"),
        ([frame(b"a", reserved=4)], "extension"),
        ([frame(b"a", 3)], "opcode"),
        ([frame(b"a", PING, fin=False)], "fragmented control frame"),
        ([b"\x82\x81\0\0\0\0a"], "masked"),
        ([b"\x82\x7f" + (2**40).to_bytes(8)], "exceeding max allowed size"),
        ([frame(bytes(3_000_000), fin=False), frame(bytes(2_000_001), CONTINUATION)], "over 5000"),
    ],
)
async def test_what_the_protocol_forbids_ends_the_connection(
    frames: list[bytes], reason: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.send(frame(b"one"))
        await peer.send(*frames)
        await stay(peer)

    found, why = await messages_of(script)
    assert found[0] == b"one"
    assert all(message in (b"one", b"a") for message in found)
    assert reason in why


async def test_a_frame_over_the_limit_is_refused_by_its_head() -> None:
    async def script(peer: Peer) -> None:
        await peer.send(frame(bytes(limits.FRAME_BYTES)))
        await peer.send(frame(bytes(limits.FRAME_BYTES + 1))[:10])
        await stay(peer)

    found, reason = await messages_of(script)
    assert [len(message) for message in found] == [limits.FRAME_BYTES]
    assert "5000001 > 5000000" in reason


async def test_what_take_returns_is_awaited_before_the_next_message() -> None:
    log: list[str] = []

    def take(raw: bytes) -> Rest | None:
        name = raw.decode()
        log.append(name)

        async def rest() -> None:
            await asyncio.sleep(0.01)
            log.append(f"{name} done")

        return rest() if name in ("b", "d", "e") else None

    async def script(peer: Peer) -> None:
        await peer.send(b"".join(frame(name.encode()) for name in "abcdef"))
        await asyncio.sleep(0.1)
        await peer.send(frame(b"g"), frame(b"\x03\xe8", CLOSE))

    async with serving(script) as url:
        assert await end_of(url, take) == "connection closed: 1000"
    assert log == ["a", "b", "b done", "c", "d", "d done", "e", "e done", "f", "g"]


@pytest.mark.parametrize("last", [frame(b"\x03\xe8", CLOSE), b"", frame(b"x", 3)])
async def test_messages_from_before_the_end_are_handed_on_however_it_ended(last: bytes) -> None:
    gate = asyncio.Event()
    found: list[bytes] = []

    def take(raw: bytes) -> Rest | None:
        found.append(raw)
        return wait() if len(found) == 1 else None

    async def wait() -> None:
        await gate.wait()

    async def script(peer: Peer) -> None:
        await peer.send(b"".join(frame(str(n).encode()) for n in range(100)) + last)

    async with serving(script) as url:
        async with asyncio.TaskGroup() as group:
            end = group.create_task(end_of(url, take))
            await asyncio.sleep(0.2)
            gate.set()
        assert end.done()
    assert found == [str(n).encode() for n in range(100)]


async def backpressure(tls: ssl.SSLContext | None = None) -> None:
    """The sender of 128 MB is held up by a receiver that waits, and loses nothing."""
    size, count = 65_000, 2_000
    gate = asyncio.Event()
    found: list[int] = []
    peers: list[Peer] = []

    def take(raw: bytes) -> Rest | None:
        found.append(int.from_bytes(raw[:4]))
        return wait() if found[-1] == 10 else None

    async def wait() -> None:
        await gate.wait()

    async def script(peer: Peer) -> None:
        peers.append(peer)
        for n in range(count):
            await peer.send(frame(n.to_bytes(4) + bytes(size - 4)))
        await peer.send(frame(b"\x03\xe8", CLOSE))

    async with serving(script, tls=tls) as url, asyncio.TaskGroup() as group:
        group.create_task(end_of(url, take))
        written = -1
        while not peers or peers[0].written != written:
            written = peers[0].written if peers else -1
            await asyncio.sleep(0.3)
        assert found == list(range(11))
        assert written < 40_000_000
        gate.set()
    assert found == list(range(count))


async def failing() -> None:
    """An exception of ours comes out of `follow`, from the callback and from what was kept."""

    def at_once(raw: bytes) -> Rest | None:
        raise ZeroDivisionError(raw.decode())

    def later(raw: bytes) -> Rest | None:
        if raw == b"1":
            return asyncio.sleep(0)
        return at_once(raw) if raw == b"2" else None

    def awaited(raw: bytes) -> Rest | None:
        async def rest() -> None:
            at_once(raw)

        return rest()

    async def script(peer: Peer) -> None:
        await peer.send(b"".join(frame(str(n).encode()) for n in range(1, 9)))
        await stay(peer)

    for take, where in [(at_once, "1"), (later, "2"), (awaited, "1")]:
        async with serving(script) as url, asyncio.timeout(DEADLINE):
            with pytest.raises(ZeroDivisionError, match=where):
                await follow(url, one_by_one(take), nothing)


async def cancelling() -> None:
    """Cancelling is clean wherever it hits: no coroutine is left, and the socket is closed."""
    closed = 0

    async def silent(peer: Peer) -> None:
        nonlocal closed
        await peer.reader.read()
        closed += 1

    async def flood(peer: Peer) -> None:
        while True:
            await peer.send(frame(b"x") * 1000)

    async def cancel(url: str, take: Callable[[bytes], Rest | None], delay: float) -> None:
        task = asyncio.create_task(follow(url, one_by_one(take), nothing))
        await asyncio.sleep(delay)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            async with asyncio.timeout(1.0):
                await task

    def drop(raw: bytes) -> None:
        return None

    for accept in (False, True):
        async with serving(silent, accept=accept) as url:
            await cancel(url, drop, 0.05)
            await asyncio.sleep(0.05)
    assert closed == 2
    async with serving(flood) as url:
        for n in range(20):
            await cancel(url, drop, n * 0.002)
            await cancel(url, lambda raw: asyncio.sleep(0.001), n * 0.002)
            await cancel(url, lambda raw: asyncio.sleep(60), n * 0.002)


async def fairness() -> None:
    """Other tasks get their turns while messages come faster than they are dealt with."""
    turns = taken = 0
    start = asyncio.get_running_loop().time()

    def take(raw: bytes) -> None:
        nonlocal taken
        taken += 1
        sum(range(2_000))

    async def script(peer: Peer) -> None:
        data = frame(bytes(100)) * 10_000
        for _ in range(2):
            await peer.send(data)
        await peer.send(frame(b"\x03\xe8", CLOSE))

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with serving(script) as url:
        task = asyncio.create_task(other())
        await end_of(url, take)
        task.cancel()
    seconds = asyncio.get_running_loop().time() - start
    assert taken == 20_000
    assert turns > seconds / (10 * subscribe.TURN_SECONDS)


@pytest.mark.parametrize("check", [backpressure, failing, cancelling, fairness])
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_both_event_loops_keep(
    check: Callable[[], Coroutine[Any, Any, None]],
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await check()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(bounded())


async def test_the_upstream_is_asked_while_it_is_silent_and_dropped_without_an_answer() -> None:
    pings = 0

    async def script(peer: Peer) -> None:
        nonlocal pings
        for _ in range(3):
            assert await peer.receive() == (PING, b"")
            pings += 1
            await peer.send(frame(b"", PONG))
        await stay(peer)

    async with serving(script) as url:
        reason = await end_of(url, lambda raw: None, ping=0.1)
    assert reason == "no answer to a ping for 0 s"
    assert pings == 3


async def test_an_upstream_that_answers_but_sends_nothing_is_dropped_in_the_end() -> None:
    async def script(peer: Peer) -> None:
        await peer.send(frame(b"one"))
        while (await peer.receive())[0] == PING:
            await peer.send(frame(b"", PONG))

    async with serving(script) as url:
        reason = await end_of(url, lambda raw: None, ping=0.1, idle=0.5)
    assert reason.startswith("silent for")


async def test_a_connection_that_is_merely_unread_is_neither_asked_nor_dropped() -> None:
    found: list[bytes] = []
    asked: list[int] = []

    def take(raw: bytes) -> Rest | None:
        found.append(raw)
        return asyncio.sleep(0.6) if raw == b"one" else None

    async def script(peer: Peer) -> None:
        await peer.send(frame(b"one"))
        await asyncio.sleep(0.3)
        await peer.send(frame(b"two"))
        await asyncio.sleep(0.35)
        await peer.send(frame(b"\x03\xe8", CLOSE))
        asked.append((await peer.receive())[0])

    async with serving(script) as url:
        assert await end_of(url, take, ping=0.2, idle=0.25) == "connection closed: 1000"
        await asyncio.sleep(0.05)
    assert found == [b"one", b"two"]
    assert asked == [CLOSE]


async def test_an_upstream_that_asks_without_end_and_reads_no_answer_is_dropped() -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.send(frame(bytes(125), PING) * 1000)

    async with serving(script) as url:
        assert await end_of(url, lambda raw: None) == "does not read the answers to its pings"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "404"),
        (b"HTTP/1.1 301 Moved\r\nLocation: ws://127.0.0.1:1/\r\n\r\n", "301"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "accept"),
        (b"nonsense\r\n\r\n", "HTTP/1.1"),
        (b"HTTP/1.1 101 " + bytes(20_000), "exceed"),
        (b"HTTP/1.1 101", "closed during the handshake"),
    ],
)
async def test_a_refused_or_broken_handshake_is_a_lost_connection(
    answer: bytes, reason: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(answer)

    async with serving(script, accept=False) as url:
        why = await end_of(url, lambda raw: None)
    assert why.startswith("cannot connect:")
    assert reason in why


async def test_an_upstream_that_accepts_and_says_nothing_is_left_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subscribe, "OPEN_SECONDS", 0.1)
    ends = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.reader.read()
        ends.set()

    async with serving(script, accept=False) as url:
        assert await end_of(url, lambda raw: None) == "cannot connect: TimeoutError"
        async with asyncio.timeout(DEADLINE):
            await ends.wait()


@pytest.mark.parametrize("url", ["ws://127.0.0.1:1/", "ws://a..b.invalid/", "ws://x.invalid/"])
async def test_an_address_that_cannot_be_reached_is_a_lost_connection(url: str) -> None:
    assert (await end_of(url, lambda raw: None)).startswith("cannot connect:")


async def test_tls_is_spoken_with_a_host_whose_certificate_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, file = tls_of(tmp_path)
    found: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.send(*[frame(bytes(50_000))] * 100, frame(b"\x03\xe8", CLOSE))

    async with serving(script, tls=context) as url:
        assert "certificate" in await end_of(url, found.append)
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        assert await end_of(url, found.append) == "connection closed: 1000"
    assert found == [bytes(50_000)] * 100


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_slow_receiver_slows_the_sender_under_tls_as_well(
    loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, file = tls_of(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(asyncio.wait_for(backpressure(context), 30))


def tls_of(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's side of TLS, and the certificate to trust."""
    file = certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context, file


def certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 that signs itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    file = folder / "certificate.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + cert.public_bytes(serialization.Encoding.PEM)
    )
    return file
