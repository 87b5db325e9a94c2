"""Conditions of a route on the identity of a request, beyond scopes: fixed words, no expression language.

A condition compares claims of the token with the route's configuration. A claim that is absent meets no condition: a
token that a client got in its own name has no `auth_time`, no `amr` and no roles, and a token that is limited to some
scopes has no roles.

A route with a condition needs a token. On an optional route a request without one would be refused, so the word would
be wrong; on a public route the gateway looks at no token. Both end the start instead of refusing requests. So does a
condition that no token could meet, such as a method of authentication that no login has.

There is no expression language. An expression has no list of claims that a reader could check, a mistake in one shows
as a request that was let in, and services get the same claims with a signature.

The rights of the identity come before the age and the kind of its authentication. So a client is asked for a new login
only where the new login helps.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import unquote

from lockgate.edge.path import canonical_path
from lockgate.edge.wire import WireError
from lockgate.errors import ConfigurationError, Reason, Refusal
from lockgate.identity.model import Principal
from lockgate.route_settings import RouteSettings
from lockgate.settings import Settings

_SUBJECT: Final = "/{sub}"
_NOT_IN_A_SEGMENT: Final = frozenset("/\\;%")
"""A service that decodes more than once, or drops path parameters, reads a segment with one of these as another."""


class Owner(NamedTuple):
    """The paths that belong to a user: `/users/{sub}`, and everything below.

    Attributes:
        head: the path up to the segment of the subject, with a slash at its end.
        tail: the segments behind it, with a slash before them; empty where there are none.
    """

    head: str
    tail: str

    def __str__(self) -> str:
        """As configured."""
        return f"{self.head}{{sub}}{self.tail}"

    def owns(self, sub: str, path: str) -> bool:
        """Whether a canonical path belongs to a subject. `%2F` is an ordinary character of a segment."""
        if not path.startswith(self.head) or not _NOT_IN_A_SEGMENT.isdisjoint(sub):
            return False
        segment, slash, below = path[len(self.head) :].partition("/")
        if segment != sub and unquote(segment, errors="strict") != sub:
            return False
        return not self.tail or f"{slash}{below}/".startswith(f"{self.tail}/")


class Conditions(NamedTuple):
    """The conditions of a route. An empty one holds always.

    Attributes:
        roles: the token has one of these roles.
        amr: the user authenticated by each of these methods (RFC 8176).
        max_auth_age_s: the user authenticated at most so many seconds ago; 0: any time ago.
        email_verified: the users service has verified the user's e-mail address.
        owner: the path belongs to the user.
    """

    roles: frozenset[str]
    amr: frozenset[str]
    max_auth_age_s: int
    email_verified: bool
    owner: Owner | None


def compile_conditions(entry: RouteSettings, prefix: str, settings: Settings) -> Conditions | None:
    """The conditions of a route; `None` where it has none.

    Args:
        entry: the route.
        prefix: its prefix in canonical spelling.
        settings: the roles, and the leeway of clocks.

    Raises:
        ConfigurationError: nothing could ever meet a condition, or the route takes requests without an identity.
    """
    place = f"route {entry.name!r}"
    words = entry.roles or entry.amr or entry.max_auth_age_s or entry.email_verified
    if not words and entry.owner is None:
        return None
    if entry.auth != "required":
        raise ConfigurationError(
            f"{place}: roles, amr, max_auth_age_s, email_verified and owner need "
            'auth = "required": without a token none is met'
        )
    unknown = set(entry.roles) - settings.roles.keys()
    if unknown:
        raise ConfigurationError(f"{place}: there is no role {min(unknown)!r}")
    if 0 < entry.max_auth_age_s <= settings.token.leeway_s:
        raise ConfigurationError(
            f"{place}: max_auth_age_s must be more than token.leeway_s ({settings.token.leeway_s}), by which clocks may"
            " differ: a new login could be too old already"
        )
    owner = None if entry.owner is None else _parse_owner(entry.owner, prefix, place)
    roles, amr = frozenset(entry.roles), frozenset(entry.amr)
    return Conditions(roles, amr, entry.max_auth_age_s, entry.email_verified, owner)


def find_unmet(conditions: Conditions, principal: Principal, path: str, now: float) -> Refusal | None:
    """The refusal of a request that does not meet a condition; `None` where it meets all of them.

    Args:
        conditions: of the route.
        principal: of the token.
        path: the canonical path of the request.
        now: Unix seconds.
    """
    if conditions.roles and conditions.roles.isdisjoint(principal.roles):
        return Refusal(Reason.ROLE_MISSING)
    if conditions.owner is not None and not conditions.owner.owns(principal.sub, path):
        return Refusal(Reason.NOT_OWNER)
    if conditions.email_verified and not principal.email_verified:
        return Refusal(Reason.EMAIL_UNVERIFIED)
    longest = conditions.max_auth_age_s
    if not conditions.amr.issubset(principal.amr):
        return Refusal(Reason.AMR_MISSING, max_age_s=longest)
    if longest and (principal.auth_time is None or now - principal.auth_time > longest):
        return Refusal(Reason.AUTH_TOO_OLD, max_age_s=longest)
    return None


def _parse_owner(text: str, prefix: str, place: str) -> Owner:
    """Read `/users/{sub}/orders`.

    Raises:
        ConfigurationError: no path of the route fits.
    """
    head, found, tail = text.partition(_SUBJECT)
    if not found or (tail and not tail.startswith("/")) or text.endswith("/"):
        raise ConfigurationError(f"{place}: owner is a path with one segment {{sub}}, such as {prefix}/{{sub}}")
    if not _is_canonical(f"{head}/x{tail}"):
        raise ConfigurationError(f"{place}: owner {text!r} is not in the canonical spelling of a path")
    if head != prefix and not head.startswith(f"{prefix}/"):
        raise ConfigurationError(f"{place}: no path of owner {text!r} is below {prefix}")
    return Owner(f"{head}/", tail)


def _is_canonical(path: str) -> bool:
    try:
        return canonical_path(path.encode("ascii")) == path
    except (WireError, UnicodeEncodeError):
        return False
