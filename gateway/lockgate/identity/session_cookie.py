"""The session cookie: a reference to a session, with a MAC that Redis could not make, and nothing to read in it.

    lgc_ base64url( sid: 16 bytes | MAC: 32 bytes | sub: UTF-8 )

It stays the same for as long as the session lives, so that there is no race between tabs that could clear it. The MAC
(HMAC-SHA256 by a secret of the key ring) means that whoever knows a session's id, which stands in headers and logs, or
reads Redis, cannot make its cookie. The user's id is in it because it names the slot that holds the session.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from lockgate.edge.cookies import LOCALHOST_NAME, SECURE_NAME

PREFIX: Final = b"lgc_"
MAX_BYTES: Final = 2048
_SID_BYTES: Final = 16
_MAC_BYTES: Final = 32
_PURPOSE: Final = b"lockgate session cookie\0"

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
        keys: the first makes, each reads.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self.use(keys)

    def use(self, keys: Sequence[bytes]) -> None:
        """Make and read with these from now on."""
        self._keys = tuple(keys)

    def make(self, sub: str, sid: str) -> SessionCookie:
        """The cookie of a session."""
        head, tail = bytes.fromhex(sid), sub.encode("utf-8")
        blob = head + _mac(self._keys[0], head, tail) + tail
        return SessionCookie(PREFIX + base64.urlsafe_b64encode(blob).rstrip(b"="), sub, sid)

    def read(self, value: bytes) -> SessionCookie | None:
        """What a cookie says, or `None`: not one of ours, or not to the letter."""
        if not value.startswith(PREFIX) or len(value) > MAX_BYTES:
            return None
        text = value.removeprefix(PREFIX)
        try:
            blob = base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except ValueError:
            return None
        if len(blob) <= _SID_BYTES + _MAC_BYTES or base64.urlsafe_b64encode(blob).rstrip(b"=") != text:
            return None
        sid, mac, sub = blob[:_SID_BYTES], blob[_SID_BYTES : _SID_BYTES + _MAC_BYTES], blob[_SID_BYTES + _MAC_BYTES :]
        if not any(hmac.compare_digest(mac, _mac(key, sid, sub)) for key in self._keys):
            return None
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


def _mac(key: bytes, sid: bytes, sub: bytes) -> bytes:
    return hmac.new(key, _PURPOSE + sid + sub, hashlib.sha256).digest()
