"""The name and the address of a user, from the users service to the service of a route (R-322, R-323)."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio
from redis.asyncio import Redis

from lockgate.settings import Settings
from lockgate_shop.users.accounts import Registration
from tests.support import node as nodes
from tests.support import shop as shops
from tests.support.pages import SERVER, Page
from tests.support.parties import refresh, registered
from tests.support.shop import PASSWORD, Shop, bearer
from tests.support.upstream import Upstream

ADDRESS = "zoe@shop.example"


def routes(upstream: str, *, naming: bool = True) -> list[dict[str, Any]]:
    headers = {"name": "X-Forwarded-User", "email": "X-Auth-Request-Email"} if naming else None
    wiki = {"name": "wiki", "prefix": "/wiki", "service": "orders", "upstreams": [upstream]}
    return [{**wiki, "identity_headers": headers}, *nodes.routes(upstream)]


async def register(shop: Shop, username: str, *, verified: bool) -> None:
    await shop.users.register_account(
        Registration(username=username, password=PASSWORD, email=ADDRESS, email_verified=verified)
    )


@pytest_asyncio.fixture
async def wiki(redis: Redis, redis_url: str, upstream: Upstream, people: Path, tmp_path: Path) -> AsyncIterator[Shop]:
    """A shop with a route that names fields for name and address; `zoe` has a verified address, `mallory` claims it."""
    del redis
    shutil.copy(people, tmp_path)
    sections = {"route": routes(upstream.url), "server": SERVER}
    async with shops.running(tmp_path, redis_url, upstream.url, **sections) as running:
        await register(running, "zoe", verified=True)
        await register(running, "mallory", verified=False)
        yield running


def claims_of(tokens: dict[str, Any]) -> dict[str, Any]:
    part = tokens["access_token"].split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=="))
    return claims


def told(upstream: Upstream) -> tuple[list[str], list[str]]:
    request = upstream.requests[-1]
    return request.values("x-forwarded-user"), request.values("x-auth-request-email")


async def visit(shop: Shop, tokens: dict[str, Any]) -> None:
    assert (await shop.http.get("/wiki/start", headers=bearer(tokens))).status_code == 200


async def reload(shop: Shop, upstream: Upstream, *, naming: bool) -> None:
    content = shop.node.worker.base.rules.value.settings.model_dump()
    change = shop.node.worker.rule_change
    await change.prepare(Settings(**{**content, "route": routes(upstream.url, naming=naming)}))
    change.take()


async def test_a_service_is_told_what_the_users_service_tells(wiki: Shop, upstream: Upstream) -> None:
    """R-322: at a login, and anew at each refresh."""
    tokens = await wiki.tokens("zoe")
    await visit(wiki, tokens)
    assert told(upstream) == (["zoe"], [ADDRESS])
    sub = claims_of(tokens)["sub"]
    await wiki.users.change_profile(sub, {"email": "admin@shop.example"})
    tokens = (await refresh(wiki, tokens["refresh_token"])).json()
    await visit(wiki, tokens)
    assert told(upstream) == (["zoe"], [])


async def test_a_session_by_cookie_tells_the_same(wiki: Shop, upstream: Upstream) -> None:
    """R-322: and the page holds no token."""
    page = Page()
    content = {"username": "zoe", "password": PASSWORD, "mode": "cookie"}
    assert (await page.ask(wiki.node, "POST", "/auth/login", content)).status == 200
    assert (await page.ask(wiki.node, "GET", "/wiki/start")).status == 200
    assert told(upstream) == (["zoe"], [ADDRESS])


async def test_an_address_that_a_user_merely_claims_is_told_to_no_service(wiki: Shop, upstream: Upstream) -> None:
    """R-323: a wiki would take its user for the other one."""
    tokens = await wiki.tokens("mallory")
    await visit(wiki, tokens)
    assert told(upstream) == (["mallory"], [])
    assert "email" not in claims_of(tokens)


async def test_a_limited_token_tells_neither(wiki: Shop, upstream: Upstream) -> None:
    """R-322: a client with a part of the scopes learns nothing of its user."""
    party = await registered(wiki)
    tokens = await party.login("zoe")
    assert not {"preferred_username", "email"} & claims_of(tokens).keys()
    await visit(wiki, tokens)
    assert told(upstream) == ([], [])


async def test_tokens_tell_only_what_a_route_asks_for(wiki: Shop, upstream: Upstream) -> None:
    """R-322: a token from before the setting leaves the fields out until it is refreshed."""
    await reload(wiki, upstream, naming=False)
    before = await wiki.tokens("zoe")
    assert not {"preferred_username", "email"} & claims_of(before).keys()
    await reload(wiki, upstream, naming=True)
    await visit(wiki, before)
    assert told(upstream) == ([], [])
    after = (await refresh(wiki, before["refresh_token"])).json()
    await visit(wiki, after)
    assert told(upstream) == (["zoe"], [ADDRESS])


async def test_no_log_and_no_trail_has_a_name_or_an_address(
    wiki: Shop,
    capfd: Any,  # noqa: ANN401 - pytest's
) -> None:
    """R-322: operators find users by their ids."""
    await visit(wiki, await wiki.tokens("zoe"))
    wiki.node.worker.base.ticker.tick()
    assert ADDRESS not in json.dumps(await wiki.events())
    written = "".join(capfd.readouterr())
    assert '"event": "request"' in written
    assert ADDRESS not in written


async def read_letters(shop: Shop, tokens: dict[str, Any]) -> tuple[int, str]:
    response = await shop.http.get("/letters", headers=bearer(tokens))
    return response.status_code, response.headers.get("www-authenticate", "")


@pytest_asyncio.fixture
async def letters(wiki: Shop, upstream: Upstream) -> Shop:
    """A route for users with a verified address, and none that names the address to its service."""
    letters = {"name": "letters", "prefix": "/letters", "service": "orders", "upstreams": [upstream.url]}
    content = wiki.node.worker.base.rules.value.settings.model_dump()
    route = [{**letters, "email_verified": True}, *routes(upstream.url, naming=False)]
    await wiki.node.worker.rule_change.prepare(Settings(**{**content, "route": route}))
    wiki.node.worker.rule_change.take()
    return wiki


async def test_a_route_for_verified_addresses_refuses_one_that_is_merely_claimed(letters: Shop) -> None:
    """R-324: and the token tells that there is an address, not which."""
    zoe, mallory = await letters.tokens("zoe"), await letters.tokens("mallory")
    assert (await read_letters(letters, zoe))[0] == 200
    assert (claims_of(zoe)["email_verified"], claims_of(zoe).get("email")) == (True, None)
    status, challenge = await read_letters(letters, mallory)
    assert (status, 'error="insufficient_scope"' in challenge) == (403, True)
    assert "email_verified" not in claims_of(mallory)


async def test_a_changed_address_is_not_verified_from_the_next_refresh_on(letters: Shop) -> None:
    """R-324."""
    tokens = await letters.tokens("zoe")
    await letters.users.change_profile(claims_of(tokens)["sub"], {"email": "admin@shop.example"})
    tokens = (await refresh(letters, tokens["refresh_token"])).json()
    assert (await read_letters(letters, tokens))[0] == 403


async def test_a_limited_token_meets_no_condition_on_an_address(letters: Shop) -> None:
    """R-324."""
    party = await registered(letters)
    assert (await read_letters(letters, await party.login("zoe")))[0] == 403
