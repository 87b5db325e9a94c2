"""The gate: a verified token goes in, and comes out as an identity or with the reason why not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

from gateway.admission.link import call_back
from gateway.admission.rate import Limit, Standing, Tally, Window, Windows, subject
from gateway.clock import Clock
from gateway.errors import Reason, Refusal
from gateway.identity.model import Identity, VerifiedClaims, admit

STORE_AWAY = Refusal(Reason.STORE_AWAY, headers=(("Retry-After", "1"),))


class Admitted(NamedTuple):
    """Somebody was let in.

    Attributes:
        identity: who; `None` for nobody in particular.
        standing: how they stand to the rate limits; `None` where there are none.
        claims: of the token; what stays open has to end with it.
    """

    identity: Identity | None
    standing: Standing | None
    claims: VerifiedClaims | None = None


Verdict = Admitted | Refusal
Decide = Callable[[Verdict], None]


class _Question(NamedTuple):
    claims: VerifiedClaims | None
    windows: tuple[Window, ...]
    decide: Decide


class Link(Protocol):
    """What the gate asks."""

    def ask(self, commands: Sequence[tuple[Any, ...]], callback: Callable[[list[Any] | None], None]) -> None:
        """Call back once with a reply for each command, or with `None` where nobody answers."""


class Admission:
    """Asks one question for all requests that wait in the same tick.

    Nothing is remembered of a token from one question to the next: one that is revoked now is refused in the next
    tick, on every node. Where Redis is away no token is let in (fail closed): 503, never 401 and never a silent 200;
    the rate limits of requests without a token are then kept by each worker for itself.

    Args:
        link: to Redis.
        clock: the time.
    """

    def __init__(self, link: Link, clock: Clock) -> None:
        self._link = link
        self._clock = clock
        self._windows = Windows()
        self._waiting: list[_Question] = []

    def ask(self, claims: VerifiedClaims | None, limits: Sequence[Limit], client: str, decide: Decide) -> None:
        """Find out whether a request is still welcome.

        Args:
            claims: of its token; `None` for nobody in particular.
            limits: the rate limits it counts for.
            client: the address it is accounted to.
            decide: called once with the verdict, at once or in a later tick.
        """
        windows: tuple[Window, ...] = ()
        if limits:
            now = self._clock.now()
            sub = claims.bearer.sub if claims is not None else None
            windows = tuple([self._windows.of(limit, subject(limit, sub, client), now) for limit in limits])
        elif claims is None:
            decide(Admitted(None, None))
            return
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append(_Question(claims, windows, decide))

    async def verdict(self, claims: VerifiedClaims) -> Identity | Refusal:
        """Whether a token is still welcome, for callers that can wait."""
        verdict = await self.answer(claims, (), "")
        return verdict if isinstance(verdict, Refusal) else admit(claims)

    async def answer(self, claims: VerifiedClaims | None, limits: Sequence[Limit], client: str) -> Verdict:
        """The same as `ask`, for callers that can wait."""
        future: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self.ask(claims, limits, client, partial(_set_unless_cancelled, future))
        return await future

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        keys = [key for question in waiting if question.claims is not None for key in question.claims.question]
        tallies: dict[Window, Tally] = {}
        for question in waiting:
            for window in question.windows:
                tally = tallies.get(window)
                if tally is None:
                    tally = tallies[window] = Tally(window)
                tally.asked += 1
        commands: list[tuple[Any, ...]] = [(b"MGET", *keys)] if keys else []
        unknown = [window for window in tallies if window.previous is None]
        for window in unknown:
            life_ms = 2000 * window.limit.window_s
            commands.append((b"SET", window.key, 0, b"PX", life_ms, b"NX"))
            commands.append((b"GET", window.previous_key))
        commands.extend([(b"INCRBY", tally.window.key, tally.asked) for tally in tallies.values()])
        self._link.ask(commands, partial(self._answered, waiting, tallies, unknown))

    def _answered(
        self,
        waiting: list[_Question],
        tallies: dict[Window, Tally],
        unknown: list[Window],
        replies: list[Any] | None,
    ) -> None:
        now = self._clock.now() if tallies else 0.0
        if replies is None:
            for question in waiting:
                call_back(question.decide, STORE_AWAY if question.claims is not None else _alone(question.windows, now))
            return
        answers = iter(replies)
        values = iter(next(answers) if any(question.claims is not None for question in waiting) else ())
        for window in unknown:
            next(answers)
            window.previous = int(next(answers) or 0)
        for tally in tallies.values():
            tally.first = next(answers) - tally.asked
        for question in waiting:
            claims = question.claims
            refusal = None if claims is None else judge(claims, next(values), next(values), next(values))
            verdict = refusal or self._within_limits(question, tallies, now)
            call_back(question.decide, verdict)
        self._give_back(tallies)

    def _within_limits(self, question: _Question, tallies: dict[Window, Tally], now: float) -> Verdict:
        claims = question.claims
        tightest: Standing | None = None
        for place, window in enumerate(question.windows):
            standing = tallies[window].stand(now)
            if standing is None:
                for passed in question.windows[:place]:
                    tallies[passed].passed -= 1
                return window.refusal(now)
            if tightest is None or standing.remaining < tightest.remaining:
                tightest = standing
        return Admitted(None if claims is None else admit(claims), tightest, claims)

    def _give_back(self, tallies: dict[Window, Tally]) -> None:
        """Requests that were refused do not count: who keeps knocking is let in again as soon as there is room."""
        refunds = [
            (b"DECRBY", tally.window.key, tally.asked - tally.passed)
            for tally in tallies.values()
            if tally.passed < tally.asked
        ]
        if refunds:
            self._link.ask(refunds, _ignore)


def judge(claims: VerifiedClaims, blocked: bytes | None, ended: bytes | None, epoch: bytes | None) -> Refusal | None:
    """Decide from what Redis holds about a token.

    Args:
        claims: of the token.
        blocked: its entry in the blocklist.
        ended: the end of its session.
        epoch: the user's counter; none was ever raised where it is missing.

    Returns:
        Why it is not welcome; `None`: it is.
    """
    if blocked is not None:
        return Refusal(Reason.TOKEN_REVOKED)
    if ended is not None:
        return Refusal(Reason.SESSION_ENDED)
    if epoch is None:
        return None
    if not epoch.isdigit():
        return STORE_AWAY  # not a counter, so nothing can be told from it
    return Refusal(Reason.EPOCH_RAISED) if claims.epoch < int(epoch) else None


def _alone(windows: Sequence[Window], now: float) -> Verdict:
    tightest: Standing | None = None
    for window in windows:
        standing = window.stand_alone(now)
        if standing is None:
            return window.refusal(now)
        if tightest is None or standing.remaining < tightest.remaining:
            tightest = standing
    return Admitted(None, tightest)


def _set_unless_cancelled(future: asyncio.Future[Verdict], verdict: Verdict) -> None:
    if not future.done():
        future.set_result(verdict)


def _ignore(replies: list[Any] | None) -> None:
    """A refund that got lost leaves a window a little fuller than it was."""
