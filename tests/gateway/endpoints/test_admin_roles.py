"""Roles: administrators give and take them, and from when on tokens tell."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from lockgate.stores.layout import UserKeys
from tests.support import shop as shops
from tests.support.administrators import ada, status
from tests.support.raw import WITHIN_S
from tests.support.shop import Shop, bearer, code


async def roles(shop: Shop, user: str) -> list[str]:
    found: list[str] = (await shop.http.get(f"/admin/users/{user}", headers=await ada(shop))).json()["roles"]
    return sorted(found)


async def may_administer(shop: Shop, tokens: dict[str, Any]) -> int:
    return (await shop.http.get("/admin/routes", headers=bearer(tokens))).status_code


async def refreshed(shop: Shop, tokens: dict[str, Any]) -> dict[str, Any]:
    answer = await shop.http.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


async def test_a_role_that_was_granted_holds_from_the_next_refresh_on(shop: Shop) -> None:
    alice = await shop.tokens("alice")
    answer = await shop.http.put("/admin/users/alice/roles/admin", headers=await ada(shop))
    assert (answer.status_code, sorted(answer.json()["roles"])) == (200, ["admin", "customer"])
    assert await may_administer(shop, alice) == 403, "her token says what she was when it was made"
    assert await may_administer(shop, await refreshed(shop, alice)) == 200
    (event,) = await shop.events("role.granted")
    assert (event["sub"], event["role"]) == (answer.json()["sub"], "admin")


async def test_a_role_that_was_taken_is_gone_at_once_on_every_node(shop: Shop) -> None:
    """Not only at the next refresh: no token that tells of it is good any more."""
    await shop.http.put("/admin/users/alice/roles/admin", headers=await ada(shop))
    alice = await shop.tokens("alice")
    assert await may_administer(shop, alice) == 200
    async with shops.another_node(shop) as other:
        answer = await shop.http.delete("/admin/users/alice/roles/admin", headers=await ada(shop))
        assert (answer.status_code, answer.json()["roles"]) == (200, ["customer"])
        assert (await other.get("/admin/routes", headers=bearer(alice))).status_code == 401
    refused = await shop.http.post("/auth/refresh", json={"refresh_token": alice["refresh_token"]})
    assert code(refused) == (400, "invalid_grant")
    assert await roles(shop, "alice") == ["customer"]
    (event,) = await shop.events("role.revoked")
    assert (event["sub"], event["role"]) == (answer.json()["sub"], "admin")


async def test_whose_role_was_taken_logs_in_again_without_it(shop: Shop, redis: Redis) -> None:
    sub = (await shop.http.put("/admin/users/alice/roles/admin", headers=await ada(shop))).json()["sub"]
    await shop.http.delete("/admin/users/alice/roles/admin", headers=await ada(shop))
    # A login that was under way may have seen the old roles; none takes longer than this.
    assert 0 < await redis.pttl(UserKeys.of(sub).blocked) <= WITHIN_S * 1000
    assert code(await shop.login("alice")) == (400, "invalid_grant")
    await redis.delete(UserKeys.of(sub).blocked)
    alice = await shop.tokens("alice")
    assert [await may_administer(shop, alice), await status(shop, alice)] == [403, 200]


async def test_what_is_so_already_is_left_alone(shop: Shop) -> None:
    alice = await shop.tokens("alice")
    assert (await shop.http.put("/admin/users/alice/roles/customer", headers=await ada(shop))).status_code == 200
    assert (await shop.http.delete("/admin/users/alice/roles/admin", headers=await ada(shop))).status_code == 200
    assert await status(shop, alice) == 200, "nothing of hers has ended"
    assert await shop.events("role.granted", "role.revoked") == []


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("PUT", "alice/roles/emperor", (404, "unknown_role")),
        ("PUT", "nobody/roles/admin", (404, "not_found")),
        ("DELETE", "nobody/roles/admin", (404, "not_found")),
        ("DELETE", "alice/roles/customer", (409, "last_role")),
        ("PUT", "alice/roles/Ad%20min", (400, "invalid_fields")),
    ],
)
async def test_what_cannot_be_done_changes_nothing(
    shop: Shop, method: str, path: str, expected: tuple[int, str]
) -> None:
    alice = await shop.tokens("alice")
    answer = await shop.http.request(method, f"/admin/users/{path}", headers=await ada(shop))
    assert code(answer) == expected
    assert await roles(shop, "alice") == ["customer"]
    assert await status(shop, alice) == 200
    assert await shop.events("role.granted", "role.revoked") == []
