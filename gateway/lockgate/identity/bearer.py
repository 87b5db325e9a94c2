"""The credential in an Authorization field (RFC 6750 section 2.1)."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_plus

from lockgate.errors import Reason, Refusal
from lockgate.identity.model import UnverifiedToken

MAX_TOKEN_BYTES: Final = 8 * 1024

# token68 of RFC 9110 section 11.2. Linear: one character class, one optional run.
_BEARER = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] ([A-Za-z0-9._~+/-]+=*)")
# RFC 9110 section 11.4. A word alone is no credential: it may be a token whose scheme was forgotten.
_SCHEME = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) +[^ ]")
# A comma is part of another scheme's parameters (Digest), unless a second credential follows it.
_JOINED = re.compile(rb",[ \t]*(?:bearer|basic)(?:[ \t,]|\Z)", re.IGNORECASE)
# base64url without padding, three parts, none empty. Anything more lenient is refused before it is decoded.
_COMPACT_JWS = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)


def bearer(fields: tuple[bytes, ...]) -> UnverifiedToken | Refusal | None:
    """Find the token in the request's Authorization fields.

    Args:
        fields: the value of each Authorization field, in order.

    Returns:
        The token; `None` where the request carries no bearer credentials at all (none, or credentials of another
        scheme); or a refusal: sent twice or comma-joined (400), no scheme or no token68 (400), or not a token (401).
        A credential that cannot be read is never taken for its absence.
    """
    if not fields:
        return None
    if len(fields) > 1:
        return Refusal(Reason.REPEATED_CREDENTIALS)
    match = _BEARER.fullmatch(fields[0])
    if match is not None:
        return format_gate(match[1])
    if has_scheme(fields[0]) and scheme_of(fields[0]) != b"bearer" and not is_joined(fields[0]):
        return None
    return Refusal(Reason.REPEATED_CREDENTIALS if b"," in fields[0] else Reason.MALFORMED_CREDENTIALS)


def scheme_of(field: bytes) -> bytes:
    """The first word of an Authorization field, in lower case: its scheme, where `has_scheme` holds."""
    return field.partition(b" ")[0].lower()


def has_scheme(field: bytes) -> bool:
    """Whether an Authorization field is a scheme and credentials after it (RFC 9110 section 11.4)."""
    return _SCHEME.match(field) is not None


def is_joined(field: bytes) -> bool:
    """Whether a second credential of a scheme that is read here follows a comma, as where two fields were merged."""
    return _JOINED.search(field) is not None


def in_query(query: str) -> bool:
    """Whether a query carries a token in the way of RFC 6750 section 2.3, which is not taken here."""
    if "token" not in query and "%" not in query:
        return False
    return any(unquote_plus(pair.partition("=")[0]) == "access_token" for pair in query.split("&"))


def format_gate(token: bytes) -> UnverifiedToken | Refusal:
    """Let through what is a JWS in compact form to the letter (RFC 7515 section 7.1), before anything decodes it."""
    if len(token) > MAX_TOKEN_BYTES:
        return Refusal(Reason.TOKEN_MALFORMED, note="too long")
    text = token.decode("ascii", "replace")
    if _COMPACT_JWS.fullmatch(text) is None:
        return Refusal(Reason.TOKEN_MALFORMED, note="not a compact JWS")
    return UnverifiedToken(text)
