"""A master that is lost, behind Sentinels: 503 until another takes over, and then everything is as before, by itself.

R-150, R-152: while no majority replies, no request is let in; and a revoked token stays revoked.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from lockgate.app.worker import ADMISSION_TIMEOUT_S
from lockgate.errors import Reason, Refusal
from lockgate.stores.layout import ENDED_CHANNEL, UserKeys
from lockgate.stores.redis import connect
from lockgate_common.redis.sentinel import MasterPool
from tests.support import node as nodes
from tests.support import redis_groups
from tests.support import upstream as upstreams
from tests.support.admission import claims
from tests.support.redis_groups import DOWN_AFTER_MS, HOST, SentinelGroup, Server, stopped, until
from tests.support.shop_rig import Caller, Users
from tests.support.store import time_passes_at

pytestmark = pytest.mark.fault

OUTAGE_S = 15
"""Until a Sentinel is sure, others agree, and a replica is promoted; the rest is for a busy machine."""
FOLLOWED_S = 3
"""How long after the promotion a node may need to be there, too."""


@pytest_asyncio.fixture
async def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SentinelGroup]:
    monkeypatch.delenv("REDIS_URL", raising=False)
    async with redis_groups.sentinel_group(tmp_path) as running:
        yield running


@pytest_asyncio.fixture
async def caller(group: SentinelGroup, tmp_path: Path) -> AsyncIterator[Caller]:
    """A client of a node that has found the master."""
    async with upstreams.running(Users().script()) as service:
        settings = nodes.settings(tmp_path, group.url, service.url, store={"wait_replicas": 1})
        async with nodes.running(settings, admission_timeout_s=ADMISSION_TIMEOUT_S) as node:
            yield Caller(node)


async def until_welcome(caller: Caller, access: str) -> list[int]:
    """Call until the response is 200; the statuses until then."""
    statuses: list[int] = []
    async with asyncio.timeout(OUTAGE_S):
        while (status := await caller.welcome(access)) != 200:
            statuses.append(status)
    return statuses


async def test_a_killed_master_is_503_until_another_takes_over(group: SentinelGroup, caller: Caller) -> None:
    """No user is logged out: the tokens of before are good after, and so is the refresh token."""
    tokens, stolen = await caller.login(), await caller.login("bob")
    assert (await caller.json("/auth/revoke", {"token": stolen["access_token"]})).status == 200
    assert await caller.welcome(tokens["access_token"]) == 200
    assert await caller.welcome(stolen["access_token"]) == 401
    master = await group.master()
    loop = asyncio.get_running_loop()
    async with group.switching() as switched:
        begun = loop.time()
        master.kill()
        answered = asyncio.create_task(until_welcome(caller, tokens["access_token"]))
        assert await switched() is not master
        promoted_s = loop.time() - begun
        statuses = await answered
    outage_s = loop.time() - begun
    print(f"promoted after {promoted_s:.2f} s, served again after {outage_s:.2f} s")  # noqa: T201 - shown by pytest -rP
    assert set(statuses) == {503}
    assert promoted_s > DOWN_AFTER_MS / 1000
    assert outage_s < promoted_s + FOLLOWED_S
    assert await caller.welcome(stolen["access_token"]) == 401
    refreshed = await caller.json("/auth/refresh", {"refresh_token": tokens["refresh_token"]})
    assert refreshed.status == 200
    assert await caller.welcome(refreshed.json["access_token"]) == 200
    assert (await caller.node.get("/readyz")).status == 200


async def test_a_frozen_master_that_comes_back_judges_nobody(group: SentinelGroup, caller: Caller) -> None:
    """It does not know yet that it was replaced, and knows no revocation since then."""
    tokens = await caller.login()
    access = tokens["access_token"]
    assert await caller.welcome(access) == 200
    master = await group.master()
    async with group.switching() as switched:
        with stopped(master):
            assert await caller.welcome(access) == 503
            await switched()
            assert set(await until_welcome(caller, access)) <= {503}
            assert (await caller.json("/auth/revoke", {"token": access})).status == 200
            assert await caller.welcome(access) == 401
    for _ in range(50):
        assert await caller.welcome(access) in {401, 503}


async def test_a_planned_fail_over_leaves_nothing_open_that_is_revoked_after_it(
    group: SentinelGroup, caller: Caller
) -> None:
    """The old master lives on as a replica; sockets hear of revocations at the new one."""
    tokens = await caller.login()
    ended: asyncio.Future[Refusal] = asyncio.get_running_loop().create_future()
    caller.node.worker.path.open_tokens.watch(claims("carol", "of-a-socket"), ended.set_result)
    async with group.switching() as switched:
        await group.sentinels[0].ask("SENTINEL", "FAILOVER", redis_groups.MASTER)
        new = await switched()
    assert set(await until_welcome(caller, tokens["access_token"])) <= {503}
    assert not ended.done()
    async with new.client() as client:
        await client.set(UserKeys.of("carol").jti("of-a-socket"), "1")
        await client.publish(ENDED_CHANNEL, "jti:of-a-socket")
    async with asyncio.timeout(OUTAGE_S):
        assert (await ended).reason is Reason.TOKEN_REVOKED


async def test_a_sentinel_that_was_cut_off_is_not_believed(group: SentinelGroup) -> None:
    """It goes on naming the old master until it hears from the others."""
    client = connect(group.url)
    assert isinstance(client, Redis)
    assert isinstance(client.connection_pool, MasterPool)
    old = await group.master()
    discover = client.connection_pool.sentinel_manager.discover_master
    async with group.switching() as switched:
        with stopped(group.sentinels[2]):
            await group.sentinels[0].ask("SENTINEL", "FAILOVER", redis_groups.MASTER)
            new = await switched()
            await until(partial(names, group.sentinels[1], new), "most Sentinels name the new master")
            assert await discover(redis_groups.MASTER) == (HOST, new.port)
        assert await discover(redis_groups.MASTER) == (HOST, new.port)
    assert old is not new
    await client.aclose()


async def names(sentinel: Server, master: Server) -> bool:
    return await redis_groups.named_by(sentinel) == master.port


async def test_what_no_replica_confirmed_is_503(group: SentinelGroup, caller: Caller) -> None:
    """R-150: with `wait_replicas`, a 200 says that the revocation outlives the master."""
    tokens = await caller.login()
    with stopped(group.servers[1]), stopped(group.servers[2]):
        refused = await caller.json("/auth/revoke", {"token": tokens["access_token"]})
    assert (refused.status, refused.code) == (503, "store_unavailable")
    assert (await caller.json("/auth/revoke", {"token": tokens["access_token"]})).status == 200


async def test_a_rotation_that_no_replica_confirmed_can_be_asked_again(group: SentinelGroup, caller: Caller) -> None:
    """R-220, R-143: a client that was told 503 has no other token, and goes on with it."""
    first = (await caller.login())["refresh_token"]
    master = await group.master()
    with stopped(group.servers[1]), stopped(group.servers[2]):
        refused = await caller.json("/auth/refresh", {"refresh_token": first})
        assert (refused.status, refused.code) == (503, "store_unavailable")
    async with master.client() as client:
        await time_passes_at(client, 60)
        refreshed = await caller.json("/auth/refresh", {"refresh_token": first})
        assert refreshed.status == 200
        assert await caller.welcome(refreshed.json["access_token"]) == 200
        # Confirmed, so the grace began; when it is over the token is one that was used.
        again = await caller.json("/auth/refresh", {"refresh_token": first})
        assert again.json["refresh_token"] == refreshed.json["refresh_token"]
        await time_passes_at(client, 60)
    assert (await caller.json("/auth/refresh", {"refresh_token": first})).status == 400
    assert await caller.welcome(refreshed.json["access_token"]) == 401
    await caller.node.worker.auth.audit.flush()
    events = [event["event"] for event in await caller.node.worker.auth.trail.latest(10)]
    assert "refresh.unconfirmed" in events


async def test_without_most_sentinels_nobody_is_let_in(group: SentinelGroup, caller: Caller) -> None:
    """The master cannot be known: the server that is connected may be cut off from the majority."""
    access = (await caller.login())["access_token"]
    group.sentinels[0].kill()
    assert await caller.welcome(access) == 200
    group.sentinels[1].kill()
    async with asyncio.timeout(OUTAGE_S):
        while (status := await caller.welcome(access)) == 200:
            pass
    assert status == 503
    group.sentinels[1].start()
    assert set(await until_welcome(caller, access)) <= {503}
