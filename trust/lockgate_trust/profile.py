"""The one profile of RFC 9421 (HTTP Message Signatures) that is signed and verified here.

What a signature looks like (one line each on the wire)::

    Signature-Input: lockgate=("@method" "@path" "@query" "x-request-id" "x-user-id");created=1767225600;
        expires=1767225610;nonce="none-7f3c9a51d20e1a";keyid="gateway.orders.3fa9c2d1";tag="lockgate-identity"
    Signature: lockgate=:<base64 of 32 bytes>:

The profile leaves nothing to choose: ``hmac-sha256`` by a link key; the method, the raw path and the raw query; each
identity header that is present, in the order of `IDENTITY_HEADERS`, ``x-request-id`` always; then at most `MAX_FURTHER`
headers of names that the signer chose; last ``content-digest`` where there is one; then the five parameters as shown.
The link key is what binds a signature to its sender and to the
one service that may accept it. Verification takes this form and no other, so nothing is left out on purpose.

What the signer says of the body is signed, too: by ``content-digest``, or by the word that the nonce begins with
(`Body`).
"""

import hashlib
import re
from binascii import b2a_base64
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Final

LABEL: Final = "lockgate"
TAG: Final = "lockgate-identity"

LIFETIME_S: Final = 10
"""Seconds from ``created`` to ``expires`` in what is signed here."""

MAX_LIFETIME_S: Final = 60
"""Longest such span that is accepted."""

LEEWAY_S: Final = 10
"""Seconds by which the clocks of any two nodes, gateways and services alike, may differ unless configured otherwise.

The one figure for it: tokens, signatures and the memory of used signatures are all judged by it."""

MAX_FURTHER: Final = 8
"""How many headers a signature may cover whose names are not of the profile."""

MAX_DIGEST_BODY: Final = 64 * 1024
"""Longest body, in bytes, that is covered by a digest. A longer one is streamed and not covered."""


LINE: Final = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?")
"""A header value as it may be here: one line of printable ASCII without white space around it."""


@unique
class Body(StrEnum):
    """What a signature says of the body of its request.

    Each but the first and the last is a word at the beginning of the nonce, parted from the rest by a hyphen.
    """

    DIGEST = "digest"
    """``content-digest`` is covered: the request has the body with that digest."""
    NONE = "none"
    """The request has no body."""
    STREAMED = "streamed"
    """The request has a body that was not at hand as a whole, and is not covered."""
    UNSEEN = "unseen"
    """The signer does not see the body: it answers a proxy that holds the request (forward-auth)."""
    UNSAID = "unsaid"
    """The signer says nothing: it knows an earlier version of the profile. Its request must not have a body."""


@unique
class Refused(StrEnum):
    """Why a request was refused. For logs, metrics and tests; a client is not told."""

    MISSING = "missing"
    """No signature, or a signed request without a header that has to be there."""
    DUPLICATE_HEADER = "duplicate_header"
    """A header of the profile came more than once."""
    DISGUISED_HEADER = "disguised_header"
    """A header's name is that of a profile header but for its separators: ``x_user_id``."""
    MALFORMED = "malformed"
    """The target, a header or the signature itself is not of the form that the profile prescribes."""
    WRONG_TAG = "wrong_tag"
    """The signature was made for another purpose."""
    UNKNOWN_KEY = "unknown_key"
    """No link to this service has that key: unknown origin, other audience, or rotated away."""
    NOT_COVERED = "not_covered"
    """The request has an identity header that the signature does not cover, or a body of which it does not tell."""
    COVERED_ABSENT = "covered_absent"
    """The signature covers a header that the request lacks."""
    LIFETIME = "lifetime"
    """The signature would live for too long."""
    NOT_YET_VALID = "not_yet_valid"
    """The signature was created in the future."""
    EXPIRED = "expired"
    """The signature's time is over."""
    BAD_SIGNATURE = "bad_signature"
    """The signature is not one by that key over this request."""
    BAD_IDENTITY = "bad_identity"
    """Rightly signed, but an identity header is malformed or contradicts another one."""
    REPLAYED = "replayed"
    """The same signature has been seen before."""
    REPLAY_MEMORY_FULL = "replay_memory_full"
    """More signatures are alive than can be remembered, so whether this one is new cannot be told."""
    BODY_MISMATCH = "body_mismatch"
    """The body is not the one whose digest was signed."""
    BODY_TOO_LARGE = "body_too_large"
    """A digest was signed, but the body is longer than a digest may cover."""


@dataclass(frozen=True, slots=True)
class SignatureRefused:
    """A request that must not be served.

    Attributes:
        reason: why.
        about: the header or component concerned, by its canonical name; empty where it is none in particular. Never
            anything that the client sent.
    """

    reason: Refused
    about: str = ""


def content_digest(body: bytes) -> str:
    """The value of ``Content-Digest`` for a body: SHA-256, RFC 9530 section 2."""
    return f"sha-256=:{encode_base64(hashlib.sha256(body).digest())}:"


def encode_base64(data: bytes) -> str:
    """Bytes in base64 (RFC 4648 section 4), with padding."""
    return b2a_base64(data, newline=False).decode("ascii")
