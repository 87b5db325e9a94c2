"""The signature of a token, by the algorithm of its key (RFC 7518 section 3, RFC 8037 section 3.1)."""

from __future__ import annotations

from typing import Final, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from lockgate.keys.keyring import VerificationKey

_ECDSA: Final = ec.ECDSA(SHA256())
_PKCS1: Final = padding.PKCS1v15()
_SHA256: Final = SHA256()
_NUMBER_BYTES: Final = 32
"""Of each of the two numbers of an ES256 signature, and of the two halves of one by Ed25519."""


def is_signed(key: VerificationKey, signed: bytes, signature: bytes) -> bool:
    """Whether this key made this signature, in the one form that its algorithm has.

    Args:
        key: names the algorithm; nothing in the token does.
        signed: the first two parts of the token, with the dot between them.
        signature: the third part, decoded.
    """
    try:
        if key.alg == "RS256":
            # OpenSSL refuses a signature that is not as long as the modulus (RFC 8017 section 8.2.2).
            cast("RSAPublicKey", key.public).verify(signature, signed, _PKCS1, _SHA256)
            return True
        if len(signature) != 2 * _NUMBER_BYTES:
            return False
        if key.alg == "ES256":
            cast("ec.EllipticCurvePublicKey", key.public).verify(_encode_as_der(signature), signed, _ECDSA)
        else:
            cast("Ed25519PublicKey", key.public).verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def _encode_as_der(signature: bytes) -> bytes:
    """The DER that OpenSSL reads, of r and s of 32 bytes each (RFC 7518 section 3.4)."""
    r, s = signature[:_NUMBER_BYTES], signature[_NUMBER_BYTES:]
    return encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
