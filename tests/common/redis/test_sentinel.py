"""How long a master is believed that most Sentinels have named, and which replies count."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from lockgate_common.redis.address import read_address
from lockgate_common.redis.client import connect, subscribe
from lockgate_common.redis.sentinel import LEASE_S, MasterPool, Mastership
from tests.support.clock import ManualClock
from tests.support.redis_groups import HOST, MASTER, SentinelGroup, sentinel_group, stopped

pytestmark = pytest.mark.process

WITHIN_S: Final = 20


@pytest_asyncio.fixture
async def group(tmp_path: Path) -> AsyncIterator[SentinelGroup]:
    async with sentinel_group(tmp_path) as running:
        yield running


def client_by(clock: ManualClock, group: SentinelGroup) -> Redis:
    """A client that measures its lease by this clock."""
    client = connect(read_address(group.url), WITHIN_S)
    assert isinstance(client, Redis)
    pool = client.connection_pool
    assert isinstance(pool, MasterPool)
    sentinels = pool.sentinel_manager
    pool.mastership = sentinels.mastership = Mastership(sentinels.sentinels, MASTER, clock.monotonic)
    return client


async def next_message(channel: Any) -> Any:  # noqa: ANN401 - redis-py's
    """The next message of the channel; `None` after `WITHIN_S`."""
    return await channel.get_message(timeout=WITHIN_S)


async def test_a_master_is_believed_from_before_the_sentinels_were_asked(group: SentinelGroup) -> None:
    """R-220: a worker that was stopped while it asked, or since, believes no master until it has asked again."""
    times = iter([10.0, 10.1, 10.0 + LEASE_S - 0.01, 10.0 + LEASE_S, 20.0, 20.0 + LEASE_S])
    last = [0.0]

    def now() -> float:
        last[0] = next(times, last[0])
        return last[0]

    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(one.client()) for one in group.sentinels]
        mastership = Mastership(clients, MASTER, now)
        address = (HOST, (await group.master()).port)
        await mastership.renew()  # asked at 10.0, learnt at 10.1
        assert mastership.believes(address)
        assert not mastership.believes((HOST, 1))
        assert not mastership.believes(address)
        await mastership.renew()  # asked at 20.0, and stopped for as long as the lease
        assert not mastership.believes(address)
        await mastership.aclose()


async def test_a_subscriber_hears_what_comes_after_its_lease(group: SentinelGroup) -> None:
    """R-220: the Sentinels are asked once more, and name the same master."""
    clock = ManualClock()
    client, master = client_by(clock, group), await group.master()
    async with await subscribe(client) as channel:
        await channel.subscribe("news")
        assert (await next_message(channel))["type"] == "subscribe"
        clock.advance(2 * LEASE_S)
        await master.ask("PUBLISH", "news", "first")
        assert (await next_message(channel))["data"] == b"first"
    await client.aclose()


async def test_a_late_reply_counts_only_if_most_sentinels_still_name_its_server(group: SentinelGroup) -> None:
    """R-220: the server may have been replaced, and may not know."""
    clock = ManualClock()
    client, master = client_by(clock, group), await group.master()
    async with await subscribe(client) as channel:
        await channel.subscribe("news")
        assert (await next_message(channel))["type"] == "subscribe"
        clock.advance(2 * LEASE_S)
        with stopped(group.sentinels[0]), stopped(group.sentinels[1]):
            await master.ask("PUBLISH", "news", "first")
            with pytest.raises(RedisConnectionError, match="most Sentinels"):
                await next_message(channel)
    await client.aclose()
