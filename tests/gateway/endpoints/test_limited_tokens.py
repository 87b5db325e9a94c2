"""A token with less than its user's rights reaches its own session, and nothing else of the user (R-222)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import pytest
from redis.asyncio import Redis

from tests.support import shop as shops
from tests.support.pages import SERVER
from tests.support.parties import refresh, registered
from tests.support.shop import PASSWORD, Shop, bearer, code
from tests.support.upstream import Upstream

LIMITED: Final = ("client", "narrowed", "machine")
OTHER: Final = "{other}"
"""In a path: a session of the same user that did not make the call."""
NEW_PASSWORD: Final = {"current_password": PASSWORD, "new_password": "another-good-password"}


class Call(NamedTuple):
    """A call: `path` may name the `OTHER` session."""

    method: str
    path: str
    content: dict[str, str] | None = None


BEYOND: Final = [
    Call("GET", "/auth/sessions"),
    Call("DELETE", f"/auth/sessions/{OTHER}"),
    Call("DELETE", "/auth/sessions/unknown"),
    Call("POST", "/auth/logout-all"),
    Call("POST", "/auth/password", NEW_PASSWORD),
]
"""Every call of `/auth` that reaches beyond the session that makes it."""
ADMIN: Final = [
    Call("GET", "/admin/users/alice"),
    Call("POST", "/admin/users/alice/block"),
    Call("POST", "/admin/users/alice/unblock"),
    Call("PUT", "/admin/users/alice/roles/admin"),
    Call("DELETE", "/admin/users/alice/roles/customer"),
    Call("GET", "/admin/users/alice/sessions"),
    Call("DELETE", "/admin/users/alice/sessions"),
    Call("DELETE", f"/admin/users/alice/sessions/{OTHER}"),
    Call("POST", "/admin/tokens/revoke", {"sub": "x", "jti": "x"}),
    Call("GET", "/admin/clients"),
    Call("POST", "/admin/clients"),
    Call("DELETE", "/admin/clients/reports"),
    Call("GET", "/admin/keys"),
    Call("POST", "/admin/keys/rotate", {"group": "signing"}),
    Call("GET", "/admin/audit"),
    Call("GET", "/admin/routes"),
    Call("GET", "/openapi.json"),
]


def named(value: object) -> str:
    """The id of a parameter."""
    return f"{value.method} {value.path}" if isinstance(value, Call) else str(value)


async def made(shop: Shop, call: Call, other: dict[str, Any], fields: dict[str, str]) -> httpx.Response:
    """The response to a call with these header fields."""
    path = call.path.replace(OTHER, other["session_id"])
    return await shop.http.request(call.method, path, json=call.content, headers=fields)


async def limited(shop: Shop, kind: str, user: str = "alice") -> dict[str, Any]:
    """The tokens of a session that may do less than its user, or of a client in its own name."""
    if kind == "narrowed":
        wide = await shop.tokens(user)
        answer = await refresh(shop, wide["refresh_token"], scope="orders:read")
    else:
        party = await registered(shop, scopes=("orders:read",))
        if kind == "client":
            return await party.login(user)
        answer = await party.token()
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


async def status(shop: Shop, method: str, path: str, tokens: dict[str, Any]) -> int:
    return (await shop.http.request(method, path, headers=bearer(tokens))).status_code


async def stored(redis: Redis) -> dict[bytes, bytes]:
    """All sessions, and all ends of sessions and tokens."""
    keys = [key async for key in redis.scan_iter() if b":session:" in key or b":ended:" in key or b":epoch" in key]
    return {key: await redis.dump(key) or b"" for key in keys}


@pytest.mark.parametrize("kind", LIMITED)
@pytest.mark.parametrize("call", BEYOND, ids=named)
async def test_a_limited_token_does_not_reach_beyond_its_own_session(
    shop: Shop, redis: Redis, kind: str, call: Call
) -> None:
    """R-222"""
    other, mine = await shop.tokens("alice"), await limited(shop, kind)
    before = await stored(redis)
    answer = await made(shop, call, other, bearer(mine))
    assert code(answer) == (403, "insufficient_scope")
    assert answer.json()["error"] == "insufficient_scope"
    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
    assert await stored(redis) == before
    assert await status(shop, "GET", "/auth/me", other) == 200
    assert (await shop.login("alice")).status_code == 200


@pytest.mark.parametrize(
    ("kind", "call"), [*(("client", call) for call in ADMIN), *((kind, ADMIN[0]) for kind in LIMITED[1:])], ids=named
)
async def test_a_limited_token_of_an_administrator_opens_no_call_for_administrators(
    shop: Shop, redis: Redis, kind: str, call: Call
) -> None:
    """R-222"""
    other, mine = await shop.tokens("alice"), await limited(shop, kind, "ada")
    before = await stored(redis)
    answer = await made(shop, call, other, bearer(mine))
    assert code(answer) == (403, "insufficient_role")
    assert await stored(redis) == before


@pytest.mark.parametrize("kind", LIMITED)
@pytest.mark.parametrize("by", ["logout", "id"])
async def test_a_limited_token_ends_its_own_session_and_no_other(shop: Shop, kind: str, by: str) -> None:
    """R-222: a user can always leave."""
    other, mine = await shop.tokens("alice"), await limited(shop, kind)
    sid = (await shop.http.get("/auth/me", headers=bearer(mine))).json()["session_id"]
    method, path = ("POST", "/auth/logout") if by == "logout" else ("DELETE", f"/auth/sessions/{sid}")
    assert await status(shop, method, path, mine) == 204
    assert await status(shop, "GET", "/auth/me", mine) == 401
    assert await status(shop, "GET", "/auth/me", other) == 200


@pytest.mark.parametrize("kind", LIMITED)
async def test_a_limited_token_is_told_who_it_is_and_takes_tickets_of_its_own(shop: Shop, kind: str) -> None:
    """R-222"""
    mine = await limited(shop, kind)
    content = (await shop.http.get("/auth/me", headers=bearer(mine))).json()
    assert (content["scopes"], content["roles"]) == (["orders:read"], [])
    assert await status(shop, "POST", "/auth/tickets", mine) == 201


@pytest.mark.parametrize("call", BEYOND, ids=named)
async def test_a_token_with_all_rights_of_its_user_is_not_held_up(shop: Shop, call: Call) -> None:
    """R-222: so the refusals above are for the limit, and for nothing else."""
    other, mine = await shop.tokens("alice"), await shop.tokens("alice")
    answer = await made(shop, call, other, bearer(mine))
    assert answer.status_code in (200, 204) or (call.path.endswith("unknown") and code(answer) == (404, "not_found"))


async def test_a_limited_cookie_reaches_its_own_session_only(
    redis: Redis, redis_url: str, upstream: Upstream, people: Path, tmp_path: Path
) -> None:
    """R-222: what a cookie stands for is a token like any other."""
    del redis
    shutil.copy(people, tmp_path)
    async with shops.running(tmp_path, redis_url, upstream.url, server=SERVER) as shop:
        party, other = await registered(shop, scopes=("orders:read",)), await shop.tokens("alice")
        content = {"username": "alice", "password": PASSWORD, "mode": "cookie"}
        same_origin = {"sec-fetch-site": "same-origin"}
        answer = await shop.http.post("/auth/login", json=content, headers={**party.basic, **same_origin})
        cookie = {**same_origin, "cookie": answer.headers["set-cookie"].partition(";")[0]}
        shop.http.cookies.clear()
        for call in BEYOND:
            assert code(await made(shop, call, other, cookie)) == (403, "insufficient_scope")
        assert await status(shop, "GET", "/auth/me", other) == 200
        assert (await shop.http.post("/auth/tickets", headers=cookie)).status_code == 201
        assert (await shop.http.post("/auth/logout", headers=cookie)).status_code == 204
        assert (await shop.http.get("/auth/me", headers=cookie)).status_code == 401
