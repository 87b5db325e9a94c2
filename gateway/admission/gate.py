"""The gate: a verified token goes in, and comes out as an identity or with the reason why not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from gateway.errors import Reason, Refusal
from gateway.identity.model import Identity, VerifiedClaims, admit

Verdict = Identity | Refusal
Decide = Callable[[Verdict], None]

STORE_AWAY = Refusal(Reason.STORE_AWAY, headers=(("Retry-After", "1"),))


class Link(Protocol):
    """What the gate asks."""

    def mget(self, keys: Sequence[bytes], callback: Callable[[Sequence[bytes | None] | None], None]) -> None:
        """Call back once with the values of the keys, or with `None` where nobody answers."""


class Admission:
    """Asks one question for all tokens that wait in the same tick.

    Nothing is remembered from one question to the next: a token that is revoked now is refused in the next tick, on
    every node. Where Redis is away nobody is let in (fail closed): 503, never 401 and never a silent 200.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._waiting: list[tuple[VerifiedClaims, Decide]] = []

    def ask(self, claims: VerifiedClaims, decide: Decide) -> None:
        """Find out whether a token is still welcome.

        Args:
            claims: of the token.
            decide: called once with the verdict, in a later tick.
        """
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append((claims, decide))

    async def verdict(self, claims: VerifiedClaims) -> Verdict:
        """The same question for callers that can wait."""
        future: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self.ask(claims, partial(_set_unless_cancelled, future))
        return await future

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        keys = [key for claims, _ in waiting for key in claims.question]
        self._link.mget(keys, partial(_decide_all, waiting))


def judge(claims: VerifiedClaims, blocked: bytes | None, ended: bytes | None, epoch: bytes | None) -> Verdict:
    """Decide from what Redis holds about a token.

    Args:
        claims: of the token.
        blocked: its entry in the blocklist.
        ended: the end of its session.
        epoch: the user's counter; none was ever raised where it is missing.
    """
    if blocked is not None:
        return Refusal(Reason.TOKEN_REVOKED)
    if ended is not None:
        return Refusal(Reason.SESSION_ENDED)
    if epoch is not None and claims.epoch < int(epoch):
        return Refusal(Reason.EPOCH_RAISED)
    return admit(claims)


def _decide_all(waiting: list[tuple[VerifiedClaims, Decide]], values: Sequence[bytes | None] | None) -> None:
    if values is None or len(values) != 3 * len(waiting):
        for _, decide in waiting:
            decide(STORE_AWAY)
        return
    answers = iter(values)
    for claims, decide in waiting:
        decide(judge(claims, next(answers), next(answers), next(answers)))


def _set_unless_cancelled(future: asyncio.Future[Verdict], verdict: Verdict) -> None:
    if not future.done():
        future.set_result(verdict)
