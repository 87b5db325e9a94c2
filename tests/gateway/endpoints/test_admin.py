"""The calls that administrators may make, and no other user."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.support import shop as shops
from tests.support.administrators import ada, status
from tests.support.raw import WITHIN_S
from tests.support.shop import Shop, bearer, code

CALLS = [
    ("GET", "/admin/users/alice"),
    ("POST", "/admin/users/alice/block"),
    ("POST", "/admin/users/alice/unblock"),
    ("GET", "/admin/users/alice/sessions"),
    ("DELETE", "/admin/users/alice/sessions"),
    ("DELETE", "/admin/users/alice/sessions/x"),
    ("POST", "/admin/tokens/revoke"),
    ("GET", "/admin/clients"),
    ("POST", "/admin/clients"),
    ("DELETE", "/admin/clients/x"),
    ("PUT", "/admin/users/alice/roles/admin"),
    ("DELETE", "/admin/users/alice/roles/customer"),
    ("GET", "/admin/keys"),
    ("POST", "/admin/keys/rotate"),
    ("GET", "/admin/audit"),
    ("GET", "/admin/routes"),
]


@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_only_administrators_are_let_in(shop: Shop, method: str, path: str) -> None:
    #
    alice = await shop.tokens("alice")
    assert code(await shop.http.request(method, path)) == (401, "credentials_required")
    assert code(await shop.http.request(method, path, headers=bearer(alice))) == (403, "insufficient_role")
    assert await status(shop, alice) == 200


async def test_a_blocked_user_is_out_with_the_next_request_on_every_node(shop: Shop) -> None:
    alice, admin = await shop.tokens("alice"), await ada(shop)
    async with shops.another_node(shop) as other:
        assert await status(shop, alice, other) == 200
        answer = await shop.http.post("/admin/users/alice/block", headers=admin)
        assert answer.status_code == 204
        assert await status(shop, alice, other) == 401
    assert await status(shop, alice) == 401
    refreshed = await shop.http.post("/auth/refresh", json={"refresh_token": alice["refresh_token"]})
    assert code(refreshed) == (400, "invalid_grant")
    assert code(await shop.login("alice")) == (400, "invalid_grant")
    (event,) = await shop.events("user.blocked")
    account = (await shop.http.get("/admin/users/alice", headers=admin)).json()
    assert (account["status"], account["sub"], account["username"]) == ("blocked", event["sub"], "alice")
    assert event["actor"] != event["sub"]


async def test_sockets_are_told_of_a_block(shop: Shop, redis: Redis) -> None:
    alice, admin = await shop.tokens("alice"), await ada(shop)
    sub = (await shop.http.get("/admin/users/alice", headers=admin)).json()["sub"]
    async with redis.pubsub() as heard:
        await heard.subscribe("lg:ended")
        await shop.http.post("/admin/users/alice/block", headers=admin)
        said = set()
        async with asyncio.timeout(WITHIN_S):
            while f"sub:{sub}".encode() not in said:
                message = await heard.get_message(ignore_subscribe_messages=True, timeout=WITHIN_S)
                said |= {message["data"]} if message else set()
    assert f"sid:{alice['session_id']}".encode() in said


async def test_a_login_that_was_under_way_does_not_survive_a_block(shop: Shop, redis: Redis) -> None:
    # Its password was found right before the account was closed; its session would begin after.
    admin = await ada(shop)
    await shop.http.post("/admin/users/alice/block", headers=admin)
    sub = (await shop.http.get("/admin/users/alice", headers=admin)).json()["sub"]
    await shop.users.set_status(sub, "active")  # type: ignore[arg-type]  # as the users service saw it before
    assert code(await shop.login("alice")) == (400, "invalid_grant")
    assert len(await redis.keys("*:session:*")) == 1, "the administrator's only"


async def test_an_unblocked_user_logs_in_again(shop: Shop) -> None:
    admin = await ada(shop)
    await shop.http.post("/admin/users/alice/block", headers=admin)
    assert (await shop.http.post("/admin/users/alice/unblock", headers=admin)).status_code == 204
    assert await status(shop, await shop.tokens("alice")) == 200
    assert len(await shop.events("user.unblocked")) == 1


async def test_sessions_are_listed_and_ended_one_by_one_or_all_together(shop: Shop) -> None:
    admin = await ada(shop)
    first, second, third = [await shop.tokens("alice") for _ in range(3)]
    found = (await shop.http.get("/admin/users/alice/sessions", headers=admin)).json()["sessions"]
    assert {one["session_id"] for one in found} == {one["session_id"] for one in (first, second, third)}
    path = f"/admin/users/alice/sessions/{first['session_id']}"
    assert (await shop.http.delete(path, headers=admin)).status_code == 204
    assert [await status(shop, one) for one in (first, second, third)] == [401, 200, 200]
    assert code(await shop.http.delete(path, headers=admin)) == (404, "not_found")
    assert (await shop.http.delete("/admin/users/alice/sessions", headers=admin)).status_code == 204
    assert [await status(shop, one) for one in (first, second, third)] == [401, 401, 401]
    assert await status(shop, await shop.tokens("alice")) == 200


async def test_one_token_is_revoked_by_its_id(shop: Shop) -> None:
    admin, alice, other = await ada(shop), await shop.tokens("alice"), await shop.tokens("alice")
    me = (await shop.http.get("/auth/me", headers=bearer(alice))).json()
    content = {"sub": me["user_id"], "jti": me["token_id"]}
    assert (await shop.http.post("/admin/tokens/revoke", json=content, headers=admin)).status_code == 204
    assert [await status(shop, one) for one in (alice, other)] == [401, 200]


@pytest.mark.parametrize("method", ["GET", "block", "unblock", "sessions"])
async def test_a_user_that_nobody_knows_is_not_found(shop: Shop, method: str) -> None:
    admin = await ada(shop)
    calls = {
        "GET": ("GET", "/admin/users/nobody"),
        "block": ("POST", "/admin/users/nobody/block"),
        "unblock": ("POST", "/admin/users/00000000-0000-4000-8000-000000000000/unblock"),
        "sessions": ("GET", "/admin/users/nobody/sessions"),
    }
    assert code(await shop.http.request(*calls[method], headers=admin)) == (404, "not_found")


async def test_the_audit_trail_is_read_in_pages_newest_first(shop: Shop) -> None:
    admin = await ada(shop)
    for _ in range(5):
        await shop.login("alice", "wrong")
    await shop.events()
    page = (await shop.http.get("/admin/audit?count=3", headers=admin)).json()["events"]
    assert [event["event"] for event in page] == ["login.refused"] * 3
    rest = (await shop.http.get(f"/admin/audit?count=500&before={page[-1]['id']}", headers=admin)).json()["events"]
    assert [event["event"] for event in rest] == ["login.refused", "login.refused", "login"]
    for query in ("count=0", "count=501", "before=x", "count=x"):
        answer = await shop.http.get(f"/admin/audit?{query}", headers=admin)
        assert code(answer) == (400, "invalid_fields")


async def test_the_route_table_shows_the_state_of_upstreams(shop: Shop) -> None:
    routes = (await shop.http.get("/admin/routes", headers=await ada(shop))).json()["routes"]
    orders = next(route for route in routes if route["name"] == "orders")
    assert orders["methods"]["GET"] == ["orders:read"]
    assert orders["prefix_at_service"] == "/orders"
    assert [upstream["state"] for upstream in orders["upstreams"]] == ["up"]


async def test_clients_are_registered_listed_and_removed(shop: Shop) -> None:
    admin = await ada(shop)
    content = {"client_id": "reports", "scopes": ["orders:read"]}
    answer = await shop.http.post("/admin/clients", json=content, headers=admin)
    assert answer.status_code == 201
    secret = answer.json()["client_secret"]
    listed = await shop.http.get("/admin/clients", headers=admin)
    assert [one["client_id"] for one in listed.json()["clients"]] == ["reports"]
    assert secret not in listed.text
    assert code(await shop.http.post("/admin/clients", json=content, headers=admin)) == (409, "client_exists")
    assert (await shop.http.delete("/admin/clients/reports", headers=admin)).status_code == 204
    assert code(await shop.http.delete("/admin/clients/reports", headers=admin)) == (404, "not_found")
    assert [event["event"] for event in await shop.events("client.added", "client.removed")] == [
        "client.added",
        "client.removed",
    ]


@pytest.mark.parametrize("change", [{"client_id": "No"}, {"client_id": "a:b"}, {"scopes": ["everything"]}])
async def test_a_client_needs_a_plain_name_and_scopes_that_exist(shop: Shop, change: dict[str, Any]) -> None:
    content = {"client_id": "reports", "scopes": ["orders:read"], **change}
    answer = await shop.http.post("/admin/clients", json=content, headers=await ada(shop))
    assert code(answer) == (400, "invalid_fields")
