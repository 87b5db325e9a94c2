"""Makes access tokens (RFC 9068)."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from jwt import api_jws

from lockgate.clock import Clock
from lockgate.keys.current import Current
from lockgate.keys.keyring import KeyRing

_COMPACT: Final = json.JSONEncoder(separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Subject:
    """The subject of a token.

    Attributes:
        sub: the user.
        sid: the session.
        epoch: the user's logout-everywhere counter now; a later one makes the token worthless.
        auth_time: when the user authenticated (Unix seconds); `None` where no user did (RFC 9068 section 2.2.1).
        amr: how they did (RFC 8176).
        username: the name that the user logs in with; empty where the token is not to tell it.
        email: the user's verified e-mail address; empty where the token is not to tell it.
        email_verified: the token is to tell that the user has one.
    """

    sub: str
    sid: str
    client_id: str
    epoch: int
    roles: Sequence[str]
    scopes: Sequence[str]
    auth_time: int | None
    amr: Sequence[str]
    username: str = ""
    email: str = ""
    email_verified: bool = False


class Issuer:
    """Signs access tokens with the active key.

    Args:
        issuer: `iss`.
        audience: `aud`.
        life_s: how long a token lives, in whole seconds.
        clock: the time.
    """

    def __init__(self, keys: Current[KeyRing], *, issuer: str, audience: str, life_s: int, clock: Clock) -> None:
        self._issuer = issuer
        self._audience = audience
        self.life_s = life_s
        self._clock = clock
        self._keys = keys

    def now(self) -> float:
        """The time by the clock that tokens are issued by, Unix seconds."""
        return self._clock.now()

    def issue(self, subject: Subject) -> str:
        """Make a token that is valid from now on, with a `jti` of 128 random bits."""
        now = int(self._clock.now())
        authenticated = {"auth_time": subject.auth_time, "amr": list(subject.amr)}
        # OpenID Connect Core section 5.1 has these names.
        told = {
            "preferred_username": subject.username,
            "email": subject.email,
            "email_verified": subject.email_verified,
        }
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": subject.sub,
            "client_id": subject.client_id,
            "iat": now,
            "exp": now + self.life_s,
            "jti": secrets.token_urlsafe(16),
            "sid": subject.sid,
            "scope": " ".join(subject.scopes),
            "roles": list(subject.roles),
            "epoch": subject.epoch,
            **(authenticated if subject.auth_time is not None else {}),
            **{name: value for name, value in told.items() if value},
        }
        key = self._keys.value.active
        header = {"typ": "at+jwt", "kid": key.kid}
        # The JWS, because `api_jwt.encode` only adds checks for claims that a caller did not make itself.
        return api_jws.encode(_COMPACT.encode(claims).encode("ascii"), key.private, algorithm=key.alg, headers=header)
