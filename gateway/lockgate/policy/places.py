"""The places of one host: which prefixes are routed there, and to what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

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
    return places
