"""A key ring with a key of each kind, and tokens signed with any of them, also with odd claims."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from lockgate.clock import Clock
from lockgate.errors import Reason, Refusal
from lockgate.identity.bearer import format_gate
from lockgate.identity.marks import SharedMarks
from lockgate.identity.model import VerifiedClaims
from lockgate.identity.verifier import AccessTokenRules, Verifier
from lockgate.keys import keyring
from lockgate.keys.current import Current
from lockgate.keys.keyring import KeyRing, PrivateKey
from lockgate.stores.layout import admission_keys
from tests.support.tokens import ABSENT, base64url, encoded, signature

ISSUER: Final = "https://gateway.example"
AUDIENCE: Final = "shop"
LIFE_S: Final = 300
LEEWAY_S: Final = 10
REFRESH_SECRET: Final = base64url(b"r" * 32)
RULES: Final = AccessTokenRules(ISSUER, AUDIENCE, LEEWAY_S, LIFE_S)


def generate(alg: str) -> PrivateKey:
    """A new private key for a JWS algorithm."""
    if alg == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if alg == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(65537, 2048)


def write_ring(folder: Path, keys: Mapping[str, PrivateKey], *, active: str = "EdDSA") -> Path:
    """Write a key ring as an operator would find it.

    Args:
        folder: made where missing.
        keys: by algorithm.
        active: the algorithm of the key that signs.
    """
    (folder / "signing").mkdir(parents=True, exist_ok=True)
    entries = []
    for alg, key in keys.items():
        kid = keyring.thumbprint(key.public_key())
        write_private(folder / "signing" / f"{kid}.pem", pem(key))
        entries.append({"kid": kid, "alg": alg, "state": "active" if alg == active else "passive"})
    write_private(folder / "ring.json", json.dumps({"keys": entries}).encode())
    write_private(folder / "refresh.json", json.dumps({"keys": [{"id": "1", "secret": REFRESH_SECRET}]}).encode())
    return folder


def write_private(path: Path, content: bytes) -> None:
    """A file that only its owner may read."""
    path.write_bytes(content)
    path.chmod(0o600)


def pem(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class Signer:
    """Signs with one key of the ring.

    Args:
        ring: that verifies.
        key: the private key.
        alg: its algorithm.
        clock: the time.
    """

    def __init__(self, ring: KeyRing, key: PrivateKey, alg: str, clock: Clock) -> None:
        self.ring = ring
        self.key = key
        self.alg = alg
        self.kid = keyring.thumbprint(key.public_key())
        self._clock = clock

    def header(self, **changes: object) -> dict[str, Any]:
        """The header of a valid token, with changes; `ABSENT` removes a member."""
        return _changed({"typ": "at+jwt", "alg": self.alg, "kid": self.kid}, changes)

    def claims(self, **changes: object) -> dict[str, Any]:
        """The claims of a valid token, with changes; `ABSENT` removes a member."""
        now = int(self._clock.now())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "alice",
            "client_id": "web",
            "iat": now,
            "exp": now + LIFE_S,
            "jti": "token-1",
            "sid": "session-1",
            "scope": "orders:read",
            "roles": ["customer"],
            "epoch": 0,
            "auth_time": now,
            "amr": ["pwd"],
        }
        return _changed(claims, changes)

    def token(self, header: Mapping[str, object] | None = None, /, **claims: object) -> str:
        """A validly signed token; its claims may be odd."""
        return self.sign(encoded(self.header() if header is None else header), encoded(self.claims(**claims)))

    def raw(self, *, header: bytes | None = None, payload: bytes | None = None) -> str:
        """A validly signed token of these bytes."""
        head = base64url(header) if header is not None else encoded(self.header())
        body = base64url(payload) if payload is not None else encoded(self.claims())
        return self.sign(head, body)

    def sign(self, header: str, payload: str) -> str:
        """Sign two parts as they are."""
        text = f"{header}.{payload}"
        return f"{text}.{base64url(signature(self.key, text.encode()))}"


class Gate:
    """The whole way of a credential: format gate, then verifier; both as the pipeline calls them."""

    def __init__(
        self,
        ring: KeyRing,
        clock: Clock,
        rules: AccessTokenRules = RULES,
        *,
        cache_size: int = 100,
        marks: SharedMarks | None = None,
    ) -> None:
        self.keys = Current(ring)
        shared = marks or SharedMarks()
        self.verifier = Verifier(self.keys, rules, clock, marks=shared, cache_size=cache_size, keys_of=admission_keys)

    def judge(self, token: str | bytes) -> VerifiedClaims | Refusal:
        unverified = format_gate(token if isinstance(token, bytes) else token.encode())
        return unverified if isinstance(unverified, Refusal) else self.verifier.verify(unverified)


def accepted(outcome: VerifiedClaims | Refusal) -> VerifiedClaims:
    """The claims of a token that was believed."""
    assert isinstance(outcome, VerifiedClaims), outcome
    return outcome


def _changed(members: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**members, **changes}.items() if value is not ABSENT}


def refused(outcome: object, *reasons: Reason) -> None:
    """A refusal for one of the reasons; of no reason but `exp` alone is a client told more than `invalid_token`."""
    assert isinstance(outcome, Refusal), outcome
    assert outcome.reason in reasons, outcome
    assert outcome.reason.status == 401
    assert outcome.reason.code == ("token_expired" if outcome.reason is Reason.TOKEN_EXPIRED else "invalid_token")
