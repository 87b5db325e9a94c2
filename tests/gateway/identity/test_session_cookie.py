"""The value of a session cookie says nothing, and only the gateway can make one."""

from __future__ import annotations

import base64
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.identity.session_cookie import CookieCodec, Mode, delete_cookie, set_cookie
from lockgate.sessions.refresh_token import RefreshClaim, RefreshTokens, new_sid

KEY = secrets.token_bytes(32)
SIDS = st.binary(min_size=16, max_size=16).map(bytes.hex)
SUBS = st.text(min_size=1, max_size=100).filter(lambda text: text.isprintable())


@given(sub=SUBS, sid=SIDS)
def test_what_was_made_is_read(sub: str, sid: str) -> None:
    codec = CookieCodec(lambda: [KEY])
    cookie = codec.make(sub, sid)
    assert (cookie.sub, cookie.sid) == (sub, sid)
    assert codec.read(cookie.value) == cookie


def test_a_cookie_is_read_for_as_long_as_its_key_is_there() -> None:
    old, new = secrets.token_bytes(32), secrets.token_bytes(32)
    cookie = CookieCodec(lambda: [old]).make("u1", new_sid())
    keys = [new, old]
    codec = CookieCodec(lambda: keys)
    assert codec.read(cookie.value) == cookie
    keys.remove(old)
    assert codec.read(cookie.value) is None


def test_no_change_of_a_single_character_is_accepted() -> None:
    """R-180: a reference cannot be guessed from another, and has one spelling."""
    codec = CookieCodec(lambda: [KEY])
    value = codec.make("u1", new_sid()).value
    for place in range(len(value)):
        for other in b"AZaz09-_=+/.; ":
            changed = value[:place] + bytes([other]) + value[place + 1 :]
            assert changed == value or codec.read(changed) is None


@pytest.mark.parametrize(
    "value", [b"", b"lgc_", b"lgc_AAAA", b"lgr_AAAA", b"\xff\xfe", b"eyJh.eyJz.c2ln", b"lgc_" + b"A" * 3000]
)
def test_what_is_not_ours_is_nothing(value: bytes) -> None:
    assert CookieCodec(lambda: [KEY]).read(value) is None


def test_who_knows_the_session_id_cannot_make_the_cookie() -> None:
    sid = new_sid()
    assert CookieCodec(lambda: [KEY]).read(CookieCodec(lambda: [secrets.token_bytes(32)]).make("u1", sid).value) is None


def test_a_refresh_token_is_no_cookie_nor_the_reverse() -> None:
    """One secret, two purposes."""
    sid = new_sid()
    token = RefreshTokens(lambda: [KEY]).make(RefreshClaim("u1", sid, 0))
    assert CookieCodec(lambda: [KEY]).read(b"lgc_" + token.removeprefix("lgr_").encode()) is None
    blob = base64.urlsafe_b64decode(CookieCodec(lambda: [KEY]).make("u1", sid).value.removeprefix(b"lgc_") + b"==")
    claim = blob[:16] + bytes(4) + blob[16:]
    assert RefreshTokens(lambda: [KEY]).read("lgr_" + base64.urlsafe_b64encode(claim).rstrip(b"=").decode()) is None


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("secure", "__Host-lockgate=v; Path=/; HttpOnly; Secure; SameSite=Lax; Max-Age=9"),
        ("localhost", "lockgate-localhost=v; Path=/; HttpOnly; SameSite=Lax; Max-Age=9"),
    ],
)
def test_a_cookie_is_taken_away_with_the_attributes_it_was_given_with(mode: Mode, expected: str) -> None:
    """R-180."""
    assert set_cookie(mode, b"v", 9) == expected
    assert delete_cookie(mode) == expected.replace("=v;", "=;").replace("=9", "=0")
