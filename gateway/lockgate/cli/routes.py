"""`lockgate routes`: the route table as the gateway understands it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import typer

from lockgate.app.prerequisites import NO_REDIS, find_faults_of_settings
from lockgate.cli.table import format_table
from lockgate.edge.path import ROOT
from lockgate.errors import ConfigurationError
from lockgate.policy.hosts import WILDCARD
from lockgate.policy.routes import RouteTable
from lockgate.route_settings import RouteSettings
from lockgate.stores.checked_address import read_checked_address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lockgate.settings import Settings

_HEADINGS: Final = ("HOST", "PREFIX", "NAME", "SERVICE", "AUTH", "METHODS AND SCOPES", "RATE", "OPTIONS", "LEADS TO")
_IN_COLUMNS: Final = frozenset(
    {"hosts", "prefix", "name", "service", "auth", "methods", "scopes", "rate", "upstreams", "redirect", "respond"}
)
"""The others are options, shown where they are not what they are by default."""


def check_routes(settings: Settings, *, as_json: bool) -> None:
    """Check what a start reads, but for the keys (`lockgate keys check`), and print the table.

    Raises:
        ConfigurationError: a start would be refused.
    """
    faults = find_faults_of_settings(settings)
    if faults:
        raise ConfigurationError(*faults)
    redis = None if settings.redis_url is None else read_checked_address(settings.redis_url.get_secret_value()).place
    accounts = settings.upstream_urls(settings.accounts.service)
    rows, table = _list_rows(settings.route), RouteTable.from_settings(settings)
    if as_json:
        content = {
            "redis": redis,
            "accounts": {"service": settings.accounts.service, "upstreams": list(accounts)},
            "routes": [
                _route_json(route, settings, table) for route in {route.name: route for _, route in rows}.values()
            ],
        }
        typer.echo(json.dumps(content, indent=2))
    else:
        typer.echo(
            "\n".join(format_table(_HEADINGS, [_route_row(host, route, settings, table) for host, route in rows]))
        )
    if redis is None:
        typer.echo(NO_REDIS, err=True)


def _list_rows(routes: Iterable[RouteSettings]) -> list[tuple[str, RouteSettings]]:
    """Each host of each route, in the order in which a request is matched."""
    rows = [(host, route) for route in routes for host in route.hosts or ("",)]
    return sorted(rows, key=lambda row: (_rank(row[0]), -len(row[1].prefix), row[1].prefix, row[1].name))


def _rank(host: str) -> tuple[int, int, str]:
    """The place of a host in the order of matching: names, then wildcards with the longest first, then every host."""
    if not host:
        return 2, 0, ""
    return (1, -len(host), host) if host.startswith(WILDCARD) else (0, 0, host)


def _route_json(route: RouteSettings, settings: Settings, table: RouteTable) -> dict[str, Any]:
    """Everything about a route, as it holds: what it does not say itself is filled in."""
    filled = {
        "service": route.service_name if route.upstreams else None,
        "upstreams": list(settings.upstreams_of(route)),
        "prefix_at_service": _find_place(route, table) if route.upstreams else None,
        "body_bytes": settings.limits.body_bytes if route.body_bytes is None else route.body_bytes,
        "allowed_origins": list(
            settings.server.allowed_origins if route.allowed_origins is None else route.allowed_origins
        ),
    }
    return {**route.model_dump(mode="json"), **filled}


def _find_place(route: RouteSettings, table: RouteTable) -> str:
    """What the prefix of a route to a service becomes in the path that the service gets."""
    found = table.named(route.name)
    return route.prefix if found is None or found.rewrite is None else found.rewrite.target or ROOT


def _route_row(host: str, route: RouteSettings, settings: Settings, table: RouteTable) -> tuple[str, ...]:
    return (
        host,
        route.prefix,
        route.name,
        route.service_name if route.upstreams else "",
        route.auth if route.upstreams else "",
        _describe_access(route),
        ", ".join(route.rate),
        _describe_options(route),
        _describe_end(route, settings, table),
    )


def _describe_end(route: RouteSettings, settings: Settings, table: RouteTable) -> str:
    if route.redirect is not None:
        return f"{route.redirect.status} {route.redirect.to}"
    if route.respond is not None:
        return str(route.respond.status)
    ends, place = " ".join(settings.upstreams_of(route)), _find_place(route, table)
    return ends if place == route.prefix else f"{ends} (as {place})"


def _describe_access(route: RouteSettings) -> str:
    if not route.scopes:
        return " ".join(route.methods)
    return " ".join(f"{method}={'+'.join(scopes) or 'any'}" for method, scopes in route.scopes.items())


def _describe_options(route: RouteSettings) -> str:
    content = route.model_dump(mode="json", exclude_defaults=True, exclude=set(_IN_COLUMNS))
    return " ".join(f"{name}={_format_value(value)}" for name, value in content.items())


def _format_value(value: object) -> str:
    if isinstance(value, dict):
        return json.dumps(value, separators=(",", ":"))
    return ",".join(map(str, value)) if isinstance(value, list) else str(value).lower()
