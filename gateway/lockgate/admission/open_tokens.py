"""What is open must not outlive its token: sockets and streams end with it, on every node, within a second.

They also end with the key that signed the token, as soon as this worker has learnt that the key is gone, and are judged
again when the rules are replaced.

`OpenTokens` knows what this worker holds open, and by which tokens. `RevocationListener` listens on one connection to
Redis for what has just been revoked, on any node. A message is only a hint to ask: what counts is what Redis holds,
asked the same way as for a request. So a message that came twice, late, or after the user has logged in again does no
harm; nor does a lost one, because after each new subscription the worker asks about everything that is open.

docs/decisions/0032 says why a message alone decides nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from redis.asyncio.client import PubSub

from lockgate.admission.gate import Admission, Verdict
from lockgate.admission.overtime import NO_OVERTIME, Overtime, OvertimeBounds
from lockgate.clock import Clock
from lockgate.edge.request import InboundRequest
from lockgate.edge.ticker import Ticker
from lockgate.errors import Reason, Refusal, StoreRefusedError
from lockgate.identity.model import VerifiedClaims
from lockgate.keys.current import Current
from lockgate.keys.keyring import KeyRing
from lockgate.policy.route import Route
from lockgate.policy.rules import Rules
from lockgate.stores.layout import ENDED_CHANNEL
from lockgate.stores.redis import translate_fault
from lockgate_common.background import BackgroundTasks
from lockgate_common.redis.client import RedisClient, subscribe
from lockgate_common.redis.faults import REDIS_FAULTS

Ended = Callable[[Refusal], None]

SILENCE_S: Final = 1.0
"""How long the channel may be silent before Redis is asked whether it is still there, and how long that may take."""
RESUBSCRIBE_S: Final = 0.25

_log = logging.getLogger("lockgate.admission")


class Opening(NamedTuple):
    """The request that opened something without an end of its own, and the route that it goes by now."""

    request: InboundRequest
    route: Route


class OpenToken:
    """One open socket or stream. Made by `OpenTokens.watch`.

    Attributes:
        claims: of the token it lives by; `None` without credentials.
        ended: called once when it has to end.
        overtime: what it may do after its token has expired; `None`: nothing.
        opening: what new rules judge again; `None`: it has an end of its own, and goes on by the rules it has begun by.
    """

    __slots__ = ("_open_tokens", "claims", "ended", "opening", "overtime")

    def __init__(
        self,
        open_tokens: OpenTokens,
        claims: VerifiedClaims | None,
        ended: Ended,
        overtime: Overtime | None,
        opening: Opening | None,
    ) -> None:
        self._open_tokens = open_tokens
        self.claims = claims
        self.ended = ended
        self.overtime = overtime
        self.opening = opening

    def renew(self, claims: VerifiedClaims) -> None:
        """It lives by another token from now on."""
        self._open_tokens.remove(self)
        self.claims = claims
        self._open_tokens.add(self)

    def cancel(self) -> None:
        """It is over, by itself."""
        self._open_tokens.remove(self)


class OpenTokens:
    """Everything that this worker holds open for longer than one answer takes.

    Args:
        admission: is asked again.
        keys: those that verify; what a key has signed ends with it.
        rules: judge again what was opened by rules before them.
        ticker: the worker's coarse clock; expiry is noticed at its ticks.
        clock: the time.
        leeway_s: how long a token is still good after it expired, as for requests.
        stream_idle_s: how long an event stream may be silent.
        overtime: what a response may do after its token has expired.
    """

    def __init__(  # noqa: PLR0913 - the last two by name
        self,
        admission: Admission,
        keys: Current[KeyRing],
        rules: Current[Rules],
        ticker: Ticker,
        clock: Clock,
        *,
        leeway_s: float,
        stream_idle_s: float,
        overtime: OvertimeBounds = NO_OVERTIME,
    ) -> None:
        self._admission = admission
        self._keys = keys
        self._rules = rules
        self._clock = clock
        self._leeway_s = leeway_s
        self.stream_idle_s = stream_idle_s
        self._overtime = overtime
        self._open: set[OpenToken] = set()
        self._by_name: dict[bytes, set[OpenToken]] = {}
        self._unanswered: set[OpenToken] = set()
        self._draining = False
        ticker.add_listener(self._check_expired)

    def __len__(self) -> int:
        return len(self._open)

    def overtime(self) -> Overtime | None:
        """The time after its token that a response may have, if any."""
        return Overtime(self._overtime) if self._overtime.allowed_s else None

    def watch(
        self,
        claims: VerifiedClaims | None,
        ended: Ended,
        overtime: Overtime | None = None,
        opening: Opening | None = None,
    ) -> OpenToken:
        """Watch over something open, and ask at once whether its token was revoked since it was let in.

        Args:
            claims: of its token; `None` without credentials: it only ends when the node stops.
            ended: called at most once, never before this returns: with `TOKEN_EXPIRED`, with why the token is no longer
                welcome, with `TOKEN_UNKNOWN_KEY`, with `DRAINING`, or with what new rules say. The watch is over then.
            overtime: how long it may go on after the token has expired. All other ends it has as before.
            opening: what new rules judge again.
        """
        watch = OpenToken(self, claims, ended, overtime, opening)
        self.add(watch)
        if opening is not None and opening.route is not self._rules.value.routes.named(opening.route.name):
            # The rules were replaced since it was let in.
            asyncio.get_running_loop().call_soon(self._judge_again, watch)
        if self._draining:
            asyncio.get_running_loop().call_soon(self.close_all)
        return watch

    def add(self, watch: OpenToken) -> None:
        """Begin to watch. Only then ask: what is revoked from here on comes as a message."""
        self._open.add(watch)
        for name in _channel_names(watch.claims):
            self._by_name.setdefault(name, set()).add(watch)
        if self._is_signed(watch):
            self._ask_again(watch)
        else:
            # Its key was removed since it was let in. Never before `watch` returns, as promised there.
            asyncio.get_running_loop().call_soon(self.end_unsigned)

    def remove(self, watch: OpenToken) -> None:
        """Watch no more."""
        self._open.discard(watch)
        self._unanswered.discard(watch)
        for name in _channel_names(watch.claims):
            watched = self._by_name.get(name, set())
            watched.discard(watch)
            if not watched:
                self._by_name.pop(name, None)

    def on_revoked(self, message: bytes) -> None:
        """Something was revoked: `jti:<jti>`, `sid:<sid>` or `sub:<sub>`."""
        for watch in list(self._by_name.get(message, ())):
            self._ask_again(watch)

    def ask_about_all(self) -> None:
        """Messages may have been missed."""
        for watch in list(self._open):
            self._ask_again(watch)

    def close_all(self) -> None:
        """The node stops: everything ends, and what is opened from now on ends at once."""
        self._draining = True
        for watch in list(self._open):
            self._end_token(watch, Refusal(Reason.DRAINING))

    def _is_signed(self, watch: OpenToken) -> bool:
        """Whether the key of its token still verifies; true of what lives by none."""
        return watch.claims is None or not watch.claims.kid or watch.claims.kid in self._keys.value.verifying

    def end_unsigned(self) -> None:
        """Keys were replaced: end what lives by a token whose key is gone."""
        for watch in [one for one in self._open if not self._is_signed(one)]:
            self._end_token(watch, Refusal(Reason.TOKEN_UNKNOWN_KEY))

    def replace_overtime(self, overtime: OvertimeBounds) -> None:
        """Grant this much time from now on; what goes on already keeps what it has."""
        self._overtime = overtime

    def judge_again(self) -> None:
        """The rules were replaced: end what they do not let go on."""
        for watch in list(self._open):
            self._judge_again(watch)

    def _judge_again(self, watch: OpenToken) -> None:
        if watch.opening is None or watch not in self._open:
            return
        principal = None if watch.claims is None else watch.claims.principal
        judged = self._rules.value.judge_again(watch.opening.request, watch.opening.route, principal, self._clock)
        if isinstance(judged, Refusal):
            self._end_token(watch, judged)
        else:
            watch.opening = Opening(watch.opening.request, judged)

    def _ask_again(self, watch: OpenToken) -> None:
        if watch.claims is not None:
            self._admission.ask(watch.claims, (), "", partial(self._on_verdict, watch, watch.claims))

    def _on_verdict(self, watch: OpenToken, claims: VerifiedClaims, verdict: Verdict) -> None:
        if watch not in self._open or watch.claims is not claims:
            return
        if isinstance(verdict, Refusal) and verdict.reason is Reason.STORE_AWAY:
            # It was welcome when it was opened. It lives on, but is asked about until there is an answer.
            self._unanswered.add(watch)
            return
        self._unanswered.discard(watch)
        if watch.overtime is not None:
            watch.overtime.welcome = True
        if isinstance(verdict, Refusal):
            self._end_token(watch, verdict)

    def _check_expired(self, now: float) -> None:
        latest = self._clock.now() - self._leeway_s
        for watch in [one for one in self._open if one.claims is not None and one.claims.exp <= latest]:
            self._look_at_expired(watch, latest, now)
        for watch in list(self._unanswered):
            self._ask_again(watch)

    def _look_at_expired(self, watch: OpenToken, latest: float, now: float) -> None:
        claims, overtime = watch.claims, watch.overtime
        if claims is None or overtime is None or not overtime.goes_on(latest - claims.exp, now):
            self._end_token(watch, Refusal(Reason.TOKEN_EXPIRED))
        else:
            # What Redis remembers of the end of an expired token is short: one message that was missed would be all.
            self._ask_again(watch)

    def _end_token(self, watch: OpenToken, refusal: Refusal) -> None:
        self.remove(watch)
        watch.ended(refusal)


class RevocationListener:
    """Hears on every node what is revoked on any.

    Args:
        redis: gives one connection for as long as the worker lives.
        open_tokens: is told.
    """

    def __init__(self, redis: RedisClient, open_tokens: OpenTokens) -> None:
        self._redis = redis
        self._open_tokens = open_tokens
        self._tasks = BackgroundTasks()
        self._is_old = False
        self.refused: StoreRefusedError | None = None
        """Why the channel cannot be heard, where that does not heal by itself."""

    async def open(self) -> None:
        """Begin to listen; Redis need not be there yet."""
        self._tasks.start(self._keep_listening())

    async def close(self) -> None:
        """Stop."""
        await self._tasks.close()

    def renew(self) -> None:
        """Redis may be another server now: ask about everything, and listen there.

        A master that was cut off from the others goes on answering a PING, and hears of nothing any more.
        """
        self._open_tokens.ask_about_all()
        self._is_old = True

    async def _keep_listening(self) -> None:
        while True:
            self._is_old = False
            try:
                async with await subscribe(self._redis) as channel:
                    await channel.subscribe(ENDED_CHANNEL)
                    await self._follow_channel(channel)
            except REDIS_FAULTS as error:
                fault = translate_fault(error)
                self.refused = fault if isinstance(fault, StoreRefusedError) else None
                _log.debug("%s: not subscribed (%s)", ENDED_CHANNEL, fault)
            await asyncio.sleep(RESUBSCRIBE_S)

    async def _follow_channel(self, channel: PubSub) -> None:
        """Handle messages until Redis has nothing to say, not even to a PING."""
        asked = False
        while not self._is_old:
            message: dict[str, Any] | None = await channel.get_message(timeout=SILENCE_S)
            if message is None:
                if asked:
                    return
                asked = True
                await channel.ping()
                continue
            asked = False
            if message["type"] == "subscribe":
                self.refused = None
                # The first time, and whenever redis-py has connected again by itself.
                self._open_tokens.ask_about_all()
            elif message["type"] == "message":
                self._open_tokens.on_revoked(message["data"])


def _channel_names(claims: VerifiedClaims | None) -> tuple[bytes, ...]:
    """What the channel may call it."""
    if claims is None:
        return ()
    principal = claims.principal
    return f"jti:{principal.jti}".encode(), f"sid:{principal.sid}".encode(), f"sub:{principal.sub}".encode()
