"""`lockgate dev`: the whole stack on one machine, with nothing to prepare."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from gateway.cli import addresses, data_folder, keys, probes, redis_server, serve
from gateway.cli.process import environment, python_module
from gateway.cli.supervisor import Child, Supervisor
from gateway.cli.terminal import Terminal
from gateway.settings import Settings, upstream_address

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from gateway.cli.data_folder import DataFolder

_DEMO_CALLS: Final[Mapping[str, frozenset[str]]] = {
    "users": frozenset(),
    "products": frozenset(),
    "orders": frozenset({"products"}),
}
"""The demo services, and which of the others each of them calls."""

_SERVICE_GRACE_S: Final = 15
"""A little more than a service itself waits for requests in flight."""

_Address = tuple[str, int]


def run(settings: Settings, *, config: Path | None, data: Path, seed: bool) -> None:
    """Start everything, say when it is ready, and run until Ctrl-C.

    Args:
        settings: of the gateway; without a `redis_url`, Redis is started as well.
        config: the file they were read from, for the gateway's workers to read again.
        data: where databases, Redis and logs live; made where missing.
        seed: whether to make demo users and products.

    Raises:
        ConfigurationError: the address is in use, a folder cannot be written, there is no Redis, or a child says that
            it cannot start as it is configured.
        ChildFailedError: a part of the stack could not be started; the others have been stopped.
    """
    terminal = Terminal()
    with contextlib.ExitStack() as held:
        # Bound before anything is started: a busy port is known at once, and nobody can take a free one in between.
        listener = held.enter_context(addresses.listen(settings.server.host, settings.server.port))
        address = addresses.url(settings.server.host, int(listener.getsockname()[1]))
        folder = held.enter_context(data_folder.opened(data))
        at = places(settings, held.enter_context(addresses.Ports()), terminal)
        keys.create(settings, [(origin, target) for origin in places for target in _DEMO_CALLS[origin]])

        env = environment(**{f"LOCKGATE_UPSTREAMS__{name.upper()}": f'["{_url(at)}"]' for name, at in places.items()})
        env.setdefault("LOCKGATE_TOKEN__ISSUER", address)
        redis = _redis(settings, folder, env, held)
        services = [_service(name, places, settings, folder, env, seed=seed) for name in places]
        host, port = upstream_address(address)
        gateway = serve.workers(
            settings,
            listener,
            config=config,
            env=env,
            probe=probes.http(host, port, "/readyz"),
            logs=folder.logs,
            needs=frozenset(child.name for child in redis),
            uses=frozenset(places),
        )
        demo = seed and places.keys() == _DEMO_CALLS.keys()
        children = [*redis, *services, *gateway]
        asyncio.run(_supervise(children, terminal, lambda: terminal.welcome(address, folder.path, demo=demo)))


async def _supervise(children: Collection[Child], terminal: Terminal, when_ready: Callable[[], None]) -> None:
    await Supervisor(children, say=terminal.say).run(when_ready)


def places(settings: Settings, ports: addresses.Ports, terminal: Terminal) -> dict[str, _Address]:
    """Where each demo service will listen: those with a route, where that leads to this machine and nowhere else."""
    places = {}
    for name in _DEMO_CALLS:
        configured = [upstream_address(url) for url in settings.addresses(name)]
        if not configured or not all(addresses.is_loopback(host) for host, _ in configured):
            continue
        host, wanted = configured[0]
        port = ports.take(host, wanted)
        if port != wanted:
            terminal.say(name, f"port {wanted} is taken, using {port}")
        places[name] = (host, port)
    return places


def _redis(settings: Settings, folder: DataFolder, env: dict[str, str], held: contextlib.ExitStack) -> list[Child]:
    """Our own Redis, told to every other child by its address in `env`; nothing where one is configured."""
    if settings.redis_url is not None:
        return []
    socket = held.enter_context(redis_server.socket_path(folder.redis))
    env["REDIS_URL"] = redis_server.url(socket)
    return [redis_server.server(folder.redis, socket, env=env, log=folder.log("redis"), fds=(folder.lock,))]


def _service(  # noqa: PLR0913 - it is where all of this comes together
    name: str,
    places: Mapping[str, _Address],
    settings: Settings,
    folder: DataFolder,
    env: Mapping[str, str],
    *,
    seed: bool,
) -> Child:
    host, port = places[name]
    prefix = name.upper()
    own = {f"{prefix}_LINK_KEYS": str(keys.links_directory(settings).resolve())}
    called = _DEMO_CALLS[name] & places.keys()
    own |= {f"{prefix}_{target.upper()}_URL": _url(places[target]) for target in called}
    arguments = ["--host", host, "--port", str(port), *(["--seed-demo"] if seed else [])]
    return Child(
        name=name,
        argv=python_module(f"services.{name}", *arguments),
        # A database that somebody has set up for the service is theirs to keep.
        env={f"{prefix}_DATABASE_URL": folder.database(name), **env, **own},
        probe=probes.http(host, port, "/readyz"),
        uses=called,
        log=folder.log(name),
        grace_s=_SERVICE_GRACE_S,
    )


def _url(address: _Address) -> str:
    return addresses.url(*address)
