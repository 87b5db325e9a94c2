"""R-13: the entries of the cache of verified signatures, and their life."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

import pytest

from lockgate.errors import Reason, Refusal
from lockgate.identity.bearer import format_gate
from lockgate.identity.marks import SharedMarks
from lockgate.identity.model import VerifiedClaims
from lockgate.identity.verifier import MAX_HEADERS, Verifier
from lockgate.keys import keyring
from lockgate.keys.current import Current
from lockgate.keys.keyring import KeyRing, PrivateKey
from lockgate.stores.layout import admission_keys
from tests.support.clock import ManualClock
from tests.support.signers import LEEWAY_S, LIFE_S, RULES, Gate, Signer, accepted, generate, refused, write_ring


def test_a_remembered_token_is_the_same_claims(gate: Gate, signer: Signer) -> None:
    token = signer.token()
    assert accepted(gate.judge(token)) is accepted(gate.judge(token))


def test_a_remembered_token_dies_when_it_ends(gate: Gate, signer: Signer, clock: ManualClock) -> None:
    """R-13."""
    token = signer.token()
    accepted(gate.judge(token))
    clock.advance(LIFE_S + LEEWAY_S)
    refused(gate.judge(token), Reason.TOKEN_EXPIRED)


def test_a_clock_that_is_set_forth_and_back_is_obeyed(gate: Gate, signer: Signer, clock: ManualClock) -> None:
    """The verdict is that of the clock now, remembered or not; so two nodes never disagree for long."""
    token = signer.token()
    accepted(gate.judge(token))
    clock.advance(10 * LIFE_S)
    refused(gate.judge(token), Reason.TOKEN_EXPIRED)
    clock.advance(-10 * LIFE_S)
    accepted(gate.judge(token))
    clock.advance(-LEEWAY_S - 1)
    refused(gate.judge(token), Reason.TOKEN_NOT_YET_VALID)


def test_the_cache_is_bounded_and_forgets_the_oldest(ring: KeyRing, clock: ManualClock, signer: Signer) -> None:
    """R-13."""
    gate = Gate(ring, clock, cache_size=3)
    tokens = [signer.token(jti=f"token-{number}") for number in range(5)]
    first = [accepted(gate.judge(token)) for token in tokens]
    again = [accepted(gate.judge(token)) for token in reversed(tokens)]
    kept = [one is other for one, other in zip(first, reversed(again), strict=True)]
    assert kept == [False, False, True, True, True]


def test_an_expired_token_takes_no_place_in_the_cache(ring: KeyRing, clock: ManualClock, signer: Signer) -> None:
    gate = Gate(ring, clock, cache_size=1)
    old = signer.token(jti="old")
    clock.advance(LIFE_S + LEEWAY_S)
    young = signer.token(jti="young")
    claims = accepted(gate.judge(young))
    refused(gate.judge(old), Reason.TOKEN_EXPIRED)
    assert gate.judge(young) is claims


def test_without_a_cache_every_token_is_verified_anew(ring: KeyRing, clock: ManualClock, signer: Signer) -> None:
    gate = Gate(ring, clock, cache_size=0)
    token = signer.token()
    assert accepted(gate.judge(token)) is not accepted(gate.judge(token))


@pytest.mark.parametrize("good_first", [True, False])
def test_a_bad_signature_is_not_covered_by_a_good_one(gate: Gate, signer: Signer, *, good_first: bool) -> None:
    """R-12, R-13: the key is the digest of the whole token, and no refusal is remembered for the claims in it."""
    good = signer.token()
    head, body, sign = good.split(".")
    raw = bytearray(base64.urlsafe_b64decode(sign + "=="))
    raw[5] ^= 1
    bad = f"{head}.{body}.{base64.urlsafe_b64encode(raw).rstrip(b'=').decode()}"
    if good_first:
        accepted(gate.judge(good))
    refused(gate.judge(bad), Reason.TOKEN_BAD_SIGNATURE)
    accepted(gate.judge(good))
    refused(gate.judge(bad), Reason.TOKEN_BAD_SIGNATURE)


def test_what_is_remembered_dies_with_its_key(
    private_keys: Mapping[str, PrivateKey], clock: ManualClock, tmp_path: Path, ring: KeyRing
) -> None:
    """R-164, R-13: what was verified with one ring is unknown to the next."""
    token = Signer(ring, private_keys["EdDSA"], "EdDSA", clock).token()
    gate = Gate(ring, clock)
    accepted(gate.judge(token))
    later = keyring.load(write_ring(tmp_path, {"EdDSA": generate("EdDSA"), "ES256": private_keys["ES256"]}))
    gate.keys.value = later
    refused(gate.judge(token), Reason.TOKEN_UNKNOWN_KEY)


def test_a_remembered_header_is_held_against_the_ring_in_use(
    private_keys: Mapping[str, PrivateKey], clock: ManualClock, tmp_path: Path, ring: KeyRing
) -> None:
    """R-06, R-164: the key id is looked up for each token, however often its header was read."""
    signer = Signer(ring, private_keys["EdDSA"], "EdDSA", clock)
    gate = Gate(ring, clock)
    accepted(gate.judge(signer.token(jti="before")))
    gate.keys.value = keyring.load(write_ring(tmp_path, {"ES256": private_keys["ES256"]}, active="ES256"))
    refused(gate.judge(signer.token(jti="after")), Reason.TOKEN_UNKNOWN_KEY)
    gate.keys.value = ring
    accepted(gate.judge(signer.token(jti="later")))


def test_a_remembered_header_lets_no_other_signature_in(gate: Gate, signer: Signer) -> None:
    """R-12: and what was refused leaves no header behind that is taken for a good one."""
    odd = signer.header(typ="JWT")
    for _ in range(2):
        refused(gate.judge(signer.token(odd)), Reason.TOKEN_WRONG_TYPE)
    good = signer.token()
    accepted(gate.judge(good))
    head, _, sign = good.split(".")
    _, body, _ = signer.token(sub="mallory").split(".")
    refused(gate.judge(f"{head}.{body}.{sign}"), Reason.TOKEN_BAD_SIGNATURE)


def test_many_headers_are_read_as_well_as_one(gate: Gate, signer: Signer) -> None:
    """R-13: what is remembered of headers is bounded."""
    for _ in range(2):
        for number in range(2 * MAX_HEADERS + 1):
            accepted(gate.judge(signer.token(signer.header(cty=f"{number}"), jti=f"{number}")))


def test_reading_for_revocation_looks_at_everything_but_the_time(
    ring: KeyRing, signer: Signer, clock: ManualClock
) -> None:
    """R-149: a node with a clock that runs ahead still revokes what its neighbours accept."""
    verifier = Verifier(Current(ring), RULES, clock, marks=SharedMarks(), cache_size=10, keys_of=admission_keys)
    text = signer.token()
    head, body, _ = text.split(".")
    token, forged = format_gate(text.encode()), format_gate(f"{head}.{body}.AAAA".encode())
    assert not isinstance(token, Refusal)
    assert not isinstance(forged, Refusal)
    clock.advance(LIFE_S + LEEWAY_S)
    refused(verifier.verify(token), Reason.TOKEN_EXPIRED)
    assert isinstance(verifier.read(token), VerifiedClaims)
    refused(verifier.read(forged), Reason.TOKEN_BAD_SIGNATURE)
