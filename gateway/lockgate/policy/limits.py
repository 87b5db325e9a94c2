"""Rate limits as rules: how many requests a route takes of a user, an address, a client, or at all.

`lockgate.admission.rate` counts them. A limit by second, minute or hour slides: it looks back over the last window. A
limit by day or month is a quota of the calendar, in UTC: its count begins at zero at midnight, or on the first.

A limit with a role takes the place of the limit without one that has the same unit and the same window. A user with
several roles has the largest of their limits. So a plan is a role, and an upgrade never lowers what a user may do.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final, Literal, NamedTuple

from lockgate.errors import ConfigurationError

Per = Literal["user", "address", "client", "route"]

DAY_S: Final = 86_400
MONTH_S: Final = 31 * DAY_S
"""The longest month. A limit with this window counts by months of the calendar."""
_SECONDS: Final = {"s": 1, "min": 60, "h": 3600, "day": DAY_S, "month": MONTH_S}
_NAMES: Final = {seconds: name for name, seconds in _SECONDS.items()}
_TEXT: Final = re.compile(
    r"([1-9][0-9]{0,8})/(s|min|h|day|month) per (user|address|client|route)(?: with role ([!-~]{1,256}))?"
)
_FORM: Final = "<count>/<s|min|h|day|month> per <user|address|client|route>, and maybe: with role <role>"


class Limit(NamedTuple):
    """A rate limit of a route.

    Attributes:
        route: the route's name.
        requests: the most requests in a window.
        window_s: the length of the window in seconds.
        per: the unit with a count of its own: each user, each address, each OAuth client, or the whole route.
        role: the limit holds for tokens with this role; `None`: for every request.
    """

    route: str
    requests: int
    window_s: int
    per: Per
    role: str | None = None

    @property
    def name(self) -> str:
        """The name of the limit for clients: unit and window, such as `user-min`."""
        return f"{self.per}-{self.window_name}"

    @property
    def window_name(self) -> str:
        """The window as configured, such as `min`."""
        return _NAMES[self.window_s]

    @property
    def is_quota(self) -> bool:
        """Whether the limit counts by days or months of the calendar."""
        return self.window_s >= DAY_S


def parse_limit(text: str, route: str) -> Limit:
    """Read `300/min per user` or `1000/day per user with role plus`.

    Raises:
        ConfigurationError: another form.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        raise ConfigurationError(f"route {route!r}: a rate is {_FORM}")
    per: Per = match[3]  # type: ignore[assignment]  # the expression allows these four only
    return Limit(route, int(match[1]), _SECONDS[match[2]], per, match[4])


def parse_limits(texts: Sequence[str], route: str, roles: Collection[str]) -> tuple[Limit, ...]:
    """Read all rate limits of a route.

    Args:
        texts: as configured.
        route: the route's name.
        roles: every role that there is.

    Raises:
        ConfigurationError: one of them has another form or an unknown role, or two of them share a counter.
    """
    limits = tuple(parse_limit(text, route) for text in texts)
    counted = [(limit.per, limit.window_s, limit.role) for limit in limits]
    for limit in limits:
        if limit.role is not None and limit.role not in roles:
            raise ConfigurationError(
                f"route {route!r}: a rate names the role {limit.role!r}, which is not among the roles"
            )
        if counted.count((limit.per, limit.window_s, limit.role)) > 1:
            raise ConfigurationError(f"route {route!r}: two rates count the same, {limit.name}; one of them is enough")
    return limits


def choose_limits(limits: Sequence[Limit], role_limits: Sequence[Limit], roles: Collection[str]) -> Sequence[Limit]:
    """The limits of a request by a token.

    Args:
        limits: the route's limits without a role.
        role_limits: the route's limits with a role.
        roles: the roles of the token.
    """
    chosen = {(limit.per, limit.window_s): limit for limit in limits}
    largest: dict[tuple[Per, int], Limit] = {}
    for limit in role_limits:
        if limit.role in roles:
            kind = limit.per, limit.window_s
            if kind not in largest or limit.requests > largest[kind].requests:
                largest[kind] = limit
    return tuple({**chosen, **largest}.values())
