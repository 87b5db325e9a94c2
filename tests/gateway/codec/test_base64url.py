"""base64url has one spelling for each value."""

from __future__ import annotations

import pytest
from hypothesis import given
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


@given(text=st.text(max_size=20))
def test_what_is_decoded_encodes_to_the_same_text(text: str) -> None:
    try:
        data = base64url.decode(text)
    except base64url.Base64UrlError:
        return
    assert base64url.encode(data) == text
