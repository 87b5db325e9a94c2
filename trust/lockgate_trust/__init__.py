"""The contract between a gateway and its services, and between services: signed identity headers.

Depends on the standard library only. `IdentityMiddleware` guards an ASGI application; `signed_headers` signs a call to
another service; `Signer` and `cover` are the same for programs that sign a lot.
"""

from lockgate_trust.asgi import IdentityMiddleware, caller_of, known_caller, log_refusal
from lockgate_trust.caller import Caller, cover_token, token_headers
from lockgate_trust.headers import (
    IDENTITY_HEADERS,
    TOKEN_HEADERS,
    decode_value,
    decode_words,
    encode_value,
    encode_words,
)
from lockgate_trust.keys import LinkKey, LinkKeyError, LinkKeys, create_link, link_path, make_link_key
from lockgate_trust.live import LiveLinkKeys
from lockgate_trust.private import PrivateFileError, exposure, read_private
from lockgate_trust.profile import (
    LEEWAY_S,
    LIFETIME_S,
    MAX_DIGEST_BODY,
    Body,
    Refused,
    SignatureRefused,
    content_digest,
)
from lockgate_trust.replay import ReplayGuard
from lockgate_trust.signature import Covered, Signer, cover, cover_further, signed_headers
from lockgate_trust.verifying import Verified, body_refused, verify

__all__ = [
    "IDENTITY_HEADERS",
    "LEEWAY_S",
    "LIFETIME_S",
    "MAX_DIGEST_BODY",
    "TOKEN_HEADERS",
    "Body",
    "Caller",
    "Covered",
    "IdentityMiddleware",
    "LinkKey",
    "LinkKeyError",
    "LinkKeys",
    "LiveLinkKeys",
    "PrivateFileError",
    "Refused",
    "ReplayGuard",
    "SignatureRefused",
    "Signer",
    "Verified",
    "body_refused",
    "caller_of",
    "content_digest",
    "cover",
    "cover_further",
    "cover_token",
    "create_link",
    "decode_value",
    "decode_words",
    "encode_value",
    "encode_words",
    "exposure",
    "known_caller",
    "link_path",
    "log_refusal",
    "make_link_key",
    "read_private",
    "signed_headers",
    "token_headers",
    "verify",
]
