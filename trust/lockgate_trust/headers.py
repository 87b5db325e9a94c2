"""Names of the headers that carry identity between the gateway and the services, and how their values are spelled.

A header value is one line of printable ASCII. A subject, a role or a scope may be any text, so each is percent-encoded
(UTF-8, upper-case hex) where it has to be: white space, control characters, everything outside ASCII, ``%`` itself, and
``,``, at which an intermediary may split a value. Everything else stays as it is: ``alice``, ``orders:read`` and a UUID
read the same on both sides. Each text has exactly one encoded spelling, and decoding accepts no other.
"""

import re
from functools import lru_cache
from typing import Final

REQUEST_ID: Final = "x-request-id"
TRACEPARENT: Final = "traceparent"
CALLER: Final = "x-caller"
USER_ID: Final = "x-user-id"
USER_ROLES: Final = "x-user-roles"
USER_SCOPES: Final = "x-user-scopes"
SESSION_ID: Final = "x-session-id"
TOKEN_ID: Final = "x-token-id"  # noqa: S105 - the name of a header
AUTH_TIME: Final = "x-auth-time"

CONTENT_DIGEST: Final = "content-digest"
SIGNATURE: Final = "signature"
SIGNATURE_INPUT: Final = "signature-input"

REQUEST_HEADERS: Final = (REQUEST_ID, TRACEPARENT)
"""Identity headers that differ from request to request."""

TOKEN_HEADERS: Final = (CALLER, USER_ID, USER_ROLES, USER_SCOPES, SESSION_ID, TOKEN_ID, AUTH_TIME)
"""Identity headers that stay the same for the life of a token, in the order in which a signature covers them.

A new one also goes into `caller.py` (`Caller`, `token_headers`, `caller_from`), the gateway's verifier, the package for
Node (`profile.js`, `caller.js`), a vector, the examples of front proxies and the guide to forward-auth. Services
upgrade before the gateway: an older one refuses a signature over a name that it does not know. Names that a route
chooses come after all of these.
"""

IDENTITY_HEADERS: Final = REQUEST_HEADERS + TOKEN_HEADERS
"""Every identity header, in the order in which a signature covers them."""

_SEPARATORS: Final = re.compile(r"[^0-9a-z]+")
_PROFILE_NAMES: Final = (*IDENTITY_HEADERS, CONTENT_DIGEST, SIGNATURE, SIGNATURE_INPUT)
BARE_NAMES: Final = {_SEPARATORS.sub("", name): name for name in _PROFILE_NAMES}
"""Every name of the profile, by the name without separators."""
_FURTHER_NAME: Final = re.compile(r"(?=.{3,64}\Z)[a-z0-9]+(?:-[a-z0-9]+)+")
_PLAIN: Final = re.compile(r"[!-$&-+\--~]*")
_ESCAPABLE: Final = re.compile(r"[^!-$&-+\--~]")
_ENCODED: Final = re.compile(r"(?:[!-$&-+\--~]|%[0-9A-F]{2})*")
_ESCAPED_RUN: Final = re.compile(r"(?:%[0-9A-F]{2})+")


def bare_name(name: str) -> str:
    """A name (lower-case) without separators, which a reader may drop or exchange."""
    return _SEPARATORS.sub("", name)


def is_further_name(name: str) -> bool:
    """Whether a header of this name can be signed beside those of the profile: words with hyphens between them.

    The names of a single word are HTTP's own, such as ``host``.
    """
    return _FURTHER_NAME.fullmatch(name) is not None and bare_name(name) not in BARE_NAMES


def is_plain(text: str) -> bool:
    """Whether a text is its own spelling, and so is each part of it."""
    return _PLAIN.fullmatch(text) is not None


def encode_value(text: str) -> str:
    """Spell any text as a header value without white space; `decode_value` is the inverse.

    Raises:
        ValueError: the text has a lone surrogate, which no UTF-8 can carry.
    """
    if _PLAIN.fullmatch(text):
        return text
    return _ESCAPABLE.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), text)


def decode_value(value: str) -> str:
    """Read a value that `encode_value` wrote.

    Raises:
        ValueError: the value is not the one spelling that `encode_value` gives to a text.
    """
    if _PLAIN.fullmatch(value):
        return value
    if not _ENCODED.fullmatch(value):
        raise ValueError("the value is not percent-encoded printable ASCII")
    text = _ESCAPED_RUN.sub(lambda found: bytes.fromhex(found[0].replace("%", "")).decode(), value)
    if encode_value(text) != value:
        raise ValueError("the value escapes a character that stands for itself")
    return text


@lru_cache(maxsize=256)  # users have few different sets of roles and scopes, and each new token has one of them
def encode_words(words: frozenset[str]) -> str:
    """Spell roles or scopes as one value: sorted, separated by single spaces, empty for none.

    Raises:
        ValueError: one of them is empty or has a lone surrogate.
    """
    if "" in words:
        raise ValueError("a role or scope is empty")
    return " ".join(sorted(map(encode_value, words)))


def decode_words(value: str) -> frozenset[str]:
    """Read a value that `encode_words` wrote; the order of the words is free, and one may appear twice.

    Raises:
        ValueError: a word is empty or misspelled.
    """
    if not value:
        return frozenset()
    words = frozenset(map(decode_value, value.split(" ")))
    if "" in words:
        raise ValueError("a role or scope is empty")
    return words
