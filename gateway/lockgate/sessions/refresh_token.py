"""Refresh tokens: a session, a generation, and a MAC that Redis could not make.

    lgr_ base64url( sid: 16 bytes | generation: 4 bytes, big-endian | MAC: 32 bytes | sub: UTF-8 )

The MAC (HMAC-SHA256 by a secret of the key ring) means that Redis holds no usable token and that a forged one cannot
end anybody's session. The next token of a session follows from the one before: whoever lost an answer can be given the
same successor again. The prefix is for tools that look for leaked secrets.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Final, NamedTuple

PREFIX: Final = "lgr_"
MAX_TOKEN_CHARACTERS: Final = 2048
_SID_BYTES: Final = 16
_GENERATION_BYTES: Final = 4
_MAC_BYTES: Final = 32
_FIXED_BYTES: Final = _SID_BYTES + _GENERATION_BYTES + _MAC_BYTES
_PURPOSE: Final = b"lockgate refresh token\0"


class RefreshClaim(NamedTuple):
    """What a refresh token says. Its MAC was checked; whether it is the current one, Redis knows.

    Attributes:
        sub: the user.
        sid: the session, 32 hexadecimal digits.
        generation: 0 for the token of the login, one more for each refresh.
    """

    sub: str
    sid: str
    generation: int


def new_sid() -> str:
    """A session id: 128 random bits, hexadecimal."""
    return secrets.token_hex(_SID_BYTES)


class RefreshTokens:
    """Makes and reads refresh tokens.

    Args:
        keys: the first makes, each reads.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self.use(keys)

    def use(self, keys: Sequence[bytes]) -> None:
        """Make and read with these from now on."""
        self._keys = tuple(keys)

    def make(self, claim: RefreshClaim) -> str:
        """The token of a generation; always the same for the same key."""
        sid, generation, sub = _encode(claim)
        blob = sid + generation + _mac(self._keys[0], sid, generation, sub) + sub
        return PREFIX + base64.urlsafe_b64encode(blob).rstrip(b"=").decode("ascii")

    def read(self, token: str) -> RefreshClaim | None:
        """What a token says, or `None`: not one of ours."""
        if not token.startswith(PREFIX) or len(token) > MAX_TOKEN_CHARACTERS:
            return None
        text = token.removeprefix(PREFIX)
        try:
            blob = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except ValueError:
            return None
        if len(blob) <= _FIXED_BYTES or base64.urlsafe_b64encode(blob).rstrip(b"=").decode("ascii") != text:
            return None
        sid, rest = blob[:_SID_BYTES], blob[_SID_BYTES:]
        generation, rest = rest[:_GENERATION_BYTES], rest[_GENERATION_BYTES:]
        mac, sub = rest[:_MAC_BYTES], rest[_MAC_BYTES:]
        if not any(hmac.compare_digest(mac, _mac(key, sid, generation, sub)) for key in self._keys):
            return None
        return RefreshClaim(sub.decode("utf-8"), sid.hex(), int.from_bytes(generation, "big"))


def _encode(claim: RefreshClaim) -> tuple[bytes, bytes, bytes]:
    return (
        bytes.fromhex(claim.sid),
        claim.generation.to_bytes(_GENERATION_BYTES, "big"),
        claim.sub.encode("utf-8"),
    )


def _mac(key: bytes, sid: bytes, generation: bytes, sub: bytes) -> bytes:
    return hmac.new(key, _PURPOSE + sid + generation + sub, hashlib.sha256).digest()
