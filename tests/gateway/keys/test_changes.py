"""The audit trail of keys: each change once, with its actor, and no secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from redis.asyncio import Redis

from lockgate.cli import keys
from lockgate.errors import ConfigurationError
from lockgate.keys import keyring
from lockgate.keys.changes import KeyChange
from lockgate.keys.store import KeyStore
from lockgate.settings import Settings
from lockgate.stores.trail import AuditTrail
from tests.support import node as nodes
from tests.support.clock import ManualClock
from tests.support.node import Node
from tests.support.signers import write_private

NOW = ManualClock().now()
PUBLISH_S = 300
KEPT_S = 300 + 3 * 10 + 300


@pytest.fixture
def seen() -> list[KeyChange]:
    return []


@pytest.fixture
def store(tmp_path: Path, seen: list[KeyChange]) -> KeyStore:
    settings = Settings(keys={"directory": tmp_path / "keys"})  # type: ignore[arg-type]  # as in the configuration file
    keyring.create(tmp_path / "keys", clock=ManualClock(NOW - 100_000))
    keys.create_missing(settings)
    return KeyStore(settings, seen.append)


def told(seen: list[KeyChange]) -> list[tuple[str, str]]:
    """Event and key, in order; and forget them."""
    found = [(str(change.event), change.kid) for change in seen]
    seen.clear()
    return found


def test_a_rotation_is_told_step_by_step(store: KeyStore, seen: list[KeyChange]) -> None:
    """R-162."""
    signing = store.signing()
    old = store.read(signing)[0].key_id
    new = store.rotate(signing, NOW).key_id
    assert told(seen) == [("key.published", new)]
    store.rotate(signing, NOW)
    assert told(seen) == [], "it is too early: nothing has changed"
    store.rotate(signing, NOW + PUBLISH_S)
    assert told(seen) == [("key.activated", new), ("key.passive", old)]
    store.retire(signing, NOW + PUBLISH_S + KEPT_S)
    assert told(seen) == [("key.retired", old)]


def test_a_key_that_is_removed_before_its_time_is_told_apart_from_one_that_has_served_it(
    store: KeyStore, seen: list[KeyChange]
) -> None:
    old = store.read(store.signing())[0].key_id
    _, signing = store.remove(old, NOW)
    assert told(seen) == [("key.activated", signing.key_id), ("key.removed", old)]


@pytest.mark.parametrize("name", ["signing", "refresh", "gateway -> users"])
def test_every_kind_of_key_is_told_with_its_group_and_algorithm_and_without_a_secret(
    store: KeyStore, seen: list[KeyChange], name: str
) -> None:
    group = next(one for one in store.groups() if one.name == name)
    store.rotate(group, NOW)
    assert [(change.group, change.alg) for change in seen] == [(name, "ES256" if name == "signing" else "HMAC")]
    secrets = [entry.members["secret"] for entry in store.read(group) if "secret" in entry.members]
    assert not any(secret in repr(seen) for secret in secrets)


def test_what_could_not_be_written_is_not_told(store: KeyStore, seen: list[KeyChange]) -> None:
    (store.directory / ".lock").unlink()
    (store.directory / ".lock").mkdir()
    with pytest.raises(ConfigurationError):
        store.rotate(store.signing(), NOW)
    assert seen == []


async def test_a_ring_that_is_not_taken_stands_in_the_audit_trail_once(node: Node, redis: Redis) -> None:
    """The last good ring stays; which worker keeps it, and why, can be looked up."""
    ring = node.settings.keys.directory / "ring.json"
    good = ring.read_bytes()
    write_private(ring, b'{"keys": []}')
    for _ in range(3):
        await node.worker.base.keys.look()
    await node.worker.auth.audit.flush()
    (event,) = await node.worker.auth.trail.latest(10)
    assert (event["event"], event["group"]) == ("keys.refused", "key ring")
    assert event["reason"] == f"{ring}: holds no keys"
    assert event["worker"].count(":") == 1
    # Taken and refused again is another time.
    for content in (good, b"{"):
        write_private(ring, content)
        await node.worker.base.keys.look()
    await node.worker.auth.audit.flush()
    assert await redis.xlen("lg:audit") == 2


async def test_keys_that_a_node_replaces_by_age_are_audited_by_that_node_alone(
    redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    clock = ManualClock()
    keyring.create(tmp_path / "keys", clock=clock)
    section = {"directory": tmp_path / "keys", "rotate_after_s": 1000}
    settings = nodes.settings(tmp_path, redis_url, "http://127.0.0.1:1", keys=section)
    clock.advance(1000)
    async with nodes.running(settings, clock) as one, nodes.running(settings, clock) as other:
        for node in (one, other):
            assert node.worker.rotation is not None
            await node.worker.rotation.step()
            await node.worker.auth.audit.flush()
    kept = list(reversed(await AuditTrail(redis, 1000).latest(10)))
    assert [(event["event"], event["group"], event["actor"]) for event in kept] == [
        ("key.published", "signing", "rotation"),
        ("key.published", "refresh", "rotation"),
    ]
    secrets = [key["secret"] for key in json.loads((tmp_path / "keys" / "refresh.json").read_text())["keys"]]
    assert not any(secret in repr(kept) for secret in secrets)
