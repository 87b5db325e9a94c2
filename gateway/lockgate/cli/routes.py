"""`lockgate routes`: the route table as the gateway understands it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import typer

from lockgate.app.prerequisites import NO_REDIS, find_faults_of_settings
from lockgate.cli.table import format_table
from lockgate.errors import ConfigurationError
from lockgate.settings import RouteSettings
from lockgate.stores.checked_address import read_checked_address

if TYPE_CHECKING:
    from lockgate.settings import Settings

_HEADINGS: Final = ("PREFIX", "NAME", "SERVICE", "AUTH", "METHODS AND SCOPES", "RATE", "OPTIONS", "UPSTREAMS")
_IN_COLUMNS: Final = frozenset({"prefix", "name", "service", "auth", "methods", "scopes", "rate", "upstreams"})
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
    # Longest prefix first: the order in which a path is matched.
    routes = sorted(settings.route, key=lambda route: (-len(route.prefix), route.prefix))
    if as_json:
        content = {
            "redis": redis,
            "accounts": {"service": settings.accounts.service, "upstreams": list(accounts)},
            "routes": [_route_json(route, settings) for route in routes],
        }
        typer.echo(json.dumps(content, indent=2))
    else:
        typer.echo("\n".join(format_table(_HEADINGS, [_route_row(route, settings) for route in routes])))
    if redis is None:
        typer.echo(NO_REDIS, err=True)


def _route_json(route: RouteSettings, settings: Settings) -> dict[str, Any]:
    """Everything about a route, as it holds: what it does not say itself is filled in."""
    filled = {
        "service": route.service_name,
        "upstreams": list(settings.upstreams_of(route)),
        "body_bytes": settings.limits.body_bytes if route.body_bytes is None else route.body_bytes,
        "allowed_origins": list(
            settings.server.allowed_origins if route.allowed_origins is None else route.allowed_origins
        ),
    }
    return {**route.model_dump(mode="json"), **filled}


def _route_row(route: RouteSettings, settings: Settings) -> tuple[str, ...]:
    return (
        route.prefix,
        route.name,
        route.service_name,
        route.auth,
        _describe_access(route),
        ", ".join(route.rate),
        _describe_options(route),
        " ".join(settings.upstreams_of(route)),
    )


def _describe_access(route: RouteSettings) -> str:
    if not route.scopes:
        return " ".join(route.methods)
    return " ".join(f"{method}={'+'.join(scopes) or 'any'}" for method, scopes in route.scopes.items())


def _describe_options(route: RouteSettings) -> str:
    content = route.model_dump(mode="json", exclude_defaults=True, exclude=set(_IN_COLUMNS))
    return " ".join(f"{name}={_format_value(value)}" for name, value in content.items())


def _format_value(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value).lower()
