"""The gate: a verified token goes in, and comes out as an identity or with the reason why not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

from lockgate.admission.rate import Tally, Window, Windows, describe_limits, subject
from lockgate.clock import Clock
from lockgate.errors import Reason, Refusal
from lockgate.identity.model import Identity, VerifiedClaims
from lockgate.policy.limits import Limit
from lockgate.stores.layout import KEYS_OF_A_QUESTION
from lockgate.stores.link import AWAY, Away, Command, await_callback, call_back
from lockgate.stores.packed import ask_for_all

STORE_AWAY = Refusal(Reason.STORE_AWAY, headers=(("Retry-After", "1"),))


class Admitted(NamedTuple):
    """A request was admitted.

    Attributes:
        identity: `None` for a request without credentials.
        limits: how the request stands to its rate limits, as lines of a head; empty where there are none.
        claims: of the token; what stays open has to end with it.
    """

    identity: Identity | None
    limits: str
    claims: VerifiedClaims | None = None


Verdict = Admitted | Refusal
Decide = Callable[[Verdict], None]


_Question = tuple[VerifiedClaims | None, Sequence[Window], Decide]


class Link(Protocol):
    """What the gate asks."""

    def ask(self, commands: Sequence[Command], callback: Callable[[list[Any] | None], None]) -> None:
        """Call back once with a reply for each command, or with `None` where Redis does not reply.

        Of a Cluster some nodes may be away: then `AWAY` stands where their values would, also among those of an MGET.
        """


class Admission:
    """Asks one question for all requests that wait in the same tick.

    Nothing is remembered of a token from one question to the next: one that is revoked now is refused in the next
    tick, on every node. Where Redis is away no token is let in (fail closed): 503, never 401 and never a silent 200;
    the rate limits of requests without a token are then kept by each worker for itself. Where only a counter cannot be
    had (its Cluster node is away, or Redis is full), each worker counts requests with a token, too.

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
            claims: of its token; `None` for a request without credentials.
            limits: the rate limits it counts for.
            client: the address it is accounted to.
            decide: called once with the verdict, at once or in a later tick.
        """
        windows: Sequence[Window] = ()
        if limits:
            now = self._clock.now()
            principal = claims.principal if claims is not None else None
            windows = [self._windows.of(limit, subject(limit, principal, client), now) for limit in limits]
        elif claims is None:
            decide(Admitted(None, ""))
            return
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._ask_for_all)
        self._waiting.append((claims, windows, decide))

    async def judge_token(self, claims: VerifiedClaims) -> Identity | Refusal:
        """Whether a token is still good, without regard to rate limits, for callers that can wait."""
        verdict = await await_callback(partial(self.ask, claims, (), ""))
        return verdict if isinstance(verdict, Refusal) else Identity(claims.principal)

    def _ask_for_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        questions = [claims.question for claims, _, _ in waiting if claims is not None]
        tallies: dict[Window, Tally] = {}
        for _, windows, _ in waiting:
            for window in windows:
                if window in tallies:
                    tallies[window].asked += 1
                else:
                    tallies[window] = Tally(window)
        commands: list[Command] = [ask_for_all(questions)] if questions else []
        for window, tally in tallies.items():
            if tally.opens:
                commands.extend(window.opening_commands(self._clock.now()))
        commands.extend([tally.count_command() for tally in tallies.values()])
        self._link.ask(commands, partial(self._judge_waiting, waiting, tallies))

    def _judge_waiting(
        self,
        waiting: list[_Question],
        tallies: dict[Window, Tally],
        replies: list[Any] | None,
    ) -> None:
        now = self._clock.now() if tallies else 0.0
        if replies is None:
            for claims, windows, decide in waiting:
                call_back(decide, STORE_AWAY if claims is not None else _judge_by_worker(windows, now))
            return
        answers = iter(replies)
        values: list[Value] = next(answers) if any(claims is not None for claims, _, _ in waiting) else []
        for window, tally in tallies.items():
            if tally.opens:
                window.take_opening(answers)
        for tally in tallies.values():
            count = next(answers)
            tally.first = None if count is AWAY else count - tally.asked
        place = 0
        for claims, windows, decide in waiting:
            refusal = None
            if claims is not None:
                blocked, ended, epoch = values[place : place + KEYS_OF_A_QUESTION]
                place += KEYS_OF_A_QUESTION
                refusal = check_revocation(claims, blocked, ended, epoch)
            call_back(decide, refusal or self._within_limits(claims, windows, tallies, now))
        self._settle(tallies, now)

    def _within_limits(
        self, claims: VerifiedClaims | None, windows: Sequence[Window], tallies: dict[Window, Tally], now: float
    ) -> Verdict:
        remaining: list[int] = []
        for window in windows:
            left = tallies[window].left(now)
            if left < 0:
                for passed in windows[: len(remaining)]:
                    tallies[passed].passed -= 1
                return window.refusal(windows, now)
            remaining.append(left)
        identity = None if claims is None else Identity(claims.principal)
        return Admitted(identity, describe_limits(windows, remaining, now), claims)

    def _settle(self, tallies: dict[Window, Tally], now: float) -> None:
        """Take back the count of refused requests: a client that keeps asking is let in as soon as there is room.

        A counter that Redis has lost was made anew by the count, and would stay for ever: it gets its life again.
        """
        commands: list[Command] = []
        for window, tally in tallies.items():
            if tally.first is None:
                continue
            if tally.passed < tally.asked:
                commands.append((b"DECRBY", window.key, tally.asked - tally.passed))
            if tally.first == 0 and not tally.opens:
                commands.append(window.expire_command(now))
        if commands:
            self._link.ask(commands, _ignore_reply)


Value = bytes | Away | None


def check_revocation(claims: VerifiedClaims, blocked: Value, ended: Value, epoch: Value) -> Refusal | None:
    """Decide from what Redis holds about a token; nothing can be decided where any of it is `AWAY`.

    Args:
        claims: of the token.
        blocked: its entry in the blocklist.
        ended: the end of its session.
        epoch: the user's counter; none was ever raised where it is missing.

    Returns:
        Why it is not welcome; `None`: it is.
    """
    if blocked is not None:
        return STORE_AWAY if blocked is AWAY else Refusal(Reason.TOKEN_REVOKED)
    if ended is not None:
        return STORE_AWAY if ended is AWAY else Refusal(Reason.SESSION_ENDED)
    if epoch is None:
        return None
    if isinstance(epoch, Away) or not epoch.isdigit():
        return STORE_AWAY  # not a counter, so nothing can be told from it
    return Refusal(Reason.EPOCH_RAISED) if claims.epoch < int(epoch) else None


def _judge_by_worker(windows: Sequence[Window], now: float) -> Verdict:
    remaining: list[int] = []
    for window in windows:
        left = window.left_alone()
        if left < 0:
            return window.refusal(windows, now)
        remaining.append(left)
    return Admitted(None, describe_limits(windows, remaining, now))


def _ignore_reply(replies: list[Any] | None) -> None:
    """A refund that got lost leaves a window a little fuller than it was."""
