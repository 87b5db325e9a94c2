"""R-01, R-08, R-09: our verdict on a token beside that of PyJWT, which issues tokens and verifies none here.

PyJWT gets the key of the header's `kid` and that key's algorithm. It is more lenient than we are, so what we believe,
it has to believe, too; what it believes and we refuse has to be a second spelling of the same bytes, or a rule of ours.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

import jwt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jwt.api_jws import PyJWS
from jwt.exceptions import PyJWTError

from lockgate.codec import base64url
from lockgate.errors import Reason, Refusal
from lockgate.identity.signature import is_signed
from lockgate.keys.keyring import KeyRing, VerificationKey
from tests.support.signers import AUDIENCE, ISSUER, Gate, Signer, accepted
from tests.support.tokens import encoded

CHARACTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \n"
MANY: Final = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def believed_by_pyjwt(ring: KeyRing, token: str) -> dict[str, Any] | None:
    """The claims, where signature, issuer and audience are right; times are left out, for its clock is not ours."""
    try:
        kid = jwt.get_unverified_header(token).get("kid")
        key = ring.verifying.get(kid) if isinstance(kid, str) else None
        if key is None:
            return None
        return jwt.decode(
            token,
            key.public,
            algorithms=[key.alg],
            audience=AUDIENCE,
            issuer=ISSUER,
            options={"verify_exp": False, "verify_iat": False, "verify_nbf": False},
        )
    except (PyJWTError, ValueError, TypeError):
        return None


def signed_by_pyjwt(key: VerificationKey, signed: str, signature: bytes) -> bool:
    token = f"{signed}.{base64url.encode(signature)}"
    try:
        PyJWS(algorithms=[key.alg]).decode(token, key.public, algorithms=[key.alg])
    except PyJWTError:
        return False
    return True


@MANY
@given(data=st.data())
def test_both_believe_what_was_signed(gate: Gate, each_signer: Signer, data: st.DataObject) -> None:
    printable = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=40)
    said = {name: data.draw(printable, name) for name in ("sub", "sid", "jti", "client_id")}
    said["scope"] = data.draw(st.text(max_size=30), "scope")
    token = each_signer.token(None, **said)
    claims = accepted(gate.judge(token)).principal
    assert [claims.sub, claims.sid, claims.jti, claims.client_id] == [said[name] for name in list(said)[:4]]
    by_pyjwt = believed_by_pyjwt(each_signer.ring, token)
    assert by_pyjwt is not None
    assert {name: by_pyjwt[name] for name in said} == said


@MANY
@given(data=st.data())
def test_both_refuse_what_was_changed(gate: Gate, each_signer: Signer, data: st.DataObject) -> None:
    """Characters replaced, taken out and put in, and parts of two tokens mixed."""
    token = _mutated(each_signer.token(), each_signer.token(sub="bob", roles=["admin"]), data)
    outcome, by_pyjwt = gate.judge(token), believed_by_pyjwt(each_signer.ring, token)
    if not isinstance(outcome, Refusal):
        assert by_pyjwt is not None
        assert outcome.principal.sub == by_pyjwt["sub"]
    elif by_pyjwt is not None:
        assert outcome.reason is Reason.TOKEN_MALFORMED
        assert not _is_spelled_right(token)


@MANY
@given(header=st.dictionaries(st.sampled_from(["typ", "alg", "kid", "crit", "b64", "cty", "x"]), JSON, max_size=4))
def test_no_header_makes_us_believe_more(gate: Gate, each_signer: Signer, header: Mapping[str, object]) -> None:
    token = each_signer.token(each_signer.header(**header))
    if not isinstance(gate.judge(token), Refusal):
        assert believed_by_pyjwt(each_signer.ring, token) is not None


@MANY
@given(
    claims=st.dictionaries(st.sampled_from(["iss", "aud", "sub", "exp", "iat", "nbf", "jti", "x"]), JSON, max_size=4)
)
def test_no_claim_makes_us_believe_more(gate: Gate, each_signer: Signer, claims: Mapping[str, object]) -> None:
    token = each_signer.sign(encoded(each_signer.header()), encoded(each_signer.claims(**claims)))
    if not isinstance(gate.judge(token), Refusal):
        assert believed_by_pyjwt(each_signer.ring, token) is not None


@MANY
@given(data=st.data())
def test_a_signature_is_right_for_both_or_for_neither(each_signer: Signer, data: st.DataObject) -> None:
    """R-09: exactly, whatever its bytes and its length."""
    head, body, sign = each_signer.token().split(".")
    good = base64url.decode(sign)
    bad = data.draw(
        st.one_of(
            st.just(good),
            st.binary(max_size=2 * len(good)),
            st.integers(0, 8 * len(good) - 1).map(lambda bit: _flipped(good, bit)),
            st.integers(0, len(good)).map(lambda size: good[:size]),
            st.binary(min_size=1, max_size=3).map(lambda more: good + more),
            st.binary(min_size=1, max_size=3).map(lambda more: more + good),
            st.sampled_from([good[::-1], good[len(good) // 2 :] + good[: len(good) // 2], bytes(len(good))]),
        )
    )
    key, signed = each_signer.ring.verifying[each_signer.kid], f"{head}.{body}"
    assert is_signed(key, signed.encode(), bad) == signed_by_pyjwt(key, signed, bad)


@pytest.mark.parametrize("alg", ["EdDSA", "ES256", "RS256"])
def test_a_signature_of_one_kind_of_key_is_none_of_another(each_signer: Signer, alg: str) -> None:
    """R-01: the key chooses."""
    head, body, sign = each_signer.token().split(".")
    [key] = [key for key in each_signer.ring.verifying.values() if key.alg == alg]
    assert is_signed(key, f"{head}.{body}".encode(), base64url.decode(sign)) is (alg == each_signer.alg)


def _mutated(token: str, other: str, data: st.DataObject) -> str:
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(token)))
        match data.draw(st.sampled_from(["replace", "remove", "insert", "end", "parts"])):
            case "replace":
                token = token[:place] + data.draw(st.sampled_from(CHARACTERS)) + token[place + 1 :]
            case "remove":
                token = token[:place] + token[place + 1 :]
            case "insert":
                token = token[:place] + data.draw(st.sampled_from(CHARACTERS)) + token[place:]
            case "end":
                token += data.draw(st.sampled_from(["=", "==", "A", ".", "\n"]))
            case _:
                parts = zip(token.split("."), other.split("."), strict=False)
                token = ".".join(data.draw(st.sampled_from(pair)) for pair in parts)
    return token


def _is_spelled_right(token: str) -> bool:
    """Whether each part is the one spelling of its bytes, by the standard library's encoder."""
    try:
        again = [
            base64.urlsafe_b64encode(base64.urlsafe_b64decode(part + "===")).rstrip(b"=").decode()
            for part in token.split(".")
        ]
    except ValueError:
        return False
    return ".".join(again) == token


def _flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
