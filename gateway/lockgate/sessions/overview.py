"""What sessions a user has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from lockgate.sessions.agent_fields import read_agent
from lockgate.stores.layout import UserKeys
from lockgate.stores.redis import store_errors
from lockgate_common.redis.client import RedisClient

_MS: Final = 1000


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session, as its user sees it.

    Attributes:
        created, last_used, ends: Unix seconds.
        address, agent: where it was begun from.
    """

    session_id: str
    created: float
    last_used: float
    ends: float
    client_id: str
    address: str
    agent: str


async def sessions_of(redis: RedisClient, sub: str) -> list[SessionView]:
    """The live sessions of a user, the latest used first.

    Raises:
        StoreUnavailableError: Redis did not answer.
    """
    keys = UserKeys.of(sub)
    with store_errors():
        members: list[Any] = await redis.zrange(keys.sessions, 0, -1)
        sids: list[str] = [member.decode("ascii") for member in members]
        async with redis.pipeline(transaction=False) as pipe:
            pipe.get(keys.epoch)
            for sid in sids:
                pipe.hgetall(keys.session(sid))
            epoch, *found = await pipe.execute()
    views = [
        _parse_view(sid, values)
        for sid, values in zip(sids, found, strict=True)
        if values and int(values[b"epoch"]) >= int(epoch or 0)
    ]
    return sorted(views, key=lambda view: view.last_used, reverse=True)


def _parse_view(sid: str, values: dict[bytes, bytes]) -> SessionView:
    return SessionView(
        session_id=sid,
        created=int(values[b"created"]) / _MS,
        last_used=int(values[b"used"]) / _MS,
        ends=int(values[b"ends"]) / _MS,
        client_id=values[b"client_id"].decode(),
        address=values[b"address"].decode(),
        agent=read_agent(values),
    )
