"""A user has so many sessions and no more: the oldest ones end (R-224). On a server and on a Cluster."""

from __future__ import annotations

import asyncio

import pytest

from lockgate.sessions.session_store import Outcome
from lockgate.settings import TokenSettings
from lockgate.stores.layout import ENDED_CHANNEL, UserKeys
from lockgate_common.redis.client import RedisClient, subscribe
from tests.support.session_node import Node, Pair, paired
from tests.support.store import time_passes_at

MOST = 3


@pytest.fixture
def token() -> TokenSettings:
    return TokenSettings(sessions_per_user=MOST)


async def lives(node: Node, pair: Pair) -> bool:
    """Whether a session goes on; access and refresh token have to agree."""
    welcome = await node.welcome(pair.access)
    assert isinstance(await node.refresh(pair.refresh), Pair) == welcome
    return welcome


async def several(node: Node, redis: RedisClient, count: int, sub: str = "alice") -> list[Pair]:
    """Sessions that began a minute apart, the oldest first."""
    pairs = []
    for _ in range(count):
        pairs.append(await node.login(sub))
        await time_passes_at(redis, 60)
    return pairs


async def test_one_session_too_many_ends_the_oldest_at_once(redis: RedisClient, node: Node) -> None:
    """R-224: also if it was used a moment ago; and no other user's."""
    stranger = await node.login("bob")
    oldest, *others = await several(node, redis, MOST)
    used = paired(await node.refresh(oldest.refresh))
    latest = await node.login("alice")
    assert latest.session.made_room == (oldest.session.sid,)
    assert not await node.welcome(used.access)
    assert await node.refresh(used.refresh) is Outcome.UNKNOWN
    for pair in (*others, latest, stranger):
        assert await lives(node, pair)
    assert await redis.zcard(UserKeys.of("alice").sessions) == MOST


async def test_as_many_sessions_as_there_may_be_end_none(redis: RedisClient, node: Node) -> None:
    """R-224"""
    pairs = await several(node, redis, MOST)
    assert all(pair.session.made_room == () for pair in pairs)
    for pair in pairs:
        assert await lives(node, pair)


async def test_a_session_that_is_over_makes_room_by_itself(redis: RedisClient, node: Node) -> None:
    """R-224: ended, or idled away and only in the index still."""
    ended, idled, kept = await several(node, redis, MOST)
    await node.session_store.end("alice", ended.session.sid)
    await redis.delete(UserKeys.of("alice").session(idled.session.sid))
    for pair in await several(node, redis, MOST - 1):
        assert pair.session.made_room == ()
    assert await lives(node, kept)


async def test_of_many_logins_at_once_no_more_than_the_bound_live(redis: RedisClient, node: Node) -> None:
    """R-224: each is one step."""
    pairs = await asyncio.gather(*(node.login("alice") for _ in range(6 * MOST)))
    assert sum([await lives(node, pair) for pair in pairs]) == MOST
    assert await redis.zcard(UserKeys.of("alice").sessions) == MOST
    ended = [sid for pair in pairs for sid in pair.session.made_room]
    assert len(ended) == len(set(ended)) == 5 * MOST


async def test_a_bound_that_was_lowered_ends_what_is_too_much(redis: RedisClient, node: Node) -> None:
    """R-224"""
    first, second, third = await several(node, redis, MOST)
    node.session_store._token = TokenSettings(sessions_per_user=1)  # noqa: SLF001 - as after a restart with another file
    latest = await node.login("alice")
    assert latest.session.made_room == tuple(pair.session.sid for pair in (first, second, third))
    assert [await lives(node, pair) for pair in (first, second, third, latest)] == [False, False, False, True]


async def test_what_is_open_hears_of_the_end_of_the_oldest(redis: RedisClient, node: Node) -> None:
    """R-224: so sockets close."""
    oldest, *_ = await several(node, redis, MOST)
    async with await subscribe(redis) as channel:
        await channel.subscribe(ENDED_CHANNEL)
        assert (await channel.get_message(timeout=5) or {})["type"] == "subscribe"
        await node.login("alice")
        message = await channel.get_message(timeout=5) or {}
    assert message["data"] == f"sid:{oldest.session.sid}".encode()
