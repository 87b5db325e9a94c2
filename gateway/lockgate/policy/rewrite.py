"""The path that a service gets: the client's, or with another beginning.

A rewrite replaces the prefix of a route, and nothing behind it. The rest of a canonical path begins with one slash or
is empty, so what a service gets is canonical again. The rest stays as it is, so what a service makes of it that decodes
`%2F` or drops parameters has been judged: `lockgate.policy.routes` compares the places of both readings.
"""

from __future__ import annotations

from typing import NamedTuple

from lockgate.edge.path import ROOT
from lockgate.errors import ConfigurationError
from lockgate.policy.own_paths import is_below
from lockgate.route_settings import RouteSettings
from lockgate.setting_values import upstream_path


class Rewrite(NamedTuple):
    """How the paths of a route become those of its service.

    Attributes:
        prefix: of the route, without a slash at its end; empty for every path.
        base: the path of the upstreams' addresses, without a slash at its end; empty without one.
        place: what takes the place of the prefix, behind the base; without a slash at its end.
        strips: the prefix is removed, and the service is told.
    """

    prefix: str
    base: str
    place: str
    strips: bool

    @property
    def target(self) -> str:
        """What the prefix becomes in a request to an upstream."""
        return self.base + self.place

    def rewrite_path(self, path: str) -> str:
        """The path that the service gets for a canonical path of the route."""
        return f"{self.base}{self.place}{path[len(self.prefix) :]}" or ROOT

    def find_asked(self, path: str) -> str | None:
        """The path that a client asks to get a path of the service, which is without the base; `None` for none."""
        if not is_below(path, self.place):
            return None
        return f"{self.prefix}{path[len(self.place) :]}" or ROOT


def compile_rewrite(
    entry: RouteSettings, prefix: str, replacement: str | None, upstreams: tuple[str, ...]
) -> Rewrite | None:
    """The rewrite of a route; `None` where the service gets the client's path.

    Args:
        entry: the route as configured.
        prefix: its prefix in canonical spelling, without a slash at its end.
        replacement: the canonical spelling of `replace_prefix`, without a slash at its end; `None` without one.
        upstreams: the addresses in effect, which `[upstreams]` may have replaced.

    Raises:
        ConfigurationError: the rewrite changes nothing, a reader could take its path for another one, or the upstreams
            differ in their paths.
    """
    name = f"route {entry.name!r}"
    bases = sorted({upstream_path(url) for url in upstreams})
    if len(bases) > 1:
        raise ConfigurationError(
            f"{name}: its upstreams have different paths, {' and '.join(base or ROOT for base in bases)}; a request "
            "must be the same for each of them"
        )
    if entry.strip_prefix and not prefix:
        raise ConfigurationError(f"{name}: strip_prefix has nothing to remove from the prefix {ROOT}")
    if replacement is not None:
        if not replacement:
            raise ConfigurationError(f"{name}: replace_prefix = {ROOT!r} is written as strip_prefix = true")
        if replacement == prefix:
            raise ConfigurationError(f"{name}: replace_prefix {replacement} is the prefix itself")
        if ";" in replacement or "%3B" in replacement:
            raise ConfigurationError(f"{name}: replace_prefix {replacement}: some services drop what follows ';'")
    place = "" if entry.strip_prefix else prefix if replacement is None else replacement
    base = bases[0] if bases else ""
    if not base and place == prefix:
        return None
    return Rewrite(prefix, base, place, entry.strip_prefix)
