"""Families of refresh tokens in Redis: each session is one, and each change to it is one atomic step."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from importlib.resources import files
from typing import Any, Final

from redis.asyncio import Redis

from gateway.clock import Clock
from gateway.sessions.refresh_token import RefreshClaim
from gateway.settings import TokenSettings
from gateway.stores.layout import BLOCKED_LIFE_S, ENDED_CHANNEL, UserKeys, ended_life_ms, jti_life_ms
from gateway.stores.redis import store_errors

MAX_REPEATS: Final = 20
"""How many times a lost answer may be asked for again; also how many tabs may refresh at once."""
_MS: Final = 1000


@dataclass(frozen=True, slots=True)
class Session:
    """What is known of a session.

    Attributes:
        generation: of its current refresh token.
        created: when it began, Unix seconds; also when the user proved who they are.
        ends: when it ends in any case, Unix seconds.
        epoch: the user's logout-everywhere counter.
        address, agent: where it was begun from, for the user to recognise it.
        password_version: of the account when the session began.
        scope: what it may do at most; `None` for everything that its user may.
    """

    sub: str
    sid: str
    client_id: str
    generation: int
    created: float
    ends: float
    epoch: int
    address: str
    agent: str
    password_version: str = ""
    scope: str | None = None


class Outcome(Enum):
    """Why a refresh token was not accepted."""

    UNKNOWN = "unknown"
    EXPIRED = "expired"
    REUSED = "reused"
    FOREIGN = "foreign"
    SCOPE = "scope"


class Families:
    """The sessions of all users.

    Args:
        redis: where they are.
        token: how long things live.
        clock: the time.

    Every method raises `StoreUnavailableError` where Redis did not confirm; what was asked for may have happened.
    """

    def __init__(self, redis: Redis, token: TokenSettings, clock: Clock) -> None:
        self._redis = redis
        self._token = token
        self._clock = clock
        self._begin, self._rotate, self._end_others = (
            redis.register_script(_script(name)) for name in ("begin.lua", "rotate.lua", "end_others.lua")
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
    ) -> Session | None:
        """Begin a session with generation 0; `None` where the user was blocked a moment ago."""
        keys = UserKeys.of(sub)
        now, life = self._clock.now(), self._token.refresh_absolute_s
        ends = now + life
        values: dict[str, str | int] = {
            "generation": 0,
            "created": _ms(now),
            "rotated": _ms(now),
            "used": _ms(now),
            "ends": _ms(ends),
            "repeats": 0,
            "client_id": client_id,
            "address": address,
            "agent": agent,
            "password_version": password_version,
        }
        if scope is not None:
            values["scope"] = scope
        with store_errors():
            epoch = await self._begin(
                keys=[keys.session(sid), keys.sessions, keys.epoch, keys.blocked],
                args=[
                    sid,
                    _ms(now),
                    _ms(ends),
                    min(self._token.refresh_idle_s, life) * _MS,
                    *(part for pair in values.items() for part in pair),
                ],
            )
        if epoch is None:
            return None
        return Session(
            sub=sub,
            sid=sid,
            client_id=client_id,
            generation=0,
            created=now,
            ends=ends,
            epoch=int(epoch),
            address=address,
            agent=agent,
            password_version=password_version,
            scope=scope,
        )

    async def rotate(self, claim: RefreshClaim, *, client_id: str, scope: str = "") -> Session | Outcome:
        """Use a refresh token: the session with its new generation, or why not.

        Args:
            claim: of the token.
            client_id: who presents it; must be whom the session was begun by.
            scope: what the session shall be narrowed to, space-separated; empty leaves it as it is.

        A reused token has ended the session when this returns. A foreign one, and a scope that is not within the
        session's, have changed nothing.
        """
        keys, token = UserKeys.of(claim.sub), self._token
        with store_errors():
            code, *rest = await self._rotate(
                keys=[keys.session(claim.sid), keys.ended(claim.sid), keys.sessions, keys.epoch],
                args=[
                    claim.sid,
                    claim.generation,
                    _ms(self._clock.now()),
                    (token.refresh_grace_s + token.leeway_s) * _MS if token.refresh_grace_s else 0,
                    token.refresh_idle_s * _MS,
                    ended_life_ms(token.access_life_s, token.leeway_s),
                    MAX_REPEATS if token.refresh_grace_s else 0,
                    ENDED_CHANNEL,
                    client_id,
                    scope,
                ],
            )
        name = code.decode("ascii")
        if name not in ("rotated", "repeated"):
            return Outcome(name)
        generation, epoch, *pairs = rest
        return _session(claim, int(generation), int(epoch), dict(zip(pairs[::2], pairs[1::2], strict=True)))

    async def current(self, claim: RefreshClaim) -> Session | None:
        """The session of a refresh token that could be used now as the latest of its family; changes nothing."""
        keys = UserKeys.of(claim.sub)
        with store_errors():
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.get(keys.epoch)
                pipe.hgetall(keys.session(claim.sid))
                epoch, values = await pipe.execute()
        if not values or int(values[b"generation"]) != claim.generation or int(values[b"epoch"]) < int(epoch or 0):
            return None
        session = _session(claim, claim.generation, int(epoch or 0), values)
        idle_end = int(values[b"used"]) / _MS + self._token.refresh_idle_s
        return session if self._clock.now() < min(session.ends, idle_end) else None

    async def client_of(self, sub: str, sid: str) -> str | None:
        """The client that a session was begun by; `None` where there is no such session."""
        with store_errors():
            found: Any = await self._redis.hget(UserKeys.of(sub).session(sid), "client_id")
        return str(found, "utf-8") if found is not None else None

    async def end(self, sub: str, sid: str) -> None:
        """End a session and, at once, the access tokens that came of it."""
        keys = UserKeys.of(sub)
        with store_errors():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.set(keys.ended(sid), "1", px=ended_life_ms(self._token.access_life_s, self._token.leeway_s))
                pipe.delete(keys.session(sid))
                pipe.zrem(keys.sessions, sid)
                pipe.publish(ENDED_CHANNEL, f"sid:{sid}")
                await pipe.execute()

    async def end_all(self, sub: str) -> None:
        """End every session of a user, and every access token issued before this moment.

        Raising the epoch is what ends them, in one step; a session that begins in between has the old epoch or the new
        one. The rest tidies up.
        """
        await self._end_all(sub, block=False)

    async def shut_out(self, sub: str) -> None:
        """The same, and let no session begin for a while, not even of a login that is under way."""
        await self._end_all(sub, block=True)

    async def let_in_again(self, sub: str) -> None:
        """Let sessions begin again."""
        with store_errors():
            await self._redis.delete(UserKeys.of(sub).blocked)

    async def end_others(self, sub: str, sid: str, password_version: str) -> None:
        """End every session of a user but one, which goes on with the user's new password."""
        keys = UserKeys.of(sub)
        with store_errors():
            await self._end_others(
                keys=[keys.sessions, keys.session(sid)],
                args=[
                    sid,
                    keys.session(""),
                    keys.ended(""),
                    ended_life_ms(self._token.access_life_s, self._token.leeway_s),
                    ENDED_CHANNEL,
                    password_version,
                ],
            )

    async def _end_all(self, sub: str, *, block: bool) -> None:
        keys = UserKeys.of(sub)
        with store_errors():
            members: list[Any] = await self._redis.zrange(keys.sessions, 0, -1)
            sids = [member.decode("ascii") for member in members]
            async with self._redis.pipeline(transaction=True) as pipe:
                if block:
                    pipe.set(keys.blocked, "1", ex=BLOCKED_LIFE_S)
                pipe.incr(keys.epoch)
                pipe.delete(keys.sessions, *(keys.session(sid) for sid in sids))
                for sid in sids:
                    pipe.publish(ENDED_CHANNEL, f"sid:{sid}")
                pipe.publish(ENDED_CHANNEL, f"sub:{sub}")
                await pipe.execute()

    async def block_token(self, sub: str, jti: str, exp: float) -> None:
        """Put one access token on the blocklist, for as long as a verifier could still accept it."""
        life = jti_life_ms(exp, self._clock.now(), self._token.leeway_s)
        keys = UserKeys.of(sub)
        with store_errors():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.set(keys.jti(jti), "1", px=life)
                pipe.publish(ENDED_CHANNEL, f"jti:{jti}")
                await pipe.execute()


def _script(name: str) -> str:
    return files("gateway.sessions").joinpath(name).read_text(encoding="utf-8")


def _session(claim: RefreshClaim, generation: int, epoch: int, values: dict[bytes, bytes]) -> Session:
    return Session(
        sub=claim.sub,
        sid=claim.sid,
        client_id=values[b"client_id"].decode(),
        generation=generation,
        created=int(values[b"created"]) / _MS,
        ends=int(values[b"ends"]) / _MS,
        epoch=epoch,
        address=values[b"address"].decode(),
        agent=values[b"agent"].decode(),
        password_version=values[b"password_version"].decode(),
        scope=values[b"scope"].decode() if b"scope" in values else None,
    )


def _ms(seconds: float) -> int:
    return int(seconds * _MS)
