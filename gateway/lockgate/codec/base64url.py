"""base64url without padding (RFC 4648 section 5, RFC 7515 section 2), in exactly one spelling for each value.

The standard decoder accepts padding, and it ignores the bits of the last character that stand for nothing. Either gives
one value several spellings, so a blocklist, a cache or a log that compares text could be passed by.
"""

from __future__ import annotations

import base64


class Base64UrlError(ValueError):
    """The text is not the one spelling of any bytes. Carries nothing of the input."""


def encode(data: bytes) -> str:
    """The text for some bytes."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(text: str | bytes) -> bytes:
    """The bytes for a text.

    Raises:
        Base64UrlError: the text has a character outside the alphabet (padding too), an impossible length, or unused
            bits that are set.
    """
    try:
        encoded = text.encode("ascii") if isinstance(text, str) else text
        data = base64.b64decode(encoded + b"=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise Base64UrlError("not base64url") from None
    if base64.urlsafe_b64encode(data).rstrip(b"=") != encoded:
        raise Base64UrlError("not the one spelling")
    return data
