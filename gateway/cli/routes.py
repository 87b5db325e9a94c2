"""`lockgate routes`: the route table as the gateway understands it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from gateway.settings import RouteSettings, Settings

_HEADINGS = ("PREFIX", "SERVICE", "AUTH", "METHODS AND SCOPES", "UPSTREAMS")


def show(settings: Settings) -> None:
    """Print the table, longest prefix first: the order in which a path is matched."""
    routes = sorted(settings.route, key=lambda route: (-len(route.prefix), route.prefix))
    rows = [_HEADINGS, *(_row(route, settings) for route in routes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _row(route: RouteSettings, settings: Settings) -> tuple[str, ...]:
    return (
        route.prefix,
        route.target,
        route.auth,
        _access(route),
        " ".join(settings.upstreams_of(route)),
    )


def _access(route: RouteSettings) -> str:
    if not route.scopes:
        return " ".join(route.methods)
    return " ".join(f"{method}={'+'.join(scopes) or 'any'}" for method, scopes in route.scopes.items())
