"""Keys as administrators see and rotate them over HTTP: R-160, R-162, R-165."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from lockgate.keys import keyring
from lockgate.stores.layout import KEYS_LOCK
from tests.support.administrators import ada, status
from tests.support.shop import Shop, code

PUBLISH_S = 300


async def rotate(shop: Shop, group: str = "signing") -> httpx.Response:
    return await shop.http.post("/admin/keys/rotate", json={"group": group}, headers=await ada(shop))


async def states(shop: Shop, group: str = "signing") -> list[str]:
    keys = (await shop.http.get("/admin/keys", headers=await ada(shop))).json()["keys"]
    return sorted(key["state"] for key in keys if key["group"] == group)


def folder(shop: Shop) -> Path:
    return shop.node.settings.keys.directory


def everything(shop: Shop) -> dict[str, bytes]:
    """What stands in the folder of keys."""
    return {str(path): path.read_bytes() for path in folder(shop).rglob("*") if path.is_file()}


def cannot_be_written(shop: Shop) -> None:
    """As on a read-only mount, also for root: the file that is locked while keys are changed cannot be opened."""
    (folder(shop) / ".lock").unlink()
    (folder(shop) / ".lock").mkdir()


async def test_keys_are_listed_with_public_facts_only(shop: Shop) -> None:
    answer = await shop.http.get("/admin/keys", headers=await ada(shop))
    keys = answer.json()["keys"]
    assert {key["group"] for key in keys} == {"signing", "refresh", "gateway -> users", "gateway -> orders"}
    assert {frozenset(key) for key in keys} == {frozenset({"group", "kid", "alg", "state", "since"})}
    (signing,) = [key for key in keys if key["group"] == "signing"]
    assert (signing["kid"], signing["alg"], signing["state"]) == (shop.node.tokens.key.kid, "ES256", "active")
    secrets = [key["secret"] for name in ("refresh.json", "links/gateway--users.json") for key in _keys(shop, name)]
    assert not any(secret in answer.text for secret in secrets)


def _keys(shop: Shop, name: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads((folder(shop) / name).read_text())["keys"]
    return found


async def test_a_rotation_is_made_step_by_step_and_nobody_is_logged_out(shop: Shop) -> None:
    alice, old = await shop.tokens("alice"), shop.node.tokens.key.kid
    first = (await rotate(shop)).json()
    assert (first["did"], first["retired"]) == ("published", [])
    early = (await rotate(shop)).json()
    assert (early["did"], early["kid"], early["next_at"]) == ("waiting", first["kid"], first["next_at"])
    shop.node.tick(PUBLISH_S - 1)
    assert (await rotate(shop)).json()["did"] == "waiting"
    shop.node.tick(1)
    second = (await rotate(shop)).json()
    assert (second["did"], second["kid"]) == ("activated", first["kid"])
    await shop.node.worker.base.keys.look()
    refreshed = await shop.http.post("/auth/refresh", json={"refresh_token": alice["refresh_token"]})
    assert await status(shop, refreshed.json()) == 200
    assert await states(shop) == ["active", "passive"]
    # The next rotation begins by ending what has served its time.
    shop.node.tick(10_000)
    third = (await rotate(shop)).json()
    assert (third["did"], third["retired"]) == ("published", [old])
    assert await states(shop) == ["active", "next"]


async def test_refresh_secrets_rotate_the_same_way(shop: Shop) -> None:
    assert (await rotate(shop, "refresh")).json()["did"] == "published"
    assert await states(shop, "refresh") == ["active", "next"]
    assert await states(shop) == ["active"]


async def test_each_change_is_audited_once_with_who_asked_and_without_a_secret(shop: Shop) -> None:
    answer = await rotate(shop)
    await rotate(shop)
    (event,) = await shop.events("key.published")
    assert (event["group"], event["kid"], event["alg"]) == ("signing", answer.json()["kid"], "ES256")
    admin = (await shop.http.get("/admin/users/ada", headers=await ada(shop))).json()["sub"]
    assert (event["actor"], event["address"]) == (admin, "127.0.0.1")
    assert event["request_id"] == answer.headers["x-request-id"]
    assert "PRIVATE" not in repr(await shop.events())


async def test_a_folder_that_may_not_be_written_is_a_clear_answer_and_changes_nothing(shop: Shop) -> None:
    cannot_be_written(shop)
    before = everything(shop)
    answer = await rotate(shop)
    assert code(answer) == (409, "keys_not_writable")
    assert str(folder(shop)) not in answer.text
    assert everything(shop) == before
    assert await shop.events("key.published") == []
    assert await states(shop) == ["active"], "it can be read all the same"


async def test_files_that_are_not_in_order_are_a_clear_answer(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    admin = await ada(shop)
    (folder(shop) / "refresh.json").chmod(0o644)
    answer = await shop.http.get("/admin/keys", headers=admin)
    assert code(answer) == (503, "keys_unusable")
    assert str(folder(shop)) not in answer.text
    assert "refresh.json: readable by others" in caplog.text
    assert code(await rotate(shop, "refresh")) == (503, "keys_unusable")
    assert (await rotate(shop)).json()["did"] == "published", "of each group its own file is read"


async def test_while_another_node_is_at_it_nothing_is_changed(shop: Shop, redis: Redis) -> None:
    await redis.set(KEYS_LOCK, "another", px=60_000)
    before = everything(shop)
    assert code(await rotate(shop)) == (409, "keys_busy")
    assert everything(shop) == before
    await redis.delete(KEYS_LOCK)
    assert (await rotate(shop)).status_code == 200
    assert await redis.get(KEYS_LOCK) is None, "it is given back"


@pytest.mark.parametrize("body", [{}, {"group": "links"}, {"group": "signing", "now": True}, {"group": ["signing"]}])
async def test_what_is_to_be_rotated_has_to_be_said(shop: Shop, body: dict[str, object]) -> None:
    before = everything(shop)
    answer = await shop.http.post("/admin/keys/rotate", json=body, headers=await ada(shop))
    assert code(answer) == (400, "invalid_fields")
    assert everything(shop) == before


async def test_the_description_tells_every_refusal(shop: Shop) -> None:
    document = (await shop.http.get("/openapi.json", headers=await ada(shop))).json()
    told = document["paths"]["/admin/keys/rotate"]["post"]["responses"]
    assert "`keys_busy`" in told["409"]["description"]
    assert "`keys_not_writable`" in told["409"]["description"]
    assert "`keys_unusable`" in told["503"]["description"]


async def test_a_rotation_does_not_touch_the_ring_in_use_before_it_is_read(shop: Shop) -> None:
    kid = (await rotate(shop)).json()["kid"]
    ring = shop.node.worker.base.keys.ring
    await shop.node.worker.base.keys.look()
    assert kid in ring.value.verifying
    assert ring.value.active.kid == keyring.load(folder(shop)).active.kid != kid
