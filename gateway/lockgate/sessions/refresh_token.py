"""Refresh tokens: a session, a generation, and a MAC that Redis could not make.

    lgr_ base64url( sid: 16 bytes | generation: 4 bytes, big-endian | MAC: 32 bytes | sub: UTF-8 )

The MAC (HMAC-SHA256 by a secret of the key ring) means that Redis holds no usable token and that a forged one cannot
end a session. The next token of a session follows from the one before: a client that lost a response can be given the
same successor again. The prefix is for tools that look for leaked secrets.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from lockgate.codec.mac_token import MacToken

PREFIX: Final = "lgr_"
MAX_TOKEN_CHARACTERS: Final = 2048
_SID_BYTES: Final = 16
_GENERATION_BYTES: Final = 4
_FORM: Final = MacToken(
    prefix=PREFIX.encode("ascii"),
    purpose=b"lockgate refresh token\0",
    sizes=(_SID_BYTES, _GENERATION_BYTES),
    max_bytes=MAX_TOKEN_CHARACTERS,
)


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
        keys: the secrets in use; the first makes, each reads.
    """

    def __init__(self, keys: Callable[[], Sequence[bytes]]) -> None:
        self._keys = keys

    def make(self, claim: RefreshClaim) -> str:
        """The token of a generation; always the same for the same key."""
        generation = claim.generation.to_bytes(_GENERATION_BYTES, "big")
        token = _FORM.make(self._keys()[0], bytes.fromhex(claim.sid), generation, claim.sub.encode("utf-8"))
        return token.decode("ascii")

    def read(self, token: str) -> RefreshClaim | None:
        """What a token says, or `None`: not one of ours."""
        fields = _FORM.read(self._keys(), token.encode("ascii")) if token.isascii() else None
        if fields is None:
            return None
        sid, generation, sub = fields
        return RefreshClaim(sub.decode("utf-8"), sid.hex(), int.from_bytes(generation, "big"))
