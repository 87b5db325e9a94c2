"""The cache of products, on a real Redis: what it saves, and that it never shows what a write has ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from lockgate_shop.kit.data.cache import LIFE_S, Cache
from lockgate_shop.kit.errors import ConfigurationError, StoreUnavailableError
from lockgate_shop.products.app import create_app
from tests.support.peers import Clock, Peer, Who, opened
from tests.support.shop_calls import ADMIN, added, reserve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from lockgate_shop.products.settings import ProductsSettings
    from tests.support.peers import Links

USER = Who("user-id")


class Source:
    """What is cached: counts how often it is asked, and answers when it is let."""

    def __init__(self, value: bytes | None = b"value") -> None:
        self.value = value
        self.asked = 0
        self.started = asyncio.Event()
        self.let = asyncio.Event()
        self.let.set()

    async def load(self) -> bytes | None:
        self.asked += 1
        value = self.value
        self.started.set()
        await self.let.wait()
        return value


@pytest.fixture
async def nodes(redis_url: str, clock: Clock) -> AsyncIterator[tuple[Cache, Cache]]:
    """Two caches over one Redis, as on two nodes."""
    made = Cache("thing", redis_url, clock), Cache("thing", redis_url, clock)
    yield made
    for cache in made:
        await cache.close()


async def test_what_one_node_read_the_other_need_not(nodes: tuple[Cache, Cache], redis_url: str) -> None:
    key, source = uuid4(), Source()
    for cache in (*nodes, *nodes):
        assert await cache.read_value(key, source.load) == b"value"
    assert source.asked == 1
    async with Redis.from_url(redis_url) as redis:
        assert 0 < await redis.ttl(f"cache:{{thing:{key}}}:value") <= LIFE_S


async def test_50_readers_at_once_cost_one_read(nodes: tuple[Cache, Cache]) -> None:
    key, source = uuid4(), Source()
    source.let.clear()
    readers = [asyncio.create_task(nodes[0].read_value(key, source.load)) for _ in range(50)]
    await source.started.wait()
    readers[0].cancel()
    source.let.set()
    answers = await asyncio.gather(*readers, return_exceptions=True)
    assert answers[1:] == [b"value"] * 49
    assert source.asked == 1


async def test_what_was_being_read_when_it_changed_is_not_kept(nodes: tuple[Cache, Cache]) -> None:
    here, there = nodes
    key, source = uuid4(), Source(b"old")
    source.let.clear()
    reading = asyncio.create_task(here.read_value(key, source.load))
    await source.started.wait()
    source.value = b"new"
    await there.invalidate([key])
    source.let.set()
    assert await reading == b"old"
    assert await here.read_value(key, source.load) == b"new"
    assert await there.read_value(key, source.load) == b"new"
    assert source.asked == 2


async def test_who_asks_after_a_change_on_this_node_does_not_wait_for_the_old_value(nodes: tuple[Cache, Cache]) -> None:
    here, _ = nodes
    key, slow, fast = uuid4(), Source(b"old"), Source(b"new")
    slow.let.clear()
    reading = asyncio.create_task(here.read_value(key, slow.load))
    await slow.started.wait()
    await here.invalidate([key])
    assert await here.read_value(key, fast.load) == b"new"
    slow.let.set()
    assert await reading == b"old"
    assert await here.read_value(key, slow.load) == b"new"


async def test_nothing_is_not_kept(nodes: tuple[Cache, Cache]) -> None:
    key, source = uuid4(), Source(None)
    assert await nodes[0].read_value(key, source.load) is None
    source.value = b"value"
    assert await nodes[0].read_value(key, source.load) == b"value"


async def test_a_failing_source_fails_all_who_wait_and_is_asked_again(nodes: tuple[Cache, Cache]) -> None:
    async def fail() -> bytes | None:
        raise StoreUnavailableError("away")

    key = uuid4()
    answers = await asyncio.gather(*(nodes[0].read_value(key, fail) for _ in range(3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoreUnavailableError] * 3
    assert await nodes[0].read_value(key, Source().load) == b"value"


async def test_without_redis_everything_is_read_and_nobody_waits_for_it_again_at_once(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    cache, source = Cache("thing", "unix:///nowhere/redis.sock", clock), Source()
    for _ in range(3):
        assert await cache.read_value(uuid4(), source.load) == b"value"
    await cache.invalidate([uuid4()])
    assert source.asked == 3
    # Once for the first read, once for the invalidation, which is always tried.
    assert capsys.readouterr().out.count("cache_unavailable") == 2
    await cache.close()


def test_an_address_that_is_none_is_refused_at_the_start(clock: Clock) -> None:
    with pytest.raises(ConfigurationError):
        Cache("thing", "http://x", clock)


async def test_a_write_on_one_node_is_read_at_once_on_another(
    products: Peer, buyer: Peer, products_settings: ProductsSettings, links: Links, clock: Clock
) -> None:
    async with opened(create_app(products_settings, links.of("products"), clock)) as http:
        other = Peer(http, links, "gateway", "products", clock)
        product = await added(products, stock=5)
        path = f"/products/{product['id']}"

        async def seen() -> dict[str, Any]:
            here, there = [(await node.call("GET", path, who=USER)).json() for node in (products, other)]
            assert here == there
            members: dict[str, Any] = here
            return members

        assert (await seen())["stock"] == 5
        reservation = str(UUID(int=1))
        await reserve(buyer, reservation, (product, 2))
        assert (await seen())["stock"] == 3
        await buyer.call("DELETE", f"/internal/reservations/{reservation}", who=USER)
        assert (await seen())["stock"] == 5
        await other.call("PATCH", path, {"name": "Samovar"}, who=ADMIN)
        assert (await seen())["name"] == "Samovar"
        await other.call("DELETE", path, who=ADMIN)
        assert (await products.call("GET", path, who=USER)).status_code == 404
