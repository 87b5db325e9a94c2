"""A session that a browser holds by a cookie: it begins, goes on, and ends (R-130, R-146, R-147, R-180)."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from lockgate.keys.store import KeyStore
from lockgate.stores.layout import UserKeys
from tests.support.node import Node
from tests.support.pages import EVIL, NAME, Page, account_reads
from tests.support.raw import WITHIN_S, until
from tests.support.shop_rig import CREDENTIALS, PASSWORD, Caller, Users, problem
from tests.support.store import time_passes_at
from tests.support.upstream import Upstream

# --- begin, go on, end ------------------------------------------------------------------------------------------------


async def test_a_cookie_that_comes_along_with_a_login_is_replaced_and_ends(node: Node, other: Node, page: Page) -> None:
    """R-130: never taken over, from no user."""
    old = Page()
    before = await old.login(node)
    page.jar = dict(old.jar)
    after = await page.login(node, username="bob")
    assert after["session_id"] != before["session_id"]
    assert page.jar[NAME] != old.jar[NAME]
    assert await old.me(other) == 401
    assert (await page.ask(other, "GET", "/auth/me")).json["user_id"] == "id-bob"


async def test_a_login_that_is_refused_changes_nothing(node: Node, page: Page) -> None:
    await page.login(node)
    before = dict(page.jar)
    wrong = {"username": "bob", "password": "wrong", "mode": "cookie"}
    problem(await page.ask(node, "POST", "/auth/login", wrong), 400, "invalid_grant")
    assert page.jar == before
    assert await page.me(node) == 200


async def test_a_login_for_tokens_takes_the_cookie_away(node: Node, page: Page) -> None:
    """Otherwise each request with the token would bring two credentials."""
    old = Page()
    await old.login(node)
    page.jar = dict(old.jar)
    answer = await page.ask(node, "POST", "/auth/login", CREDENTIALS)
    assert answer.status == 200
    assert page.jar == {}
    assert await old.me(node) == 401
    answer = await old.ask(node, "POST", "/auth/login", CREDENTIALS, whence=EVIL)
    assert (answer.status, answer.code) == (403, "cross_site_refused")


async def test_a_logout_ends_the_session_everywhere_and_takes_the_cookie_away(
    node: Node, other: Node, page: Page, redis: Redis
) -> None:
    """R-180."""
    await page.login(node)
    kept = Page(jar=dict(page.jar))
    assert await kept.me(other) == 200
    answer = await page.ask(node, "POST", "/auth/logout")
    assert answer.status == 204
    assert page.jar == {}
    assert page.said[-1] == page.said[0].replace(kept.jar[NAME], "").replace("Max-Age=2592000", "Max-Age=0")
    for one in (node, other):
        assert await kept.me(one) == 401
    assert await redis.keys("*:session:*") == []


async def test_also_a_dead_cookie_can_be_taken_away(node: Node, page: Page) -> None:
    """Only the gateway can: no script sees it."""
    await page.login(node)
    kept = Page(jar=dict(page.jar))
    await page.ask(node, "POST", "/auth/logout")
    for jar in (dict(kept.jar), {NAME: "rubbish"}):
        one = Page(jar=jar)
        assert await one.me(node) == 401
        assert one.said == []
        assert (await one.ask(node, "POST", "/auth/logout", whence=EVIL)).status == 403
        assert (await one.ask(node, "POST", "/auth/logout")).status == 204
        assert one.jar == {}
    assert (await Page().ask(node, "POST", "/auth/logout")).status == 401


async def test_logout_everywhere_ends_cookies_and_tokens_alike(node: Node, other: Node, page: Page) -> None:
    second = Page()
    await page.login(node)
    await second.login(other)
    tokens = await Caller(node).login()
    assert (await page.ask(node, "POST", "/auth/logout-all")).status == 204
    assert page.jar == {}
    assert await second.me(node) == 401
    assert await second.me(other) == 401
    assert await Caller(other).welcome(tokens["access_token"]) == 401


async def test_a_session_that_somebody_ends_is_over_with_the_next_request(node: Node, other: Node, page: Page) -> None:
    second = Page()
    await page.login(node)
    lost = await second.login(other)
    listed = (await page.ask(node, "GET", "/auth/sessions")).json["sessions"]
    assert {one["session_id"]: one["current"] for one in listed}[lost["session_id"]] is False
    assert (await page.ask(node, "DELETE", f"/auth/sessions/{lost['session_id']}")).status == 204
    assert await second.me(other) == 401
    assert await page.me(other) == 200


async def test_a_revoked_token_id_is_refused_also_behind_a_cookie(node: Node, other: Node, page: Page) -> None:
    """R-155: an operator knows it from a service's log; the blocklist is asked about a cookie's token as about any."""
    await page.login(node)
    jti = (await page.ask(other, "GET", "/auth/me")).json["token_id"]
    admin = node.tokens.bearer(sub="id-ada", roles=["admin"])
    body = f'{{"sub": "id-alice", "jti": "{jti}"}}'.encode()
    kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    assert (await node.ask(f"POST /admin/tokens/revoke HTTP/1.1\r\n{admin}{kind}", body)).status == 204
    assert await page.me(other) == 401
    assert await page.me(node) == 401


# --- the account is read again ----------------------------------------------------------------------------------------


async def test_the_account_is_read_again_when_the_token_is_old_and_the_cookie_stays(
    node: Node, other: Node, page: Page, service: Upstream
) -> None:
    """R-147."""
    told = await page.login(node)
    first = (await page.ask(node, "GET", "/auth/me")).json
    node.tick(311)
    other.tick(0)  # the same clock; each node has to look at it
    second = (await page.ask(other, "GET", "/auth/me")).json
    assert (second["session_id"], second["auth_time"]) == (told["session_id"], first["auth_time"])
    assert second["token_id"] != first["token_id"]
    assert account_reads(service) == 1
    # The other node takes what this one has made.
    assert (await page.ask(node, "GET", "/auth/me")).json == second
    assert account_reads(service) == 1
    assert len(page.said) == 1


async def test_an_account_that_is_refused_ends_the_session(node: Node, page: Page, users: Users, redis: Redis) -> None:
    await page.login(node)
    del users.status["id-alice"]
    node.tick(311)
    answer = await page.ask(node, "GET", "/orders")
    assert (answer.status, answer.code) == (401, "invalid_token")
    assert answer.values("set-cookie") == []
    assert await redis.keys("*:session:*") == []
    users.status["id-alice"] = "active"
    assert await page.me(node) == 401


async def test_a_session_of_another_password_ends(node: Node, page: Page, redis: Redis) -> None:
    """R-147: as if it had begun, with the old password, while the password was being changed."""
    told = await page.login(node)
    await redis.hset(UserKeys.of("id-alice").session(told["session_id"]), "password_version", "another")
    node.tick(311)
    assert await page.me(node) == 401
    assert await redis.keys("*:session:*") == []
    assert page.said[1:] == []


async def test_the_end_of_a_key_is_the_end_of_its_cookies_and_of_no_other(node: Node, other: Node, page: Page) -> None:
    """A secret that is replaced reads on; one that is removed in an emergency does not, on any node."""
    await page.login(node)
    store = KeyStore(node.settings)
    (first,) = [entry.key_id for entry in store.read(store.refresh())]
    store.rotate(store.refresh(), node.clock.now(), at_once=True)
    for one in (node, other):
        await one.worker.base.keys.look(thorough=True)
        assert await page.me(one) == 200
    second = Page()
    await second.login(other)
    store.remove(first, node.clock.now())
    for one in (node, other):
        await one.worker.base.keys.look(thorough=True)
        assert await page.me(one) == 401
        assert await second.me(one) == 200


async def test_a_signing_key_that_is_removed_costs_nobody_their_session(node: Node, page: Page) -> None:
    """R-164: what it has signed is dead, and the cookie stands for a token of the next one."""
    await page.login(node)
    first = (await page.ask(node, "GET", "/auth/me")).json
    store = KeyStore(node.settings)
    (kid,) = [entry.key_id for entry in store.read(store.signing())]
    store.rotate(store.signing(), node.clock.now(), at_once=True)
    store.remove(kid, node.clock.now())
    await node.worker.base.keys.look(thorough=True)
    second = (await page.ask(node, "GET", "/auth/me")).json
    assert second["session_id"] == first["session_id"]
    assert second["token_id"] != first["token_id"]


async def test_the_next_token_is_made_while_requests_go_on_with_this_one(
    node: Node, page: Page, service: Upstream
) -> None:
    await page.login(node)
    first = (await page.ask(node, "GET", "/auth/me")).json
    node.tick(241)
    assert (await page.ask(node, "GET", "/auth/me")).json == first
    await until(lambda: account_reads(service) == 1)
    async with asyncio.timeout(5):
        while (await page.ask(node, "GET", "/auth/me")).json == first:
            pass
    assert account_reads(service) == 1


async def test_fifty_requests_at_once_on_two_nodes_are_all_answered_when_the_token_has_died(
    node: Node, other: Node, page: Page, service: Upstream
) -> None:
    """The losing side of a race takes nothing from the winner: no answer says anything of the cookie."""
    await page.login(node)
    for _ in range(3):
        node.tick(311)
        other.tick(0)  # the same clock; each node has to look at it
        before = account_reads(service)
        answers = await asyncio.gather(*[page.ask((node, other)[number % 2], "GET", "/orders") for number in range(50)])
        assert [answer.status for answer in answers] == [200] * 50
        assert all(answer.values("set-cookie") == [] for answer in answers)
        assert account_reads(service) - before <= 2  # one for each node at most
    assert len(page.said) == 1


async def test_a_refresh_by_cookie_reads_the_account_and_tells_no_token(
    node: Node, other: Node, page: Page, service: Upstream
) -> None:
    told = await page.login(node)
    first = (await page.ask(other, "GET", "/auth/me")).json
    answer = await page.ask(node, "POST", "/auth/refresh")
    assert answer.status == 200
    again = answer.json
    assert told["refresh_expires_in"] - WITHIN_S < again.pop("refresh_expires_in") <= told.pop("refresh_expires_in")
    assert again == told
    assert answer.values("set-cookie") == []
    assert account_reads(service) == 1
    assert (await page.ask(node, "GET", "/auth/me")).json["token_id"] != first["token_id"]


async def test_a_refresh_takes_one_credential(node: Node, page: Page) -> None:
    tokens = await Caller(node).login()
    await page.login(node)
    both = await page.ask(node, "POST", "/auth/refresh", {"refresh_token": tokens["refresh_token"]})
    problem(both, 400, "repeated_credentials")
    assert (await Page().ask(node, "POST", "/auth/refresh", {"refresh_token": tokens["refresh_token"]})).status == 200
    assert await page.me(node) == 200
    problem(await Page().ask(node, "POST", "/auth/refresh"), 415, "unsupported_media_type")


async def test_a_session_that_is_not_used_ends_and_one_that_is_used_ends_too(
    node: Node, page: Page, redis: Redis
) -> None:
    """R-146: idle for 14 days; 30 days in any case."""

    async def time_passes(seconds: int) -> None:
        node.tick(seconds)
        await time_passes_at(redis, seconds)

    await page.login(node)
    for _ in range(2):
        await time_passes(14 * 86_400 - 60)
        assert await page.me(node) == 200
    await time_passes(2 * 86_400 + 120)
    assert await page.me(node) == 401
    idle = Page()
    await idle.login(node)
    await time_passes(14 * 86_400)
    assert await idle.me(node) == 401


async def test_use_shows_in_the_list_of_sessions(node: Node, page: Page, redis: Redis) -> None:
    await page.login(node)
    node.tick(600)
    await time_passes_at(redis, 600)
    assert await page.me(node) == 200
    (session,) = (await page.ask(node, "GET", "/auth/sessions")).json["sessions"]
    assert 600 <= session["last_used"] - session["created"] < 600 + WITHIN_S
    assert session["current"] is True


async def test_a_ticket_by_cookie_stands_for_the_token_behind_it(node: Node, other: Node, page: Page) -> None:
    await page.login(node)
    answer = await page.ask(node, "POST", "/auth/tickets")
    assert answer.status == 201
    token = await other.worker.auth.tickets.redeem(answer.json["ticket"])
    assert token is not None
    assert (await other.get("/auth/me", f"Authorization: Bearer {token.decode()}\r\n")).json["user_id"] == "id-alice"


async def test_nothing_that_is_written_down_holds_the_cookie(
    node: Node, page: Page, capfd: pytest.CaptureFixture[str]
) -> None:
    """R-184."""
    await page.login(node)
    value = page.jar[NAME]
    await page.ask(node, "GET", "/orders")
    await page.ask(node, "POST", "/orders", whence=EVIL)
    await page.ask(node, "GET", "/orders", more=f"Cookie: {NAME}=lgc_x\r\n")
    node.tick(311)
    await page.ask(node, "GET", "/orders")
    await page.ask(node, "POST", "/auth/logout")
    await node.worker.auth.audit.flush()
    out, err = capfd.readouterr()
    assert '"event": "login"' in out
    assert '"event": "request"' in out
    assert value not in out + err
    assert PASSWORD not in out + err
