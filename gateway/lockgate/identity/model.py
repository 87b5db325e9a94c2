"""The three stages of trust in a credential, as three types.

`UnverifiedToken` is text that merely looks like a token. `VerifiedClaims` were signed by this issuer for this audience,
but may have been revoked since. `Identity` is a principal that admission let in; only an `Identity` is ever forwarded.
"""

from __future__ import annotations

from typing import Final, NamedTuple, NewType

from lockgate.stores.packed import PackedKeys
from lockgate_trust import Covered

UnverifiedToken = NewType("UnverifiedToken", str)
"""Passed the format gate; nothing in it may be believed, looked up or logged (RFC 8725 section 3.3)."""

MAX_TEXT: Final = 256
"""Characters of a claim at most."""


def tellable(text: object) -> str:
    """A name or an address that a token tells of; empty for what no header could carry."""
    return text if isinstance(text, str) and len(text) <= MAX_TEXT and text.isprintable() else ""


class Principal(NamedTuple):
    """The user, session and grants that the claims of a token name (RFC 7519).

    Attributes:
        sub: the user.
        sid: the session the token belongs to.
        jti: the token.
        roles: what the user is.
        scopes: what the token allows.
        auth_time: when the user authenticated (Unix seconds); `None` where no user did.
        covered: the identity headers that depend on the token alone, prepared for signing.
        username: the name that the user logs in with; empty where the token does not tell it.
        email: the user's verified e-mail address; empty where the token does not tell it.
        email_verified: the token tells that the user has one.
    """

    sub: str
    sid: str
    jti: str
    client_id: str
    roles: tuple[str, ...]
    scopes: frozenset[str]
    auth_time: int | None
    amr: tuple[str, ...]
    covered: Covered
    username: str = ""
    email: str = ""
    email_verified: bool = False

    @property
    def is_limited(self) -> bool:
        """Whether it may do less than its user: a session limited to scopes, or a client in its own name.

        The issuer leaves the roles out of such a token, and an account has one role at least.
        """
        return not self.roles


Identity = NewType("Identity", Principal)
"""A principal that was admitted. Only `lockgate.admission.gate` makes one, after Redis was asked."""


class VerifiedClaims(NamedTuple):
    """The claims of an access token whose signature, issuer, audience and times were checked (RFC 9068 section 4).

    Attributes:
        exp: Unix seconds after which the token is dead, before leeway.
        not_before: Unix seconds from which it may be used, before leeway: the later of `iat` and `nbf`.
        epoch: the user's logout-everywhere counter when the token was issued.
        principal: the subject of the token; an `Identity` once admission has found that nothing of it was revoked.
    """

    exp: float
    not_before: float
    epoch: int
    principal: Principal
    question: PackedKeys
    """The Redis keys that tell whether it was revoked: token, session, epoch."""
    kid: str = ""
    """Of the key that signed it, so that what is open can end with the key; empty where no key did."""
