"""Refuses a rewrite by which a client would get what another route of the same service guards more strictly (R-266).

`/public` with `strip_prefix` leads to every path of its service, `/orders` included. Where a route of the same service
has `/orders` with scopes, `/public/orders` would be a way around them. So the table is looked at as the service sees
it: at each place that routes lead to, their demands are compared method by method. A route in between takes the way
off: `/public/orders` with a route of its own belongs to that route.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeAlias

from lockgate.edge.path import ROOT
from lockgate.errors import ConfigurationError
from lockgate.policy.authorize import Demand
from lockgate.policy.conditions import Conditions
from lockgate.policy.places import Places, find_place
from lockgate.policy.route import Route
from lockgate.setting_values import upstream_address

_RANKS: Final = {"public": 0, "optional": 1, "required": 2}
_Space: TypeAlias = dict[str, list[Route]]
"""The routes that lead to the same service, by the place there that their prefix becomes; `""` for the root."""


def check_rewrites(routes: Iterable[Route], tables: Mapping[str, Places]) -> None:
    """Check a table of routes.

    Args:
        routes: in configured order.
        tables: the places of each kind of host.

    Raises:
        ConfigurationError: a route leads to what another one guards more strictly. The text names both.
    """
    for space in _list_spaces(routes):
        if any(route.rewrite is not None for here in space.values() for route in here):
            guards = {place: _list_guards(here) for place, here in space.items()}
            for place, here in space.items():
                _check_ways(space, place, guards[place], tables)
                for route in here:
                    if route.rewrite is not None:
                        _check_end(guards, place, route)


def _list_spaces(routes: Iterable[Route]) -> Iterable[_Space]:
    """The paths of each address, and of each service behind the paths of its addresses."""
    spaces: dict[object, _Space] = {}
    for route in routes:
        if route.reply is not None:
            continue
        rewrite, prefix = route.rewrite, route.prefix.rstrip("/")
        spaces.setdefault(route.service, {}).setdefault(prefix if rewrite is None else rewrite.place, []).append(route)
        for host, port in {upstream_address(url.lower()) for url in route.upstreams}:
            space = spaces.setdefault((host, port), {})
            space.setdefault(prefix if rewrite is None else rewrite.target, []).append(route)
    return spaces.values()


def _list_guards(here: Iterable[Route]) -> list[Route]:
    """Two routes at most of all that guard a place alike: a hundred that do are compared as two.

    Two, because a route is compared with the others alone.
    """
    kept: dict[object, list[Route]] = {}
    for route in here:
        alike = kept.setdefault(_describe_guard(route), [])
        if len(alike) <= 1:
            alike.append(route)
    return [route for alike in kept.values() for route in alike]


def _describe_guard(route: Route) -> object:
    """A value that is equal for routes with equal demands."""
    demands = [
        (
            method,
            demand.auth,
            demand.scopes,
            tuple(limit._replace(route="") for limit in (*demand.limits, *demand.role_limits)),
            None if demand.conditions is None else demand.conditions._replace(owner=None),
            _owned_place(route, demand.conditions),
        )
        for method, demand in route.demands.items()
    ]
    return route.rewrite is None, route.addresses, tuple(sorted(demands, key=lambda demand: demand[0]))


def _list_above(place: str) -> Iterator[str]:
    """The places above a place, the nearest first."""
    while place:
        place = place[: place.rfind("/")]
        yield place


def _check_ways(space: _Space, place: str, guards: list[Route], tables: Mapping[str, Places]) -> None:
    """The routes that lead to a place, from there or from above, and the routes that guard it."""
    for start in (place, *_list_above(place)):
        for route in space.get(start, ()):
            others = [one for one in guards if one is not route and (one.rewrite or route.rewrite)]
            if not others:
                continue
            asked = f"{route.prefix.rstrip('/')}{place[len(start) :]}"
            for method in _reached_methods(route, asked, tables):
                taking = [one for one in others if method in one.demands]
                for other in taking:
                    _compare(route, other, method, asked, place)
                if not taking and start != place and route.rewrite is not None:
                    raise _refuse(route, others[0], asked, place, f"it takes no {method}")


def _reached_methods(route: Route, path: str, tables: Mapping[str, Places]) -> list[str]:
    """The methods by which a path has this route, on any host."""
    places = [find_place(table, path) or {} for table in tables.values()]
    return [method for method in route.demands if any(place.get(method) is route for place in places)]


def _check_end(guards: _Space, place: str, route: Route) -> None:
    """The place of a rewrite, and the routes that lead there from above: for each method the nearest ones."""
    for method in route.demands:
        for above in (place, *_list_above(place)):
            taking = [one for one in guards.get(above, ()) if one is not route and method in one.demands]
            for other in taking:
                _compare(route, other, method, route.prefix, place)
            if taking:
                break


def _compare(route: Route, other: Route, method: str, asked: str, place: str) -> None:
    stricter = _find_stricter(route, other, method)
    if stricter:
        raise _refuse(route, other, asked, place, f"by its {stricter}")


def _refuse(route: Route, other: Route, asked: str, place: str, how: str) -> ConfigurationError:
    return ConfigurationError(
        f"routes {route.name!r} and {other.name!r} lead to the same service: by {asked or ROOT} of {route.name!r} a "
        f"client would get {place or ROOT} there, which {other.name!r} guards more strictly ({how}); give them the "
        f"same demands, or the path {asked or ROOT} a route of its own"
    )


def _find_stricter(route: Route, other: Route, method: str) -> str:
    """The setting by which another route guards a method more strictly; empty where it does not."""
    mine, others = route.demands[method], other.demands[method]
    if other.addresses is not None and other.addresses != route.addresses:
        return "allow_addresses or deny_addresses"
    if _RANKS[mine.auth] < _RANKS[others.auth]:
        return "auth"
    if not others.scopes <= mine.scopes:
        return "scopes"
    if others.conditions is not None:
        condition = _find_stricter_condition(route, mine.conditions, other, others.conditions)
        if condition:
            return condition
    return "" if _limits_as_much(mine, others) else "rate"


def _find_stricter_condition(route: Route, mine: Conditions | None, other: Route, others: Conditions) -> str:
    roles, amr = (frozenset(), frozenset()) if mine is None else (mine.roles, mine.amr)
    longest = 0 if mine is None else mine.max_auth_age_s
    if others.roles and not (roles and roles <= others.roles):
        return "roles"
    if not others.amr <= amr:
        return "amr"
    if others.max_auth_age_s and not 0 < longest <= others.max_auth_age_s:
        return "max_auth_age_s"
    if others.email_verified and not (mine is not None and mine.email_verified):
        return "email_verified"
    if others.owner is not None and _owned_place(route, mine) != _owned_place(other, others):
        return "owner"
    return ""


def _owned_place(route: Route, conditions: Conditions | None) -> str | None:
    """The paths of `owner` as the service gets them."""
    owner = None if conditions is None else conditions.owner
    if owner is None:
        return None
    return str(owner) if route.rewrite is None else route.rewrite.rewrite_path(str(owner))


def _limits_as_much(mine: Demand, others: Demand) -> bool:
    """Whether no client may send more by the first demand than by the second."""
    counts = {(limit.per, limit.window_s, limit.role): limit.requests for limit in (*mine.limits, *mine.role_limits)}
    for limit in (*others.limits, *others.role_limits):
        kind = limit.per, limit.window_s
        if counts.get((*kind, limit.role), limit.requests + 1) > limit.requests:
            return False
        if limit.role is None:
            own = {one.role for one in others.role_limits if (one.per, one.window_s) == kind}
            raised = (one for one in mine.role_limits if (one.per, one.window_s) == kind and one.role not in own)
            if any(one.requests > limit.requests for one in raised):
                return False
    return True
