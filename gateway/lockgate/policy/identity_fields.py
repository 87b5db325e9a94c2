"""Names of a route's choice for the user, for a service that knows nothing of the gateway's signature.

The fields come beside the gateway's own ones, and the signature covers them too. No client can send a field of such a
name, in any spelling and on any route (`edge.headers`), and no service's response can show one. A service that does not
verify the signature believes them from every peer that reaches it, so only its network protects it
(`docs/guides/legacy-services.md`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from lockgate.edge.headers import fold_name, is_written_by_gateway
from lockgate.errors import ConfigurationError
from lockgate.identity.model import Identity
from lockgate.route_settings import RouteSettings
from lockgate_trust import Covered, cover_further
from lockgate_trust.headers import encode_value

# A service reads these for something else than a user, so a user's name there would change what the request means.
_MEANS_SOMETHING: Final = re.compile(
    rb"(?:accept|access-control|cache|content|if|sec|x-envoy|x-original)-.*|x-forwarded-(?:by|method|path|port|prefix"
    rb"|scheme|server|ssl|uri)|idempotency-key|max-forwards|user-agent|x-csrf-token|x-requested-with"
)


@dataclass(frozen=True, slots=True)
class IdentityFields:
    """The names that a route chose, in lower case; each is empty where the service is not told that.

    Attributes:
        user: for the user's id.
        name: for the name that the user logs in with.
        email: for the verified e-mail address.
        roles, scopes: for these, separated by commas.
        folded: all names, as `fold_name` makes them.
        told: `name` and `email`, as far as they have a name here: only a token can tell them.
    """

    user: str
    name: str
    email: str
    roles: str
    scopes: str
    folded: frozenset[bytes]
    told: frozenset[str]

    def cover(self, identity: Identity) -> Covered:
        """The fields of an identity: the gateway's own, then those of these names that have a value.

        Values are spelled as in the gateway's own fields: percent-encoded where they are not visible ASCII, so a comma
        separates and is never part of a role.
        """
        values = (
            (self.user, encode_value(identity.sub)),
            (self.name, encode_value(identity.username)),
            (self.email, encode_value(identity.email)),
            (self.roles, ",".join(sorted(map(encode_value, identity.roles)))),
            (self.scopes, ",".join(sorted(map(encode_value, identity.scopes)))),
        )
        return cover_further(identity.covered, [(name, value) for name, value in values if name and value])


def compile_identity_fields(entry: RouteSettings) -> IdentityFields | None:
    """The names that a route chose; `None` without any.

    Raises:
        ConfigurationError: a name cannot stand for the user, or stands for two things; or the route knows no user.
    """
    if entry.identity_headers is None:
        return None
    place = f"route {entry.name!r}: identity_headers"
    chosen = entry.identity_headers.names()
    if not chosen:
        raise ConfigurationError(f"{place} names nothing")
    if entry.auth == "public":
        raise ConfigurationError(f"{place} means nothing on a public route, which knows no user")
    seen: dict[bytes, str] = {}
    for told, name in chosen.items():
        spelled = name.lower().encode("ascii")
        if "-" not in name or re.search(r"[^0-9A-Za-z-]|--|^-|-$", name):
            raise ConfigurationError(f"{place}.{told}: {name} is not words with hyphens between them, as X-User is")
        if is_written_by_gateway(spelled) or _MEANS_SOMETHING.fullmatch(spelled):
            raise ConfigurationError(f"{place}.{told}: {name} is out of reach: it says something else than the user")
        folded = fold_name(spelled)
        if folded in seen:
            raise ConfigurationError(f"{place}: {seen[folded]} and {name} are one name")
        seen[folded] = name
    lower = {told: name.lower() for told, name in chosen.items()}
    return IdentityFields(
        user=lower.get("user", ""),
        name=lower.get("name", ""),
        email=lower.get("email", ""),
        roles=lower.get("roles", ""),
        scopes=lower.get("scopes", ""),
        folded=frozenset(seen),
        told=frozenset({"name", "email"} & chosen.keys()),
    )
