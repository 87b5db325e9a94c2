"""The credential in an Authorization field (RFC 6750 section 2.1)."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_plus

from gateway.errors import Reason, Refusal
from gateway.identity.model import UnverifiedToken

MAX_TOKEN_BYTES: Final = 8 * 1024

# token68 of RFC 9110 section 11.2. Linear: one character class, one optional run.
_BEARER = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] ([A-Za-z0-9._~+/-]+=*)")
_SCHEME = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?: |\Z)")
# A comma is part of another scheme's parameters (Digest), unless a second credential follows it.
_JOINED = re.compile(rb",[ \t]*[Bb][Ee][Aa][Rr][Ee][Rr](?:[ \t,]|\Z)")
# base64url without padding, three parts, none empty. Anything more lenient is refused before it is decoded.
_COMPACT_JWS = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)


def bearer(fields: tuple[bytes, ...]) -> UnverifiedToken | Refusal | None:
    """Find the token in the request's Authorization fields.

    Args:
        fields: the value of each Authorization field, in order.

    Returns:
        The token; `None` where the request carries no bearer credentials at all (none, or another scheme); or a
        refusal: sent twice or comma-joined (400), or not a token (401). A credential that cannot be read is never
        taken for its absence.
    """
    if not fields:
        return None
    if len(fields) > 1:
        return Refusal(Reason.REPEATED_CREDENTIALS)
    match = _BEARER.fullmatch(fields[0])
    if match is not None:
        return format_gate(match[1])
    scheme = _SCHEME.match(fields[0])
    if scheme is not None and scheme[1].lower() != b"bearer":
        return None if _JOINED.search(fields[0]) is None else Refusal(Reason.REPEATED_CREDENTIALS)
    return Refusal(Reason.REPEATED_CREDENTIALS if b"," in fields[0] else Reason.MALFORMED_CREDENTIALS)


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
