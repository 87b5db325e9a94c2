"""base64url has one spelling for each value."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.codec import base64url


@given(data=st.binary(max_size=100))
def test_what_was_encoded_is_decoded(data: bytes) -> None:
    text = base64url.encode(data)
    assert base64url.decode(text) == base64url.decode(text.encode()) == data


@pytest.mark.parametrize(
    ("text", "data"),
    [("", b""), ("Zg", b"f"), ("Zm8", b"fo"), ("Zm9v", b"foo"), ("Zm9vYg", b"foob"), ("-_-_", b"\xfb\xff\xbf")],
)
def test_the_spelling_is_that_of_the_standard(text: str, data: bytes) -> None:
    """RFC 4648 section 10, without padding."""
    assert base64url.encode(data) == text
    assert base64url.decode(text) == data


@pytest.mark.parametrize(
    "text", ["Zg==", "Zg=", "Zh", "Zm9=", "A", "Zm9v\n", " Zm9v", "+/+/", "Zm9v=", "Zm.9", "é", "\ud800"]
)
def test_every_other_spelling_is_refused(text: str) -> None:
    with pytest.raises(base64url.Base64UrlError):
        base64url.decode(text)


@given(text=st.text(max_size=20) | st.text("ABQZaz09-_=+/", max_size=8))
@settings(max_examples=500)
def test_what_is_decoded_encodes_to_the_same_text(text: str) -> None:
    try:
        data = base64url.decode(text)
    except base64url.Base64UrlError:
        return
    assert base64url.encode(data) == text


def test_every_last_character_is_judged_as_by_the_standard_encoder() -> None:
    """R-08: the bits of the last character that stand for nothing are zero."""
    for start in ("", "A", "AA", "AAA", "AAAA", "AAAAA"):
        for last in map(chr, range(128)):
            assert is_decoded(start + last) == is_own_spelling(start + last), start + last


def is_decoded(text: str) -> bool:
    try:
        base64url.decode(text)
    except base64url.Base64UrlError:
        return False
    return True


def is_own_spelling(text: str) -> bool:
    """Whether the standard decoder, which is lenient, and the standard encoder lead back to the text."""
    try:
        data = base64.urlsafe_b64decode(text + "===")
    except ValueError:
        return False
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode() == text
