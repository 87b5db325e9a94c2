"""What services keep in Redis they keep in a Cluster as well, and behind Sentinels."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from lockgate_common.errors import UnconfirmedError
from lockgate_shop.kit.data.cache import Cache
from lockgate_shop.kit.data.events import Feed
from lockgate_shop.kit.data.jobs import Queue
from lockgate_shop.kit.data.redis import connect_redis
from lockgate_shop.kit.errors import StoreUnavailableError
from lockgate_shop.kit.problem import Problem
from lockgate_shop.orders.carts import Cart, Carts
from tests.support.job_calls import WITHIN_S, do_one_job
from tests.support.redis_groups import MASTER, named_by, sentinel_group, stopped, until
from tests.support.redis_server import running

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.redis_groups import Cluster, SentinelGroup, Server

pytestmark = pytest.mark.process

USERS = ("ann", "ben", "cem", "dee")


async def test_carts_are_in_whatever_node_has_their_slot(redis_cluster: Cluster) -> None:
    client, product = connect_redis(redis_cluster.url), UUID(int=7)
    carts = Carts(client)
    for user in USERS:
        await carts.change_cart(user, lambda cart: cart.with_quantities({product: 2}))
        await carts.change_cart(user, lambda cart: cart.with_quantities({product: 3}))
        assert dict((await carts.read_cart(user)).items) == {product: 3}
    await client.aclose()


async def test_events_wake_those_who_wait_for_them_at_any_node(redis_cluster: Cluster) -> None:
    client = connect_redis(redis_cluster.url)
    feed = Feed(client, f"feed-{uuid4().hex}", beat_s=WITHIN_S)
    for user in USERS:
        async with asyncio.timeout(WITHIN_S), feed.follow_user(user, "0-0") as events:
            assert not isinstance(events, Problem)
            await feed.publish_event(user, "first")
            assert (event := await anext(events)) is not None
            assert event.data == "first"
            waiting = asyncio.ensure_future(anext(events))
            await feed.publish_event(user, "second")
            assert (event := await waiting) is not None
            assert event.data == "second"
    await feed.close()
    await client.aclose()


async def test_a_cache_fills_and_forgets(redis_cluster: Cluster) -> None:
    cache = Cache("thing", redis_cluster.url, clock=lambda: 0.0)
    loaded: list[UUID] = []
    for key in (uuid4(), uuid4(), uuid4()):

        async def load(key: UUID = key) -> bytes:
            loaded.append(key)
            return key.bytes

        assert await cache.read_value(key, load) == await cache.read_value(key, load) == key.bytes
        assert loaded.count(key) == 1
        await cache.invalidate([key])
        await cache.read_value(key, load)
        assert loaded.count(key) == 2
    await cache.close()


async def test_a_job_is_done_by_a_queue_in_a_cluster(redis_cluster: Cluster) -> None:
    await do_one_job(redis_cluster.url)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("unclosed_streams")
async def test_a_job_is_put_where_most_sentinels_say(tmp_path: Path) -> None:
    """R-220: the first Sentinel names another server, as one does that is cut off while a master is replaced."""
    async with sentinel_group(tmp_path) as group:
        with running(tmp_path / "other") as other:
            host, _, port = other.place.rpartition(":")
            await group.sentinels[0].ask("SENTINEL", "REMOVE", MASTER)
            await group.sentinels[0].ask("SENTINEL", "MONITOR", MASTER, host, port, 2)
            await Queue(group.url, "jobs").put_job("job", uuid4())
            async with group.servers[0].client() as master, Redis.from_url(f"redis://{other.place}") as named:
                assert await master.keys("*{jobs}*")
                assert not await named.keys("*{jobs}*")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("unclosed_streams")
async def test_carts_and_jobs_are_kept_behind_sentinels(tmp_path: Path) -> None:
    async with sentinel_group(tmp_path) as group:
        assert group.url.endswith(f"/{MASTER}")
        client = connect_redis(group.url)
        await until(lambda: _acknowledged(Carts(client), {UUID(int=7): 2}), "the replicas confirm")
        assert len((await Carts(client).read_cart("ann")).items) == 1
        await client.aclose()
        await do_one_job(group.url)


async def test_a_service_believes_most_sentinels_and_no_master_that_was_replaced(tmp_path: Path) -> None:
    """R-220: a Sentinel that was stopped goes on naming the old master, which goes on as one for seconds."""
    async with sentinel_group(tmp_path) as group:
        client, product = connect_redis(group.url), UUID(int=7)
        carts = Carts(client)
        await until(lambda: _acknowledged(carts, {product: 1}), "the replicas confirm")
        async with group.switching() as switched:
            with stopped(group.sentinels[2]):
                await group.sentinels[0].ask("SENTINEL", "FAILOVER", MASTER)
                new = await switched()
                await until(lambda: _named(group, new.port), "most Sentinels name the new master")
                await client.connection_pool.mastership.renew()  # type: ignore[union-attr]
                await until(lambda: _acknowledged(carts, {product: 2}), "the replica of the new master confirms")
                assert b'"00000000-0000-0000-0000-000000000007":2' in await _cart_at(new)
        await client.aclose()


async def test_a_change_that_a_replica_has_not_is_not_acknowledged_however_often_it_is_sent(tmp_path: Path) -> None:
    """R-230: the cart has it after the first time; sent once more it changes nothing, and is not certain yet."""
    async with sentinel_group(tmp_path) as group:
        for sentinel in group.sentinels:
            await sentinel.ask("SENTINEL", "SET", MASTER, "down-after-milliseconds", 60_000)
        client = connect_redis(group.url)
        carts, rule = Carts(client), {UUID(int=7): 2}
        with stopped(group.servers[2]):
            for _ in range(2):
                with pytest.raises(UnconfirmedError):
                    await carts.change_cart("ann", lambda cart: cart.with_quantities(rule))
                assert dict((await carts.read_cart("ann")).items) == rule
        await until(lambda: _acknowledged(carts, rule), "the replica confirms")
        assert await _cart_at(group.servers[1]) == await _cart_at(group.servers[2]) == await _cart_at(group.servers[0])
        await client.aclose()


async def _acknowledged(carts: Carts, quantities: Mapping[UUID, int]) -> bool:
    """Whether a change is certain. On a busy machine a replica may take longer than one change waits for it."""
    try:
        return isinstance(await carts.change_cart("ann", lambda cart: cart.with_quantities(quantities)), Cart)
    except StoreUnavailableError:
        return False


async def _named(group: SentinelGroup, port: int) -> bool:
    return [await named_by(one) for one in group.sentinels[:2]] == [port, port]


async def _cart_at(server: Server) -> bytes:
    async with server.client() as client:
        (key,) = await client.keys("orders:*")
        stored = await client.get(key)
    assert isinstance(stored, bytes)
    return stored
