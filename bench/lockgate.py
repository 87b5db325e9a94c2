"""Lockgate as it is measured: everything it can do on the way of a request is on."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench import tokens
from bench.machine import Command, free_port
from bench.site import Site
from lockgate import settings as gateway_settings
from lockgate.cli import keys

ENOUGH: Final = 15_000
ROUTE: Final = "orders"


def commands(site: Site, port: int, *, access_log: bool = False, routes: int = 1) -> list[Command]:
    """One worker.

    Args:
        site: the common ground.
        port: where it listens.
        access_log: whether each request is logged, to a file.
        routes: how many; `/orders` and `/r0001`, `/r0002`, …
    """
    folder = site.folder / f"lockgate-{port}"
    folder.mkdir()
    file = folder / "lockgate.toml"
    file.write_text(toml(_configuration(site, folder, port, access_log=access_log, routes=routes)))
    keys.create_missing(gateway_settings.load_settings(file))
    argv = [sys.executable, "-P", "-m", "lockgate.cli", "serve", "--workers", "1", "--config", str(file)]
    return [Command(argv, env={"PYTHONPATH": str(Path(__file__).parents[1])}, folder=folder)]


def token_file(site: Site, port: int, count: int) -> Path:
    """Tokens that the worker on a port issues, one a line."""
    return tokens.write(
        site.folder / f"lockgate-{port}-{count}.tokens", tokens.own(count, site.folder / f"lockgate-{port}" / "keys")
    )


def _configuration(site: Site, folder: Path, port: int, *, access_log: bool, routes: int) -> dict[str, object]:
    upstream = f"http://127.0.0.1:{site.service_port}"
    names = [ROUTE, *(f"r{number:04}" for number in range(1, routes))]
    route = {
        "auth": "required",
        "upstreams": [upstream],
        "service": ROUTE,
        "scopes": {"GET": ["orders:read"], "*": ["orders:write"]},
        "rate": "100000000/min per user",  # counted on every request, never reached
    }
    return {
        "redis_url": site.redis_url,
        "server": {"port": port},
        "limits": {"connections": ENOUGH, "connections_per_peer": ENOUGH, "keep_alive_s": 600},
        "token": {"issuer": tokens.ISSUER, "audience": tokens.AUDIENCE, "access_life_s": tokens.LIFE_S},
        "upstream": {"waiting": ENOUGH},  # a closed loop of 5,000 clients waits here
        "keys": {"directory": str(folder / "keys")},
        "roles": {tokens.ROLES[0]: list(tokens.SCOPES)},
        "operations": {"port": free_port()},
        "log": {"access": access_log},
        "route": [{"name": name, "prefix": f"/{name}", **route} for name in names],
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
