"""A Cluster is asked like one server: each master once in a tick, and wherever a slot is, it is asked there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from lockgate.admission.gate import Admitted
from lockgate.errors import Reason
from lockgate.policy.limits import Limit
from lockgate.stores.cluster_link import ClusterLink
from lockgate.stores.layout import UserKeys, rate_key
from lockgate.stores.link import AWAY
from lockgate.stores.redis import connect
from lockgate_common.redis.client import RedisClient
from tests.support.admission import WITHIN_S, claims, gate, opened, reason, together
from tests.support.clock import ManualClock
from tests.support.redis_groups import Cluster, Server, slot_of


@pytest_asyncio.fixture
async def redis(redis_cluster: Cluster) -> AsyncIterator[RedisClient]:
    """The gateway's client of an empty Cluster."""
    await redis_cluster.flush()
    client = connect(redis_cluster.url)
    yield client
    await client.aclose()


@contextlib.asynccontextmanager
async def counting(servers: list[Server]) -> AsyncIterator[Callable[[], Awaitable[list[int]]]]:
    """Gives a function that tells how many times each server has read from a connection since it was last called."""
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(server.client()) for server in servers]
        last = [0] * len(clients)

        async def reads() -> list[int]:
            totals = [int((await client.info("stats"))["total_reads_processed"]) for client in clients]
            since = [total - before - 1 for total, before in zip(totals, last, strict=True)]  # one by counting
            last[:] = totals
            return since

        await reads()
        yield reads


async def test_two_hundred_users_of_one_tick_are_one_round_trip_to_each_master(
    redis: RedisClient, redis_cluster: Cluster
) -> None:
    """And each request gets its own reply."""
    await redis.set(UserKeys.of("user-7").jti("token-7"), "1")
    await redis.set(UserKeys.of("user-8").ended("session-8"), "1")
    await redis.set(UserKeys.of("user-9").epoch, "1")
    questions = [claims(f"user-{n}", f"token-{n}", f"session-{n}") for n in range(200)]
    async with opened(redis) as link, counting(redis_cluster.masters) as reads:
        verdicts = await together(gate(link), questions)
        assert await reads() == [1, 1, 1]
    refused = {number: why for number, verdict in enumerate(verdicts) if (why := reason(verdict)) is not None}
    assert refused == {7: Reason.TOKEN_REVOKED, 8: Reason.SESSION_ENDED, 9: Reason.EPOCH_RAISED}
    for number, verdict in enumerate(verdicts):
        if isinstance(verdict, Admitted):
            assert verdict.identity is questions[number].principal


async def test_limits_are_counted_wherever_their_counter_is(redis: RedisClient) -> None:
    limits = [Limit("orders", 5, 60, "user"), Limit("orders", 100, 60, "route")]
    async with opened(redis) as link:
        admission = gate(link)
        for user in ("ann", "ben", "cem"):
            verdicts = [(await together(admission, [claims(user)], limits))[0] for _ in range(6)]
            assert [reason(verdict) for verdict in verdicts] == [None] * 5 + [Reason.RATE_LIMITED]


async def test_a_limit_whose_counter_cannot_be_had_is_kept_by_the_worker_alone(redis: RedisClient) -> None:
    """As on one server that is away; but the token can be asked about, so its user is let in."""
    now = ManualClock().now()
    await redis.rpush(rate_key("orders", "route", "", "60", int(now // 60)), "no counter")
    async with opened(redis) as link:
        admission = gate(link)
        limits = [Limit("orders", 2, 60, "route")]
        verdicts = [(await together(admission, [claims("ann")], limits))[0] for _ in range(3)]
    assert [reason(verdict) for verdict in verdicts] == [None, None, Reason.RATE_LIMITED]


async def test_a_slot_that_has_moved_is_asked_where_it_is(redis: RedisClient, redis_cluster: Cluster) -> None:
    """MOVED: within the same question, and directly from then on."""
    user = redis_cluster.user_at(0, "moves")
    source, target = redis_cluster.masters[:2]
    async with opened(redis) as link:
        admission = gate(link)
        assert reason(await admission.judge_token(claims(user))) is None
        await redis_cluster.move_slot(slot_of(user), source, target)
        try:
            await target.ask("SET", UserKeys.of(user).jti("token-1"), "1")
            assert reason(await admission.judge_token(claims(user))) is Reason.TOKEN_REVOKED
            async with counting([source, target]) as reads:
                assert reason(await admission.judge_token(claims(user))) is Reason.TOKEN_REVOKED
                assert await reads() == [0, 1]
        finally:
            await redis_cluster.flush()
            await redis_cluster.move_slot(slot_of(user), target, source)


@pytest.mark.parametrize("where", ["source", "target", "nowhere"])
async def test_while_a_slot_is_being_moved_each_key_counts_wherever_it_is(
    redis: RedisClient, redis_cluster: Cluster, where: str
) -> None:
    """ASK and TRYAGAIN: some of a user's keys are still here, the others are there already, or nowhere."""
    user = redis_cluster.user_at(0, f"on-its-way-{where}")
    slot, keys = slot_of(user), UserKeys.of(user)
    source, target = redis_cluster.masters[:2]
    await redis.set(keys.epoch, "1")  # stays at the source
    await target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", redis_cluster.ids[source.port])
    await source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", redis_cluster.ids[target.port])
    try:
        if where == "source":
            await source.ask("SET", keys.epoch, "2")
        elif where == "target":
            async with target.client() as client, client.pipeline(transaction=False) as pipe:
                pipe.execute_command("ASKING")
                pipe.set(keys.ended("session-1"), "1")
                await pipe.execute()
        why = {"source": Reason.EPOCH_RAISED, "target": Reason.SESSION_ENDED, "nowhere": None}[where]
        async with opened(redis) as link:
            for _ in range(2):
                assert reason(await gate(link).judge_token(claims(user, epoch=1))) is why
    finally:
        await redis_cluster.flush()
        for server in (source, target):
            await server.ask("CLUSTER", "SETSLOT", slot, "STABLE")


async def test_values_that_cannot_be_had_are_away_and_no_others(redis: RedisClient, redis_cluster: Cluster) -> None:
    """R-150: a key of another kind, for one, is an error of Redis; it must not pass for the answer nil."""
    keys = [UserKeys.of(redis_cluster.user_at(number)).epoch.encode() for number in range(3)]
    await redis.rpush(keys[1], "1")
    answers: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    async with opened(redis) as link:
        link.ask([(b"GET", key) for key in keys], answers.set_result)
        async with asyncio.timeout(WITHIN_S):
            assert await answers == [None, AWAY, None]


async def test_a_link_to_nobody_answers_at_once_and_can_be_closed() -> None:
    client = connect("redis+cluster://127.0.0.1:9")
    answers: list[object] = []
    async with opened(client) as link:
        assert isinstance(link, ClusterLink)
        assert not link.connected
        link.ask([(b"MGET", b"{a}1", b"{a}2", b"{a}3")], answers.append)
        assert answers == [[[AWAY, AWAY, AWAY]]]
    await client.aclose()
