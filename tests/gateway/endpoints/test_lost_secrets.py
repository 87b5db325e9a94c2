"""The cost of losing or giving up a secret, as the guide to keys says: R-164, R-165."""

from __future__ import annotations

import httpx
import pytest

from lockgate.cli import keys
from lockgate.keys.reload import CURRENT_S
from lockgate.keys.store import KeyStore
from tests.support.shop import Shop, bearer, code

CUSTOMER = "alice"


async def refreshed(shop: Shop, token: str) -> httpx.Response:
    return await shop.http.post("/auth/refresh", json={"refresh_token": token})


async def used(shop: Shop) -> None:
    """Let the worker see what is on disk."""
    await shop.node.worker.base.keys.look(thorough=True)
    assert shop.node.worker.base.keys.problem is None


async def test_who_loses_the_refresh_secrets_logs_everybody_out_and_nobody_in(shop: Shop) -> None:
    before = await shop.tokens(CUSTOMER)
    (shop.node.settings.keys.directory / "refresh.json").unlink()
    # Nothing happens yet: the last good secrets stay in use.
    await shop.node.worker.base.keys.look(thorough=True)
    assert shop.node.worker.base.keys.problem is not None
    kept = (await refreshed(shop, before["refresh_token"])).json()
    keys.create_missing(shop.node.settings)
    await used(shop)
    assert code(await refreshed(shop, kept["refresh_token"])) == (400, "invalid_grant")
    # What was signed by another key goes on, until its time is over.
    assert (await shop.http.get("/auth/me", headers=bearer(kept))).status_code == 200
    after = await shop.tokens(CUSTOMER)
    assert (await refreshed(shop, after["refresh_token"])).status_code == 200


async def test_who_loses_the_signing_keys_costs_nobody_their_session(shop: Shop) -> None:
    before = await shop.tokens(CUSTOMER)
    directory = shop.node.settings.keys.directory
    (directory / "ring.json").unlink()
    for path in (directory / "signing").iterdir():
        path.unlink()
    keys.create_missing(shop.node.settings)
    await used(shop)
    assert (await shop.http.get("/auth/me", headers=bearer(before))).status_code == 401
    after = await refreshed(shop, before["refresh_token"])
    assert after.status_code == 200
    assert (await shop.http.get("/auth/me", headers=bearer(after.json()))).status_code == 200


@pytest.mark.parametrize("spared", [True, False])
async def test_a_refresh_secret_that_somebody_has_seen_is_removed_with_all_that_it_made(
    shop: Shop, *, spared: bool
) -> None:
    made_by_old = await shop.tokens(CUSTOMER)
    store = KeyStore(shop.node.settings)
    (old,) = [entry.key_id for entry in store.read(store.refresh())]
    if spared:
        store.rotate(store.refresh(), shop.node.clock.now(), at_once=True)
        await used(shop)
        made_by_old = (await refreshed(shop, made_by_old["refresh_token"])).json()
    store.remove(old, shop.node.clock.now())
    await used(shop)
    answer = await refreshed(shop, made_by_old["refresh_token"])
    assert answer.status_code == (200 if spared else 400)


async def test_a_worker_that_was_stopped_takes_nothing_that_a_removed_secret_made(shop: Shop) -> None:
    """R-164: the session would live on with a token of another secret."""
    made = await shop.tokens(CUSTOMER)
    store = KeyStore(shop.node.settings)
    (old,) = [entry.key_id for entry in store.read(store.refresh())]
    store.remove(old, shop.node.clock.now())
    shop.node.clock.advance(CURRENT_S + 0.1)
    assert code(await refreshed(shop, made["refresh_token"])) == (400, "invalid_grant")
    grant = {"grant_type": "refresh_token", "refresh_token": made["refresh_token"]}
    assert code(await shop.http.post("/auth/token", data=grant)) == (400, "invalid_grant")
