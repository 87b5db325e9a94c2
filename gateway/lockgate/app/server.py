"""Runs a worker: uvicorn with the edge protocol for clients, and a second listener for operators."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable
from typing import Final

import uvicorn
from uvicorn.server import ServerState

from lockgate import SERVING
from lockgate.app.acceptor import Acceptor, Handshakes
from lockgate.app.node import ConnectionCounts, Node
from lockgate.app.prerequisites import find_faults
from lockgate.app.rule_change import Reloading
from lockgate.app.worker import ADMISSION_TIMEOUT_S, Worker
from lockgate.clock import SystemClock
from lockgate.edge.connection import Edge
from lockgate.edge.own_call import OwnCall, Respond
from lockgate.edge.protocol import NO_BODY, STATE_KEY, EdgeProtocol
from lockgate.edge.request import InboundRequest
from lockgate.endpoints import operations
from lockgate.endpoints.redirect import TlsRedirect
from lockgate.errors import ConfigurationError
from lockgate.observe import logs
from lockgate.observe.metrics import Metrics
from lockgate.observe.observer import RequestObserver
from lockgate.settings import ServerSettings, Settings

BACKLOG: Final = 2048
IN_FLIGHT_OBJECTS: Final = 10_000
"""Objects made and not yet given up, after which the garbage collector looks at the youngest."""

_log = logging.getLogger("lockgate")


def serve(  # noqa: PLR0913 - what a program gives its worker
    settings: Settings,
    listener: socket.socket,
    node: Node | None = None,
    *,
    redirecting: socket.socket | None = None,
    reloading: Reloading | None = None,
    admission_timeout_s: float = ADMISSION_TIMEOUT_S,
    when_ready: Callable[[], None] = lambda: None,
) -> None:
    """Run one worker on a listening socket until SIGTERM, SIGINT or SIGQUIT, then drain; main thread only.

    Args:
        settings: the configuration.
        listener: listens already.
        node: the worker's part in its node; `None`: it shares nothing with another worker.
        redirecting: a second socket, which listens already for plain HTTP; `None`: there is none.
        reloading: brings the worker new rules; `None`: it keeps those of the start.
        admission_timeout_s: as the worker takes it.
        when_ready: called once, when requests are accepted.

    Raises:
        ConfigurationError: it cannot start as it is configured; each fault that can be seen now is a line.
    """
    logs.configure_gateway_logging()
    if SERVING.hindrance:
        _log.warning("the compiled modules do not serve: %s", SERVING.hindrance)
    try:
        worker = Worker(settings, SystemClock(), admission_timeout_s, marks=node.marks if node else None)
    except ConfigurationError as error:
        raise ConfigurationError(*dict.fromkeys((*error.args, *find_faults(settings)))) from error
    worker.calls.prepare()
    config = uvicorn.Config(
        _no_application,
        http=EdgeProtocol,
        ws="none",
        loop="uvloop",
        lifespan="off",  # opened in `_Server._serve` instead, where a failure can be told in one line
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=int(settings.server.drain_s),
        backlog=BACKLOG,
    )
    _Server(config, worker, settings, node, redirecting, reloading, when_ready).run(sockets=[listener])


@contextlib.asynccontextmanager
async def listening_for_operators(worker: Worker, settings: Settings) -> AsyncIterator[None]:
    """Keep the operations listener open, if there is to be one: the same strict edge, another application, no routes.

    Raises:
        ConfigurationError: its address cannot be listened on.
    """
    where = settings.operations
    if where.port is None:
        yield
        return
    calls = operations.build_calls(worker.observability.metrics, worker.checks, lambda: worker.rule_change.revision)
    calls.prepare()
    make_protocol = _build_plain_edge(worker, settings, lambda request: calls.find(request.method, request.path))
    try:
        server = await asyncio.get_running_loop().create_server(make_protocol, where.host, where.port)
    except OSError as error:
        raise ConfigurationError(f"operations: {where.host}:{where.port}: {error.strerror}") from error
    try:
        yield
    finally:
        server.close()


@contextlib.asynccontextmanager
async def redirecting_to_tls(worker: Worker, settings: Settings, listener: socket.socket | None) -> AsyncIterator[None]:
    """Answer requests on the port for plain HTTP, if there is one."""
    if listener is None:
        yield
        return
    redirect = TlsRedirect(settings.public_url, worker.is_certified)
    make_protocol = _build_plain_edge(worker, settings, lambda _: redirect)
    server = await asyncio.get_running_loop().create_server(make_protocol, sock=listener, backlog=BACKLOG)
    try:
        yield
    finally:
        server.close()


def _build_plain_edge(
    worker: Worker, settings: Settings, find: Callable[[InboundRequest], Respond]
) -> Callable[[], EdgeProtocol]:
    """A strict edge of its own for calls that need neither route nor identity; makes its connections.

    Args:
        worker: its clock and its life.
        settings: of the limits.
        find: returns what answers a request.
    """
    ticker = worker.base.ticker
    edge = Edge(
        ServerSettings(),
        settings.limits,
        ticker,
        begin_request=lambda request, client: OwnCall(find(request), request, client, ticker),
        observer=RequestObserver(Metrics({}), None, None),
        body_bounds=lambda _: NO_BODY,
        speaks_oauth=lambda _: False,
    )
    worker.base.rules.listen(lambda rules: edge.replace_limits(rules.settings.limits))
    config, server_state, state = uvicorn.Config("", log_config=None), ServerState(), {STATE_KEY: edge}
    return lambda: EdgeProtocol(config, server_state, state)


class _Server(uvicorn.Server):
    """uvicorn's server, with a worker that is open while it serves, and is told first that it is going to stop."""

    def __init__(  # noqa: PLR0913, PLR0917 - what `serve` gets
        self,
        config: uvicorn.Config,
        worker: Worker,
        settings: Settings,
        node: Node | None,
        redirecting: socket.socket | None,
        reloading: Reloading | None,
        when_ready: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._redirecting = redirecting
        self._reloading = reloading
        self._when_ready = when_ready
        self._worker = worker
        self._settings = settings
        self._node = node
        self._acceptor: Acceptor | None = None

    async def _serve(self, sockets: list[socket.socket] | None = None) -> None:
        # Within uvicorn's handling of signals: one that comes while the worker opens stops it in order, too.
        worker, settings = self._worker, self._settings
        reloads = contextlib.nullcontext() if self._reloading is None else self._reloading.running(worker.rule_change)
        async with (
            worker.running(),
            listening_for_operators(worker, settings),
            redirecting_to_tls(worker, settings, self._redirecting),
            reloads,
        ):
            self._listen_for_signals()
            await super()._serve(sockets)

    def _listen_for_signals(self) -> None:
        """What uvicorn has no use for. What the parent wants ignored stays so (`nohup`)."""
        loop = asyncio.get_running_loop()
        for number, handle in ((signal.SIGHUP, self._hang_up), (signal.SIGQUIT, self._request_exit)):
            if signal.getsignal(number) != signal.SIG_IGN:
                loop.add_signal_handler(number, handle)

    def _hang_up(self) -> None:
        """Look at the keys, and at the rules."""
        self._worker.base.keys.hurry()
        if self._reloading is not None:
            self._reloading.hang_up()

    def _request_exit(self) -> None:
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.lifespan.state[STATE_KEY] = self._worker.edge
        _spare_the_collector()
        handshakes = self._build_handshakes()
        if not sockets or (self._node is None and handshakes is None):
            await super().startup(sockets)
        else:
            await super().startup([])
            node = self._node or Node(0, ConnectionCounts(1), self._worker.base.marks)
            self._accept_connections(sockets[0], node, handshakes)
        self._when_ready()

    def _build_handshakes(self) -> Handshakes | None:
        base = self._worker.base
        certificates = base.keys.certificates
        if certificates is None:
            return None
        return Handshakes(lambda: certificates.value.default, lambda: base.rules.value.settings.limits)

    def _accept_connections(self, listener: socket.socket, node: Node, handshakes: Handshakes | None) -> None:
        """Accept on a socket that other workers may accept on, too."""
        edge, ticker = self._worker.edge, self._worker.base.ticker
        state = self.lifespan.state
        acceptor = self._acceptor = Acceptor(
            listener,
            lambda: EdgeProtocol(self.config, self.server_state, state),
            lambda: len(edge.connections),
            counts=node.counts,
            worker=node.worker,
            clock=self._worker.base.clock.monotonic,
            handshakes=handshakes,
        )
        ticker.add_listener(lambda _: acceptor.publish_count())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._acceptor is not None:
            self._acceptor.close()
        self._worker.drain()
        await super().shutdown(sockets)


def _spare_the_collector() -> None:
    """What is there before the first request stays, so the garbage collector need not walk through it again and again.

    A full collection would stop every request for as long as that takes. And requests in flight are not garbage: the
    threshold is above what a busy worker holds at one moment.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(IN_FLIGHT_OBJECTS, *gc.get_threshold()[1:])


async def _no_application(_scope: object, _receive: object, _send: object) -> None:
    """The application that uvicorn asks for. Requests come through `EdgeProtocol`, never through here.

    uvicorn warns of a factory when an application can be called without arguments, so this one takes the usual three.
    """
    raise RuntimeError("requests go through the edge protocol")
