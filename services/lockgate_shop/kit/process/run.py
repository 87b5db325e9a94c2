"""`python -m lockgate_shop.<name>`: one service as a process."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import structlog
import uvicorn
from sqlalchemy.exc import SQLAlchemyError
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from lockgate_shop.kit import logs
from lockgate_shop.kit.errors import ConfigurationError, StoreUnavailableError
from lockgate_shop.kit.settings import ServiceSettings, read_settings
from lockgate_trust import LinkKeyError, LinkKeys, LiveLinkKeys

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from fastapi import FastAPI
    from uvicorn._types import ASGISendEvent

log = structlog.get_logger("service")

S = TypeVar("S", bound=ServiceSettings)

DATABASE_THREAD_S = 1
KEEP_ALIVE_S = 75
"""How long an idle connection is kept; longer than the gateway keeps its own, so that the gateway closes first."""
MAX_MESSAGE = 64 * 1024
"""Bytes of a WebSocket message; as much as of a request's body."""


@dataclass(frozen=True, slots=True)
class Program(Generic[S]):
    """One runnable service.

    Attributes:
        name: as in its link keys.
        settings: the kind of its settings.
        create_app: its composition root.
        seed_demo: puts demo data where there is none.
    """

    name: str
    settings: type[S]
    create_app: Callable[[S, LinkKeys], FastAPI]
    seed_demo: Callable[[FastAPI], Awaitable[None]]


def main(program: Program[S], arguments: list[str] | None = None) -> int:
    """Run a service until it is told to stop.

    Args:
        program: which.
        arguments: of the command line, without the program's name; those of the process where not given.

    Returns:
        The exit code: 0 after SIGTERM or SIGINT, 2 when the service cannot start as it is configured.
    """
    given = _parse_arguments(program.name, arguments)
    try:
        settings = read_settings(
            program.settings, **{k: v for k, v in given.items() if k != "seed_demo" and v is not None}
        )
        logs.configure_service_logs(program.name, settings.log_level)
        keys = LiveLinkKeys(settings.link_keys, program.name)
        with _bound_socket(settings.host, settings.port) as listener:
            app = program.create_app(settings, keys)
            seed = program.seed_demo if given["seed_demo"] else None
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                try:
                    runner.run(_serve_app(app, settings, listener, seed))
                finally:
                    let_database_threads_end()
    except (ConfigurationError, LinkKeyError) as error:
        return _report_failure(program.name, str(error))
    except (StoreUnavailableError, SQLAlchemyError) as error:
        cause = error.__cause__ or error
        return _report_failure(program.name, f"the database cannot be used: {_one_line(cause)}")
    except KeyboardInterrupt:
        pass
    return 0


def let_database_threads_end() -> None:
    """Wait for aiosqlite's threads while there still is a loop.

    They tell it how a connection ended; one that finds it closed would put a traceback in front of our one line.
    """
    for thread in threading.enumerate():
        if "_connection_worker_thread" in thread.name:
            thread.join(DATABASE_THREAD_S)


def _parse_arguments(name: str, arguments: list[str] | None) -> dict[str, str | int | bool | None]:
    prefix = name.upper()
    program = f"python -m lockgate_shop.{name}"
    parser = argparse.ArgumentParser(prog=program, description=f"The {name} service of Lockgate.")
    parser.add_argument("--host", help=f"address to listen on (or {prefix}_HOST)")
    parser.add_argument("--port", type=int, help=f"port to listen on (or {prefix}_PORT)")
    parser.add_argument("--seed-demo", action="store_true", help="put demo data into the database where there is none")
    return vars(parser.parse_args(arguments))


@contextlib.contextmanager
def _bound_socket(host: str, port: int) -> Iterator[socket.socket]:
    """A bound socket. Bound before anything else is opened, so that a busy port is known at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol by name: asyncio sets TCP_NODELAY only where it is said, and answers would wait 40 ms without it.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise ConfigurationError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        yield listener


async def _serve_app(
    app: FastAPI,
    settings: ServiceSettings,
    listener: socket.socket,
    seed: Callable[[FastAPI], Awaitable[None]] | None,
) -> None:
    config = uvicorn.Config(
        app,
        lifespan="off",  # run here instead, where a failure can be told in one line
        ws=SocketProtocol,
        ws_max_size=MAX_MESSAGE,
        ws_per_message_deflate=False,
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=settings.drain_s,
    )
    async with app.router.lifespan_context(app):
        if seed is not None:
            await seed(app)
        await _Server(config, app.state.draining).serve(sockets=[listener])
    log.info("stopped")


class SocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's, but it knows that a handshake is over when it was answered with something else than a socket.

    It would report each such refusal as an error of the application.
    """

    async def send(self, message: ASGISendEvent) -> None:
        """Send what the application says."""
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True


class _Server(uvicorn.Server):
    """uvicorn's, but it says when it is ready, ends what would never end, and does not raise a signal again at the end.

    Raised again, it would end the process before what is left is closed.
    """

    def __init__(self, config: uvicorn.Config, draining: Sequence[Callable[[], None]]) -> None:
        super().__init__(config)
        self._draining = draining

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen; from here on a signal stops the service in order."""
        await super().startup(sockets)
        for listener in sockets or []:
            log.info("ready", address="{}:{}".format(*listener.getsockname()[:2]))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and wait for requests in flight; live connections are no such."""
        for stop in self._draining:
            stop()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            yield
            self._captured_signals.clear()


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where there is one."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop


def _one_line(error: BaseException) -> str:
    text = str(getattr(error, "orig", None) or error)
    return " ".join(text.split()) or type(error).__name__


def _report_failure(name: str, problem: str) -> int:
    print(f"{name}: {problem}", file=sys.stderr)  # noqa: T201 - for the operator
    return 2
