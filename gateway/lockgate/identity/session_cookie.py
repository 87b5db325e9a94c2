"""The session cookie: a reference to a session, with a MAC that Redis could not make, and nothing to read in it.

    lgc_ base64url( sid: 16 bytes | MAC: 32 bytes | sub: UTF-8 )

It stays the same for as long as the session lives, so that there is no race between tabs that could clear it. The MAC
(HMAC-SHA256 by a secret of the key ring) means that a reader of a session's id, which stands in headers and logs, or
reads Redis, cannot make its cookie. The user's id is in it because it names the slot that holds the session.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple

from lockgate.codec.mac_token import MacToken
from lockgate.edge.cookies import LOCALHOST_NAME, SECURE_NAME

PREFIX: Final = b"lgc_"
MAX_BYTES: Final = 2048
_FORM: Final = MacToken(prefix=PREFIX, purpose=b"lockgate session cookie\0", sizes=(16,), max_bytes=MAX_BYTES)

Mode = Literal["off", "secure", "localhost"]
NAMES: Final[dict[Mode, bytes]] = {"off": b"", "secure": SECURE_NAME, "localhost": LOCALHOST_NAME}


class SessionCookie(NamedTuple):
    """A cookie whose MAC was checked; whether its session lives, Redis knows.

    Attributes:
        value: as the browser sends it.
        sub: the user.
        sid: the session, 32 hexadecimal digits.
    """

    value: bytes
    sub: str
    sid: str


class CookieCodec:
    """Makes and reads the values of session cookies.

    Args:
        keys: the secrets in use; the first makes, each reads.
    """

    def __init__(self, keys: Callable[[], Sequence[bytes]]) -> None:
        self._keys = keys

    def make(self, sub: str, sid: str) -> SessionCookie:
        """The cookie of a session."""
        return SessionCookie(_FORM.make(self._keys()[0], bytes.fromhex(sid), sub.encode("utf-8")), sub, sid)

    def read(self, value: bytes) -> SessionCookie | None:
        """What a cookie says, or `None`: not one of ours, or not to the letter."""
        fields = _FORM.read(self._keys(), value)
        if fields is None:
            return None
        sid, sub = fields
        return SessionCookie(value, sub.decode("utf-8"), sid.hex())


def set_cookie(mode: Mode, value: bytes, max_age_s: int) -> str:
    """The Set-Cookie field that gives a browser its cookie.

    Args:
        mode: `secure`, or `localhost` for plain HTTP on the machine itself.
        value: of the cookie.
        max_age_s: until the session ends in any case.
    """
    secure = "; Secure" if mode == "secure" else ""
    name = NAMES[mode].decode("ascii")
    return f"{name}={value.decode('ascii')}; Path=/; HttpOnly{secure}; SameSite=Lax; Max-Age={max_age_s}"


def delete_cookie(mode: Mode) -> str:
    """The Set-Cookie field that takes it away: the same attributes, or the browser would keep the one it has."""
    return set_cookie(mode, b"", 0)
