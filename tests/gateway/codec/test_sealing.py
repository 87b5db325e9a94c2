"""A sealed value opens with the same key, unchanged, and not otherwise."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from lockgate.codec.sealing import derive_key, seal, seal_once, unseal, unseal_once

KEY = derive_key(b"a test\0", bytes(range(32)))
VALUE = b"head.body.signature"


@given(value=st.binary(max_size=100))
def test_what_was_sealed_is_unsealed(value: bytes) -> None:
    assert unseal(KEY, seal(KEY, value)) == value
    assert unseal_once(KEY, seal_once(KEY, value)) == value


def test_a_value_sealed_twice_is_not_told_from_two_values() -> None:
    assert seal(KEY, VALUE) != seal(KEY, VALUE)


def test_the_form_is_nonce_then_box() -> None:
    """A node of an earlier version opens what a node of this version seals."""
    sealed = seal(KEY, VALUE)
    assert AESGCM(KEY).decrypt(sealed[:12], sealed[12:], None) == VALUE
    assert AESGCM(KEY).decrypt(bytes(12), seal_once(KEY, VALUE), None) == VALUE


def test_another_purpose_or_secret_gives_another_key() -> None:
    others = derive_key(b"another\0", bytes(range(32))), derive_key(b"a test\0", bytes(32))
    for other in others:
        assert unseal(other, seal(KEY, VALUE)) is None
        assert unseal_once(other, seal_once(KEY, VALUE)) is None


@pytest.mark.parametrize("place", range(12 + len(VALUE) + 16))
def test_no_changed_byte_is_opened(place: int) -> None:
    changed = bytearray(seal(KEY, VALUE))
    changed[place] ^= 1
    assert unseal(KEY, bytes(changed)) is None


@pytest.mark.parametrize("length", range(12 + 16))
def test_what_is_too_short_is_not_opened(length: int) -> None:
    assert unseal(KEY, bytes(length)) is None
    assert unseal_once(KEY, bytes(min(length, 15))) is None


def test_what_an_earlier_version_has_sealed_is_opened() -> None:
    """Fixed vectors of the version before this module: tickets and cookies that are in use survive an upgrade."""
    ticket_key = derive_key(b"lockgate ticket key\0", bytes(range(32)))
    sealed = "f33c94f403e0d8a65a1991ee2f2f3a142710eb5632292c44e4df2c408e77e2ac8c6189"
    assert ticket_key.hex() == "9162f3fd9b80a71a8b5459b1c146f26e3d45455fe36700d858733e0cdb4b4628"
    assert unseal_once(ticket_key, bytes.fromhex(sealed)) == VALUE
    cookie = b"lgc_AAECAwQFBgcICQoLDA0OD4nHL08iw8CVbsHQcYT8QO9JUQOQVpd29ZwERDc3IAyEw6RsaWNl"
    cookie_key = derive_key(b"lockgate session cookie key\0", cookie)
    sealed = "000102030405060708090a0b5b045b0571a4300e0b00b83a710fb247e81a41dedcbe53ece6f74cce87ed47004dd48a"
    assert cookie_key.hex() == "a41989da9ee8d33aa3c7514448de4375678381637e7bbb2bc41d625ee60fb63a"
    assert unseal(cookie_key, bytes.fromhex(sealed)) == VALUE
