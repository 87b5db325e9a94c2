"""Runs a worker: uvicorn with the edge protocol for clients, and a second listener for operators."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
from collections.abc import AsyncIterator
from typing import Final

import uvicorn
from uvicorn.server import ServerState

from lockgate import SERVING
from lockgate.app.acceptor import Acceptor
from lockgate.app.node import Node
from lockgate.app.worker import ADMISSION_TIMEOUT_S, Worker
from lockgate.clock import SystemClock
from lockgate.edge.connection import Edge
from lockgate.edge.own_call import OwnCall
from lockgate.edge.protocol import NO_BODY, STATE_KEY, EdgeProtocol
from lockgate.endpoints import operations
from lockgate.errors import ConfigurationError
from lockgate.observe import logs
from lockgate.observe.metrics import Metrics
from lockgate.observe.observer import RequestObserver
from lockgate.settings import ServerSettings, Settings

BACKLOG: Final = 2048
IN_FLIGHT_OBJECTS: Final = 10_000
"""Objects made and not yet given up, after which the garbage collector looks at the youngest."""

_log = logging.getLogger("lockgate")


def serve(
    settings: Settings,
    listener: socket.socket,
    node: Node | None = None,
    *,
    admission_timeout_s: float = ADMISSION_TIMEOUT_S,
) -> None:
    """Run one worker on a listening socket until SIGTERM, SIGINT or SIGQUIT, then drain; main thread only.

    Args:
        settings: the configuration.
        listener: listens already.
        node: the worker's part in its node; `None`: it shares nothing with another worker.
        admission_timeout_s: as the worker takes it.

    Raises:
        ConfigurationError: it cannot start as it is configured.
    """
    logs.configure_gateway_logging()
    if SERVING.hindrance:
        _log.warning("the compiled modules do not serve: %s", SERVING.hindrance)
    worker = Worker(settings, SystemClock(), admission_timeout_s, marks=node.marks if node else None)
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
    _Server(config, worker, settings, node).run(sockets=[listener])


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
    calls = operations.build_calls(worker.observability.metrics, worker.checks)
    edge = Edge(
        ServerSettings(),
        settings.limits,
        worker.base.ticker,
        begin_request=lambda request, client: OwnCall(
            calls.find(request.method, request.path), request, client, worker.base.ticker
        ),
        observer=RequestObserver(Metrics({}), None, None),
        body_bounds=lambda _: NO_BODY,
        speaks_oauth=lambda _: False,
    )
    config, server_state, state = uvicorn.Config("", log_config=None), ServerState(), {STATE_KEY: edge}
    try:
        server = await asyncio.get_running_loop().create_server(
            lambda: EdgeProtocol(config, server_state, state), where.host, where.port
        )
    except OSError as error:
        raise ConfigurationError(f"operations: {where.host}:{where.port}: {error.strerror}") from error
    try:
        yield
    finally:
        server.close()


class _Server(uvicorn.Server):
    """uvicorn's server, with a worker that is open while it serves, and is told first that it is going to stop."""

    def __init__(self, config: uvicorn.Config, worker: Worker, settings: Settings, node: Node | None) -> None:
        super().__init__(config)
        self._worker = worker
        self._settings = settings
        self._node = node
        self._acceptor: Acceptor | None = None

    async def _serve(self, sockets: list[socket.socket] | None = None) -> None:
        # Within uvicorn's handling of signals: one that comes while the worker opens stops it in order, too.
        async with self._worker.running(), listening_for_operators(self._worker, self._settings):
            self._listen_for_signals()
            await super()._serve(sockets)

    def _listen_for_signals(self) -> None:
        """What uvicorn has no use for. What the parent wants ignored stays so (`nohup`)."""
        loop = asyncio.get_running_loop()
        for number, handle in ((signal.SIGHUP, self._look_at_keys), (signal.SIGQUIT, self._request_exit)):
            if signal.getsignal(number) != signal.SIG_IGN:
                loop.add_signal_handler(number, handle)

    def _look_at_keys(self) -> None:
        _log.warning("SIGHUP: keys are looked at; they reload by themselves, routes need a restart")
        self._worker.base.keys.hurry()

    def _request_exit(self) -> None:
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.lifespan.state[STATE_KEY] = self._worker.edge
        _spare_the_collector()
        if self._node is None or not sockets:
            await super().startup(sockets)
        else:
            await super().startup([])
            self._share_connections(sockets[0], self._node)

    def _share_connections(self, listener: socket.socket, node: Node) -> None:
        """Accept on a socket that other workers accept on, too."""
        edge, ticker = self._worker.edge, self._worker.base.ticker
        state = self.lifespan.state
        acceptor = self._acceptor = Acceptor(
            listener,
            lambda: EdgeProtocol(self.config, self.server_state, state),
            lambda: len(edge.connections),
            counts=node.counts,
            worker=node.worker,
            clock=self._worker.base.clock.monotonic,
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
