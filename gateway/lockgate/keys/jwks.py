"""The public half of the key ring, as others read it (RFC 7517)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from lockgate.keys.keyring import KeyRing, VerificationKey

_TO_JWK: dict[str, Callable[[Any], str]] = {
    "EdDSA": OKPAlgorithm.to_jwk,
    "ES256": ECAlgorithm.to_jwk,
    "RS256": RSAAlgorithm.to_jwk,
}
_PUBLIC_MEMBERS = frozenset({"kty", "crv", "x", "y", "n", "e"})


def jwk(key: VerificationKey) -> dict[str, Any]:
    """One public key as a JWK; made from an allow-list of members, never by leaving some out."""
    members = json.loads(_TO_JWK[key.alg](key.public))
    public = {name: value for name, value in members.items() if name in _PUBLIC_MEMBERS}
    return {**public, "kid": key.kid, "alg": key.alg, "use": "sig"}


def jwks(ring: KeyRing) -> dict[str, Any]:
    """The JWK Set of every key that verifies."""
    return {"keys": [jwk(key) for key in ring.verifying.values()]}
