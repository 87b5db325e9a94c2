"""From a token to claims that can be believed: signature, then claims, then times.

The one public way is `Verifier.verify`. The header and the payload are read by `strict_json`, the algorithm comes from
the key, and a claim of the wrong JSON type is no claim. PyJWT makes tokens and verifies none: the tests compare the
verdicts of both (`identity/test_verifier_oracle`).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

from lockgate.clock import Clock
from lockgate.codec import base64url, strict_json
from lockgate.errors import Reason, Refusal
from lockgate.identity.marks import SharedMarks
from lockgate.identity.model import MAX_TEXT, Principal, UnverifiedToken, VerifiedClaims, tellable
from lockgate.identity.signature import is_signed
from lockgate.keys.current import Current
from lockgate.keys.keyring import KeyRing, VerificationKey
from lockgate.stores.packed import PackedKeys
from lockgate_trust import cover_token
from lockgate_trust.caller import MAX_SECONDS

MAX_JSON_DEPTH: Final = 16
MAX_AUDIENCES: Final = 16
MAX_KID: Final = 128
MAX_HEADERS: Final = 64
"""Headers that are remembered. An issuer writes one for each of its keys."""
# A header with one of these asks for something this verifier does not do: extensions (RFC 7515 section 4.1.11),
# detached payloads (RFC 7797), compression, encryption, or a key of the sender's choice (RFC 8725 section 3.10).
_FORBIDDEN_HEADERS: Final = frozenset({"crit", "b64", "zip", "enc", "jwk", "jku", "x5u", "x5c"})
_TYPES: Final = frozenset({"at+jwt", "application/at+jwt"})
_LATEST: Final = 2.0**53
_NUMBERS: Final = (int, float)


@dataclass(frozen=True, slots=True)
class AccessTokenRules:
    """What an access token must say to be meant for us.

    Attributes:
        issuer: `iss`, byte for byte.
        audience: must be, or be in, `aud`.
        leeway_s: how far clocks may differ, for `exp`, `nbf` and `iat` alike.
        max_life_s: `exp - iat` may not be more, however well signed.
    """

    issuer: str
    audience: str
    leeway_s: float
    max_life_s: float


class _Refused(Exception):  # noqa: N818 - not a fault: it ends the list of checks, and never leaves this module
    def __init__(self, reason: Reason, note: str) -> None:
        self.refusal = Refusal(reason, note=note)


class _Header(NamedTuple):
    """What the header of a token says.

    Attributes:
        kid: of the key.
        alg: as it stands there, of any JSON type.
        is_access_token: whether the type is that of an access token.
    """

    kid: str
    alg: Any
    is_access_token: bool


class Verifier:
    """Verifies access tokens against the key ring in use.

    A bounded cache remembers tokens whose signature was verified, by the SHA-256 of all of it, because a
    signature does not change its mind. The times are checked on every call, and the cache belongs to the ring it was
    filled with: with another ring it starts empty, so an entry cannot outlive its key.

    Behind the cache stand marks that all workers of the node share: where a worker has verified the signature of a
    token, none verifies that signature again. All else about the token is read again (`identity.marks`).

    Args:
        rules: what a token must say.
        clock: the time.
        marks: of the node.
        cache_size: how many verified tokens are remembered at most; 0 for none.
        keys_of: the Redis keys that tell whether a token was revoked, from `sub`, `jti` and `sid`.
        on_unknown_key: told of each token whose `kid` is not in the ring.
    """

    def __init__(  # noqa: PLR0913 - all but the first three by name
        self,
        keys: Current[KeyRing],
        rules: AccessTokenRules,
        clock: Clock,
        *,
        marks: SharedMarks,
        cache_size: int,
        keys_of: Callable[[str, str, str], PackedKeys],
        on_unknown_key: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_unknown_key = on_unknown_key
        self._rules = rules
        self._clock = clock
        self._cache_size = cache_size
        self._keys_of = keys_of
        self._headers: dict[bytes, _Header] = {}
        self._keys = keys
        self._shared_marks = marks
        self._take_ring(keys.value)

    def verify(self, token: UnverifiedToken, credentials: bytes = b"") -> VerifiedClaims | Refusal:
        """Check signature, type, issuer, audience and times (RFC 9068 section 4).

        Args:
            token: that passed the format gate.
            credentials: what `recall` was asked for in vain, of the field that carried the token; empty where it was
                not asked.

        Returns:
            The claims, or a refusal. Its reason is for the log: clients are told `token_expired` of a token that has no
            other fault, and `invalid_token` of all others.
        """
        if not credentials:
            credentials = hashlib.sha256(b"Bearer " + token.encode("ascii")).digest()
            remembered = self.recall(credentials)
            if remembered is not None:
                return remembered
        claims = self.read(token)
        if isinstance(claims, Refusal):
            return claims
        refusal = self._still_valid(claims)
        if refusal is not None:
            return refusal
        self._cache_claims(credentials, claims)
        return claims

    def recall(self, credentials: bytes) -> VerifiedClaims | Refusal | None:
        """What is known of a token that was verified before; its times are checked again.

        Args:
            credentials: the SHA-256 of `Bearer <token>`, in the case that the client chose for the scheme.

        Returns:
            The claims; a refusal where the token has died since; `None` where nothing is known.
        """
        if self._keys.value is not self._ring:
            self._take_ring(self._keys.value)
        claims = self._cache.get(credentials)
        if claims is None:
            return None
        leeway = self._rules.leeway_s
        if claims.not_before - leeway <= self._clock.now() < claims.exp + leeway:
            return claims
        del self._cache[credentials]
        return self._still_valid(claims)

    def read(self, token: UnverifiedToken) -> VerifiedClaims | Refusal:
        """Check everything but the times: a node whose clock differs may still, or soon, accept the token.

        For revocation only, which has to hold on every node; no request is let in by this.
        """
        try:
            return self._verify_token(token)
        except _Refused as refused:
            return refused.refusal

    def _take_ring(self, ring: KeyRing) -> None:
        self._ring = ring
        self._marks = self._shared_marks.for_keys(ring.verifying)
        self._cache: OrderedDict[bytes, VerifiedClaims] = OrderedDict()

    def _verify_token(self, token: UnverifiedToken) -> VerifiedClaims:
        if self._keys.value is not self._ring:
            self._take_ring(self._keys.value)
        text = token.encode("ascii")
        signed, _, signature = text.rpartition(b".")
        head, _, body = signed.partition(b".")
        known = self._headers.get(head)
        header = known or _read_header(head)
        # Before the mark: a key that is no longer in the ring ends its tokens, marked or not.
        key = self._key_for(header)
        payload = _decode_part(body)
        digest = self._marks.digest(text)
        is_marked = self._marks.has(digest)
        # The signature of a marked token was verified as it stands here.
        if not is_marked and not is_signed(key, signed, _decode_part(signature)):
            raise _Refused(Reason.TOKEN_BAD_SIGNATURE, "the key did not sign this")
        if known is None:
            self._remember_header(head, header)
        if not header.is_access_token:
            raise _Refused(Reason.TOKEN_WRONG_TYPE, "typ is not at+jwt")
        claims = self._check_claims(_parse_object(payload), key.kid)
        if not is_marked and self._still_valid(claims) is None:
            self._marks.add(digest)
        return claims

    def _key_for(self, header: _Header) -> VerificationKey:
        key = self._ring.verifying.get(header.kid)
        if key is None:
            self._on_unknown_key()
            raise _Refused(Reason.TOKEN_UNKNOWN_KEY, "kid is not in the ring")
        if header.alg != key.alg:
            raise _Refused(Reason.TOKEN_UNKNOWN_KEY, "alg is not the key's")
        return key

    def _remember_header(self, head: bytes, header: _Header) -> None:
        # Only of a signed token, so clients cannot fill the memory with headers of their own.
        if len(self._headers) >= MAX_HEADERS:
            self._headers.clear()
        self._headers[head] = header

    def _check_claims(self, payload: Mapping[str, Any], kid: str) -> VerifiedClaims:
        rules = self._rules
        if payload.get("iss") != rules.issuer:
            raise _Refused(Reason.TOKEN_BAD_CLAIMS, "another issuer")
        if not _has_audience(payload.get("aud"), rules.audience):
            raise _Refused(Reason.TOKEN_WRONG_AUDIENCE, "another audience")
        if "cnf" in payload:
            raise _Refused(Reason.TOKEN_BAD_CLAIMS, "bound to a key, sent as plain bearer")
        exp, iat = _numeric_date(payload, "exp"), _numeric_date(payload, "iat")
        nbf = _numeric_date(payload, "nbf") if "nbf" in payload else iat
        if exp - iat > rules.max_life_s + rules.leeway_s:
            raise _Refused(Reason.TOKEN_BAD_CLAIMS, "lives too long")
        sub, sid, jti = _short_text(payload, "sub"), _short_text(payload, "sid"), _short_text(payload, "jti")
        epoch = payload.get("epoch")
        if type(epoch) is not int or not 0 <= epoch < _LATEST:
            raise _Refused(Reason.TOKEN_BAD_CLAIMS, "epoch is not a counter")
        roles, scopes = _words_of_list(payload.get("roles")), _words_of_string(payload.get("scope"))
        auth_time = int(_numeric_date(payload, "auth_time", MAX_SECONDS)) if "auth_time" in payload else None
        covered = cover_token(
            user_id=sub, roles=frozenset(roles), scopes=scopes, session_id=sid, token_id=jti, auth_time=auth_time
        )
        principal = Principal(
            sub,
            sid,
            jti,
            _short_text(payload, "client_id"),
            roles,
            scopes,
            auth_time,
            _words_of_list(payload.get("amr")),
            covered,
            tellable(payload.get("preferred_username")),
            tellable(payload.get("email")),
            payload.get("email_verified") is True,
        )
        return VerifiedClaims(exp, max(iat, nbf), epoch, principal, self._keys_of(sub, jti, sid), kid)

    def _still_valid(self, claims: VerifiedClaims) -> Refusal | None:
        now, leeway = self._clock.now(), self._rules.leeway_s
        # First, because "expired" is said of a token that has no other fault.
        if now < claims.not_before - leeway:
            return Refusal(Reason.TOKEN_NOT_YET_VALID)
        return Refusal(Reason.TOKEN_EXPIRED) if now >= claims.exp + leeway else None

    def _cache_claims(self, digest: bytes, claims: VerifiedClaims) -> None:
        if self._cache_size == 0:
            return
        if len(self._cache) >= self._cache_size:
            # Oldest first: tokens that live equally long die in the order they came.
            self._cache.popitem(last=False)
        self._cache[digest] = claims


def _read_header(head: bytes) -> _Header:
    header = _parse_object(_decode_part(head))
    if not _FORBIDDEN_HEADERS.isdisjoint(header):
        raise _Refused(Reason.TOKEN_MALFORMED, "a header parameter that is not understood")
    kid, kind = header.get("kid"), header.get("typ")
    if not isinstance(kid, str) or len(kid) > MAX_KID:
        raise _Refused(Reason.TOKEN_UNKNOWN_KEY, "no kid")
    return _Header(kid, header.get("alg"), isinstance(kind, str) and kind.lower() in _TYPES)


def _decode_part(part: bytes) -> bytes:
    try:
        return base64url.decode(part)
    except base64url.Base64UrlError as error:
        raise _Refused(Reason.TOKEN_MALFORMED, str(error)) from error


def _parse_object(data: bytes) -> dict[str, Any]:
    try:
        value = strict_json.loads(data, max_depth=MAX_JSON_DEPTH)
    except strict_json.StrictJsonError as error:
        raise _Refused(Reason.TOKEN_MALFORMED, str(error)) from error
    if not isinstance(value, dict):
        raise _Refused(Reason.TOKEN_MALFORMED, "not a JSON object")
    return value


def _has_audience(claim: object, audience: str) -> bool:
    if isinstance(claim, list):
        return len(claim) <= MAX_AUDIENCES and all(isinstance(one, str) for one in claim) and audience in claim
    return claim == audience


def _numeric_date(payload: Mapping[str, Any], name: str, latest: float = _LATEST) -> float:
    """A NumericDate (RFC 7519 section 2): a JSON number, so neither text nor `true`."""
    value: Any = payload.get(name)
    if type(value) not in _NUMBERS or not 0 <= value <= latest:
        raise _Refused(Reason.TOKEN_BAD_CLAIMS, f"{name} is not a date")
    return float(value)


def _short_text(payload: Mapping[str, Any], name: str) -> str:
    """A claim that will stand in a header, a log and a Redis key: short, and without control characters."""
    value = payload.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT or not value.isprintable():
        raise _Refused(Reason.TOKEN_BAD_CLAIMS, f"{name} is not short printable text")
    return value


def _words_of_string(claim: object) -> frozenset[str]:
    """The scopes of a space-separated string (RFC 8693 section 4.2); of anything else, none."""
    return _split_words(claim) if isinstance(claim, str) else frozenset()


@lru_cache(maxsize=256)  # clients have few different sets of scopes, and each new token has one of them
def _split_words(text: str) -> frozenset[str]:
    return frozenset(word for word in text.split(" ") if _is_word(word))


def _words_of_list(claim: object) -> tuple[str, ...]:
    """The members of a list of words; of anything else, none: what is malformed grants nothing."""
    if not isinstance(claim, list):
        return ()
    for word in claim:
        if not isinstance(word, str) or not _is_word(word):
            return ()
    return tuple(claim)


def _is_word(text: str) -> bool:
    return 0 < len(text) <= MAX_TEXT and text.isascii() and text.isprintable() and " " not in text
