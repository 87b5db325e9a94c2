"""Lockgate as it is measured: everything it can do on the way of a request is on."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from bench import tokens
from bench.machine import Command
from bench.site import Site
from gateway import settings as gateway_settings
from gateway.cli import keys
from gateway.settings import RouteSettings, Settings

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
    file.write_text(_toml(_configuration(site, folder, port, access_log=access_log, routes=routes)))
    keys.create(gateway_settings.load(file))
    argv = [sys.executable, "-P", "-m", "gateway.cli", "serve", "--workers", "1", "--config", str(file)]
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
    everything: dict[str, object] = {
        "redis_url": site.redis_url,
        "server": {"port": port},
        "limits": {"connections": ENOUGH, "connections_per_peer": ENOUGH, "keep_alive_s": 600},
        "token": {"issuer": tokens.ISSUER, "audience": tokens.AUDIENCE, "access_life_s": tokens.LIFE_S},
        "keys": {"directory": str(folder / "keys")},
        "roles": {tokens.ROLES[0]: list(tokens.SCOPES)},
        "observe": {"metrics": True, "access_log": access_log},
    }
    known = _known(Settings, everything)
    known["route"] = [{"name": name, "prefix": f"/{name}", **_known(RouteSettings, route)} for name in names]
    return known


def _known(model: type[BaseModel], wanted: Mapping[str, object]) -> dict[str, object]:
    """What of a wish list the settings have; the rest is named in the report, not a failure."""
    known: dict[str, object] = {}
    for name, value in wanted.items():
        field = model.model_fields.get(name)
        if field is None:
            continue
        section = field.annotation
        inner = isinstance(section, type) and issubclass(section, BaseModel) and isinstance(value, dict)
        known[name] = _known(section, value) if inner else value
    return known


def _toml(content: Mapping[str, object]) -> str:
    """TOML of plain values, inline tables for what is nested: JSON's scalars and arrays are TOML's."""
    lines = [f"{name} = {_inline(value)}" for name, value in content.items()]
    return "\n".join(lines) + "\n"


def _inline(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(item) for item in value) + "]"
    return json.dumps(value)


def access_log_missing() -> str | None:
    """Why the row with the access log is left out, if it is."""
    return None
