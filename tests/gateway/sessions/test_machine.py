"""Login, refresh, replay, revoke, logout, logout everywhere and time passing, in any order, against a simple model.

On a real Redis. The model knows only what is promised: which refresh token is current, which may be repeated, and
what of all that is dead.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import uvloop
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from redis.asyncio import Redis

from gateway.sessions.families import MAX_REPEATS, Outcome
from gateway.settings import TokenSettings
from tests.gateway.sessions.rig import Node, Pair, paired
from tests.support.clock import ManualClock

USERS = ("alice", "bob")
TOKEN = TokenSettings(refresh_idle_s=1000, refresh_absolute_s=3000)
GRACE_S = TOKEN.refresh_grace_s + TOKEN.leeway_s


@dataclass
class _Session:
    """One session, as promised."""

    user: str
    began: float
    used: float
    refresh: list[str]
    repeats: int = 0
    over: bool = False
    access: list[_Access] = field(default_factory=list)

    def due(self, now: float) -> bool:
        return now >= self.began + TOKEN.refresh_absolute_s or now >= self.used + TOKEN.refresh_idle_s


@dataclass
class _Access:
    """One access token, as promised."""

    text: str
    ends: float
    dead: bool = False


class Machine(RuleBasedStateMachine):
    """Two nodes share one Redis and one clock; each step goes to either of them."""

    sessions: Bundle[_Session] = Bundle("sessions")
    nodes = st.integers(0, 1)

    def __init__(self, redis_url: str, folder: Path) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self.clock = ManualClock()
        self.redis = Redis.from_url(redis_url)
        self.node = [Node(self.redis, folder, self.clock, TOKEN) for _ in range(2)]
        self.known: list[_Session] = []
        self.runner.run(self._open())

    async def _open(self) -> None:
        await self.redis.flushall()
        for node in self.node:
            await node.link.open()

    async def _close(self) -> None:
        for node in self.node:
            await node.link.close()
        await self.redis.aclose()

    def teardown(self) -> None:
        self.runner.run(self._close())
        self.runner.close()

    @rule(target=sessions, user=st.sampled_from(USERS), node=nodes)
    def login(self, user: str, node: int) -> _Session:
        pair = self.runner.run(self.node[node].login(user))
        now = self.clock.now()
        session = _Session(user, now, now, [pair.refresh])
        self.known.append(session)
        self._hand_out(session, pair)
        return session

    @rule(session=sessions, node=nodes)
    def refresh_with_the_current_token(self, session: _Session, node: int) -> None:
        self._refresh(session, len(session.refresh) - 1, node)

    @rule(session=sessions, node=nodes, age=st.sampled_from([1, 1, 1, 2, 3]))
    def replay_an_older_token(self, session: _Session, node: int, age: int) -> None:
        if age < len(session.refresh):
            self._refresh(session, len(session.refresh) - 1 - age, node)

    @rule(session=sessions, racers=st.integers(2, 6))
    def race_with_the_current_token(self, session: _Session, racers: int) -> None:
        if session.over or session.due(self.clock.now()):
            return
        token = session.refresh[-1]
        outcomes = self.runner.run(self._race(token, racers))
        pairs = [paired(outcome) for outcome in outcomes]
        assert len({pair.refresh for pair in pairs}) == 1
        self._rotate(session, pairs[0])
        for pair in pairs[1:]:
            session.repeats += 1
            self._hand_out(session, pair)

    @rule(session=sessions, node=nodes, which=st.integers(0, 10))
    def revoke_an_access_token(self, session: _Session, node: int, which: int) -> None:
        access = session.access[which % len(session.access)]
        self.runner.run(self.node[node].revoke(access.text))
        access.dead = True

    @rule(session=sessions, node=nodes)
    def logout(self, session: _Session, node: int) -> None:
        claim = self.node[node].refresh_tokens.read(session.refresh[0])
        assert claim is not None
        self.runner.run(self.node[node].families.end(claim.sub, claim.sid))
        session.over = True

    @rule(user=st.sampled_from(USERS), node=nodes)
    def logout_everywhere(self, user: str, node: int) -> None:
        self.runner.run(self.node[node].families.end_all(user))
        for session in self.known:
            if session.user == user:
                session.over = True
                for access in session.access:
                    access.dead = True

    @rule(seconds=st.sampled_from([0.5, 5, GRACE_S, GRACE_S + 1, TOKEN.access_life_s, TOKEN.refresh_idle_s - 1, 1000]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def every_access_token_is_as_welcome_as_promised(self) -> None:
        now = self.clock.now()
        for number, session in enumerate(self.known):
            for access in session.access:
                promised = not session.over and not access.dead and now < access.ends + TOKEN.leeway_s
                assert self.runner.run(self.node[number % 2].welcome(access.text)) == promised

    async def _race(self, token: str, racers: int) -> list[Pair | Outcome | None]:
        return await asyncio.gather(*(self.node[number % 2].refresh(token) for number in range(racers)))

    def _refresh(self, session: _Session, generation: int, node: int) -> None:
        outcome = self.runner.run(self.node[node].refresh(session.refresh[generation]))
        now = self.clock.now()
        if session.over:
            assert outcome is Outcome.UNKNOWN
        elif session.due(now):
            assert outcome is Outcome.EXPIRED
            session.over = True
        elif generation == len(session.refresh) - 1:
            self._rotate(session, paired(outcome))
        elif self._may_repeat(session, generation, now):
            pair = paired(outcome)
            assert pair.refresh == session.refresh[-1]
            session.repeats += 1
            self._hand_out(session, pair)
        else:
            assert outcome is Outcome.REUSED
            session.over = True

    def _may_repeat(self, session: _Session, generation: int, now: float) -> bool:
        immediate = generation == len(session.refresh) - 2
        return immediate and now <= session.used + GRACE_S and session.repeats < MAX_REPEATS

    def _rotate(self, session: _Session, pair: Pair) -> None:
        assert pair.refresh not in session.refresh
        session.refresh.append(pair.refresh)
        session.used = self.clock.now()
        session.repeats = 0
        self._hand_out(session, pair)

    def _hand_out(self, session: _Session, pair: Pair) -> None:
        session.access.append(_Access(pair.access, int(self.clock.now()) + TOKEN.access_life_s))


def test_no_order_of_steps_breaks_what_is_promised(redis_url: str, tmp_path: Path) -> None:
    run_state_machine_as_test(
        partial(Machine, redis_url, tmp_path / "keys"),  # type: ignore[arg-type]  # any factory will do
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
