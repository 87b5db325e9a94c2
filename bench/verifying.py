"""The cost of checking an access token, by algorithm, with and without its signature in the cache."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lockgate.clock import SystemClock
from lockgate.errors import Refusal
from lockgate.identity.bearer import format_gate
from lockgate.identity.issuer import Issuer, Subject
from lockgate.identity.marks import SharedMarks
from lockgate.identity.model import UnverifiedToken
from lockgate.identity.verifier import AccessTokenRules, Verifier
from lockgate.keys import keyring
from lockgate.keys.current import Current
from lockgate.keys.keyring import KeyRing
from lockgate.stores.layout import admission_keys

ALGORITHMS: Final = ("EdDSA", "ES256", "RS256")
_ROUNDS: Final = 5
_EACH: Final = 200
_REMEMBERED: Final = 20_000
_LIFE_S: Final = 300
_NAME: Final = "bench"


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds, medians of rounds.

    Attributes:
        issue: to make a token.
        first: to check one that was not seen before.
        again: to check it again.
    """

    alg: str
    issue: float
    first: float
    again: float


def costs() -> list[Cost]:
    """All algorithms, one after the other, on the core that this process has."""
    return [_cost(alg) for alg in ALGORITHMS]


def _cost(alg: str) -> Cost:
    key = keyring.generate(alg)
    public = keyring.VerificationKey(key.kid, key.alg, key.private.public_key())
    ring = KeyRing(active=key, verifying={key.kid: public}, refresh_secrets=())
    clock = SystemClock()
    rules = AccessTokenRules(_NAME, _NAME, leeway_s=10, max_life_s=_LIFE_S)
    issuer = Issuer(Current(ring), issuer=_NAME, audience=_NAME, life_s=_LIFE_S, clock=clock)
    token = _unverified(issuer.issue(_subject()))
    forgetful, remembering = (
        Verifier(Current(ring), rules, clock, marks=SharedMarks(), cache_size=size, keys_of=admission_keys)
        for size in (0, _REMEMBERED)
    )
    for verifier in (forgetful, remembering):
        if isinstance(verifier.verify(token), Refusal):
            raise TypeError(f"a token of our own was refused: {alg}")
    return Cost(
        alg,
        issue=_microseconds(lambda: issuer.issue(_subject()), _EACH),
        first=_microseconds(lambda: forgetful.verify(token), _EACH),
        again=_microseconds(lambda: remembering.verify(token), 100 * _EACH),
    )


def _microseconds(work: Callable[[], object], times: int) -> float:
    rounds = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        for _ in range(times):
            work()
        rounds.append((time.perf_counter() - start) / times * 1e6)
    return statistics.median(rounds)


def _unverified(text: str) -> UnverifiedToken:
    token = format_gate(text.encode())
    if isinstance(token, Refusal):
        raise TypeError("a token of our own is malformed")
    return token


def _subject() -> Subject:
    return Subject(
        sub="user-1",
        sid="session-1",
        client_id="lockgate-login",
        epoch=0,
        roles=("customer",),
        scopes=("orders:read", "orders:write"),
        auth_time=int(time.time()),
        amr=("pwd",),
    )
