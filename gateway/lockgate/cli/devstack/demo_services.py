"""The demo services of `lockgate dev`: which run here, on which ports, and as which children."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Self

from lockgate.cli import addresses, keys, probes
from lockgate.cli.process import python_module
from lockgate.cli.supervisor import Child
from lockgate.setting_values import is_loopback, upstream_address

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lockgate.cli.addresses import Ports
    from lockgate.cli.devstack.data_folder import DataFolder
    from lockgate.cli.supervisor import Say
    from lockgate.settings import Settings

CALLS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {"users": frozenset(), "products": frozenset(), "orders": frozenset({"products"})}
)
"""Every demo service, and the other services that it calls."""

USES_REDIS: Final = frozenset({"orders", "products"})
"""The demo services that store data in Redis, each under keys of its own."""

NEEDS: Final = (
    "aiosqlite",
    "alembic",
    "argon2",
    "boto3",
    "httpx",
    "pydantic_settings",
    "sqlalchemy",
    "streaq",
    "structlog",
)
"""What the demo services import beyond the gateway: the extra `shop`."""

MODULES: Final = (
    "lockgate_shop.kit.process.run",
    "lockgate_shop.users.app",
    "lockgate_shop.products.app",
    "lockgate_shop.orders.app",
    "lockgate_shop.kit.data.jobs",
    "aiosqlite",
    "importlib.resources.readers",
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.http.httptools_impl",
)
"""The modules that the services import, at their start or at the first use of a library. None is an entry point."""

MIGRATING: Final = ("alembic.command",)
"""What they import besides, where a database has to be made."""

_WORKER: Final = "orders-worker"
"""Does the jobs of `orders`: the same program with another entry point, so it has the same settings."""
_WORKER_PORT: Final = 8112
_GRACE_S: Final = 15
"""A little longer than a service waits for its requests in flight."""


@dataclass(frozen=True, slots=True)
class DemoServices:
    """The demo services that run here.

    Attributes:
        settings: of the gateway.
        places: host and port of each, by name.
        worker: host and port on which the worker of `orders` answers probes; None where orders does not run here.
    """

    settings: Settings
    places: Mapping[str, tuple[str, int]]
    worker: tuple[str, int] | None = None

    @classmethod
    def placed(cls, settings: Settings, ports: Ports, say: Say) -> Self:
        """Choose the services with a route that leads to this machine alone, each on its port where that is free.

        None where the extra `shop` is not installed: then `lockgate dev` runs the gateway with the routes of its file.

        Raises:
            ConfigurationError: there is no free port.
        """
        if not is_installed():
            say("shop", "not installed, so your own routes alone are served; pip install 'lockgate[shop]' brings it")
            return cls(settings, {})
        places = {}
        for name in CALLS:
            configured = [upstream_address(url) for url in settings.upstream_urls(name)]
            if not configured or not all(is_loopback(host) for host, _ in configured):
                continue
            host, wanted = configured[0]
            # By number, so that the service, the gateway and the search for a free port use the same address.
            host = "127.0.0.1" if host == "localhost" else host
            port = ports.take_port(host, wanted)
            if port != wanted:
                say(name, f"port {wanted} is taken, using {port}")
            places[name] = (host, port)
        worker = (
            (places["orders"][0], ports.take_port(places["orders"][0], _WORKER_PORT)) if "orders" in places else None
        )
        return cls(settings, places, worker)

    @property
    def complete(self) -> bool:
        """Whether all of them run here."""
        return self.places.keys() == CALLS.keys()

    @property
    def links(self) -> list[tuple[str, str]]:
        """The links among services that those here need, as (origin, target)."""
        return [(origin, target) for origin in self.places for target in CALLS[origin]]

    @property
    def upstreams(self) -> dict[str, str]:
        """The variables that tell the gateway their addresses."""
        return {
            f"LOCKGATE_UPSTREAMS__{name.upper()}": f'["{addresses.base_url(*at)}"]' for name, at in self.places.items()
        }

    def children(
        self, folder: DataFolder, env: Mapping[str, str], *, seed: bool, needs: frozenset[str] = frozenset()
    ) -> list[Child]:
        """The services, and the worker where there is a Redis, as children to supervise.

        Args:
            folder: for their databases and logs.
            env: the variables of every service; `REDIS_URL` is passed on under the names that each reads.
            seed: whether they make demo data.
            needs: the name of the child that is Redis, where the stack runs one.
        """
        services = [
            self._build_child(name, folder, env, ["--seed-demo"] if seed else [], needs) for name in self.places
        ]
        if self.worker is None or "REDIS_URL" not in env:
            return services
        host, port = self.worker
        orders = next(child for child in services if child.name == "orders")
        worker = replace(
            orders,
            name=_WORKER,
            argv=python_module("lockgate_shop.orders.worker", "--host", host, "--port", str(port)),
            probe=probes.http_probe(host, port, "/readyz"),
            log=folder.log(_WORKER),
            needs=needs,
        )
        return [*services, worker]

    def _build_child(
        self, name: str, folder: DataFolder, env: Mapping[str, str], options: list[str], redis: frozenset[str]
    ) -> Child:
        host, port = self.places[name]
        prefix = name.upper()
        own = {f"{prefix}_LINK_KEYS": str(keys.links_directory(self.settings).resolve())}
        for target in CALLS[name]:
            if called := self._address_of(target):
                own[f"{prefix}_{target.upper()}_URL"] = called
        # Settings of the user win: `env` comes after these.
        usual = {f"{prefix}_DATABASE_URL": folder.database(name)}
        if name in USES_REDIS and "REDIS_URL" in env:
            usual[f"{prefix}_REDIS_URL"] = env["REDIS_URL"]
        return Child(
            name=name,
            argv=python_module(f"lockgate_shop.{name}", "--host", host, "--port", str(port), *options),
            env={**usual, **env, **own},
            probe=probes.http_probe(host, port, "/readyz"),
            uses=(CALLS[name] & self.places.keys()) | (redis if name in USES_REDIS else frozenset()),
            log=folder.log(name),
            grace_s=_GRACE_S,
        )

    def _address_of(self, name: str) -> str | None:
        if name in self.places:
            return addresses.base_url(*self.places[name])
        return next(iter(self.settings.upstream_urls(name)), None)


def is_installed() -> bool:
    """Whether all modules that the demo services import are installed."""
    return all(importlib.util.find_spec(name) is not None for name in NEEDS)
