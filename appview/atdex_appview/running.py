"""A node as a process: one event loop, the address it answers at, and how it stops.

Start: the stores open, the search index catches up and the lens graph is loaded; the firehose
connects; the server accepts connections; the ready line.
Stop (SIGTERM, SIGINT): the firehose is read no further, what was read is written, the server ends
its requests, the cursors are saved, the stores close. A part that ends by itself stops the node
in the same order, and its error ends the process.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal

import uvicorn
from starlette.types import ASGIApp

from atdex_appview.busy import Busy
from atdex_appview.config import NodeConfig
from atdex_appview.errors import ListenFailed
from atdex_appview.http_protocol import HttpProtocol
from atdex_appview.no_pandas import leave_pandas_out
from atdex_appview.node import Node, open_node
from atdex_xrpc.sockets import MAX_IN_BYTES, StreamSockets

log = logging.getLogger(__name__)

DRAIN_SECONDS = 6.0
"""Seconds for what was read to be verified and written when the node stops. What is not done by
then is read again at the next start; supervisors commonly kill after 10."""

REQUEST_GRACE_SECONDS = 2
"""Seconds for requests under way when the node stops."""

GC_THRESHOLDS = (20_000, 20, 20)
"""Objects before each generation is collected. A batch of records is hundreds of thousands of them,
none in a cycle: with Python's own thresholds a sixth of the time of writing goes into looking."""

SWITCH_SECONDS = 0.001
"""Seconds for which one thread may keep the interpreter from the others. Who writes lets go of it
at every statement and has to wait for it again, as does who searches beside it."""

Ready = Callable[[str], None]


def run_node(config: NodeConfig, *, ready: Ready) -> None:
    """Runs a node until SIGTERM or SIGINT. For the main thread of a process.

    `ready` gets the line `atdex node listening on URL` once the stores are open and connections
    are accepted. Raises what made a part fail, after closing the rest.
    """
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_SECONDS)
    leave_pandas_out()
    loops = uvicorn.Config("", log_config=None).get_loop_factory()
    with ExitStack() as stack:
        listener = stack.enter_context(_bind(config.host, config.port, "--port"))
        metrics = None
        if config.metrics_port is not None:
            metrics = stack.enter_context(
                _bind(config.metrics_host, config.metrics_port, "--metrics-port")
            )
        with asyncio.Runner(loop_factory=loops) as runner:
            runner.run(_run(config, listener, metrics, ready))


async def _run(
    config: NodeConfig, listener: socket.socket, metrics: socket.socket | None, ready: Ready
) -> None:
    port: int = listener.getsockname()[1]
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, loop, number, stop)
    async with open_node(config, port=port) as node:
        server = _server(
            Busy(node.app),
            lambda: ready(f"atdex node listening on {_url(config.host, port)}"),
            ws=StreamSockets,
        )
        servers = [server]
        serving = {asyncio.create_task(server.serve([listener]), name="server")}
        if metrics is not None:
            shown = _url(config.metrics_host, metrics.getsockname()[1])
            beside = _server(node.metrics.app(), lambda: log.info("metrics at %s/metrics", shown))
            servers.append(beside)
            serving.add(asyncio.create_task(beside.serve([metrics]), name="metrics"))
        feeding = asyncio.create_task(node.feed(), name="feed")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        await asyncio.wait({feeding, *serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        asked = stop.is_set()
        stopping.cancel()
        for each in servers:
            each.should_exit = True
        if not feeding.done():
            await _drain(node, feeding)
        await asyncio.wait(serving)
        failure = None if feeding.cancelled() else feeding.exception()
        failure = failure or next((f for f in (task.exception() for task in serving) if f), None)
        if failure is None and not asked:
            failure = RuntimeError("a part of the node ended before it was asked to")
        if failure is not None:
            cause = _first(failure)
            log.critical("the node stops: %s", cause)
            raise cause
        log.info("the node has stopped")


def _first(failure: BaseException) -> BaseException:
    """The first error inside of a group: the others are what it brought about."""
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure


async def _drain(node: Node, feeding: asyncio.Task[None]) -> None:
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            await node.stop_feeding()
            await asyncio.wait({feeding})
    except TimeoutError:
        log.warning("stopped with work left over; the next start reads it again")
        feeding.cancel()
        await asyncio.wait({feeding})


def _on_signal(loop: asyncio.AbstractEventLoop, number: int, stop: asyncio.Event) -> None:
    log.info("stopping on %s", signal.Signals(number).name)
    stop.set()
    # A second signal ends the process at once, as it does by default.
    loop.remove_signal_handler(number)


def _server(
    app: ASGIApp,
    on_ready: Callable[[], None],
    *,
    ws: type[StreamSockets] | Literal["none"] = "none",
) -> _Server:
    config = uvicorn.Config(
        app,
        http=HttpProtocol,
        log_config=None,
        access_log=False,
        ws=ws,
        ws_max_size=MAX_IN_BYTES,
        ws_per_message_deflate=False,
        proxy_headers=False,  # it would believe whoever is on this machine; see `callers`
        lifespan="off",
        timeout_graceful_shutdown=REQUEST_GRACE_SECONDS,
        server_header=False,
    )
    return _Server(config, on_ready)


class _Server(uvicorn.Server):
    """uvicorn, which leaves the signals to the node and says when it accepts connections."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _bind(host: str, port: int, flag: str) -> socket.socket:
    """A socket on that address, which does not listen yet. Raises ListenFailed, which names the
    flag to choose another port with."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
    except OSError as failure:
        raise ListenFailed(host, port, failure.strerror or str(failure), flag) from failure
    return listener


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
