"""Sign identity headers by the profile of RFC 9421 that `lockgate_trust.profile` describes.

Each signature is unique, because its nonce is a random prefix for each process and a counter. `created` has seconds
only. Without a nonce, a request that is signed again within one second (an idempotent request on a pooled connection
that was closed) would have the signature of the first one, and a service that remembers signatures would take the
gateway's own retry for an attack. The request id stays the same for both, because operators search logs by it.
"""

import hashlib
import itertools
import os
import secrets
from binascii import b2a_base64
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from lockgate_trust.headers import (
    CALLER,
    CONTENT_DIGEST,
    REQUEST_ID,
    SIGNATURE,
    SIGNATURE_INPUT,
    TOKEN_HEADERS,
    TRACEPARENT,
    is_further_name,
)
from lockgate_trust.keys import LinkKey
from lockgate_trust.profile import LABEL, LIFETIME_S, LINE, MAX_DIGEST_BODY, MAX_FURTHER, TAG, Body, content_digest

# Read from the enumeration once: Python 3.11 takes longer for that than a comparison of strings.
_DIGEST, _NONE = Body.DIGEST, Body.NONE


class Covered(NamedTuple):
    """The headers of a token, prepared for signing many requests; made by `cover` or `cover_token`.

    Attributes:
        names: their share of the list of components.
        lines: their lines of the signature base.
        head: the headers themselves as lines of a request head, each ended by CRLF, to be sent as they are.
    """

    names: str
    lines: str
    head: str

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The headers themselves, as names and values."""
        return tuple(_split_line(line) for line in self.head.splitlines())


def cover(headers: Iterable[tuple[str, str]]) -> Covered:
    """Prepare the headers of a token (`TOKEN_HEADERS`, lower-case, values encoded) for signing many requests.

    Raises:
        ValueError: a header is none of a token, comes twice, or its value is not one line of printable ASCII.
    """
    values: dict[str, str] = {}
    for name, value in headers:
        if name not in TOKEN_HEADERS or name in values:
            raise ValueError(f"{name!r} is not a header of a token, or comes twice")
        if not LINE.fullmatch(value):
            raise ValueError(f"the value of {name} is not one line of printable ASCII")
        values[name] = value
    names = [name for name in TOKEN_HEADERS if name in values]
    templates = CoveredTemplate.of(names)
    return templates.fill(tuple(values[name] for name in names))


def cover_further(covered: Covered, fields: Iterable[tuple[str, str]]) -> Covered:
    """Prepare headers of further names (lower-case, values encoded) for signing, after those of a token.

    Raises:
        ValueError: a name is one of the profile's, is not `is_further_name`, or comes twice; there are too many; or a
            value is not one line of printable ASCII.
    """
    values = dict(pairs := tuple(fields))
    if len(values) != len(pairs) or len(pairs) > MAX_FURTHER:
        raise ValueError("a further header comes twice, or there are too many")
    for name, value in pairs:
        if not is_further_name(name) or not LINE.fullmatch(value):
            raise ValueError(f"{name!r} cannot be a further header, or its value is not one line of printable ASCII")
    more = CoveredTemplate.of(values).fill(tuple(values.values()))
    return Covered(covered.names + more.names, covered.lines + more.lines, covered.head + more.head)


class CoveredTemplate(NamedTuple):
    """The texts of `Covered` for some names, with `%s` where the values go."""

    names: str
    lines: str
    head: str

    @classmethod
    def of(cls, names: Iterable[str]) -> "CoveredTemplate":
        """The texts for these headers, in the covered order."""
        said = tuple(names)
        return cls(
            names="".join(f' "{name}"' for name in said),
            lines="".join(f'"{name}": %s\n' for name in said),
            head="".join(f"{name}: %s\r\n" for name in said),
        )

    def fill(self, values: tuple[str, ...]) -> Covered:
        """The headers with these values. Each value must be one line of printable ASCII (`profile.LINE`)."""
        return Covered(self.names, self.lines % values, self.head % values)


def _split_line(line: str) -> tuple[str, str]:
    name, _, value = line.partition(": ")
    return name, value


class Signer:
    """Signs requests with one link key. Cheap to call, so keep one for each key."""

    __slots__ = ("_hash", "_second", "_suffix", "_window_without_body", "_windows", "key_id", "origin")

    def __init__(self, key: LinkKey) -> None:
        self.key_id: Final = key.key_id
        self.origin: Final = key.origin
        self._hash = _KeyedHash(key.secret)
        self._suffix = f'";keyid="{key.key_id}";tag="{TAG}"'
        self._second = -1
        self._windows: dict[Body, str] = {}
        self._window_without_body = ""

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
        body: Body = Body.NONE,
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
            body: what is said of the body where there is no digest of it; a request whose body is not said to be there
                is refused if it has one.
            now: seconds since the epoch.

        Returns:
            The values of ``Signature-Input`` and ``Signature``.

        Raises:
            ValueError: an argument has a line break or a character outside ASCII, or what must not be empty is.
        """
        created = int(now)
        if created != self._second:
            self._open_window(created)
        names, lines = covered.names, covered.lines
        if traceparent is not None:
            names = f' "traceparent"{names}'
            lines = f'"traceparent": {traceparent}\n{lines}'
        if content_digest is None:
            window = self._window_without_body if body is _NONE else self._windows[body]
        else:
            window = self._windows[_DIGEST]
            names = f'{names} "content-digest"'
            lines = f'{lines}"content-digest": {content_digest}\n'
        params = f'("@method" "@path" "@query" "x-request-id"{names}{window}{next(_NONCES.counter):x}{self._suffix}'
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

    def _open_window(self, created: int) -> None:
        window = f');created={created};expires={created + LIFETIME_S};nonce="'
        told = {body: f"{window}{body}-{_NONCES.prefix}" for body in (Body.NONE, Body.STREAMED, Body.UNSEEN)}
        # A digest says it by itself.
        self._windows = {**told, Body.DIGEST: f"{window}{_NONCES.prefix}"}
        # Most requests have no body, and the hash of an enumeration's member is not cheap.
        self._window_without_body = told[Body.NONE]
        self._second = created


def signed_headers(  # noqa: PLR0913 - what the profile covers, all by name
    key: LinkKey,
    *,
    method: str,
    path: str,
    query: str = "",
    headers: Iterable[tuple[str, str]],
    body: bytes | Literal[Body.STREAMED] | None = None,
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
        body: the whole body; None or empty where the request has none, and is signed as one without; `Body.STREAMED`
            where it is not at hand, and then not covered, as one longer than `MAX_DIGEST_BODY` is not.
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
    digest, said = _digest_of(body)
    signature_input, signature = Signer(key).sign(
        method=method,
        path=path,
        query=query,
        request_id=request_headers[REQUEST_ID],
        traceparent=request_headers.get(TRACEPARENT),
        covered=covered,
        content_digest=digest,
        body=said,
        now=now,
    )
    return [
        *((name, request_headers[name]) for name in (REQUEST_ID, TRACEPARENT) if name in request_headers),
        *covered.headers,
        *([] if digest is None else [(CONTENT_DIGEST, digest)]),
        (SIGNATURE_INPUT, signature_input),
        (SIGNATURE, signature),
    ]


def _digest_of(body: bytes | Literal[Body.STREAMED] | None) -> tuple[str | None, Body]:
    if not body:
        return None, Body.NONE
    if body is Body.STREAMED or len(body) > MAX_DIGEST_BODY:
        return None, Body.STREAMED
    return content_digest(body), Body.DIGEST


class _KeyedHash:
    """HMAC-SHA-256 (RFC 2104), its key hashed in once.

    `hmac.new(…).copy()` gives the same, and exceeds the bound for a forwarded request (docs/performance.md).
    """

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
    """What makes each nonce unique: random for the process, then counted.

    One for the process and not one for each `Signer`, because a fork has to renew it: a signer of its own would have to
    ask for its process with each signature, and `signed_headers` for random bytes with each call.
    """

    __slots__ = ("counter", "prefix")

    def __init__(self) -> None:
        self.renew_prefix()

    def renew_prefix(self) -> None:
        self.prefix = secrets.token_hex(8)
        self.counter = itertools.count()


_NONCES: Final = _Nonces()
if hasattr(os, "register_at_fork"):
    # A forked worker would go on counting where its siblings do, and be taken for a replay.
    os.register_at_fork(after_in_child=_NONCES.renew_prefix)
