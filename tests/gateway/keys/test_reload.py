"""A worker with keys that change while it runs: R-13, R-161 to R-165."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from lockgate.endpoints.well_known import PublishedKeys
from lockgate.errors import ConfigurationError
from lockgate.keys import keyring, reload
from lockgate.keys.current import Current
from lockgate.keys.keyring import KeyRing
from lockgate.keys.store import KeyStore
from lockgate.sessions.refresh_token import RefreshClaim, RefreshTokens
from lockgate_trust import Refused, SignatureRefused, Verified, verify
from tests.support import node as nodes
from tests.support.clock import ManualClock
from tests.support.node import Node
from tests.support.raw import WITHIN_S
from tests.support.signers import write_private
from tests.support.tokens import Tokens
from tests.support.upstream import Upstream

PUBLISH_S = 300


@pytest.fixture
def store(node: Node) -> KeyStore:
    return KeyStore(node.settings)


@pytest.fixture
def ring_file(node: Node) -> Path:
    return node.settings.keys.directory / "ring.json"


def signed_by_active(node: Node) -> Tokens:
    """As another node would sign that has read the ring just now."""
    return Tokens(keyring.load(node.settings.keys.directory).active, node.settings.token, node.clock)


async def status(node: Node, bearer: str) -> int:
    return (await node.get("/orders", bearer)).status


def switch(store: KeyStore, node: Node) -> str:
    """A whole rotation, as it is on disk after its delay; the new key's id."""
    store.rotate(store.signing(), node.clock.now() - PUBLISH_S)
    return store.rotate(store.signing(), node.clock.now()).key_id


def read(path: Path) -> bytes:
    return path.read_bytes()


def set_mode(path: Path, mode: int) -> None:
    path.chmod(mode)


async def polled(node: Node) -> None:
    """Two ticks later, and what they have begun is done."""
    node.tick(1)
    await node.worker.base.keys.look()


async def test_tokens_of_the_old_and_the_new_key_pass_in_every_state(node: Node, store: KeyStore) -> None:
    """R-162."""
    old, signing = node.tokens, store.signing()
    store.rotate(signing, node.clock.now() - PUBLISH_S)
    await polled(node)
    kid = store.rotate(signing, node.clock.now()).key_id
    # another node signs with the new key before this one has seen that it may.
    new = signed_by_active(node)
    assert new.key.kid == kid
    assert [await status(node, old.bearer()), await status(node, new.bearer())] == [200, 200]
    await polled(node)
    assert [await status(node, old.bearer()), await status(node, new.bearer())] == [200, 200]


async def test_the_key_set_shows_the_next_the_active_and_the_passive_key(node: Node, store: KeyStore) -> None:
    """R-162."""
    old = node.tokens.key.kid
    active = switch(store, node)
    following = store.rotate(store.signing(), node.clock.now()).key_id
    await polled(node)
    answer = await node.get("/.well-known/jwks.json")
    assert {key["kid"] for key in answer.json["keys"]} == {old, active, following}
    #
    assert {frozenset(key) for key in answer.json["keys"]} == {frozenset({"kty", "crv", "x", "y", "kid", "alg", "use"})}


async def test_the_key_set_has_a_tag_that_changes_with_it(node: Node, store: KeyStore) -> None:
    """R-161."""
    tag = (await node.get("/.well-known/jwks.json")).value("etag")
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        answer = await node.get("/.well-known/jwks.json", f"If-None-Match: {known}\r\n")
        assert (answer.status, answer.body, answer.value("etag")) == (304, b"", tag)
    switch(store, node)
    await polled(node)
    assert (await node.get("/.well-known/jwks.json", f"If-None-Match: {tag}\r\n")).status == 200


@pytest.mark.parametrize(("publish_delay_s", "max_age"), [(3, 1), (60, 30), (120, 60), (86_400, 60)])
def test_the_key_set_is_cached_for_less_than_a_key_is_published(
    ring: KeyRing, publish_delay_s: int, max_age: int
) -> None:
    """R-161."""
    assert PublishedKeys(Current(ring), publish_delay_s).headers["Cache-Control"] == f"public, max-age={max_age}"
    assert max_age < publish_delay_s


async def test_a_removed_key_is_refused_although_its_tokens_had_been_verified(
    node: Node, store: KeyStore, upstream: Upstream
) -> None:
    """R-13, R-164: the cache of verified signatures does not outlive the key."""
    bearer = node.tokens.bearer()
    assert await status(node, bearer) == 200
    store.remove(node.tokens.key.kid, node.clock.now())
    await polled(node)
    assert await status(node, bearer) == 401
    assert len(upstream.requests) == 1
    assert await status(node, signed_by_active(node).bearer()) == 200


async def test_a_worker_that_was_stopped_looks_at_the_keys_before_it_judges_a_token(
    node: Node, store: KeyStore, upstream: Upstream
) -> None:
    """R-164: its requests have waited in the kernel meanwhile, and are read before any timer is due."""
    bearer = node.tokens.bearer()
    assert await status(node, bearer) == 200
    store.remove(node.tokens.key.kid, node.clock.now())
    node.clock.advance(reload.CURRENT_S + 0.1)
    assert await status(node, bearer) == 401
    node.clock.advance(reload.CURRENT_S + 0.1)
    assert await status(node, signed_by_active(node).bearer()) == 200
    assert (await node.get("/orders")).status == 401
    assert len(upstream.requests) == 2


async def test_no_credential_is_judged_while_the_folder_of_the_keys_hangs(
    node: Node, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-164: a look that does not end tells nothing of the keys. What needs none goes on."""
    monkeypatch.setattr(reload, "WITHIN_S", 0.05)
    keys, going_on = node.worker.base.keys, threading.Event()
    monkeypatch.setattr(keys.ring, "changed", partial(_wait_for, going_on, keys.ring.changed))
    node.clock.advance(reload.CURRENT_S + 0.1)
    for path in ("/orders", "/auth/me"):
        refused = await node.get(path, node.tokens.bearer())
        assert (refused.status, refused.json["code"]) == (503, "keys_unavailable")
        assert refused.value("retry-after")
    assert upstream.requests == []
    assert (await node.get("/healthz")).status == 200
    going_on.set()
    await keys.look()
    assert await status(node, node.tokens.bearer()) == 200


def _wait_for(event: threading.Event, then: Callable[..., KeyRing | None], *, thorough: bool) -> KeyRing | None:
    event.wait(WITHIN_S)
    return then(thorough=thorough)


async def test_new_tokens_are_signed_by_the_new_key_and_refresh_tokens_stay_good(node: Node, store: KeyStore) -> None:
    """No user is logged out by a rotation of the refresh secrets, also while other nodes are behind."""
    directory = node.settings.keys.directory
    claim = RefreshClaim("alice", "0" * 32, 7)
    behind_keys = Current(keyring.load(directory))
    behind = RefreshTokens(lambda: behind_keys.value.refresh_secrets)
    before = behind.make(claim)
    store.rotate(store.refresh(), node.clock.now() - PUBLISH_S)
    behind_keys.value = keyring.load(directory)
    store.rotate(store.refresh(), node.clock.now())
    ahead_keys = Current(keyring.load(directory))
    ahead = RefreshTokens(lambda: ahead_keys.value.refresh_secrets)
    assert ahead.make(claim) != before
    assert [ahead.read(before), behind.read(ahead.make(claim))] == [claim, claim]
    late = node.clock.now() + node.settings.token.refresh_absolute_s + 1000
    assert store.retire(store.refresh(), late)
    ahead_keys.value = keyring.load(directory)
    assert ahead.read(before) is None


async def test_the_next_request_to_a_service_is_signed_with_the_new_link_key(
    node: Node, store: KeyStore, upstream: Upstream
) -> None:
    at_the_service = node.links("orders")
    (link,) = (group for group in store.links() if group.name == "gateway -> orders")
    assert await status(node, node.tokens.bearer()) == 200
    store.rotate(link, node.clock.now() - PUBLISH_S)
    store.rotate(link, node.clock.now())
    await polled(node)
    assert await status(node, node.tokens.bearer()) == 200
    old, new = upstream.requests

    outcomes = [
        verify(
            links,
            method="GET",
            path="/orders",
            query="",
            headers=request.fields,
            now=node.clock.now(),
        )
        for links, request in [(at_the_service, old), (at_the_service, new), (node.links("orders"), new)]
    ]
    assert isinstance(outcomes[0], Verified)
    assert isinstance(outcomes[1], SignatureRefused)
    assert outcomes[1].reason is Refused.UNKNOWN_KEY
    assert isinstance(outcomes[2], Verified)


BAD = {
    "not JSON": b"{",
    "no active key": b'{"keys": []}',
    "a key without a file": json.dumps({"keys": [{"kid": "AAAA", "alg": "EdDSA", "state": "active"}]}).encode(),
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
async def test_a_bad_ring_keeps_the_last_good_one_and_shows_as_a_warning(
    node: Node, ring_file: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    """R-163."""
    good = read(ring_file)
    write_private(ring_file, content)
    for _ in range(3):
        await polled(node)
    assert await status(node, node.tokens.bearer()) == 200
    ready = await node.get("/readyz")
    assert ready.status == 200
    assert ready.json["checks"]["keys"].startswith("warning: ")
    # Said once, by the name of the file, and in the log only.
    complaints = [record for record in caplog.records if record.name == "lockgate.keys"]
    assert [record.levelno for record in complaints] == [logging.ERROR]
    assert str(ring_file.parent) in complaints[0].getMessage()
    assert str(ring_file.parent) not in ready.body.decode()
    write_private(ring_file, good)
    await polled(node)
    assert (await node.get("/readyz")).json["checks"]["keys"] == "ok"


async def test_a_ring_that_others_may_read_is_not_taken(node: Node, store: KeyStore, ring_file: Path) -> None:
    """R-165."""
    kid = switch(store, node)
    set_mode(ring_file, 0o644)
    await polled(node)
    assert kid not in node.worker.base.keys.ring.value.verifying
    assert node.worker.base.keys.problem is not None
    set_mode(ring_file, 0o600)
    await polled(node)
    assert node.worker.base.keys.ring.value.active.kid == kid


@pytest.mark.parametrize(
    "name", ["ring.json", "refresh.json", "signing/*.pem", "links/gateway--orders.json", "../certificate.pem"]
)
async def test_a_private_key_that_others_may_read_is_noticed_while_it_is_in_use(
    redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """R-215, R-165: told in the log and on `/readyz`, and again when it is mended; the keys stay in use."""
    caplog.set_level(logging.INFO, "lockgate.keys")
    write_private(tmp_path / "certificate.pem", b"a certificate and its key: read when there is https to speak")
    settings = nodes.settings(
        tmp_path, redis_url, "http://127.0.0.1:1", upstream={"cert_file": tmp_path / "certificate.pem"}
    )
    async with nodes.running(settings) as node:
        ring = node.worker.base.keys.ring.value
        (path,) = settings.keys.directory.glob(name)
        set_mode(path, 0o644)
        await polled(node)
        ready = await node.get("/readyz")
        assert ready.status == 200
        assert ready.json["checks"]["keys"].startswith("warning: ")
        (complaint,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
        assert path.name in complaint
        assert "readable by others: its mode is 0644" in complaint or "is root's and its mode is 0644" in complaint
        assert node.worker.base.keys.ring.value is ring
        assert (await node.get("/auth/me", node.tokens.bearer())).status == 200
        set_mode(path, 0o600)
        await polled(node)
        assert (await node.get("/readyz")).json["checks"]["keys"] == "ok"
        assert "are in order again" in caplog.text
        assert node.worker.base.keys.ring.value is ring


async def test_a_gateway_does_not_start_with_a_certificate_whose_key_others_may_read(tmp_path: Path) -> None:
    """R-215: the key for services, and the one for Redis."""
    write_private(tmp_path / "key.pem", b"")
    set_mode(tmp_path / "key.pem", 0o644)
    for redis_url, sections in (
        ("redis://unused", {"upstream": {"cert_file": tmp_path / "key.pem"}}),
        (f"rediss://unused?ssl_certfile=/dev/null&ssl_keyfile={tmp_path}/key.pem", {}),
        (f"rediss+sentinel://unused/main?ssl_certfile={tmp_path}/key.pem", {}),
    ):
        settings = nodes.settings(tmp_path, redis_url, "http://127.0.0.1:1", **sections)
        with pytest.raises(ConfigurationError, match=r"key\.pem: readable by others"):
            reload.live_keys(settings, ManualClock())


async def test_a_key_file_that_arrives_later_than_the_ring_is_waited_for(node: Node, store: KeyStore) -> None:
    """As where files are copied from one machine to another, in any order."""
    kid = switch(store, node)
    path = node.settings.keys.directory / "signing" / f"{kid}.pem"
    path.rename(path.with_suffix(".late"))
    await polled(node)
    assert node.worker.base.keys.ring.value.active.kid == node.tokens.key.kid
    path.with_suffix(".late").rename(path)
    await polled(node)
    assert node.worker.base.keys.ring.value.active.kid == kid


async def test_broken_link_keys_do_not_hold_up_the_removal_of_a_signing_key(node: Node, store: KeyStore) -> None:
    write_private(node.settings.keys.directory / "links" / "gateway--orders.json", b"{")
    store.remove(node.tokens.key.kid, node.clock.now())
    await polled(node)
    assert await status(node, node.tokens.bearer()) == 401
    # And the service is still spoken to, with the last good key.
    assert await status(node, signed_by_active(node).bearer()) == 200


async def test_a_link_that_is_missing_now_changes_nothing(node: Node) -> None:
    (node.settings.keys.directory / "links" / "gateway--orders.json").unlink()
    await polled(node)
    assert node.worker.base.keys.problem is not None
    assert await status(node, node.tokens.bearer()) == 200


async def test_nothing_is_dropped_where_the_keys_are_the_same(node: Node, ring_file: Path) -> None:
    ring = node.worker.base.keys.ring.value
    os.utime(ring_file)
    await polled(node)
    await node.worker.base.keys.look(thorough=True)
    assert node.worker.base.keys.ring.value is ring


async def test_a_key_that_is_not_known_yet_is_looked_for_at_once_but_not_for_everybody(
    node: Node, store: KeyStore
) -> None:
    """R-163. The clock stands still, so that nothing but the unknown key makes the worker look."""
    store.rotate(store.signing(), node.clock.now(), at_once=True)
    bearer = signed_by_active(node).bearer()
    async with asyncio.timeout(WITHIN_S):
        while await status(node, bearer) != 200:
            pass
    store.rotate(store.signing(), node.clock.now(), at_once=True)
    later = signed_by_active(node).bearer()
    assert {await status(node, later) for _ in range(20)} == {401}


async def test_many_unknown_keys_cause_one_reading_in_each_cool_down(tmp_path: Path) -> None:
    """R-163."""
    clock, readings = ManualClock(), 0
    settings = nodes.settings(tmp_path, "redis://unused", "http://127.0.0.1:1")
    directory = settings.keys.directory
    source = reload.ring_source(directory)

    def read() -> keyring.KeyRing:
        nonlocal readings
        readings += 1
        return source.read()

    live = reload.LiveKeys(
        dataclasses.replace(source, read=read),
        reload.link_source(directory / "links", lambda: settings.called_services),
        clock,
    )
    for expected in (2, 3):
        for _ in range(50):
            live.hurry()
        await asyncio.sleep(0)
        await live.look()
        assert readings == expected
        clock.advance(reload.COOL_DOWN_S - 0.1)
        live.hurry()
        await asyncio.sleep(0)
        await live.look()
        assert readings == expected
        clock.advance(0.1)
    await live.close()


async def test_a_worker_without_keys_does_not_start(tmp_path: Path) -> None:
    """R-165."""
    settings = nodes.settings(tmp_path, "redis://unused", "http://127.0.0.1:1")
    (settings.keys.directory / "ring.json").chmod(0o644)
    with pytest.raises(ConfigurationError, match="readable by others"):
        reload.live_keys(settings, ManualClock())


async def test_no_log_line_of_a_reload_shows_a_secret(
    node: Node, store: KeyStore, caplog: pytest.LogCaptureFixture
) -> None:
    """R-165."""
    caplog.set_level(logging.DEBUG)
    for group in store.groups():
        store.rotate(group, node.clock.now(), at_once=True)
    await polled(node)
    said = caplog.text
    assert "key ring reloaded" in said
    assert "link keys reloaded" in said
    secrets = [entry.members["secret"] for group in store.groups()[1:] for entry in store.read(group)]
    assert not any(secret in said for secret in secrets)
    assert "PRIVATE" not in said
