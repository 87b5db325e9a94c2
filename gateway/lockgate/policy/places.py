"""The places of one host: which prefixes are routed there, and to what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from lockgate.policy.own_paths import UNROUTED
from lockgate.policy.route import Route

Place: TypeAlias = Mapping[str, Route]
"""The routes of one prefix, by method; empty where no request is routed."""
Places: TypeAlias = Mapping[str, Place]
"""All places of a host by their prefixes, without a slash at the end; `""` is the prefix of every path."""
UNROUTED_PLACE: Final[Place] = {}


def find_place(places: Places, path: str) -> Place | None:
    """The place with the longest prefix of a canonical path that ends at a segment border."""
    prefix = path
    while True:
        place = places.get(prefix)
        if place is not None:
            return place
        if not prefix:
            return None
        prefix = prefix[: prefix.rfind("/")]


def merge_places(layers: Sequence[Iterable[Route]], unrouted: Iterable[str]) -> Places:
    """The places of a host.

    What a service would get as one of the unrouted paths is no place of a route that rewrites either.

    Args:
        layers: the routes of the host, of the wildcards that cover it, and of every host: the most specific first. A
            route counts where no route before it has a prefix of its prefix.
        unrouted: prefixes that no route has.
    """
    places: dict[str, Place] = dict.fromkeys(unrouted, UNROUTED_PLACE)
    for layer in layers:
        added: dict[str, dict[str, Route]] = {}
        for route in layer:
            prefix = route.prefix.rstrip("/")
            if find_place(places, prefix) is None:
                added.setdefault(prefix, {}).update(dict.fromkeys(route.demands, route))
        places |= added
    for prefix, place in list(places.items()):
        for route in {route.name: route for route in place.values()}.values():
            for hidden in _list_hidden(route):
                _hide_place(places, f"{prefix}{hidden}", route)
    return places


def _list_hidden(route: Route) -> Iterable[str]:
    """What follows the prefix of a route in paths that become, behind its rewrite, those that no route has."""
    rewrite = route.rewrite
    if rewrite is None:
        return ()
    return {
        hidden[len(start) :]
        for hidden in UNROUTED
        for start in (rewrite.target, rewrite.place)
        if hidden.startswith(f"{start}/")
    }


def _hide_place(places: dict[str, Place], path: str, route: Route) -> None:
    """Take a path away from a route, and leave it to the other routes of the same place."""
    place = find_place(places, path)
    if place is not None and any(one is route for one in place.values()):
        places[path] = {method: other for method, other in place.items() if other is not route}
