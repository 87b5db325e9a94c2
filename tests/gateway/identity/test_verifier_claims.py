"""SECURITY.md sections 2 and 3: whether a validly signed token is an access token for us, now."""

from __future__ import annotations

import dataclasses

import pytest

from lockgate.errors import Reason, Refusal
from lockgate.identity.model import MAX_TEXT
from lockgate.identity.verifier import AccessTokenRules
from lockgate.keys.keyring import KeyRing
from lockgate.sessions.refresh_token import RefreshClaim, RefreshTokens, new_sid
from lockgate.settings import TokenSettings
from tests.support.clock import ManualClock
from tests.support.signers import AUDIENCE, ISSUER, LEEWAY_S, LIFE_S, RULES, Gate, Signer, accepted, refused
from tests.support.tokens import ABSENT


@pytest.mark.parametrize("kind", ["at+jwt", "AT+JWT", "at+JWT", "application/at+jwt", "Application/AT+jwt"])
def test_an_access_token_says_that_it_is_one(gate: Gate, signer: Signer, kind: str) -> None:
    """R-20"""
    accepted(gate.judge(signer.token(signer.header(typ=kind))))


@pytest.mark.parametrize(
    "kind",
    [ABSENT, None, "", "JWT", "at", "at+jwt ", "at-jwt", "application/jwt", "dpop+jwt", "text/at+jwt", ["at+jwt"], 1],
)
def test_anything_else_is_no_access_token(gate: Gate, signer: Signer, kind: object) -> None:
    """R-20, R-30: an ID token (JWT), a DPoP proof (dpop+jwt), no type at all."""
    refused(gate.judge(signer.token(signer.header(typ=kind))), Reason.TOKEN_WRONG_TYPE)


@pytest.mark.parametrize("name", ["iss", "exp", "aud", "sub", "client_id", "iat", "jti", "sid", "epoch"])
def test_a_required_claim_may_not_be_missing(gate: Gate, signer: Signer, name: str) -> None:
    """R-21"""
    refused(gate.judge(signer.token(**{name: ABSENT})), Reason.TOKEN_BAD_CLAIMS, Reason.TOKEN_WRONG_AUDIENCE)


def test_a_token_of_nobody_who_authenticated_tells_no_time_of_it(gate: Gate, signer: Signer) -> None:
    """RFC 9068 section 2.2.1: a client in its own name. The service gets no header either, and not an invented one."""
    identity = accepted(gate.judge(signer.token(auth_time=ABSENT, amr=ABSENT))).principal
    assert (identity.auth_time, identity.amr) == (None, ())
    assert "x-auth-time" not in identity.covered.head.lower()
    assert "x-auth-time" in accepted(gate.judge(signer.token())).principal.covered.head.lower()


@pytest.mark.parametrize("name", ["iss", "aud", "sub", "client_id", "jti", "sid"])
@pytest.mark.parametrize("value", [None, 1, True, {}, {"x": 1}, [], [1], ""], ids=repr)
def test_a_claim_that_is_text_is_nothing_else(gate: Gate, signer: Signer, name: str, value: object) -> None:
    """R-21"""
    refused(gate.judge(signer.token(**{name: value})), Reason.TOKEN_BAD_CLAIMS, Reason.TOKEN_WRONG_AUDIENCE)


@pytest.mark.parametrize(
    "issuer", [f"{ISSUER}/", ISSUER.upper(), ISSUER[:-1], f" {ISSUER}", f"{ISSUER}\u0000", [ISSUER]]
)
def test_the_issuer_is_ours_to_the_letter(gate: Gate, signer: Signer, issuer: object) -> None:
    """R-22"""
    refused(gate.judge(signer.token(iss=issuer)), Reason.TOKEN_BAD_CLAIMS)


@pytest.mark.parametrize("audience", [AUDIENCE, [AUDIENCE], ["other", AUDIENCE], [*["other"] * 15, AUDIENCE]])
def test_a_token_for_us_among_others_is_for_us(gate: Gate, signer: Signer, audience: object) -> None:
    """R-23"""
    accepted(gate.judge(signer.token(aud=audience)))


@pytest.mark.parametrize(
    "audience",
    [
        "other",
        AUDIENCE.upper(),
        f"{AUDIENCE}s",
        AUDIENCE[:-1],
        f"other {AUDIENCE}",
        ["other"],
        [f"other,{AUDIENCE}"],
        [[AUDIENCE]],
        [AUDIENCE, 1],
        [AUDIENCE, None],
        {AUDIENCE: True},
        [*["other"] * 16, AUDIENCE],
    ],
    ids=repr,
)
def test_a_token_for_somebody_else_is_not_for_us(gate: Gate, signer: Signer, audience: object) -> None:
    """R-23: and neither is a token with a list longer than sixteen, or of anything but text."""
    refused(gate.judge(signer.token(aud=audience)), Reason.TOKEN_WRONG_AUDIENCE)


def test_a_token_for_one_resource_is_refused_at_another(ring: KeyRing, clock: ManualClock, signer: Signer) -> None:
    """R-33"""
    other = Gate(ring, clock, dataclasses.replace(RULES, audience="warehouse"))
    refused(other.judge(signer.token()), Reason.TOKEN_WRONG_AUDIENCE)
    accepted(other.judge(signer.token(aud="warehouse")))


@pytest.mark.parametrize("when", [10**15, 2**53])
def test_an_auth_time_that_no_header_can_carry_is_no_date(gate: Gate, signer: Signer, when: int) -> None:
    """R-24: a verdict, and no fault, for all claims of a signed token."""
    refused(gate.judge(signer.token(auth_time=when)), Reason.TOKEN_BAD_CLAIMS)


@pytest.mark.parametrize("name", ["exp", "iat", "nbf", "auth_time"])
@pytest.mark.parametrize(
    "date",
    [
        "1800000000",
        "1_800_000_000",
        " 1800000000 ",
        "١٨٠٠٠٠٠٠٠٠",
        True,
        False,
        None,
        [1],
        {},
        -1,
        -0.5,
        2**53 + 1,
        10**19,
        1e30,
    ],
    ids=repr,
)
def test_a_date_is_a_number_in_its_range(gate: Gate, signer: Signer, name: str, date: object) -> None:
    """R-24"""
    refused(gate.judge(signer.token(**{name: date})), Reason.TOKEN_BAD_CLAIMS)


def test_a_date_may_have_a_fraction(gate: Gate, signer: Signer, clock: ManualClock) -> None:
    """R-24: NumericDate is any JSON number (RFC 7519 section 2)."""
    assert accepted(gate.judge(signer.token(exp=clock.now() + 1.5))).exp == clock.now() + 1.5


def test_a_token_dies_one_leeway_after_its_end(gate: Gate, signer: Signer, clock: ManualClock) -> None:
    """R-24, R-25"""
    token = signer.token()
    clock.advance(LIFE_S + LEEWAY_S - 0.001)
    accepted(gate.judge(token))
    clock.advance(0.001)
    refused(gate.judge(token), Reason.TOKEN_EXPIRED)


@pytest.mark.parametrize("name", ["iat", "nbf"])
def test_a_token_may_be_ahead_by_the_leeway_and_no_more(
    gate: Gate, signer: Signer, clock: ManualClock, name: str
) -> None:
    """R-25: the same figure as for the end."""
    now = clock.now()
    accepted(gate.judge(signer.token(**{name: now + LEEWAY_S})))
    refused(gate.judge(signer.token(**{name: now + LEEWAY_S + 0.001})), Reason.TOKEN_NOT_YET_VALID)


def test_the_leeway_cannot_be_configured_to_be_a_second_lifetime() -> None:
    """R-25"""
    assert TokenSettings(leeway_s=60).leeway_s == 60
    with pytest.raises(ValueError, match="less than or equal to 60"):
        TokenSettings(leeway_s=61)


def test_a_token_that_lives_too_long_is_refused_however_well_it_is_signed(
    gate: Gate, signer: Signer, clock: ManualClock
) -> None:
    """R-26"""
    now = int(clock.now())
    accepted(gate.judge(signer.token(iat=now, exp=now + LIFE_S + LEEWAY_S)))
    refused(gate.judge(signer.token(iat=now, exp=now + LIFE_S + LEEWAY_S + 1)), Reason.TOKEN_BAD_CLAIMS)
    refused(gate.judge(signer.token(iat=0, exp=now + 60)), Reason.TOKEN_BAD_CLAIMS)


@pytest.mark.parametrize("name", ["sub", "jti", "client_id", "sid"])
@pytest.mark.parametrize(
    "text",
    [
        "a\r\nX-User-Roles: admin",
        "a\nb",
        "a\u0000b",
        "a\tb",
        "\u007f",
        "\u0085",
        "\u2028",
        "\u202e",
        "\ufeff",
        "x" * 257,
    ],
    ids=ascii,
)
def test_a_name_is_short_and_without_control_characters(gate: Gate, signer: Signer, name: str, text: str) -> None:
    """R-27"""
    refused(gate.judge(signer.token(**{name: text})), Reason.TOKEN_BAD_CLAIMS)


@pytest.mark.parametrize("sub", ["алиса", "山田", "a b", "a,b", "a%20b", "{a}", "a:b", "x" * MAX_TEXT, "é" * MAX_TEXT])
def test_any_other_name_stands_in_a_header_as_one_line_of_ascii(gate: Gate, signer: Signer, sub: str) -> None:
    """R-27: and its Redis keys keep to one slot."""
    claims = accepted(gate.judge(signer.token(sub=sub)))
    lines = claims.principal.covered.head.split("\r\n")
    assert len([line for line in lines if line.startswith("x-user-id: ")]) == 1
    assert all(line.isprintable() for line in lines)
    tags = {key[key.index(b"{") : key.index(b"}")] for key in claims.question.names}
    assert len(tags) == 1


def test_two_users_never_share_a_revocation_key(gate: Gate, signer: Signer) -> None:
    """R-27: even where their names resemble with the key's own spelling."""
    names = ["a", "a}", "{a}", "a:jti:b", "A", "a "]
    questions = {accepted(gate.judge(signer.token(sub=name))).question for name in names}
    assert len(questions) == len(names)


@pytest.mark.parametrize(
    "scope", [["orders:read"], {"orders:read": True}, None, 1, "", " ", "orders:read\nadmin", "ж", "x" * 257], ids=ascii
)
def test_a_scope_that_is_no_string_of_words_grants_nothing(gate: Gate, signer: Signer, scope: object) -> None:
    """R-28"""
    assert accepted(gate.judge(signer.token(scope=scope))).principal.scopes == frozenset()


@pytest.mark.parametrize("roles", ["admin", {"admin": 1}, None, 1, ["admin", 1], ["a b"], [""], ["a\n"], [["admin"]]])
def test_roles_of_another_type_grant_nothing(gate: Gate, signer: Signer, roles: object) -> None:
    """R-28"""
    claims = accepted(gate.judge(signer.token(roles=roles)))
    assert claims.principal.roles == ()
    assert "admin" not in claims.principal.covered.head


@pytest.mark.parametrize("epoch", ["0", 0.0, True, None, -1, 2**53, [0]], ids=repr)
def test_the_epoch_is_a_counter(gate: Gate, signer: Signer, epoch: object) -> None:
    """R-21: what cannot be compared with the user's counter is not believed."""
    refused(gate.judge(signer.token(epoch=epoch)), Reason.TOKEN_BAD_CLAIMS)


@pytest.mark.parametrize("binding", [{"jkt": "x"}, {"x5t#S256": "x"}, {}, None])
def test_a_token_that_is_bound_to_a_key_is_no_bearer_token(gate: Gate, signer: Signer, binding: object) -> None:
    """R-29"""
    refused(gate.judge(signer.token(cnf=binding)), Reason.TOKEN_BAD_CLAIMS)


def test_a_refresh_token_is_no_access_token(gate: Gate) -> None:
    """R-30"""
    refresh = RefreshTokens(lambda: [b"k" * 32]).make(RefreshClaim("alice", new_sid(), 0))
    refused(gate.judge(refresh), Reason.TOKEN_MALFORMED)


def test_a_signed_identity_header_is_no_access_token(gate: Gate) -> None:
    """R-30, R-32: it is not even of that form, and its key is a link's, which no verifier has."""
    for value in ("lockgate=:c2lnbmF0dXJl:", 'lockgate=("@method" "@path");created=1;keyid="k"'):
        refused(gate.judge(value), Reason.TOKEN_MALFORMED)


def test_an_access_token_is_no_refresh_token(signer: Signer) -> None:
    """R-31"""
    assert RefreshTokens(lambda: [b"k" * 32]).read(signer.token()) is None


def test_no_refusal_of_a_token_tells_what_was_wrong_with_it_but_that_it_has_expired(
    gate: Gate, signer: Signer, clock: ManualClock
) -> None:
    """R-12, R-227: no oracle between a bad signature, a wrong type and an unknown key, expired or not.

    `token_expired` is said of one that was signed, of the right type, issuer and audience, and has no other fault.
    """
    expired = signer.token()
    head, body, _ = expired.split(".")
    clock.advance(LIFE_S + LEEWAY_S)
    gone = {"iat": clock.now() - 2 * LIFE_S, "exp": clock.now() - LIFE_S}
    faults: list[dict[str, object]] = [{"iss": "other"}, {"aud": "other"}, {"cnf": {}}, {"sub": ""}, {"epoch": "0"}]
    odd = [
        expired,
        signer.token(**gone),
        f"{head}.{body}.AAAA",
        signer.token(signer.header(typ="JWT")),
        signer.token(signer.header(kid="nobody")),
        signer.token(aud="other"),
        "not a token",
        *(signer.token(**gone, **fault) for fault in faults),
        signer.token(signer.header(typ="JWT"), **gone),
        signer.token(**gone, nbf=clock.now() + LEEWAY_S + 1),
    ]
    refusals = [gate.judge(token) for token in odd]
    assert all(isinstance(refusal, Refusal) for refusal in refusals)
    codes = [refusal.reason.code for refusal in refusals if isinstance(refusal, Refusal)]
    assert codes == ["token_expired"] * 2 + ["invalid_token"] * (len(odd) - 2)
    for refusal in refusals:
        assert isinstance(refusal, Refusal)
        assert "alice" not in refusal.note  # nothing of an unverified token gets into the log


def test_the_rules_of_a_verifier_come_from_its_configuration(ring: KeyRing, clock: ManualClock, signer: Signer) -> None:
    """R-22, R-25, R-26"""
    strict = Gate(ring, clock, AccessTokenRules(ISSUER, AUDIENCE, leeway_s=0, max_life_s=60))
    refused(strict.judge(signer.token()), Reason.TOKEN_BAD_CLAIMS)
    token = signer.token(exp=int(clock.now()) + 60)
    accepted(strict.judge(token))
    clock.advance(60)
    refused(strict.judge(token), Reason.TOKEN_EXPIRED)
