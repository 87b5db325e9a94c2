"""`lockgate serve`: the gateway alone, for production; one worker here, or several under the supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

import typer

from lockgate.cli import addresses, control, signals
from lockgate.cli.forks import Forks, is_possible
from lockgate.cli.lone_worker import LoneReloading
from lockgate.cli.members import admit
from lockgate.cli.process import child_environment, python_module
from lockgate.cli.readiness import Readiness, tell_parent
from lockgate.cli.reloader import Reloader
from lockgate.cli.supervisor import Child, Probe, Supervisor
from lockgate_common.background import BackgroundTasks

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from lockgate.app.node import Node
    from lockgate.app.rule_change import Reloading
    from lockgate.cli.configuration import Configured
    from lockgate.cli.members import Membership
    from lockgate.settings import Settings

_FORKS: Final = "forks"
_MODULES: Final = (
    "lockgate.app.server",
    "uvloop",
    "encodings.idna",
    "importlib.resources.readers",
    "pydantic._internal._dataclasses",
    "pydantic.v1.dataclasses",
    "typer._adapters",
    "uvicorn.lifespan.off",
    "uvicorn.loops.uvloop",
)
"""The modules that a fork server imports: that of a worker, and what libraries import only when they are first used."""
_BEYOND_DRAIN_S: Final = 5
"""How much longer than its own drain time-out a worker may take before it is killed."""
_WELL: Final = frozenset({"ready", "is back", "stopped"})
"""What is said of a child while nothing is wrong."""


def run(  # noqa: PLR0913 - what a process gets from its parent
    configured: Configured,
    *,
    descriptor: int | None,
    redirecting: int | None = None,
    ready: int | None = None,
    node: Node | None = None,
    membership: Membership | None = None,
) -> None:
    """Serve until SIGTERM, SIGINT or SIGQUIT, then let requests in flight finish.

    Args:
        configured: the configuration of this process.
        descriptor: a listening socket that the parent bound; `None`: a socket is bound here.
        redirecting: the same for `tls.redirect_port`.
        ready: where a worker tells its parent that it accepts requests; `None`: it has no parent that asks.
        node: what this worker shares with the others that were forked; `None`: it shares nothing.
        membership: of a worker in its node; `None`: this process has no supervisor.

    Raises:
        ConfigurationError: the address cannot be listened on, or a worker cannot start as it is configured.
        ChildFailedError: a worker could not be started.
    """
    signals.hold_signals(signal.SIGHUP, *signals.IGNORED)
    settings = configured.parse(configured.text)
    with contextlib.ExitStack() as stack:
        listener, redirect = listen(settings, stack, descriptor, redirecting)
        if settings.server.workers == 1:
            when_ready = partial(_announce, settings, listener) if ready is None else partial(tell_parent, ready)
            reloading = LoneReloading(configured) if membership is None else membership.reloading(configured.parse)
            _run_worker(settings, listener, redirect, node, reloading, when_ready)
        else:
            local = control.open_socket(configured.file)
            children = build_workers(
                settings,
                listener,
                redirect,
                config=configured.file,
                env=child_environment(),
                supervisor=local.name if local else None,
            )
            asyncio.run(_supervise(children, configured, local, partial(_announce, settings, listener)))


def listen(
    settings: Settings, stack: contextlib.ExitStack, descriptor: int | None = None, redirecting: int | None = None
) -> tuple[socket.socket, socket.socket | None]:
    """The socket for clients, and that of `tls.redirect_port`; closed with the stack. Descriptors as for `run`.

    Raises:
        ConfigurationError: an address cannot be listened on.
    """

    def open_one(port: int, inherited: int | None) -> socket.socket:
        host = settings.server.host
        return addresses.bind_listener(host, port) if inherited is None else addresses.adopt_listener(inherited)

    second = settings.tls.redirect_port
    listener = stack.enter_context(open_one(settings.server.port, descriptor))
    return listener, None if second is None else stack.enter_context(open_one(second, redirecting))


def build_workers(  # noqa: PLR0913 - what differs between `serve` and `dev`
    settings: Settings,
    listener: socket.socket,
    redirecting: socket.socket | None = None,
    *,
    config: Path | None,
    env: Mapping[str, str],
    supervisor: str | None,
    probe: Probe | None = None,
    logs: Path | None = None,
    needs: frozenset[str] = frozenset(),
    uses: frozenset[str] = frozenset(),
) -> list[Child]:
    """The gateway's workers as children to supervise, all on one listening socket; several with their fork server.

    A connection waits in that socket's queue until a worker accepts it, so no connection is refused while a worker is
    restarted. A worker is ready when it accepts requests, and `probe`, if any, agrees: alive, not ready for every
    request, because a worker starts without Redis and gets well by itself.

    `supervisor` names the local socket where the workers get the rules of their node; without one, they read the file.
    """
    host, port = listener.getsockname()[:2]
    arguments = ["serve", "--workers", "1", "--fd", str(listener.fileno()), "--host", str(host), "--port", str(port)]
    descriptors = [listener.fileno()]
    if redirecting is not None:
        descriptors.append(redirecting.fileno())
        arguments += ["--redirect-fd", str(redirecting.fileno())]
    if config:
        arguments += ["--config", str(config)]
    if supervisor:
        arguments += ["--supervisor", supervisor]
    count = settings.server.workers
    told = [Readiness(probe) for _ in range(count)]
    names = ["gateway"] if count == 1 else [f"gateway-{number}" for number in range(1, count + 1)]
    children = [
        Child(
            name=name,
            argv=python_module("lockgate.cli", *arguments, "--ready-fd", str(told[index].descriptor)),
            env={**env, **_check_operations(settings, index)},
            probe=told[index].was_told,
            needs=needs,
            # A fault that keeps one worker from starting keeps all: the first alone reports it.
            after=frozenset(names[:index][:1]),
            uses=uses,
            fds=(*descriptors, told[index].descriptor),
            log=logs / f"{name}.log" if logs else None,
            grace_s=settings.server.drain_s + _BEYOND_DRAIN_S,
        )
        for index, name in enumerate(names)
    ]
    servers: list[Child] = []
    if count > 1 and is_possible():
        forks = Forks(_FORKS, _MODULES, count)
        servers = [forks.server(env, (*descriptors, *(one.descriptor for one in told)), logs)]
        children = [forks.forked(child, index) for index, child in enumerate(children)]
    return [*servers, *(one.forget_at_launch(child) for one, child in zip(told, children, strict=True))]


def _check_operations(settings: Settings, index: int) -> dict[str, str]:
    """Where a worker listens for operators: each on a port of its own, because each counts for itself."""
    first = settings.operations.port
    return {} if first is None else {"LOCKGATE_OPERATIONS__PORT": str(first + index)}


def _run_worker(  # noqa: PLR0913, PLR0917 - what `run` has put together
    settings: Settings,
    listener: socket.socket,
    redirecting: socket.socket | None,
    node: Node | None,
    reloading: Reloading,
    when_ready: Callable[[], None],
) -> None:
    from lockgate.app.server import serve  # noqa: PLC0415 - half a second of imports that a supervisor does not need

    serve(settings, listener, node, redirecting=redirecting, reloading=reloading, when_ready=when_ready)


async def _supervise(
    children: list[Child],
    configured: Configured,
    local: control.LocalSocket | None,
    when_ready: Callable[[], None],
) -> None:
    reloader, reloads = Reloader(configured, partial(_say, "rules")), BackgroundTasks()

    def reload() -> None:
        if local is not None:
            reloads.start(reloader.reload())

    async with reloading(reloader, local):
        await Supervisor(children, say=_say, on_hangup=reload).run(when_ready)
    await reloads.close()


@contextlib.asynccontextmanager
async def reloading(reloader: Reloader, local: control.LocalSocket | None) -> AsyncIterator[None]:
    """Reload the rules of supervised workers for as long as the context lasts, by command and when the file changes.

    Args:
        reloader: of the node.
        local: where its workers join; `None`: they cannot, and nothing is reloaded.
    """
    if local is None:
        yield
        return
    async with control.listening(local, reloader, partial(admit, reloader)), reloader.watching():
        yield


def _announce(settings: Settings, listener: socket.socket) -> None:
    """Say once, for all workers, where the gateway listens and that it is ready."""
    host, port = listener.getsockname()[:2]
    count, first = settings.server.workers, settings.operations.port
    scheme = "https" if settings.tls.certificates else "http"
    places = [f"ready {addresses.base_url(str(host), int(port), scheme)}"]
    if first is not None:
        urls = [addresses.base_url(settings.operations.host, first + index) for index in range(count)]
        places.append(f"for operators {' '.join(urls)}")
    if count > 1:
        places.append(f"{count} workers, supervised by {os.getpid()}")
    _report(logging.INFO, "; ".join(places))


def _say(name: str, text: str) -> None:
    # A start that is refused is told by the worker. The fork server is no news while it is well.
    if (name, text) in {(_FORKS, "ready"), (_FORKS, "stopped")}:
        return
    _report(logging.INFO if text in _WELL else logging.WARNING, f"{name}: {text}")


def _report(level: int, text: str) -> None:
    """Write a line for a person at a terminal; anywhere else a line of the log, which is JSON."""
    if sys.stderr.isatty():
        typer.echo(f"lockgate: {text}", err=True)
        return
    from lockgate.observe.logs import configure_gateway_logging  # noqa: PLC0415 - nothing else here needs it

    log = logging.getLogger("lockgate.cli")
    if not log.hasHandlers():
        configure_gateway_logging()
    log.log(level, "%s", text)
