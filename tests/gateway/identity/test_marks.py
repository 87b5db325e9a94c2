"""R-13, R-164: marks of verified signatures: what they stand for, and what becomes of a forged one."""

from __future__ import annotations

import hashlib
import mmap
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pytest

from lockgate.errors import Reason
from lockgate.identity.marks import MARK_BYTES, SETS, TABLE_BYTES, WAYS, KeyedMarks, SharedMarks
from lockgate.keys import keyring
from lockgate.keys.keyring import KeyRing, PrivateKey, VerificationKey
from tests.support.clock import ManualClock
from tests.support.signers import LEEWAY_S, LIFE_S, Gate, Signer, accepted, generate, refused, write_ring

SET_BYTES = MARK_BYTES * WAYS


@pytest.fixture
def shared() -> SharedMarks:
    return SharedMarks()


@pytest.fixture
def table() -> Iterator[mmap.mmap]:
    """A table to look into and to write to, as an attacker inside the process could."""
    with mmap.mmap(-1, TABLE_BYTES) as made:
        yield made


def spoilt(token: str) -> str:
    """The token with another signature of the right length, which no key made."""
    head, body, _ = token.split(".")
    return f"{head}.{body}.{'A' * 86}"


def mark(shared: SharedMarks, ring: KeyRing, token: str) -> None:
    marks = shared.for_keys(ring.verifying)
    marks.add(marks.digest(token.encode()))


def is_marked(shared: SharedMarks, ring: KeyRing, token: str) -> bool:
    marks = shared.for_keys(ring.verifying)
    return marks.has(marks.digest(token.encode()))


def test_a_token_is_marked_once_it_was_accepted(shared: SharedMarks, each_signer: Signer, clock: ManualClock) -> None:
    token = each_signer.token()
    gate = Gate(each_signer.ring, clock, marks=shared)
    assert not is_marked(shared, each_signer.ring, token)
    accepted(gate.judge(token))
    assert is_marked(shared, each_signer.ring, token)


def test_a_mark_stands_for_the_signature(shared: SharedMarks, each_signer: Signer, clock: ManualClock) -> None:
    """What another worker has verified is not verified again: the one way to see it is a mark for a bad signature."""
    bad = spoilt(each_signer.token())
    gate = Gate(each_signer.ring, clock, marks=shared)
    refused(gate.judge(bad), Reason.TOKEN_BAD_SIGNATURE)
    mark(shared, each_signer.ring, bad)
    assert accepted(gate.judge(bad)) == accepted(gate.judge(each_signer.token()))


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"iss": "https://other.example"}, Reason.TOKEN_BAD_CLAIMS),
        ({"aud": "other"}, Reason.TOKEN_WRONG_AUDIENCE),
        ({"cnf": {}}, Reason.TOKEN_BAD_CLAIMS),
        ({"exp": 10**12}, Reason.TOKEN_BAD_CLAIMS),
        ({"sub": "a\r\nb"}, Reason.TOKEN_BAD_CLAIMS),
        ({"epoch": "0"}, Reason.TOKEN_BAD_CLAIMS),
    ],
    ids=str,
)
def test_a_mark_stands_for_no_claim(
    shared: SharedMarks, signer: Signer, clock: ManualClock, claims: dict[str, object], reason: Reason
) -> None:
    token = signer.token(None, **claims)
    mark(shared, signer.ring, token)
    refused(Gate(signer.ring, clock, marks=shared).judge(token), reason)


def test_a_mark_stands_for_no_header(shared: SharedMarks, signer: Signer, clock: ManualClock) -> None:
    gate = Gate(signer.ring, clock, marks=shared)
    for change, reason in (
        ({"typ": "JWT"}, Reason.TOKEN_WRONG_TYPE),
        ({"alg": "none"}, Reason.TOKEN_UNKNOWN_KEY),
        ({"alg": "HS256"}, Reason.TOKEN_UNKNOWN_KEY),
        ({"kid": "unknown"}, Reason.TOKEN_UNKNOWN_KEY),
        ({"crit": ["exp"]}, Reason.TOKEN_MALFORMED),
    ):
        token = signer.token(signer.header(**change))
        mark(shared, signer.ring, token)
        refused(gate.judge(token), reason)


def test_a_marked_token_ends_with_its_time(shared: SharedMarks, signer: Signer, clock: ManualClock) -> None:
    token = signer.token()
    gates = [Gate(signer.ring, clock, marks=shared) for _ in range(2)]
    accepted(gates[0].judge(token))
    clock.advance(LIFE_S + LEEWAY_S)
    refused(gates[1].judge(token), Reason.TOKEN_EXPIRED)


def test_a_token_that_is_refused_gets_no_mark(shared: SharedMarks, signer: Signer, clock: ManualClock) -> None:
    """R-12: the place of a good token cannot be taken by what is refused, be it signed or not."""
    gate = Gate(signer.ring, clock, marks=shared)
    old = signer.token()
    clock.advance(LIFE_S + LEEWAY_S)
    for token in (old, spoilt(signer.token()), signer.token(aud="other"), signer.token(signer.header(typ="JWT"))):
        refused(
            gate.judge(token),
            Reason.TOKEN_EXPIRED,
            Reason.TOKEN_BAD_SIGNATURE,
            Reason.TOKEN_WRONG_AUDIENCE,
            Reason.TOKEN_WRONG_TYPE,
        )
        assert not is_marked(shared, signer.ring, token)


def test_a_mark_is_for_every_character_of_a_token(shared: SharedMarks, signer: Signer, clock: ManualClock) -> None:
    """R-09, R-13: neither another payload under a marked signature, nor another signature of a marked payload."""
    gate = Gate(signer.ring, clock, marks=shared)
    token = signer.token()
    accepted(gate.judge(token))
    head, body, sign = token.split(".")
    _, other_body, _ = signer.token(roles=["admin"]).split(".")
    refused(gate.judge(spoilt(token)), Reason.TOKEN_BAD_SIGNATURE)
    refused(gate.judge(f"{head}.{other_body}.{sign}"), Reason.TOKEN_BAD_SIGNATURE)
    assert not is_marked(shared, signer.ring, f"{head}.{body}.{sign}A")


def test_a_mark_of_another_node_is_none_here(signer: Signer, clock: ManualClock) -> None:
    """Nor is one of this node before its restart: the secret is another one."""
    bad = spoilt(signer.token())
    here, there = SharedMarks(), SharedMarks()
    mark(there, signer.ring, bad)
    here.table[:] = there.table[:]  # the whole memory of the other node
    refused(Gate(signer.ring, clock, marks=here).judge(bad), Reason.TOKEN_BAD_SIGNATURE)


_DIGESTS_WITHOUT_THE_SECRET: Final[Mapping[str, Callable[[bytes, bytes], bytes]]] = {
    "no key": lambda token, _: hashlib.blake2b(token, digest_size=24).digest(),
    "an empty key": lambda token, _: hashlib.blake2b(token, key=b"", digest_size=24).digest(),
    "the digest of the keys": lambda token, keys: hashlib.blake2b(token, key=keys, digest_size=24).digest(),
    "a key of zeros": lambda token, _: hashlib.blake2b(token, key=bytes(32), digest_size=24).digest(),
    "SHA-256": lambda token, _: hashlib.sha256(token).digest()[:24],
    "zeros, as in a new table": lambda _token, _keys: bytes(24),
    "ones": lambda _token, _keys: b"\xff" * 24,
    "the token itself": lambda token, _: token[:24],
}


@pytest.mark.parametrize("name", _DIGESTS_WITHOUT_THE_SECRET)
def test_a_mark_cannot_be_made_without_the_secret(
    shared: SharedMarks, signer: Signer, clock: ManualClock, name: str
) -> None:
    """Even in every place at once."""
    bad = spoilt(signer.token())
    forged = _DIGESTS_WITHOUT_THE_SECRET[name](bad.encode(), hashlib.sha256(signer.kid.encode()).digest())[:MARK_BYTES]
    shared.table[:] = forged * (TABLE_BYTES // MARK_BYTES)
    refused(Gate(signer.ring, clock, marks=shared).judge(bad), Reason.TOKEN_BAD_SIGNATURE)


def test_noise_in_the_memory_lets_nothing_in_and_keeps_nothing_out(
    shared: SharedMarks, signer: Signer, clock: ManualClock
) -> None:
    shared.table[:] = os.urandom(TABLE_BYTES)
    gate = Gate(signer.ring, clock, marks=shared)
    for number in range(50):
        token = signer.token(jti=f"token-{number}")
        refused(gate.judge(spoilt(token)), Reason.TOKEN_BAD_SIGNATURE)
        accepted(gate.judge(token))


@pytest.mark.parametrize("written", range(1, MARK_BYTES))
def test_half_a_mark_is_none(table: mmap.mmap, written: int) -> None:
    """A torn write: the first bytes of a mark over the rest of an older one, or its last bytes after an older one's."""
    marks = KeyedMarks(table, b"k" * 32)
    digest = marks.digest(b"token")
    whole, start = digest[:MARK_BYTES], int.from_bytes(digest[MARK_BYTES:], "big") % SETS * SET_BYTES
    marks.add(digest)
    assert table[start : start + MARK_BYTES] == whole
    older = bytes(byte ^ 0xFF for byte in whole)
    for torn in (whole[:written] + older[written:], older[:written] + whole[written:]):
        table[start : start + MARK_BYTES] = torn
        assert not marks.has(digest)


@pytest.mark.parametrize("shift", range(1, MARK_BYTES))
def test_a_mark_across_two_places_is_none(table: mmap.mmap, shift: int) -> None:
    marks = KeyedMarks(table, b"k" * 32)
    digest = marks.digest(b"token")
    start = int.from_bytes(digest[MARK_BYTES:], "big") % SETS * SET_BYTES
    table[start + shift : start + shift + MARK_BYTES] = digest[:MARK_BYTES]
    assert not marks.has(digest)


def test_a_mark_in_another_set_is_none(table: mmap.mmap) -> None:
    """The set is chosen by bits that are not in the mark, so more than 128 bits have to fit."""
    marks = KeyedMarks(table, b"k" * 32)
    digest = marks.digest(b"token")
    own = int.from_bytes(digest[MARK_BYTES:], "big") % SETS
    table[:] = (digest[:MARK_BYTES] * WAYS) * SETS
    table[own * SET_BYTES : (own + 1) * SET_BYTES] = bytes(SET_BYTES)
    assert not marks.has(digest)


def test_a_set_keeps_its_newest_marks(table: mmap.mmap) -> None:
    marks = KeyedMarks(table, b"k" * 32)
    place = (7).to_bytes(8, "big")
    digests = [number.to_bytes(MARK_BYTES, "big") + place for number in range(1, WAYS + 3)]
    for digest in digests:
        marks.add(digest)
    assert [marks.has(digest) for digest in digests] == [False, False, *[True] * WAYS]
    assert table[: 7 * SET_BYTES] == bytes(7 * SET_BYTES)
    assert table[8 * SET_BYTES : 9 * SET_BYTES] == bytes(SET_BYTES)


def test_a_hundred_thousand_tokens_have_their_places(shared: SharedMarks) -> None:
    marks = shared.for_keys({})
    digests = [marks.digest(b"token %d" % number) for number in range(100_000)]
    for digest in digests:
        marks.add(digest)
    assert sum(map(marks.has, digests)) > 99_000


def test_an_older_ring_writes_what_a_newer_one_never_reads(
    shared: SharedMarks, ring: KeyRing, private_keys: Mapping[str, PrivateKey], clock: ManualClock, tmp_path: Path
) -> None:
    """R-164: and a worker that has not yet reloaded can mark, but not bring back, a key that was removed."""
    stays, goes = (Signer(ring, private_keys[alg], alg, clock) for alg in ("ES256", "EdDSA"))
    held, reloaded = Gate(ring, clock, marks=shared), Gate(ring, clock, marks=shared)
    for signer in (stays, goes):
        accepted(reloaded.judge(signer.token(jti="seen before")))
    newer = keyring.load(write_ring(tmp_path, {alg: private_keys[alg] for alg in ("ES256", "RS256")}, active="ES256"))
    reloaded.keys.value = newer
    kept, gone = stays.token(jti="later"), goes.token(jti="later")
    for token in (kept, gone):
        accepted(held.judge(token))  # it still has the older ring, and writes marks
        assert is_marked(shared, ring, token)
        assert not is_marked(shared, newer, token)
    for jti in ("seen before", "later"):
        refused(reloaded.judge(goes.token(jti=jti)), Reason.TOKEN_UNKNOWN_KEY)
    refused(reloaded.judge(spoilt(kept)), Reason.TOKEN_BAD_SIGNATURE)
    accepted(reloaded.judge(kept))
    held.keys.value = newer
    refused(held.judge(gone), Reason.TOKEN_UNKNOWN_KEY)


def test_a_mark_belongs_to_the_keys_themselves(
    shared: SharedMarks, signer: Signer, private_keys: Mapping[str, PrivateKey]
) -> None:
    """R-164: a ring with the same key ids and other keys, or the same key for another algorithm, is another ring."""
    bad = spoilt(signer.token())
    mark(shared, signer.ring, bad)
    known = dict(signer.ring.verifying)
    for other in (
        {**known, signer.kid: VerificationKey(signer.kid, "EdDSA", generate("EdDSA").public_key())},
        {**known, signer.kid: VerificationKey(signer.kid, "RS256", private_keys["EdDSA"].public_key())},
        {**known, "one more": VerificationKey("one more", "EdDSA", generate("EdDSA").public_key())},
        {signer.kid: known[signer.kid]},
    ):
        ring = KeyRing(signer.ring.active, MappingProxyType(other), signer.ring.refresh_secrets)
        assert not is_marked(shared, ring, bad)
    assert is_marked(shared, signer.ring, bad)


def test_the_order_and_the_state_of_keys_make_no_other_marks(shared: SharedMarks, signer: Signer) -> None:
    """Where a published key becomes the active one, each token was verified with the same keys as before."""
    token = signer.token()
    mark(shared, signer.ring, token)
    turned = MappingProxyType(dict(reversed(list(signer.ring.verifying.items()))))
    assert is_marked(shared, KeyRing(signer.ring.active, turned, ()), token)


def test_the_memory_is_shared_and_in_no_core_dump(shared: SharedMarks) -> None:
    maps = re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text(encoding="ascii"))
    size = re.compile(rf"^Size: +{TABLE_BYTES // 1024} kB$", re.MULTILINE)
    tables = [entry for entry in maps if "/dev/zero" in entry and size.search(entry)]
    assert len(shared.table) == TABLE_BYTES
    assert tables
    for entry in tables:
        flags = entry.partition("VmFlags:")[2].split()
        assert "dd" in flags
        assert "sh" in flags
