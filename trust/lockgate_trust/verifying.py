"""Verify identity headers by the profile of RFC 9421 that `lockgate_trust.profile` describes."""

import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from lockgate_trust.caller import Caller, IdentityError, caller_from
from lockgate_trust.headers import (
    BARE_NAMES,
    CONTENT_DIGEST,
    IDENTITY_HEADERS,
    REQUEST_ID,
    SIGNATURE,
    SIGNATURE_INPUT,
    bare_name,
    is_further_name,
)
from lockgate_trust.keys import LinkKeys
from lockgate_trust.profile import (
    LABEL,
    LEEWAY_S,
    LINE,
    MAX_DIGEST_BODY,
    MAX_FURTHER,
    MAX_LIFETIME_S,
    TAG,
    Body,
    Refused,
    SignatureRefused,
    content_digest,
    encode_base64,
)

_TARGET: Final = ("@method", "@path", "@query")
_COVERABLE: Final = (*IDENTITY_HEADERS, CONTENT_DIGEST)
_PROFILE_HEADERS: Final = frozenset({*_COVERABLE, SIGNATURE, SIGNATURE_INPUT})

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
    r';nonce="(?P<nonce>[A-Za-z0-9_-]{8,64})"'
    r';keyid="(?P<keyid>[A-Za-z0-9._-]{1,128})"'
    r';tag="(?P<tag>[a-z0-9-]{1,64})")'
)
# Read from the enumeration once: Python 3.11 takes longer for that than a comparison of strings.
_COVERED, _UNSAID = Body.DIGEST, Body.UNSAID
_SAID: Final = {said.value: said for said in (Body.NONE, Body.STREAMED, Body.UNSEEN)}


@dataclass(frozen=True, slots=True)
class Verified:
    """A request whose signature is valid.

    Whether the same signature came before is for the caller of `verify` to ask (`ReplayGuard`), and so is whether the
    body is the one that was signed (`body_refused`).

    Attributes:
        caller: the service and the user.
        origin: the service that signed.
        key_id: the key it signed with.
        content_digest: the covered ``content-digest``, or None where no body is covered.
        signature: the 32 bytes of the signature; unique to the request because of its nonce.
        expires: when it expires, in seconds since the epoch.
        body: what the signer says of the body.
        further: the covered headers of names that the signer chose, as they came.
    """

    caller: Caller
    origin: str
    key_id: str
    content_digest: str | None
    signature: bytes = field(repr=False)
    expires: int
    body: Body
    further: Mapping[str, str] = field(default_factory=dict)


def verify(  # noqa: PLR0911, PLR0913 - one ordered list of checks over all that the profile covers
    keys: LinkKeys,
    *,
    method: str,
    path: str,
    query: str,
    headers: Sequence[tuple[str, str]],
    now: float,
    leeway_s: float = LEEWAY_S,
) -> Verified | SignatureRefused:
    """Check that a known service signed exactly this request, for this service, a moment ago.

    Args:
        keys: the link keys of this service.
        method: as received.
        path: the raw path as received, percent-encoding untouched.
        query: the raw query as received, without the ``?``.
        headers: all headers of the request, in any case, each as often as it came.
        now: seconds since the epoch.
        leeway_s: by how many seconds the signer's clock may be ahead of, or behind, the one that `now` is of.
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
    covered = _covered_headers(claim, found, headers)
    if isinstance(covered, SignatureRefused):
        return covered
    refused = _window_refused(claim, now, leeway_s) or _target_refused(method, path, query)
    if refused is not None:
        return refused
    signature = hmac.digest(key.secret, _signature_base(claim, covered, method, path, query), "sha256")
    # Compared as text: that way only the one canonical base64 spelling of a signature is ever accepted.
    if not hmac.compare_digest(f"{LABEL}=:{encode_base64(signature)}:", found[SIGNATURE]):
        return SignatureRefused(Refused.BAD_SIGNATURE)
    try:
        caller = caller_from({name: found[name] for name in IDENTITY_HEADERS if name in found}, key.origin)
    except IdentityError as error:
        return SignatureRefused(Refused.BAD_IDENTITY, str(error))
    return Verified(
        caller,
        key.origin,
        key.key_id,
        found.get(CONTENT_DIGEST),
        signature,
        claim.expires,
        _stated_body(claim, found),
        {name: value for name, value in covered.items() if name not in _PROFILE_HEADERS},
    )


def body_refused(verified: Verified, body: bytes) -> SignatureRefused | None:
    """Why a request must not be served with this body, or None: for what holds a body whole.

    Args:
        verified: from `verify`.
        body: all of it; empty where the request has none.
    """
    if verified.content_digest is None:
        unsaid = body and verified.body is not Body.STREAMED
        return SignatureRefused(Refused.NOT_COVERED, CONTENT_DIGEST) if unsaid else None
    if len(body) > MAX_DIGEST_BODY:
        return SignatureRefused(Refused.BODY_TOO_LARGE, CONTENT_DIGEST)
    if not hmac.compare_digest(content_digest(body), verified.content_digest):
        return SignatureRefused(Refused.BODY_MISMATCH, CONTENT_DIGEST)
    return None


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a Signature-Input says; nothing of it is proven."""

    params: str
    components: str
    created: int
    expires: int
    nonce: str
    key_id: str


def _profile_headers(headers: Sequence[tuple[str, str]]) -> dict[str, str] | SignatureRefused:
    """The headers that the profile knows, each of them once, in its own spelling and on one line."""
    found: dict[str, str] = {}
    for spelled, value in headers:
        name = spelled.lower()
        if name in _PROFILE_HEADERS:
            if name in found:
                return SignatureRefused(Refused.DUPLICATE_HEADER, name)
            if not LINE.fullmatch(value):
                return SignatureRefused(Refused.MALFORMED, name)
            found[name] = value
        elif (disguise := BARE_NAMES.get(bare_name(name))) is not None:
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
    return _Claim(
        match["params"],
        match["components"],
        int(match["created"]),
        int(match["expires"]),
        match["nonce"],
        match["keyid"],
    )


def _stated_body(claim: _Claim, found: dict[str, str]) -> Body:
    return _COVERED if CONTENT_DIGEST in found else _SAID.get(claim.nonce.partition("-")[0], _UNSAID)


def _covered_headers(
    claim: _Claim, found: dict[str, str], headers: Sequence[tuple[str, str]]
) -> dict[str, str] | SignatureRefused:
    """The headers that a signature covers, in its order: those of the profile, and those that the signer chose."""
    present: dict[str, str] = {name: found[name] for name in _COVERABLE if name in found}
    if claim.components == _spell_components(present):
        return present
    covered = claim.components.replace('"', "").split(" ")
    for name in (*_TARGET, *present):
        if name not in covered:
            return SignatureRefused(Refused.NOT_COVERED, name)
    for name in _COVERABLE:
        if name in covered and name not in found:
            return SignatureRefused(Refused.COVERED_ABSENT, name)
    further = [name for name in covered if name not in _COVERABLE and is_further_name(name)]
    last = [CONTENT_DIGEST] if CONTENT_DIGEST in present else []
    ordered = [*(name for name in present if name != CONTENT_DIGEST), *further, *last]
    if claim.components != _spell_components(ordered) or len(further) > MAX_FURTHER:
        return SignatureRefused(Refused.MALFORMED, SIGNATURE_INPUT)
    values = _further_headers(further, headers)
    return values if isinstance(values, SignatureRefused) else {name: {**found, **values}[name] for name in ordered}


def _further_headers(names: Sequence[str], headers: Sequence[tuple[str, str]]) -> dict[str, str] | SignatureRefused:
    """The headers of names that the signer chose, each of them once, in its own spelling and on one line.

    A refusal names none of them: so far, they are what any client may have sent.
    """
    by_bare = {bare_name(name): name for name in names}
    if len(by_bare) != len(names):
        return SignatureRefused(Refused.MALFORMED, SIGNATURE_INPUT)
    values: dict[str, str] = {}
    for spelled, value in headers:
        name = by_bare.get(bare_name(spelled.lower()))
        if name is None:
            continue
        if spelled.lower() != name:
            return SignatureRefused(Refused.DISGUISED_HEADER)
        if name in values:
            return SignatureRefused(Refused.DUPLICATE_HEADER)
        if not LINE.fullmatch(value):
            return SignatureRefused(Refused.MALFORMED)
        values[name] = value
    return values if len(values) == len(names) else SignatureRefused(Refused.COVERED_ABSENT)


def _spell_components(covered: Iterable[str]) -> str:
    return " ".join(f'"{name}"' for name in (*_TARGET, *covered))


def _window_refused(claim: _Claim, now: float, leeway_s: float) -> SignatureRefused | None:
    # Each condition states what is allowed: a clock that yields NaN lets nothing through.
    if not 0 < claim.expires - claim.created <= MAX_LIFETIME_S:
        return SignatureRefused(Refused.LIFETIME)
    if not claim.created <= now + leeway_s:
        return SignatureRefused(Refused.NOT_YET_VALID)
    if not now < claim.expires + leeway_s:
        return SignatureRefused(Refused.EXPIRED)
    return None


def _target_refused(method: str, path: str, query: str) -> SignatureRefused | None:
    for name, form, value in (("@method", _METHOD, method), ("@path", _PATH, path), ("@query", _QUERY, query)):
        if not form.fullmatch(value):
            return SignatureRefused(Refused.MALFORMED, name)
    return None


def _signature_base(claim: _Claim, covered: Mapping[str, str], method: str, path: str, query: str) -> bytes:
    """RFC 9421 section 2.5, over the target and the covered headers in their order."""
    lines = [f'"@method": {method}', f'"@path": {path}', f'"@query": ?{query}']
    lines += [f'"{name}": {value}' for name, value in covered.items()]
    lines.append(f'"@signature-params": {claim.params}')
    return "\n".join(lines).encode("ascii")
