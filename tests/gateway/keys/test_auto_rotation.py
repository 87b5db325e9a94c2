"""Keys that are replaced by age, by one node at a time: R-162."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from lockgate.errors import StoreUnavailableError
from lockgate.keys import keyring
from lockgate.keys.auto_rotation import PERIOD_S, AutoRotation
from lockgate.observe.audit import Audit
from lockgate.settings import Settings
from lockgate.stores.layout import KEYS_LOCK, KEYS_LOCK_MS
from lockgate.stores.lock import try_lock
from lockgate.stores.trail import AuditTrail
from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.clock import ManualClock
from tests.support.node import Node
from tests.support.raw import WITHIN_S

AFTER_S = 86_400
PUBLISH_S = 300


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def settings(tmp_path: Path, redis_url: str, clock: ManualClock) -> Settings:
    folder = tmp_path / "keys"
    keyring.create(folder, clock=clock)
    keys = {"directory": folder, "publish_delay_s": PUBLISH_S, "rotate_after_s": AFTER_S}
    return nodes.settings(tmp_path, redis_url, "http://127.0.0.1:1", keys=keys)


@pytest.fixture
def rotation(settings: Settings, redis: Redis, clock: ManualClock) -> AutoRotation:
    return rotating(settings, redis, clock)


def rotating(settings: Settings, redis: Redis, clock: ManualClock) -> AutoRotation:
    """As a node does it."""
    lock = partial(try_lock, redis, KEYS_LOCK, KEYS_LOCK_MS)
    return AutoRotation(settings, lock, Audit(AuditTrail(redis, 1000), clock), clock)


def counts(settings: Settings) -> tuple[int, int]:
    """How many signing keys there are, and how many refresh secrets."""
    ring = keyring.load(settings.keys.directory)
    return len(ring.verifying), len(ring.refresh_secrets)


async def test_a_key_that_is_old_enough_is_followed_by_another_step_by_step(
    rotation: AutoRotation, settings: Settings, clock: ManualClock
) -> None:
    first = keyring.load(settings.keys.directory).active.kid
    clock.advance(AFTER_S - 1)
    assert await rotation.step() == []
    clock.advance(1)
    assert [line.split()[-1] for line in await rotation.step()] == ["published", "published"]
    assert counts(settings) == (2, 2)
    assert await rotation.step() == []
    clock.advance(PUBLISH_S)
    assert [line.split()[-1] for line in await rotation.step()] == ["activated", "activated"]
    assert keyring.load(settings.keys.directory).active.kid != first
    clock.advance(settings.token.access_life_s + 3 * settings.token.leeway_s + PUBLISH_S)
    assert await rotation.step() == [f"signing key {first} retired"]
    # A user that was logged in before the switch stays so: the old refresh secret is kept.
    assert counts(settings) == (1, 2)


async def test_of_many_nodes_at_once_one_makes_the_step(settings: Settings, redis: Redis, clock: ManualClock) -> None:
    rotations = [rotating(settings, redis, clock) for _ in range(8)]
    clock.advance(AFTER_S)
    told = await asyncio.gather(*(rotation.step() for rotation in rotations))
    assert sorted(len(lines) for lines in told) == [0] * 7 + [2]
    assert counts(settings) == (2, 2)


async def test_while_another_node_holds_the_lock_nothing_is_changed(
    rotation: AutoRotation, settings: Settings, redis: Redis, clock: ManualClock
) -> None:
    clock.advance(AFTER_S)
    await redis.set(KEYS_LOCK, "another", px=60_000)
    assert await rotation.step() == []
    assert counts(settings) == (1, 1)
    assert await redis.get(KEYS_LOCK) == b"another"
    await redis.delete(KEYS_LOCK)
    assert await rotation.step() != []


async def test_the_lock_is_given_back_and_only_by_its_holder(redis: Redis) -> None:
    async with try_lock(redis, KEYS_LOCK, 60_000) as mine:
        assert mine
        assert 0 < await redis.pttl(KEYS_LOCK) <= 60_000
        async with try_lock(redis, KEYS_LOCK, 60_000) as too:
            assert not too
    assert await redis.get(KEYS_LOCK) is None
    async with try_lock(redis, KEYS_LOCK, 60_000):
        await redis.set(KEYS_LOCK, "another")  # as after this one has run out
    assert await redis.get(KEYS_LOCK) == b"another"


async def test_without_redis_nothing_is_changed(settings: Settings, clock: ManualClock) -> None:
    with upstreams.nobody() as address:
        away = Redis.from_url(address.replace("http", "redis"), retry=None)
        rotation = rotating(settings, away, clock)
        clock.advance(AFTER_S)
        with pytest.raises(StoreUnavailableError):
            await rotation.step()
        await away.aclose()
    assert counts(settings) == (1, 1)


@pytest_asyncio.fixture
async def node(settings: Settings, redis: Redis, clock: ManualClock) -> AsyncIterator[Node]:
    del redis
    async with nodes.running(settings, clock) as running:
        yield running


async def test_a_worker_does_it_by_itself_and_uses_the_new_key(node: Node) -> None:
    keys = node.worker.base.keys
    first = keys.ring.value.active.kid
    node.clock.advance(AFTER_S)
    async with asyncio.timeout(WITHIN_S):
        while keys.ring.value.active.kid == first:
            node.tick(PERIOD_S)
            await keys.look()
    assert first in keys.ring.value.verifying


async def test_by_default_no_key_gets_too_old(tmp_path: Path, redis_url: str) -> None:
    async with nodes.running(nodes.settings(tmp_path, redis_url, "http://127.0.0.1:1")) as node:
        assert node.worker.rotation is None
