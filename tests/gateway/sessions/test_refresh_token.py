"""R-31, R-140: the content of a refresh token, and that only the gateway can make one."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.sessions.refresh_token import MAX_TOKEN_CHARACTERS, PREFIX, RefreshClaim, RefreshTokens, new_sid

SECRET, OLD_SECRET = b"s" * 32, b"o" * 32
TOKENS = RefreshTokens(lambda: [SECRET, OLD_SECRET])
CLAIM = RefreshClaim("alice", "0123456789abcdef" * 2, 7)


@given(sub=st.text(min_size=1, max_size=256), generation=st.integers(0, 2**32 - 1))
def test_a_token_reads_as_it_was_made(sub: str, generation: int) -> None:
    claim = RefreshClaim(sub, new_sid(), generation)
    assert TOKENS.read(TOKENS.make(claim)) == claim


def test_a_session_id_has_128_random_bits() -> None:
    """R-140"""
    sids = {new_sid() for _ in range(100)}
    assert len(sids) == 100
    assert all(len(bytes.fromhex(sid)) == 16 for sid in sids)


def test_the_longest_user_name_fits() -> None:
    claim = RefreshClaim("\U0010ffff" * 256, new_sid(), 0)
    token = TOKENS.make(claim)
    assert len(token) <= MAX_TOKEN_CHARACTERS
    assert TOKENS.read(token) == claim


def test_a_secret_that_is_being_replaced_still_reads_and_makes_no_more() -> None:
    made_before = RefreshTokens(lambda: [OLD_SECRET]).make(CLAIM)
    assert TOKENS.read(made_before) == CLAIM
    assert TOKENS.make(CLAIM) != made_before
    assert RefreshTokens(lambda: [SECRET]).read(made_before) is None


@settings(max_examples=300)
@given(data=st.data())
def test_one_changed_bit_anywhere_is_no_token(data: st.DataObject) -> None:
    text = TOKENS.make(CLAIM).removeprefix(PREFIX)
    blob = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    place = data.draw(st.integers(0, len(blob) - 1))
    blob[place] ^= 1 << data.draw(st.integers(0, 7))
    assert TOKENS.read(PREFIX + base64.urlsafe_b64encode(blob).rstrip(b"=").decode()) is None


@pytest.mark.parametrize(
    "spell",
    [
        lambda token: token.removeprefix(PREFIX),
        lambda token: token.upper(),
        lambda token: token + "=",
        lambda token: token + "\n",
        lambda token: " " + token,
        lambda token: token.replace("_", "/", 1),
        lambda token: token[:-1],
        lambda token: token + "A",
        lambda token: token + "A" * MAX_TOKEN_CHARACTERS,
        lambda token: token[:-1] + "é",
        lambda token: token[:-1] + "\ud800",
    ],
)
def test_a_token_has_one_spelling(spell: object) -> None:
    assert callable(spell)
    assert TOKENS.read(spell(TOKENS.make(CLAIM))) is None


@given(text=st.text(max_size=300))
def test_any_other_text_is_no_token(text: str) -> None:
    assert TOKENS.read(text) is None
    assert TOKENS.read(PREFIX + text) is None
