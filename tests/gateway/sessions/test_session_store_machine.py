"""Acts on sessions and keys, and time passing, in any order, against a simple model.

On a real Redis. The model knows only what is promised: which refresh token is current, which may be repeated, and
what of all that is dead.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import uvloop
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from redis.asyncio import Redis

from lockgate.keys import keyring
from lockgate.keys.keyring import KeyRing, VerificationKey
from lockgate.sessions.refresh_token import RefreshClaim
from lockgate.sessions.session_store import MAX_REPEATS, Outcome
from lockgate.settings import TokenSettings
from tests.support.clock import ManualClock
from tests.support.session_node import Node, Pair, paired
from tests.support.store import time_passes_at

USERS = ("alice", "bob")
CLIENTS = ("web", "reports")
TOKEN = TokenSettings(refresh_idle_s=1005, refresh_absolute_s=3005, refresh_grace_s=25)
GRACE_S = TOKEN.refresh_grace_s
STEPS_S = (10, 30, TOKEN.access_life_s, 1000, 1010)
"""No sum of them comes near the end of anything: Redis measures by its own clock, which never stands still."""


@dataclass
class _Session:
    """One session, as promised."""

    user: str
    client: str
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
        self.ring = keyring.load(folder)
        for node in self.node:
            node.use(self.ring)
        self.known: list[_Session] = []
        self.blocked: set[str] = set()
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

    @rule(target=sessions, user=st.sampled_from(USERS), client=st.sampled_from(CLIENTS), node=nodes)
    def login(self, user: str, client: str, node: int) -> MultipleResults[_Session]:
        pair = self.runner.run(self.node[node].try_login(user, client))
        if user in self.blocked:
            assert pair is None
            return multiple()
        assert pair is not None
        now = self.clock.now()
        session = _Session(user, client, now, now, [pair.refresh])
        self.known.append(session)
        self._hand_out(session, pair)
        return multiple(session)

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
        outcomes = self.runner.run(self._race(token, session.client, racers))
        pairs = [paired(outcome) for outcome in outcomes]
        assert len({self._claim(pair.refresh) for pair in pairs}) == 1
        self._rotate(session, pairs[0])
        for pair in pairs[1:]:
            session.repeats += 1
            self._hand_out(session, pair)

    @rule(session=sessions, node=nodes, which=st.integers(0, 10))
    def revoke_an_access_token(self, session: _Session, node: int, which: int) -> None:
        access = session.access[which % len(session.access)]
        self.runner.run(self.node[node].revoke(access.text))
        access.dead = True

    @rule(session=sessions, node=nodes, which=st.integers(0, 10))
    def revoke_a_refresh_token(self, session: _Session, node: int, which: int) -> None:
        """Whichever it is, and however old."""
        claim = self._claim(session.refresh[which % len(session.refresh)])
        self.runner.run(self.node[node].session_store.end(claim.sub, claim.sid))
        session.over = True

    @rule(session=sessions, node=nodes)
    def change_the_password(self, session: _Session, node: int) -> None:
        """By a user with a live session; it alone goes on."""
        if session.over or session.due(self.clock.now()):
            return
        sid = self._claim(session.refresh[0]).sid
        self.runner.run(self.node[node].session_store.end_others(session.user, sid, "2"))
        for other in self.known:
            if other.user == session.user and other is not session:
                other.over = True

    @rule(user=st.sampled_from(USERS), node=nodes)
    def block(self, user: str, node: int) -> None:
        self.runner.run(self.node[node].session_store.shut_out(user))
        self.blocked.add(user)
        self._end_all(user)

    @rule(user=st.sampled_from(USERS), node=nodes)
    def unblock(self, user: str, node: int) -> None:
        """Nothing of before comes back."""
        self.runner.run(self.node[node].session_store.let_in_again(user))
        self.blocked.discard(user)

    @rule(client=st.sampled_from(CLIENTS), node=nodes)
    def remove_a_client(self, client: str, node: int) -> None:
        self.runner.run(self.node[node].session_store.end_made_by(client))
        for session in self.known:
            if session.client == client:
                session.over = True

    @rule()
    def rotate_the_keys(self) -> None:
        """A new signing key and a new secret; those until now are good for what they have made."""
        key, ring = keyring.generate("EdDSA"), self.ring
        public = VerificationKey(key.kid, key.alg, key.private.public_key())
        secrets = (os.urandom(32), *ring.refresh_secrets)
        self.ring = KeyRing(key, {**ring.verifying, key.kid: public}, secrets)
        for node in self.node:
            node.use(self.ring)

    @rule(session=sessions, node=nodes)
    def logout(self, session: _Session, node: int) -> None:
        claim = self._claim(session.refresh[0])
        self.runner.run(self.node[node].session_store.end(claim.sub, claim.sid))
        session.over = True

    @rule(user=st.sampled_from(USERS), node=nodes)
    def logout_everywhere(self, user: str, node: int) -> None:
        self.runner.run(self.node[node].session_store.end_all(user))
        self._end_all(user)

    def _end_all(self, user: str) -> None:
        for session in self.known:
            if session.user == user:
                session.over = True
                for access in session.access:
                    access.dead = True

    @rule(seconds=st.sampled_from(STEPS_S))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.runner.run(time_passes_at(self.redis, seconds))

    @invariant()
    def every_access_token_is_as_welcome_as_promised(self) -> None:
        now = self.clock.now()
        for number, session in enumerate(self.known):
            for access in session.access:
                promised = not session.over and not access.dead and now < access.ends + TOKEN.leeway_s
                assert self.runner.run(self.node[number % 2].welcome(access.text)) == promised

    def _claim(self, token: str) -> RefreshClaim:
        """What a token says; of one claim there is one text for each secret."""
        claim = self.node[0].refresh_tokens.read(token)
        assert claim is not None
        return claim

    async def _race(self, token: str, client: str, racers: int) -> list[Pair | Outcome | None]:
        return await asyncio.gather(*(self.node[number % 2].refresh(token, client) for number in range(racers)))

    def _refresh(self, session: _Session, generation: int, node: int) -> None:
        outcome = self.runner.run(self.node[node].refresh(session.refresh[generation], session.client))
        now = self.clock.now()
        if session.over:
            assert outcome is Outcome.UNKNOWN
        elif session.due(now):
            assert outcome is Outcome.EXPIRED
            session.over = True
        elif generation == len(session.refresh) - 1:
            self._rotate(session, paired(outcome))
        elif self._in_grace(session, generation, now) and session.repeats >= MAX_REPEATS:
            assert outcome is Outcome.TOO_MANY_REPEATS
        elif self._in_grace(session, generation, now):
            pair = paired(outcome)
            assert self._claim(pair.refresh) == self._claim(session.refresh[-1])
            session.repeats += 1
            self._hand_out(session, pair)
        else:
            assert outcome is Outcome.REUSED
            session.over = True

    def _in_grace(self, session: _Session, generation: int, now: float) -> bool:
        immediate = generation == len(session.refresh) - 2
        return immediate and now <= session.used + GRACE_S

    def _rotate(self, session: _Session, pair: Pair) -> None:
        assert self._claim(pair.refresh).generation == len(session.refresh)
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
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
