"""`lockgate dev`: the whole stack on one machine, with nothing to prepare."""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from lockgate import SERVING
from lockgate.cli import addresses, control, keys, probes, serve, signals
from lockgate.cli.configuration import Configured
from lockgate.cli.devstack import data_folder, object_server, redis_server, running
from lockgate.cli.devstack.demo_services import CALLS, MIGRATING, MODULES, DemoServices
from lockgate.cli.devstack.terminal import Terminal
from lockgate.cli.forks import Forks, is_possible
from lockgate.cli.process import child_environment
from lockgate.cli.reloader import Reloader
from lockgate.cli.supervisor import Child, Supervisor
from lockgate.compilation import describe_modules
from lockgate.setting_values import is_loopback, upstream_address
from lockgate.settings import Settings, read_file

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from lockgate.cli.configuration import Parser
    from lockgate.cli.devstack.data_folder import DataFolder


def run(settings: Settings, *, config: Path | None, data: Path, seed: bool, parse: Parser) -> None:
    """Start everything, say when it is ready, and run until Ctrl-C.

    Args:
        settings: of the gateway; without a `redis_url`, Redis is started, too.
        config: the file of the settings, for the gateway's workers to read again.
        data: the folder of databases, Redis and logs; made where missing.
        seed: whether to make demo users and products.
        parse: reads the file again.

    Raises:
        ConfigurationError: the address is in use, a folder cannot be written, there is no Redis, or a child
            refuses its configuration.
        ChildFailedError: a part of the stack could not be started; the others have been stopped.
    """
    signals.hold_signals(*signals.IGNORED)
    terminal = Terminal()
    with contextlib.ExitStack() as held:
        # Files of the children, data and sockets included, are closed to other users.
        held.callback(os.umask, os.umask(0o077))
        # Bound before anything is started: a busy port is known at once, and no other program can take a free one in
        # between.
        listener, redirecting = serve.listen(settings, held)
        scheme = "https" if settings.tls.certificates else "http"
        address = addresses.base_url(settings.server.host, int(listener.getsockname()[1]), scheme)
        folder = held.enter_context(data_folder.open_folder(data))
        ports = held.enter_context(addresses.Ports())
        demo = DemoServices.placed(settings, ports, terminal.say)
        keys.create_missing(settings, demo.links)

        env = child_environment(**demo.upstreams)
        env.setdefault("LOCKGATE_TOKEN__ISSUER", address)
        env.setdefault("LOCKGATE_KEYS__DIRECTORY", str(settings.keys.directory.resolve()))
        env.setdefault("LOCKGATE_SERVER__OPENAPI", "everybody")
        if settings.server.session_cookie == "off":
            local = is_loopback(settings.server.host) and not settings.server.trusted_proxies
            env.setdefault("LOCKGATE_SERVER__SESSION_COOKIE", "localhost" if local else "secure")
        redis = _redis_children(settings, folder, env, held)
        needs = frozenset(child.name for child in redis)
        host, port = upstream_address(address)
        control_socket = control.open_socket(config)
        reloader = Reloader(
            Configured(config, read_file(config), partial(parse, environ=env)), partial(terminal.say, "rules")
        )
        gateway = serve.build_workers(
            settings,
            listener,
            redirecting,
            config=config,
            env=env,
            probe=probes.tls_probe(host, port) if scheme == "https" else probes.http_probe(host, port, "/readyz"),
            supervisor=control_socket.name if control_socket else None,
            logs=folder.logs,
            needs=needs,
            uses=frozenset(demo.places),
        )
        # Only the demo services keep files there.
        objects, places = _object_store(folder, env, ports, terminal) if demo.places else ([], {})
        services = [
            replace(child, uses=child.uses | {store.name for store in objects})
            for child in demo.children(folder, {**env, **places}, seed=seed, needs=needs)
        ]
        children = [*redis, *objects, *_forked(services, folder, env), *gateway]
        tour = seed and demo.complete
        held.callback(running.withdraw_stack, folder.path)

        def when_ready() -> None:
            running.announce_stack(folder.path, config, {**env, "LOCKGATE_SERVER__PORT": str(port)})
            public = settings.server.public_url
            terminal.welcome(address, folder.path, describe_modules(SERVING), tour=tour, public=public)

        asyncio.run(_run_children(children, terminal, when_ready, serve.reloading(reloader, control_socket)))


async def _run_children(
    children: Collection[Child],
    terminal: Terminal,
    when_ready: Callable[[], None],
    reloading: AbstractAsyncContextManager[None],
) -> None:
    async with reloading:
        await Supervisor(children, say=terminal.say).run(when_ready)


def _forked(services: list[Child], folder: DataFolder, env: dict[str, str]) -> list[Child]:
    """The services with a process that imports their modules once and forks them, where this system can do that."""
    if not services or not is_possible():
        return services
    # Each service that has to migrate imports Alembic; with a database from an earlier run, none has to, as a rule.
    new = not all(folder.has_database(service.name) for service in services if service.name in CALLS)
    forks = Forks("shop", (*MODULES, *MIGRATING) if new else MODULES)
    return [forks.server(env, (), folder.logs), *(forks.forked(service) for service in services)]


def _object_store(
    folder: DataFolder, env: dict[str, str], ports: addresses.Ports, terminal: Terminal
) -> tuple[list[Child], dict[str, str]]:
    """Our own S3 server, and the variables that tell the services of it."""
    if not object_server.is_installed():
        terminal.say(object_server.NAME, "no nanio: uploads are refused; install lockgate[embedded]")
        return [], {}
    port = ports.take_port(object_server.HOST, object_server.PORT)
    child = object_server.server_child(folder, port, env=env)
    return [child], object_server.service_environment(child, port, env)


def _redis_children(
    settings: Settings, folder: DataFolder, env: dict[str, str], held: contextlib.ExitStack
) -> list[Child]:
    """Our own Redis, or none where one is configured; either way its address is in `env` for every other child."""
    if settings.redis_url is not None:
        env["REDIS_URL"] = settings.redis_url.get_secret_value()
        return []
    socket = held.enter_context(redis_server.socket_path(folder.redis))
    env["REDIS_URL"] = redis_server.socket_url(socket)
    return [redis_server.redis_child(folder.redis, socket, env=env, log=folder.log("redis"), fds=(folder.lock,))]
