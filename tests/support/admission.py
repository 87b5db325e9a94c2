"""Admission on a real Redis, and questions to ask it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from redis.asyncio import Redis

from lockgate.admission.gate import Admission, Verdict
from lockgate.errors import Reason, Refusal
from lockgate.identity.model import Principal, VerifiedClaims
from lockgate.policy.limits import Limit
from lockgate.stores.layout import admission_keys
from lockgate.stores.links import StoreLink, link_to
from lockgate_common.redis.client import RedisClient
from lockgate_trust import cover
from tests.support.clock import ManualClock

WITHIN_S = 15
LINK_TIMEOUT_S = 5
"""For tests of anything but the time-out: a machine that is busy must not look like a Redis that is away."""


def claims(sub: str = "alice", jti: str = "token-1", sid: str = "session-1", epoch: int = 0) -> VerifiedClaims:
    """The claims of a token that was verified."""
    principal = Principal(
        sub=sub,
        sid=sid,
        jti=jti,
        client_id="web",
        roles=(),
        scopes=frozenset(),
        auth_time=0,
        amr=(),
        covered=cover(()),
    )
    return VerifiedClaims(
        exp=2e9, not_before=0, epoch=epoch, principal=principal, question=admission_keys(sub, jti, sid)
    )


@contextlib.asynccontextmanager
async def opened(redis: RedisClient, timeout_s: float = LINK_TIMEOUT_S) -> AsyncIterator[StoreLink]:
    """A link, connected if Redis is there."""
    link = link_to(redis, timeout_s)
    await link.open()
    try:
        yield link
    finally:
        await link.close()


def gate(link: StoreLink) -> Admission:
    return Admission(link, ManualClock())


async def together(
    admission: Admission, questions: list[VerifiedClaims], limits: Sequence[Limit] = ()
) -> list[Verdict]:
    """Ask all of them in one tick of the event loop."""
    loop = asyncio.get_running_loop()
    futures: list[asyncio.Future[Verdict]] = []
    for question in questions:
        future: asyncio.Future[Verdict] = loop.create_future()
        admission.ask(question, limits, "192.0.2.1", future.set_result)
        futures.append(future)
    async with asyncio.timeout(WITHIN_S):
        return await asyncio.gather(*futures)


def reason(verdict: object) -> Reason | None:
    """The reason of a refusal; `None` for an admission."""
    return verdict.reason if isinstance(verdict, Refusal) else None


async def commands(redis: Redis, name: str) -> int:
    """How many commands of a name the server has carried out."""
    stats = await redis.info("commandstats")
    return int(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"])
