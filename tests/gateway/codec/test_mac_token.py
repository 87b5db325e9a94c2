"""A token with a MAC is made by a holder of the secret, for one purpose, in one spelling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.codec import base64url
from lockgate.codec.mac_token import MacToken
from lockgate.identity.session_cookie import CookieCodec
from lockgate.sessions.refresh_token import RefreshClaim, RefreshTokens

KEY, OLD_KEY = bytes(range(32)), bytes(range(32, 64))
FORM = MacToken(prefix=b"t_", purpose=b"a test\0", sizes=(4, 2), max_bytes=200)
TOKEN = FORM.make(KEY, b"abcd", b"ef", b"the rest")
SID = "000102030405060708090a0b0c0d0e0f"


@given(
    first=st.binary(min_size=4, max_size=4),
    second=st.binary(min_size=2, max_size=2),
    last=st.binary(min_size=1, max_size=50),
)
def test_what_was_made_is_read(first: bytes, second: bytes, last: bytes) -> None:
    assert FORM.read([OLD_KEY, KEY], FORM.make(KEY, first, second, last)) == [first, second, last]


@pytest.mark.parametrize("place", range(len(TOKEN)))
def test_no_changed_character_is_read(place: int) -> None:
    for other in b"AZaz09-_=+/. ":
        changed = TOKEN[:place] + bytes([other]) + TOKEN[place + 1 :]
        assert changed == TOKEN or FORM.read([KEY], changed) is None


@pytest.mark.parametrize(
    "form",
    [
        MacToken(prefix=b"t_", purpose=b"another\0", sizes=(4, 2), max_bytes=200),
        MacToken(prefix=b"u_", purpose=b"a test\0", sizes=(4, 2), max_bytes=200),
        MacToken(prefix=b"t_", purpose=b"a test\0", sizes=(4, 3), max_bytes=200),
        MacToken(prefix=b"t_", purpose=b"a test\0", sizes=(4, 2), max_bytes=len(TOKEN) - 1),
    ],
    ids=["purpose", "prefix", "sizes", "length"],
)
def test_a_token_of_another_kind_is_not_read(form: MacToken) -> None:
    assert FORM.read([KEY], TOKEN) is not None
    assert form.read([KEY], TOKEN) is None


@pytest.mark.parametrize("token", [b"", b"t_", b"t_AAAA", b"\xff", b"t_" + base64url.encode(bytes(38)).encode()])
def test_what_is_no_token_is_not_read(token: bytes) -> None:
    assert FORM.read([KEY], token) is None
    assert FORM.read([], TOKEN) is None


@pytest.mark.parametrize(
    "fields", [(b"abcd", b"ef", b""), (b"abc", b"def", b"x"), (b"abcd", b"x"), (b"abcd", b"efg", b"x")]
)
def test_fields_of_another_length_make_no_token(fields: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="fit"):
        FORM.make(KEY, *fields)


@pytest.mark.parametrize(
    ("key", "cookie", "refresh_token"),
    [
        (
            KEY,
            b"lgc_AAECAwQFBgcICQoLDA0OD4nHL08iw8CVbsHQcYT8QO9JUQOQVpd29ZwERDc3IAyEw6RsaWNl",
            "lgr_AAECAwQFBgcICQoLDA0ODwAAAAcc8FCSi0JWRz3pZYh_y7mvUwZ9CVhU8ASnb1JP2vJvdsOkbGljZQ",
        ),
        (
            OLD_KEY,
            b"lgc_AAECAwQFBgcICQoLDA0OD2FIiGd286aa3V7stWpyuDa0OdUtaeMz7FT7j9tS4ZYkw6RsaWNl",
            "lgr_AAECAwQFBgcICQoLDA0ODwAAAAcsd-l_VGLviOy_CR7lyd-2Sm3xsCRvZEs4phDD-B7Fs8OkbGljZQ",
        ),
    ],
    ids=["current", "old"],
)
def test_what_an_earlier_version_has_made_is_made_and_read(key: bytes, cookie: bytes, refresh_token: str) -> None:
    """Fixed vectors of the version before this module: sessions that are open survive an upgrade, and the way back."""
    cookies, tokens, claim = CookieCodec(lambda: [key]), RefreshTokens(lambda: [key]), RefreshClaim("älice", SID, 7)
    assert cookies.make("älice", SID).value == cookie
    assert CookieCodec(lambda: [KEY, OLD_KEY]).read(cookie) == cookies.make("älice", SID)
    assert tokens.make(claim) == refresh_token
    assert RefreshTokens(lambda: [KEY, OLD_KEY]).read(refresh_token) == claim
