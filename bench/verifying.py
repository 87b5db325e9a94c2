"""The cost of checking an access token, by algorithm, with and without its signature in the cache."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from bench.trees import Tree
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

T = TypeVar("T")

ALGORITHMS: Final = ("EdDSA", "ES256", "RS256")
_ROUNDS: Final = 7
_EACH: Final = 300
"""Tokens of a round."""
_AGAIN: Final = 20_000
_LIFE_S: Final = 300
_NAME: Final = "bench"
# An earlier program measured wall-clock time.
_PRINTED: Final = """
import dataclasses, json, time
time.perf_counter = time.process_time
from bench.verifying import costs
print(json.dumps([dataclasses.asdict(cost) for cost in costs()]))
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds of processor time, medians of rounds.

    Attributes:
        issue: to make a token.
        first: to check one that no worker of the node has seen before.
        elsewhere: to check one that another worker of the node has checked; `None` where workers share nothing.
        again: to check one again.
    """

    alg: str
    issue: float
    first: float
    again: float
    elsewhere: float | None = None

    @property
    def by_another(self) -> float:
        """A check by another worker; where workers share nothing, it is a first check."""
        return self.first if self.elsewhere is None else self.elsewhere


def costs_of(tree: Tree, core: int) -> list[Cost]:
    """All algorithms by a tree's own code, in a process of its own on a core; an earlier tree has its own program."""
    return [Cost(**one) for one in json.loads(tree.run("-c", _PRINTED, core=core))]


def text(checks: Mapping[Tree, Sequence[Cost]]) -> str:
    """The table as Markdown."""
    lines = [
        "| access token | gateway | issue, µs | first check, µs | by another worker of the node, µs | again, µs |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for tree, found in checks.items():
        for cost in found:
            figures = f"{cost.issue:.0f} | {cost.first:.0f} | {cost.by_another:.0f} | {cost.again:.2f}"
            lines.append(f"| {cost.alg} | {tree.label} | {figures} |")
    return "\n".join(lines)


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
    # One table for all rounds: a worker takes its pages from the system once in its life, not with each token.
    marks = SharedMarks()
    rounds = []
    for _ in range(_ROUNDS):
        one, other = (
            Verifier(Current(ring), rules, clock, marks=marks, cache_size=_EACH, keys_of=admission_keys)
            for _ in range(2)
        )
        subjects = [_subject()] * _EACH
        tokens = [_unverified(issuer.issue(subject)) for subject in subjects]
        times = (
            _microseconds(issuer.issue, subjects),
            _microseconds(one.verify, tokens),
            _microseconds(one.verify, tokens * (_AGAIN // _EACH)),
            _microseconds(other.verify, tokens),
        )
        rounds.append(times)
        if any(isinstance(other.verify(token), Refusal) for token in tokens):
            raise TypeError(f"a token of our own was refused: {alg}")
    return Cost(alg, *(statistics.median(column) for column in zip(*rounds, strict=True)))


def _microseconds(work: Callable[[T], object], arguments: Sequence[T]) -> float:
    start = time.process_time()
    for argument in arguments:
        work(argument)
    return (time.process_time() - start) / len(arguments) * 1e6


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
