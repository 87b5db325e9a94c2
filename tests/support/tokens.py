"""Access tokens, right ones and odd ones, signed with a node's own key or with any other."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Mapping
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from lockgate.clock import Clock
from lockgate.keys.keyring import PrivateKey, SigningKey
from lockgate.settings import TokenSettings

ABSENT: Final = object()
"""As the value of a member: leave it out."""

_serial = itertools.count(1)


class Tokens:
    """Makes access tokens as the node's issuer would, member by member changeable.

    Args:
        key: signs.
        settings: say issuer, audience and life.
        clock: the time.
    """

    def __init__(self, key: SigningKey, settings: TokenSettings, clock: Clock) -> None:
        self.key = key
        self._settings = settings
        self._clock = clock

    def claims(self, **changes: object) -> dict[str, Any]:
        """The claims of a valid token for a user of its own (`u1`, `u2`, …), with changes; `ABSENT` removes one."""
        number = next(_serial)
        now = int(self._clock.now())
        claims = {
            "iss": self._settings.issuer,
            "aud": self._settings.audience,
            "sub": f"u{number}",
            "client_id": self._settings.client_id,
            "iat": now,
            "exp": now + self._settings.access_life_s,
            "jti": f"j{number}",
            "sid": f"s{number}",
            "scope": "orders:read orders:write",
            "roles": ["customer"],
            "epoch": 0,
            "auth_time": now,
            "amr": ["pwd"],
        }
        return _changed(claims, changes)

    def header(self, **changes: object) -> dict[str, Any]:
        """The header of a valid token, with changes."""
        return _changed({"typ": "at+jwt", "kid": self.key.kid, "alg": self.key.alg}, changes)

    def token(self, header: Mapping[str, Any] | None = None, **claims: object) -> str:
        """A signed token; what it says may be odd, the signature is right."""
        return self.sign(encoded(self.header() if header is None else header), encoded(self.claims(**claims)))

    def sign(self, header: str, payload: str) -> str:
        """Sign two parts that are base64url already, with any content."""
        text = f"{header}.{payload}"
        return f"{text}.{base64url(signature(self.key.private, text.encode()))}"

    def bearer(self, **claims: Any) -> str:  # noqa: ANN401 - any JSON value
        """The line of a request head that carries a valid token."""
        return f"Authorization: Bearer {self.token(**claims)}\r\n"


def signature(key: PrivateKey, text: bytes) -> bytes:
    """The JWS signature of a text (RFC 7518 section 3, RFC 8037 section 3.1)."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(text)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(key.sign(text, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")
    return key.sign(text, padding.PKCS1v15(), hashes.SHA256())


def encoded(value: object) -> str:
    """JSON as a part of a token."""
    return base64url(json.dumps(value, separators=(",", ":")).encode())


def base64url(data: bytes) -> str:
    """Without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _changed(members: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**members, **changes}.items() if value is not ABSENT}
