"""Lockgate as it is measured: everything it can do on the way of a request is on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import tokens
from bench.machine import HOST, Command, free_port
from bench.site import Site
from bench.trees import OWN, Tree

ENOUGH: Final = 15_000
ROUTE: Final = "orders"


@dataclass(frozen=True, slots=True)
class Setup:
    """What differs between one measured gateway and another.

    Attributes:
        tree: its sources and interpreter.
        workers: how many.
        access_log: whether each request is logged, to a file.
        routes: how many; `/orders` and `/r0001`, `/r0002`, …
        operations: port of the first worker's operations listener, the others' follow; 0 for any.
        sockets: port of a service of WebSockets, at `/sockets`; 0 for none.
    """

    tree: Tree = OWN
    workers: int = 1
    access_log: bool = False
    routes: int = 1
    operations: int = 0
    sockets: int = 0


def commands(site: Site, port: int, setup: Setup = Setup()) -> list[Command]:
    """The gateway, listening on a port."""
    folder = site.folder / f"lockgate-{port}"
    folder.mkdir()
    file = folder / "lockgate.toml"
    file.write_text(toml(_configuration(site, folder, port, setup)))
    setup.tree.make_keys(file)
    argv = ["lockgate.cli", "serve", "--workers", str(setup.workers), "--config", str(file)]
    return [setup.tree.command(*argv, folder=folder)]


def token_file(site: Site, port: int, count: int) -> Path:
    """Tokens that the gateway on a port issues, one a line."""
    file = site.folder / f"lockgate-{port}-{count}.tokens"
    if not file.exists():
        tokens.write_own(file, count, site.folder / f"lockgate-{port}" / "keys")
    return file


def _configuration(site: Site, folder: Path, port: int, setup: Setup) -> dict[str, object]:
    upstream = f"http://{HOST}:{site.service_port}"
    names = [ROUTE, *(f"r{number:04}" for number in range(1, setup.routes))]
    shared = {
        "auth": "required",
        "service": ROUTE,
        "rate": "100000000/min per user",  # counted on every request, never reached
    }
    route = {**shared, "upstreams": [upstream], "scopes": {"GET": ["orders:read"], "*": ["orders:write"]}}
    found: list[Mapping[str, object]] = [{"name": name, "prefix": f"/{name}", **route} for name in names]
    if setup.sockets:
        sockets = {"name": "sockets", "prefix": "/sockets", "websocket": ["/sockets"]}
        found.append({**shared, **sockets, "upstreams": [f"http://{HOST}:{setup.sockets}"]})
    return {
        "redis_url": site.redis_url,
        "server": {"port": port},
        "limits": {"connections": ENOUGH, "connections_per_peer": ENOUGH, "keep_alive_s": 600},
        "token": {"issuer": tokens.ISSUER, "audience": tokens.AUDIENCE, "access_life_s": tokens.LIFE_S},
        "upstream": {"waiting": ENOUGH},  # a closed loop of 5,000 clients waits here
        "keys": {"directory": str(folder / "keys")},
        "roles": {tokens.ROLES[0]: list(tokens.SCOPES)},
        "operations": {"port": setup.operations or free_port()},
        "log": {"access": setup.access_log},
        "route": found,
    }


def toml(content: Mapping[str, object]) -> str:
    """TOML of plain values, inline tables for what is nested: JSON's scalars and arrays are TOML's."""
    lines = [f"{name} = {_inline(value)}" for name, value in content.items()]
    return "\n".join(lines) + "\n"


def _inline(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(item) for item in value) + "]"
    return json.dumps(value)
