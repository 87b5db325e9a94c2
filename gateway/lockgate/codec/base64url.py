"""base64url without padding (RFC 4648 section 5, RFC 7515 section 2), in exactly one spelling for each value.

The standard decoder accepts padding, and it ignores the bits of the last character that stand for nothing. Either gives
one value several spellings, so a blocklist, a cache or a log that compares text could be passed by.
"""

from __future__ import annotations

import binascii
from typing import Final

_FROM_STANDARD: Final = bytes.maketrans(b"+/", b"-_")
_TO_STANDARD: Final = bytes.maketrans(b"-_+/=", b"+/\0\0\0")
"""The alphabet of the standard decoder; what is of that one only, or is padding, becomes what is of none."""
_PADDING: Final = (b"", b"", b"==", b"=")
_LAST: Final = (b"", b"", b"AQgw", b"AEIMQUYcgkosw048")
"""Last characters without a bit that stands for nothing, by the length of the text modulo 4."""


class Base64UrlError(ValueError):
    """The text is not the one spelling of any bytes. Carries nothing of the input."""


def encode(data: bytes) -> str:
    """The text for some bytes."""
    return binascii.b2a_base64(data, newline=False).translate(_FROM_STANDARD, b"=").decode("ascii")


def decode(text: str | bytes) -> bytes:
    """The bytes for a text.

    Raises:
        Base64UrlError: the text has a character outside the alphabet (padding too), an impossible length, or unused
            bits that are set.
    """
    try:
        encoded = text.encode("ascii") if isinstance(text, str) else text
        rest = len(encoded) % 4
        data = binascii.a2b_base64(encoded.translate(_TO_STANDARD) + _PADDING[rest], strict_mode=True)
    except ValueError:
        raise Base64UrlError("not base64url") from None
    if rest and encoded[-1] not in _LAST[rest]:
        raise Base64UrlError("not the one spelling")
    return data
