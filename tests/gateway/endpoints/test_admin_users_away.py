"""Calls of administrators while the users service is away: sessions end, and each failure is reported."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Final

import pytest
from redis.asyncio import Redis

from lockgate.stores.layout import BLOCKED_LIFE_S, UserKeys
from tests.support import shop as shops
from tests.support import upstream as upstreams
from tests.support.administrators import ada, status
from tests.support.raw import WITHIN_S
from tests.support.shop import Shop, bearer, code

SHUT_OUT: Final = "sessions have ended and logins are barred for two minutes"
AWAY: Final = (503, "accounts_unavailable")
NOBODY: Final = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def dead() -> Iterator[str]:
    with upstreams.nobody() as url:
        yield url


async def sub_of(shop: Shop, user: str) -> str:
    found: str = (await shop.http.get(f"/admin/users/{user}", headers=await ada(shop))).json()["sub"]
    return found


@pytest.mark.parametrize(("method", "what"), [("POST", "block"), ("DELETE", "roles/customer")])
async def test_who_is_named_by_id_is_shut_out_and_the_answer_says_so(
    shop: Shop, redis: Redis, dead: str, method: str, what: str
) -> None:
    alice, admin, sub = await shop.tokens("alice"), await ada(shop), await sub_of(shop, "alice")
    await shop.move_accounts(dead)
    async with shops.another_node(shop) as other:
        answer = await shop.http.request(method, f"/admin/users/{sub}/{what}", headers=admin)
        assert code(answer) == AWAY
        assert SHUT_OUT in answer.json()["detail"]
        assert await status(shop, alice, other) == 401
    assert 0 < await redis.pttl(UserKeys.of(sub).blocked) <= BLOCKED_LIFE_S * 1000
    (event,) = await shop.events("logout.all", "user.blocked", "role.revoked")
    assert (event["event"], event["sub"], event["reason"]) == ("logout.all", sub, "accounts_away")


async def test_a_frozen_users_service_keeps_nobody_in_while_it_is_waited_for(shop: Shop) -> None:
    alice, admin, sub = await shop.tokens("alice"), await ada(shop), await sub_of(shop, "alice")
    with socket.create_server(("127.0.0.1", 0)) as listener:  # never accepts: a caller waits
        await shop.move_accounts(f"http://127.0.0.1:{listener.getsockname()[1]}")
        block = asyncio.create_task(shop.http.post(f"/admin/users/{sub}/block", headers=admin))
        async with asyncio.timeout(WITHIN_S):
            while await status(shop, alice) == 200:
                assert not block.done()
        assert not block.done(), "she is out before the users service has been given up"
    answer = await block
    assert code(answer) == AWAY
    assert SHUT_OUT in answer.json()["detail"]


async def test_sessions_of_an_id_are_listed_and_ended_by_redis_alone(shop: Shop, dead: str) -> None:
    first, second, admin = await shop.tokens("alice"), await shop.tokens("alice"), await ada(shop)
    path = f"/admin/users/{await sub_of(shop, 'alice')}/sessions"
    await shop.move_accounts(dead)
    found = (await shop.http.get(path, headers=admin)).json()["sessions"]
    assert {one["session_id"] for one in found} == {first["session_id"], second["session_id"]}
    assert (await shop.http.delete(f"{path}/{first['session_id']}", headers=admin)).status_code == 204
    assert [await status(shop, one) for one in (first, second)] == [401, 200]
    assert (await shop.http.delete(path, headers=admin)).status_code == 204
    assert await status(shop, second) == 401
    # None is left, and doing it again is no fault.
    assert (await shop.http.delete(path, headers=admin)).status_code == 204


@pytest.mark.parametrize(
    ("method", "what"), [("POST", "block"), ("DELETE", "sessions"), ("DELETE", "roles/customer"), ("POST", "unblock")]
)
async def test_a_name_cannot_be_found_and_the_answer_asks_for_the_id(
    shop: Shop, dead: str, method: str, what: str
) -> None:
    alice, admin = await shop.tokens("alice"), await ada(shop)
    await shop.move_accounts(dead)
    answer = await shop.http.request(method, f"/admin/users/alice/{what}", headers=admin)
    assert code(answer) == AWAY
    assert "name the user by id" in answer.json()["detail"]
    assert await status(shop, alice) == 200
    assert await shop.events("logout.all", "user.blocked") == []


async def test_who_is_not_logged_in_is_barred_by_id_all_the_same(shop: Shop, redis: Redis, dead: str) -> None:
    sub, admin = await sub_of(shop, "alice"), await ada(shop)
    await shop.move_accounts(dead)
    answer = await shop.http.post(f"/admin/users/{sub}/block", headers=admin)
    assert code(answer) == AWAY
    assert SHUT_OUT in answer.json()["detail"]
    assert await redis.exists(UserKeys.of(sub).blocked)


async def test_done_again_when_the_service_is_back_the_account_is_blocked(shop: Shop, dead: str) -> None:
    alice, admin, sub = await shop.tokens("alice"), await ada(shop), await sub_of(shop, "alice")
    await shop.move_accounts(dead)
    await shop.http.post(f"/admin/users/{sub}/block", headers=admin)
    await shop.move_accounts(shop.node.settings.upstream_urls("users")[0])
    assert (await shop.http.post(f"/admin/users/{sub}/block", headers=admin)).status_code == 204
    account = (await shop.http.get(f"/admin/users/{sub}", headers=admin)).json()
    assert account["status"] == "blocked"
    assert (await shop.http.get("/auth/me", headers=bearer(alice))).status_code == 401


@pytest.mark.parametrize(("method", "what"), [("POST", "block"), ("DELETE", "sessions")])
async def test_an_id_of_nobody_is_not_found_and_leaves_nothing(
    shop: Shop, redis: Redis, method: str, what: str
) -> None:
    answer = await shop.http.request(method, f"/admin/users/{NOBODY}/{what}", headers=await ada(shop))
    assert code(answer) == (404, "not_found")
    assert await redis.keys(f"{UserKeys.of(NOBODY).tag}*") == []
