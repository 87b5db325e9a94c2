"""Families of refresh tokens in Redis: each session is one, and each change to it is one atomic step.

A user has `token.sessions_per_user` sessions at most (100). A login that would be one too many ends the oldest
session, by its begin, in the same script: with its access tokens, its sockets, and an event `session.ended` with the
reason `too_many` and the address of the login. Without the bound, a script that logs in for each of its runs leaves a
session of thirty days each time. The oldest session ends and not the one that was unused for longest: all sessions
have the same absolute life, so the index is in this order already, and no refresh has to write to it. Idle sessions
that have run out go first. A login is not refused instead, because any holder of the password could then lock the
owner out. A lowered bound holds with the user's next login. Machines should use `client_credentials`, which begins no
session.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final

from lockgate.clock import Clock
from lockgate.errors import StoreUnavailableError
from lockgate.sessions.agent_fields import agent_fields, read_agent
from lockgate.sessions.refresh_token import RefreshClaim
from lockgate.settings import TokenSettings
from lockgate.stores.command_link import CommandLink, executor_of
from lockgate.stores.layout import (
    ANY_SESSION,
    BLOCKED_LIFE_S,
    ENDED_CHANNEL,
    UserKeys,
    ended_life_ms,
    session_of,
    slack_ms,
)
from lockgate.stores.redis import store_errors
from lockgate.stores.script import Script, read_script
from lockgate_common.redis.client import RedisClient

MAX_REPEATS: Final = 20
"""How many times a lost answer may be asked for again; also how many more tabs may refresh at once."""
_LOOKED_AT_ONCE: Final = 500
"""How many sessions one round trip looks at, where all of them have to be."""
COOKIE: Final = "cookie"
TOKENS: Final = "tokens"
_MS: Final = 1000


@dataclass(frozen=True, slots=True)
class Session:
    """What is known of a session.

    Attributes:
        generation: of its current refresh token.
        created: when it began, and the user authenticated; Unix seconds by the clock of Redis, like the next
            three.
        ends: when it ends in any case.
        expires: when it ends if nothing more comes of it: at `ends`, or sooner because it idles.
        read_at: when all this was so.
        epoch: the user's logout-everywhere counter.
        address, agent: where it was last refreshed from, for the user to recognise it; a cookie's: begun from.
        password_version: of the account when the session began.
        scope: what it may do at most; `None` for everything that its user may.
        made_room: the sessions of the same user that ended because there were too many; only where it begins.
    """

    sub: str
    sid: str
    client_id: str
    generation: int
    created: float
    ends: float
    expires: float
    read_at: float
    epoch: int
    address: str
    agent: str
    password_version: str = ""
    scope: str | None = None
    made_room: tuple[str, ...] = ()


class Outcome(Enum):
    """Why a refresh token was not accepted."""

    UNKNOWN = "unknown"
    EXPIRED = "expired"
    REUSED = "reused"
    TOO_MANY_REPEATS = "crowded"
    OTHER_CLIENT = "foreign"
    SCOPE = "scope"


class SessionStore:
    """The sessions of all users.

    Args:
        redis: where they are.
        token: how long things live, and how many sessions a user may have.
        clock: the time.
        replicas: how many replicas of Redis have to confirm a change before it counts as made.
        link: of own calls, where there is one.

    What lives for a while lives by the clock of Redis. This node's clock only says how far ahead its tokens are.

    Every method raises `StoreUnavailableError` where Redis did not confirm; what was asked for may have happened.
    """

    def __init__(
        self,
        redis: RedisClient,
        token: TokenSettings,
        clock: Clock,
        replicas: int = 0,
        link: CommandLink | None = None,
    ) -> None:
        self._execute = executor_of(redis, link)
        self._redis = redis
        self._token = token
        self._clock = clock
        self._replicas = replicas
        self._current = Script(redis, _read_source("current.lua"), link=link)
        self._confirm = Script(redis, _read_source("confirm.lua"), link=link)
        self._begin, self._rotate, self._resume = (
            Script(redis, _read_source(name), replicas, link) for name in ("begin.lua", "rotate.lua", "resume.lua")
        )
        self._end, self._end_others, self._end_everything, self._block_token = (
            Script(redis, _read_source(name), replicas, link)
            for name in ("end.lua", "end_others.lua", "end_all.lua", "block_token.lua")
        )

    async def begin(  # noqa: PLR0913 - what is known of a session, by name
        self,
        *,
        sub: str,
        sid: str,
        client_id: str,
        address: str,
        agent: str,
        password_version: str = "",
        scope: str | None = None,
        by_cookie: bool = False,
    ) -> Session | None:
        """Begin a session with generation 0; `None` where the user was blocked a moment ago.

        One that is held `by_cookie` goes on with `resume`, any other with `rotate`. Where the user has as many sessions
        as there may be, the oldest ones end in the same step.
        """
        keys, token = UserKeys.of(sub), self._token
        values: dict[str, str | int] = {
            "generation": 0,
            "repeats": 0,
            "kind": COOKIE if by_cookie else TOKENS,
            "client_id": client_id,
            "address": address,
            **agent_fields(agent),
            "password_version": password_version,
        }
        if scope is not None:
            values["scope"] = scope
        answer = await self._begin(
            keys=[keys.session(sid), keys.sessions, keys.epoch, keys.blocked],
            args=[
                sid,
                _milliseconds(self._clock.now()),
                token.refresh_absolute_s * _MS,
                token.refresh_idle_s * _MS,
                token.sessions_per_user,
                keys.session(""),
                keys.ended(""),
                self._ended_life_ms,
                ENDED_CHANNEL,
                *(part for pair in values.items() for part in pair),
            ],
        )
        if answer is None:
            return None
        here, epoch, ended, *rest = answer
        session = self._parse_session(sub, sid, [here, epoch, *rest[ended:]])
        return replace(session, made_room=tuple(other.decode("ascii") for other in rest[:ended]))

    async def rotate(
        self, claim: RefreshClaim, *, client_id: str, address: str, agent: str, scope: str = ""
    ) -> Session | Outcome:
        """Use a refresh token: the session with its new generation, or why not.

        Args:
            claim: of the token.
            client_id: the client that presents it; must be the one that began the session.
            address: where from.
            agent: with which.
            scope: what the session shall be narrowed to, space-separated; empty leaves it as it is.

        What too few replicas have confirmed can be asked again, for as long as it takes: the grace begins when they do.
        A reused token has ended the session when this returns. A foreign one, one that too many have asked with, and a
        scope that is not within the session's, have changed nothing.
        """
        keys, token = UserKeys.of(claim.sub), self._token
        code, *rest = await self._rotate(
            keys=[keys.session(claim.sid), keys.ended(claim.sid), keys.sessions, keys.epoch],
            args=[
                claim.sid,
                claim.generation,
                _milliseconds(self._clock.now()),
                token.refresh_grace_s * _MS,
                token.refresh_idle_s * _MS,
                self._ended_life_ms,
                MAX_REPEATS,
                ENDED_CHANNEL,
                client_id,
                scope,
                address,
                int(self._replicas > 0),
                *agent_fields(agent).values(),
            ],
        )
        name = code.decode("ascii")
        if name not in ("rotated", "repeated"):
            return Outcome(name)
        session = self._parse_session(claim.sub, claim.sid, rest)
        if self._replicas:
            # Where this fails, the token before can be used until its successor is: no longer than that.
            with contextlib.suppress(StoreUnavailableError):
                await self._confirm(keys=[keys.session(claim.sid)], args=[session.generation])
        return session

    async def lives(self, sub: str, sid: str) -> bool:
        """Whether there is such a session."""
        with store_errors():
            return bool(await self._execute("EXISTS", UserKeys.of(sub).session(sid)))

    async def known(self, sub: str) -> bool:
        """Whether the user with this id has sessions."""
        with store_errors():
            return bool(await self._execute("EXISTS", UserKeys.of(sub).sessions))

    async def resume(self, sub: str, sid: str) -> Session | Outcome:
        """Go on with a session that is held by a cookie; it has been used now.

        Returns:
            The session; or `UNKNOWN` or `EXPIRED`, and then it has ended when this returns.
        """
        keys, token = UserKeys.of(sub), self._token
        code, *rest = await self._resume(
            keys=[keys.session(sid), keys.ended(sid), keys.sessions, keys.epoch],
            args=[
                sid,
                _milliseconds(self._clock.now()),
                token.refresh_idle_s * _MS,
                self._ended_life_ms,
                ENDED_CHANNEL,
            ],
        )
        return self._parse_session(sub, sid, rest) if code == b"resumed" else Outcome(code.decode("ascii"))

    async def current(self, claim: RefreshClaim) -> Session | None:
        """The session of a refresh token that could be used now as the latest of its family; changes nothing."""
        keys = UserKeys.of(claim.sub)
        answer = await self._current(keys=[keys.session(claim.sid), keys.epoch], args=[])
        _, epoch, *pairs = answer
        values = _pair_up(pairs)
        if not values or int(values[b"generation"]) != claim.generation or int(values[b"epoch"]) < int(epoch):
            return None
        session = self._parse_session(claim.sub, claim.sid, answer)
        return session if session.read_at < session.expires else None

    async def client_of(self, sub: str, sid: str) -> str | None:
        """The client that a session was begun by; `None` where there is no such session."""
        with store_errors():
            found: Any = await self._execute("HGET", UserKeys.of(sub).session(sid), "client_id")
        return str(found, "utf-8") if found is not None else None

    async def end(self, sub: str, sid: str) -> bool:
        """End a session and, at once, the access tokens that came of it; whether there was such a session."""
        keys = UserKeys.of(sub)
        lived = await self._end(
            keys=[keys.ended(sid), keys.session(sid), keys.sessions], args=[sid, self._ended_life_ms, ENDED_CHANNEL]
        )
        return bool(lived)

    async def end_all(self, sub: str) -> None:
        """End every session of a user, and every access token issued before this moment.

        Raising the epoch is what ends them, in one step; a session that begins in between has the old epoch or the new
        one. The rest tidies up.
        """
        await self._end_all(sub, block=False)

    async def shut_out(self, sub: str) -> None:
        """The same, and let no session begin for a while, not even of a login that is under way."""
        await self._end_all(sub, block=True)

    async def let_in_again(self, sub: str, after_s: float = 0) -> None:
        """Let sessions begin again, at once or in a while."""
        with store_errors():
            await self._redis.pexpire(UserKeys.of(sub).blocked, _milliseconds(after_s))

    async def end_others(self, sub: str, sid: str, password_version: str) -> None:
        """End every session of a user but one, which goes on with the user's new password."""
        keys = UserKeys.of(sub)
        await self._end_others(
            keys=[keys.sessions, keys.session(sid)],
            args=[
                sid,
                keys.session(""),
                keys.ended(""),
                self._ended_life_ms,
                ENDED_CHANNEL,
                password_version,
            ],
        )

    async def end_made_by(self, client_id: str) -> None:
        """End every session that a client began.

        Looks at all sessions of all users, on every master of a Cluster: there is no index, because a client is removed
        rarely, and sessions begin all the time. One that begins meanwhile may be missed.
        """
        with store_errors():
            some: list[bytes] = []
            async for key in self._redis.scan_iter(match=ANY_SESSION, count=_LOOKED_AT_ONCE):
                some.append(key)
                if len(some) == _LOOKED_AT_ONCE:
                    await self._end_those_of(client_id, some)
                    some = []
            await self._end_those_of(client_id, some)

    async def _end_those_of(self, client_id: str, keys: list[bytes]) -> None:
        async with self._redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hget(key, "client_id")
            found = await pipe.execute()
        for key, begun_by in zip(keys, found, strict=True):
            if begun_by == client_id.encode("utf-8"):
                await self.end(*session_of(key))

    async def _end_all(self, sub: str, *, block: bool) -> None:
        keys = UserKeys.of(sub)
        await self._end_everything(
            keys=[keys.epoch, keys.sessions, keys.blocked],
            args=[keys.session(""), BLOCKED_LIFE_S * _MS if block else 0, ENDED_CHANNEL, sub],
        )

    async def block_token(self, sub: str, jti: str, exp: float | None = None) -> bool:
        """Put one access token on the blocklist, for as long as any node could still accept it.

        Args:
            sub: its user.
            jti: which.
            exp: of the token, Unix seconds; where not given, it ends as late as a token of now.

        Returns:
            Whether that changed something: the token was good, and not on the list.
        """
        token = self._token
        changed = await self._block_token(
            keys=[UserKeys.of(sub).jti(jti)],
            args=[
                jti,
                0 if exp is None else _milliseconds(exp),
                _milliseconds(self._clock.now()),
                token.access_life_s * _MS,
                slack_ms(token.leeway_s),
                ENDED_CHANNEL,
            ],
        )
        return bool(changed)

    @property
    def _ended_life_ms(self) -> int:
        return ended_life_ms(self._token.access_life_s, self._token.leeway_s)

    def _parse_session(self, sub: str, sid: str, answer: Sequence[Any]) -> Session:
        """A session from what a script says of it: the time, the epoch, and its fields."""
        here, epoch, *pairs = answer
        values = _pair_up(pairs)
        ends, used = (int(values[name]) / _MS for name in (b"ends", b"used"))
        return Session(
            sub=sub,
            sid=sid,
            client_id=values[b"client_id"].decode(),
            generation=int(values[b"generation"]),
            created=int(values[b"created"]) / _MS,
            ends=ends,
            expires=min(ends, used + self._token.refresh_idle_s),
            read_at=here / _MS,
            epoch=int(epoch),
            address=values[b"address"].decode(),
            agent=read_agent(values),
            password_version=values[b"password_version"].decode(),
            scope=values[b"scope"].decode() if b"scope" in values else None,
        )


def _read_source(name: str) -> str:
    """A script, after what all of them share."""
    return "".join(read_script(__package__, part) for part in ("sessions.lua", name))


def _pair_up(parts: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _milliseconds(seconds: float) -> int:
    return int(seconds * _MS)
