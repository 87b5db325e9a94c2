"""Rate limits as rules: how many requests a route takes of a user, from an address, or at all.

`lockgate.admission.rate` counts them.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

from lockgate.errors import ConfigurationError

Per = Literal["user", "address", "route"]

_TEXT: Final = re.compile(r"([1-9][0-9]{0,8})/(s|min|h) per (user|address|route)")
_SECONDS: Final = {"s": 1, "min": 60, "h": 3600}


class Limit(NamedTuple):
    """A rate limit of a route.

    Attributes:
        route: the route's name.
        requests: the most requests in a window.
        window_s: the length of the window in seconds.
        per: the unit with a count of its own: each user, each address, or the whole route.
    """

    route: str
    requests: int
    window_s: int
    per: Per


def parse_limit(text: str, route: str) -> Limit:
    """Read `300/min per user`.

    Raises:
        ConfigurationError: not of the form `<count>/<s|min|h> per <user|address|route>`.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        raise ConfigurationError(f"route {route!r}: a rate is <count>/<s|min|h> per <user|address|route>")
    per: Per = match[3]  # type: ignore[assignment]  # the expression allows these three only
    return Limit(route, int(match[1]), _SECONDS[match[2]], per)
