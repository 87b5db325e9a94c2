"""Values that are sealed with AES-256-GCM, so that Redis holds nothing that a reader of Redis could use.

A key is derived from a secret that only a client holds (a ticket, a cookie) and from a purpose, so one secret gives
unrelated keys for unrelated uses.
"""

from __future__ import annotations

import hashlib
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_CONSTANT_NONCE: Final = bytes(_NONCE_BYTES)


def derive_key(purpose: bytes, secret: bytes) -> bytes:
    """A key for sealing: a digest, from which the secret cannot be told.

    Args:
        purpose: which use of the secret the key is for; ends in a zero byte, so that no purpose begins another.
        secret: what only the client holds.
    """
    return hashlib.sha256(purpose + secret).digest()


def seal(key: bytes, value: bytes) -> bytes:
    """A sealed value with a random nonce in front, for a key that seals several values."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, value, None)


def unseal(key: bytes, sealed: bytes) -> bytes | None:
    """The value that `seal` was given; `None` if `sealed` was made with another key, or was changed."""
    return _decrypt_or_none(key, sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:])


def seal_once(key: bytes, value: bytes) -> bytes:
    """A sealed value without a nonce, for a key that seals one value only (NIST SP 800-38D section 8)."""
    return AESGCM(key).encrypt(_CONSTANT_NONCE, value, None)


def unseal_once(key: bytes, sealed: bytes) -> bytes | None:
    """The value that `seal_once` was given; `None` if `sealed` was made with another key, or was changed."""
    return _decrypt_or_none(key, _CONSTANT_NONCE, sealed)


def _decrypt_or_none(key: bytes, nonce: bytes, box: bytes) -> bytes | None:
    if len(nonce) != _NONCE_BYTES or len(box) < _TAG_BYTES:
        return None
    try:
        return AESGCM(key).decrypt(nonce, box, None)
    except InvalidTag:
        return None
