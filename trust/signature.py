"""Sign and verify identity headers: one fixed profile of RFC 9421 (HTTP Message Signatures).

What a signature looks like (one line each on the wire)::

    Signature-Input: lockgate=("@method" "@path" "@query" "x-request-id" "x-user-id");created=1767225600;
        expires=1767225610;nonce="7f3c9a51d20e1a";keyid="gateway.orders.3fa9c2d1";tag="lockgate-identity"
    Signature: lockgate=:<base64 of 32 bytes>:

The profile leaves nothing to choose: ``hmac-sha256`` by a link key; the method, the raw path and the raw query; each
identity header that is present, in the order of `IDENTITY_HEADERS`, ``x-request-id`` always; last ``content-digest``
where there is one; then the five parameters as shown. The link key is what binds a signature to its sender and to the
one service that may accept it. Verification takes this form and no other, so nothing is left out on purpose.
"""

import hashlib
import hmac
import itertools
import os
import re
import secrets
from binascii import b2a_base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import Final

from trust.caller import Caller, IdentityError, caller_from
from trust.headers import (
    CALLER,
    CONTENT_DIGEST,
    IDENTITY_HEADERS,
    REQUEST_ID,
    SIGNATURE,
    SIGNATURE_INPUT,
    TOKEN_HEADERS,
    TRACEPARENT,
)
from trust.keys import LinkKey, LinkKeys

LABEL: Final = "lockgate"
TAG: Final = "lockgate-identity"

LIFETIME_S: Final = 10
"""Seconds from ``created`` to ``expires`` in what is signed here."""

MAX_LIFETIME_S: Final = 60
"""Longest such span that is accepted."""

DEFAULT_LEEWAY_S: Final = 5.0
"""Seconds by which a signer's clock may run ahead of the verifier's."""

MAX_DIGEST_BODY: Final = 64 * 1024
"""Longest body, in bytes, that is covered by a digest. A longer one is streamed and not covered."""

_COVERABLE: Final = (*IDENTITY_HEADERS, CONTENT_DIGEST)
_PROFILE_HEADERS: Final = frozenset({*_COVERABLE, SIGNATURE, SIGNATURE_INPUT})

_SEPARATORS: Final = re.compile(r"[^0-9a-z]+")
_BARE_NAMES: Final = {_SEPARATORS.sub("", name): name for name in _PROFILE_HEADERS}

_LINE: Final = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?")
_METHOD: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PATH: Final = re.compile(r"[!-~]+")
_QUERY: Final = re.compile(r"[!-~]*")
_DIGEST: Final = re.compile(r"sha-256=:[A-Za-z0-9+/]{43}=:")
_SIGNATURE: Final = re.compile(rf"{LABEL}=:[A-Za-z0-9+/]{{43}}=:")
_SIGNATURE_INPUT: Final = re.compile(
    rf"{LABEL}=(?P<params>"
    r'\((?P<components>"[a-z0-9@-]+"(?: "[a-z0-9@-]+")*)\)'
    r";created=(?P<created>[1-9][0-9]{0,11})"
    r";expires=(?P<expires>[1-9][0-9]{0,11})"
    r';nonce="[A-Za-z0-9_-]{8,64}"'
    r';keyid="(?P<keyid>[A-Za-z0-9._-]{1,128})"'
    r';tag="(?P<tag>[a-z0-9-]{1,64})")'
)


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
    """The request has an identity header, or a body, that the signature does not cover."""
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


@dataclass(frozen=True, slots=True)
class Verified:
    """A request whose signature is valid.

    Whether the same signature came before, and whether the body fits the digest, is for the caller of `verify` to ask.

    Attributes:
        caller: who is calling.
        origin: the service that signed.
        key_id: the key it signed with.
        content_digest: the covered ``content-digest``, or None where no body is covered.
        signature: the 32 bytes of the signature; unique to the request because of its nonce.
        expires: when it expires, in seconds since the epoch.
    """

    caller: Caller
    origin: str
    key_id: str
    content_digest: str | None
    signature: bytes = field(repr=False)
    expires: int


@dataclass(frozen=True, slots=True)
class Covered:
    """The part of a signature base that depends on the token only; made by `cover`, once for each token.

    Attributes:
        headers: the headers themselves, to be sent as they are.
        names: their share of the list of components.
        lines: their lines of the signature base.
    """

    headers: tuple[tuple[str, str], ...]
    names: str
    lines: str


def cover(headers: Iterable[tuple[str, str]]) -> Covered:
    """Prepare the headers of a token (`TOKEN_HEADERS`, lower-case, values encoded) for signing many requests.

    Raises:
        ValueError: a header is none of a token, comes twice, or its value is not one line of printable ASCII.
    """
    values: dict[str, str] = {}
    for name, value in headers:
        if name not in TOKEN_HEADERS or name in values:
            raise ValueError(f"{name!r} is not a header of a token, or comes twice")
        if not _LINE.fullmatch(value):
            raise ValueError(f"the value of {name} is not one line of printable ASCII")
        values[name] = value
    ordered = tuple((name, values[name]) for name in TOKEN_HEADERS if name in values)
    return Covered(
        headers=ordered,
        names="".join(f' "{name}"' for name, _ in ordered),
        lines="".join(f'"{name}": {value}\n' for name, value in ordered),
    )


class Signer:
    """Signs requests with one link key. Cheap to call, so keep one for each key."""

    __slots__ = ("_hash", "_second", "_suffix", "_window", "key_id", "origin")

    def __init__(self, key: LinkKey) -> None:
        self.key_id: Final = key.key_id
        self.origin: Final = key.origin
        self._hash = _KeyedHash(key.secret)
        self._suffix = f'";keyid="{key.key_id}";tag="{TAG}"'
        self._second = -1
        self._window = ""

    def sign(  # noqa: PLR0913 - what the profile covers, all by name
        self,
        *,
        method: str,
        path: str,
        query: str,
        request_id: str,
        traceparent: str | None,
        covered: Covered,
        content_digest: str | None,
        now: float,
    ) -> tuple[str, str]:
        """Sign one request. A request that is sent again is signed again: a signature is good for one use.

        Args:
            method: as sent.
            path: the path as sent, percent-encoding untouched.
            query: what follows the ``?`` as sent; empty where there is nothing or no ``?``.
            request_id: value of ``x-request-id``.
            traceparent: value of ``traceparent``, or None where the header is not sent.
            covered: the headers of the token, from `cover`.
            content_digest: value of ``content-digest``, or None where the header is not sent.
            now: seconds since the epoch.

        Returns:
            The values of ``Signature-Input`` and ``Signature``.

        Raises:
            ValueError: an argument has a line break or a character outside ASCII, or what must not be empty is.
        """
        created = int(now)
        if created != self._second:
            self._window = f');created={created};expires={created + LIFETIME_S};nonce="{_NONCES.prefix}'
            self._second = created
        names, lines = covered.names, covered.lines
        if traceparent is not None:
            names = f' "traceparent"{names}'
            lines = f'"traceparent": {traceparent}\n{lines}'
        if content_digest is not None:
            names = f'{names} "content-digest"'
            lines = f'{lines}"content-digest": {content_digest}\n'
        params = (
            f'("@method" "@path" "@query" "x-request-id"{names}{self._window}{next(_NONCES.counter):x}{self._suffix}'
        )
        # A line break in a value would let it pose as the next component of the base.
        said = f"{method}{path}{query}{request_id}{traceparent}{content_digest}"
        if "\n" in said or "\r" in said:
            raise ValueError("a line break in what is signed")
        if not (method and path and request_id):
            raise ValueError("method, path and request id must not be empty")
        base = (
            f'"@method": {method}\n"@path": {path}\n"@query": ?{query}\n"x-request-id": {request_id}\n'
            f'{lines}"@signature-params": {params}'
        )
        signature = b2a_base64(self._hash.digest(base.encode("ascii")), newline=False).decode("ascii")
        return f"{LABEL}={params}", f"{LABEL}=:{signature}:"


def signed_headers(  # noqa: PLR0913 - what the profile covers, all by name
    key: LinkKey,
    *,
    method: str,
    path: str,
    query: str = "",
    headers: Iterable[tuple[str, str]],
    body: bytes | None = None,
    now: float,
) -> list[tuple[str, str]]:
    """All headers to add to one request of a service to another.

    Args:
        key: the link key to the service that is called.
        method: as sent.
        path: the path as sent, percent-encoding untouched.
        query: what follows the ``?`` as sent.
        headers: the identity headers, lower-case, values encoded, ``x-request-id`` among them; `Caller.forwarded_by`
            and `trust.token_headers` make them.
        body: the whole body where it is at hand. Covered unless it is empty or longer than `MAX_DIGEST_BODY`.
        now: seconds since the epoch.

    Raises:
        ValueError: a header is no identity header, comes twice or is malformed; ``x-request-id`` is missing; or
            ``x-caller`` names another service than the origin of the key.
    """
    pairs = tuple(headers)
    request_headers = {name: value for name, value in pairs if name in {REQUEST_ID, TRACEPARENT}}
    if not "".join((method, path, query, *request_headers.values())).isprintable():
        raise ValueError("what is signed has to be printable")
    covered = cover((name, value) for name, value in pairs if name not in request_headers)
    if len(request_headers) + len(covered.headers) != len(pairs):
        raise ValueError("an identity header comes twice")
    if REQUEST_ID not in request_headers:
        raise ValueError(f"{REQUEST_ID} is missing")
    if dict(covered.headers).get(CALLER, key.origin) != key.origin:
        raise ValueError(f"{CALLER} names another service than {key.origin}, which signs")
    digest = content_digest(body) if body and len(body) <= MAX_DIGEST_BODY else None
    signature_input, signature = Signer(key).sign(
        method=method,
        path=path,
        query=query,
        request_id=request_headers[REQUEST_ID],
        traceparent=request_headers.get(TRACEPARENT),
        covered=covered,
        content_digest=digest,
        now=now,
    )
    return [
        *((name, request_headers[name]) for name in (REQUEST_ID, TRACEPARENT) if name in request_headers),
        *covered.headers,
        *([] if digest is None else [(CONTENT_DIGEST, digest)]),
        (SIGNATURE_INPUT, signature_input),
        (SIGNATURE, signature),
    ]


def content_digest(body: bytes) -> str:
    """The value of ``Content-Digest`` for a body: SHA-256, RFC 9530 section 2."""
    return f"sha-256=:{_base64(hashlib.sha256(body).digest())}:"


def verify(  # noqa: PLR0911, PLR0913 - one ordered list of checks over all that the profile covers
    keys: LinkKeys,
    *,
    method: str,
    path: str,
    query: str,
    headers: Sequence[tuple[str, str]],
    now: float,
    leeway: float = DEFAULT_LEEWAY_S,
) -> Verified | SignatureRefused:
    """Check that a known service signed exactly this request, for this service, a moment ago.

    Args:
        keys: the link keys of this service.
        method: as received.
        path: the raw path as received, percent-encoding untouched.
        query: the raw query as received, without the ``?``.
        headers: all headers of the request, in any case, each as often as it came.
        now: seconds since the epoch.
        leeway: seconds by which ``created`` may lie in the future.
    """
    found = _profile_headers(headers)
    if isinstance(found, SignatureRefused):
        return found
    claim = _parsed_claim(found)
    if isinstance(claim, SignatureRefused):
        return claim
    key = keys.inbound(claim.key_id)
    if key is None:
        return SignatureRefused(Refused.UNKNOWN_KEY)
    refused = (
        _cover_refused(claim, found) or _window_refused(claim, now, leeway) or _target_refused(method, path, query)
    )
    if refused is not None:
        return refused
    signature = hmac.digest(key.secret, _signature_base(claim, found, method, path, query), "sha256")
    # Compared as text: that way only the one canonical base64 spelling of a signature is ever accepted.
    if not hmac.compare_digest(f"{LABEL}=:{_base64(signature)}:", found[SIGNATURE]):
        return SignatureRefused(Refused.BAD_SIGNATURE)
    try:
        caller = caller_from({name: found[name] for name in IDENTITY_HEADERS if name in found}, key.origin)
    except IdentityError as error:
        return SignatureRefused(Refused.BAD_IDENTITY, str(error))
    return Verified(caller, key.origin, key.key_id, found.get(CONTENT_DIGEST), signature, claim.expires)


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a Signature-Input says; nothing of it is proven."""

    params: str
    components: str
    created: int
    expires: int
    key_id: str


def _profile_headers(headers: Sequence[tuple[str, str]]) -> dict[str, str] | SignatureRefused:
    """The headers that the profile knows, each of them once, in its own spelling and on one line."""
    found: dict[str, str] = {}
    for spelled, value in headers:
        name = spelled.lower()
        if name in _PROFILE_HEADERS:
            if name in found:
                return SignatureRefused(Refused.DUPLICATE_HEADER, name)
            if not _LINE.fullmatch(value):
                return SignatureRefused(Refused.MALFORMED, name)
            found[name] = value
        elif (disguise := _BARE_NAMES.get(_SEPARATORS.sub("", name))) is not None:
            # Many a framework takes `x_user_id` for `x-user-id`, and would hand the handler the unsigned one.
            return SignatureRefused(Refused.DISGUISED_HEADER, disguise)
    for name in (SIGNATURE_INPUT, SIGNATURE, REQUEST_ID):
        if name not in found:
            return SignatureRefused(Refused.MISSING, name)
    return found


def _parsed_claim(found: dict[str, str]) -> _Claim | SignatureRefused:
    match = _SIGNATURE_INPUT.fullmatch(found[SIGNATURE_INPUT])
    if match is None:
        return SignatureRefused(Refused.MALFORMED, SIGNATURE_INPUT)
    if not _SIGNATURE.fullmatch(found[SIGNATURE]):
        return SignatureRefused(Refused.MALFORMED, SIGNATURE)
    if CONTENT_DIGEST in found and not _DIGEST.fullmatch(found[CONTENT_DIGEST]):
        return SignatureRefused(Refused.MALFORMED, CONTENT_DIGEST)
    if match["tag"] != TAG:
        return SignatureRefused(Refused.WRONG_TAG)
    return _Claim(match["params"], match["components"], int(match["created"]), int(match["expires"]), match["keyid"])


def _cover_refused(claim: _Claim, found: dict[str, str]) -> SignatureRefused | None:
    present = ["@method", "@path", "@query", *(name for name in _COVERABLE if name in found)]
    if claim.components == " ".join(f'"{name}"' for name in present):
        return None
    covered = claim.components.replace('"', "").split(" ")
    for name in present:
        if name not in covered:
            return SignatureRefused(Refused.NOT_COVERED, name)
    for name in _COVERABLE:
        if name in covered and name not in found:
            return SignatureRefused(Refused.COVERED_ABSENT, name)
    return SignatureRefused(Refused.MALFORMED, SIGNATURE_INPUT)


def _window_refused(claim: _Claim, now: float, leeway: float) -> SignatureRefused | None:
    # Each condition states what is allowed: a clock that yields NaN lets nothing through.
    if not 0 < claim.expires - claim.created <= MAX_LIFETIME_S:
        return SignatureRefused(Refused.LIFETIME)
    if not claim.created <= now + leeway:
        return SignatureRefused(Refused.NOT_YET_VALID)
    if not now < claim.expires:
        return SignatureRefused(Refused.EXPIRED)
    return None


def _target_refused(method: str, path: str, query: str) -> SignatureRefused | None:
    for name, form, value in (("@method", _METHOD, method), ("@path", _PATH, path), ("@query", _QUERY, query)):
        if not form.fullmatch(value):
            return SignatureRefused(Refused.MALFORMED, name)
    return None


def _signature_base(claim: _Claim, found: dict[str, str], method: str, path: str, query: str) -> bytes:
    """RFC 9421 section 2.5, for a claim that covers exactly what was found."""
    lines = [f'"@method": {method}', f'"@path": {path}', f'"@query": ?{query}']
    lines += [f'"{name}": {found[name]}' for name in _COVERABLE if name in found]
    lines.append(f'"@signature-params": {claim.params}')
    return "\n".join(lines).encode("ascii")


def _base64(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode("ascii")


class _KeyedHash:
    """HMAC-SHA-256 (RFC 2104), its key hashed in once: for messages of this size half the time of `hmac.digest`."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, secret: bytes) -> None:
        block_size = hashlib.sha256().block_size
        key = hashlib.sha256(secret).digest() if len(secret) > block_size else secret
        block = key.ljust(block_size, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def digest(self, message: bytes) -> bytes:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.digest()


class _Nonces:
    """What makes each nonce unique: random for the process, then counted."""

    __slots__ = ("counter", "prefix")

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.prefix = secrets.token_hex(8)
        self.counter = itertools.count()


_NONCES: Final = _Nonces()
if hasattr(os, "register_at_fork"):
    # A forked worker would go on counting where its siblings do, and be taken for a replay.
    os.register_at_fork(after_in_child=_NONCES.renew)
