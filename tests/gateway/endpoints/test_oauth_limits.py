"""How far a client reaches: roles, others' tokens, the time after it was removed, credentials that are none."""

from __future__ import annotations

import base64
import time
from typing import Any, Final

import httpx
import pytest
from redis.asyncio import Redis

from lockgate.accounts.clients import Client, Clients
from lockgate.errors import Reason, Refusal
from lockgate.sessions.call_origin import CallOrigin
from lockgate.stores.layout import CLIENTS, ENDED_CHANNEL
from lockgate_shop.users.models import Status
from tests.support.parties import REFUSED, active, orders, refresh, registered
from tests.support.raw import WITHIN_S
from tests.support.shop import PASSWORD, Shop, bearer, code
from tests.support.shop_rig import CREDENTIALS, Caller, problem
from tests.support.store import time_passes_at
from tests.support.upstream import Upstream

ALL_SCOPES: Final = ("orders:read", "orders:write", "products:write")
VISITOR: Final = CallOrigin(address="192.0.2.7", agent="test", request_id="1")
FORM: Final = {"content-type": "application/x-www-form-urlencoded"}


async def me(shop: Shop, tokens: dict[str, Any]) -> dict[str, Any]:
    answer = await shop.http.get("/auth/me", headers=bearer(tokens))
    assert answer.status_code == 200
    content: dict[str, Any] = answer.json()
    return content


async def administers(shop: Shop, tokens: dict[str, Any]) -> bool:
    """Whether a token opens the calls for administrators."""
    answer = await shop.http.get("/admin/clients", headers=bearer(tokens))
    if answer.status_code == 200:
        return True
    assert code(answer) == (403, "insufficient_role")
    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
    return False


async def remove(shop: Shop, client_id: str) -> None:
    answer = await shop.http.delete(f"/admin/clients/{client_id}", headers=bearer(await shop.tokens("ada")))
    assert answer.status_code == 204


# --- roles ---------------------------------------------------------------------------------------------------------


async def test_a_client_with_fewer_scopes_logs_an_administrator_in_without_roles(
    shop: Shop, upstream: Upstream
) -> None:
    """R-145: what a role may do stands in no scope, so a role would carry the client beyond its own."""
    party = await registered(shop, scopes=("orders:read",))
    tokens = await party.login("ada")
    again = (await refresh(shop, tokens["refresh_token"], party)).json()
    for one in (tokens, again):
        assert (await me(shop, one))["roles"] == []
        assert not await administers(shop, one)
        assert await orders(shop, one) == 200
        assert upstream.requests[-1].value("x-user-roles") == ""


async def test_a_session_that_was_narrowed_has_no_roles_any_more(shop: Shop) -> None:
    """R-145"""
    tokens = await shop.tokens("ada")
    assert await administers(shop, tokens)
    narrow = (await refresh(shop, tokens["refresh_token"], scope="orders:read")).json()
    later = (await refresh(shop, narrow["refresh_token"])).json()
    for one in (narrow, later):
        assert (await me(shop, one))["roles"] == []
        assert not await administers(shop, one)


@pytest.mark.parametrize("between", ["\t", "\n", "\x1f", "\u00a0", "\u2028", "\u3000"])
async def test_scopes_are_separated_by_spaces_and_nothing_else(shop: Shop, between: str) -> None:
    """R-145, RFC 6749 section 3.3."""
    party = await registered(shop, scopes=ALL_SCOPES)
    tokens = await party.login("ada")
    for scope in (f"orders:read{between}orders:write", between):
        refused = await refresh(shop, tokens["refresh_token"], party, scope=scope)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_scope")
        grant = {"grant_type": "client_credentials", "scope": scope}
        refused = await shop.http.post("/auth/token", data=grant, headers=party.basic)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_scope")
    narrow = await refresh(shop, tokens["refresh_token"], party, scope=" orders:read  orders:write ")
    assert narrow.json()["scope"] == "orders:read orders:write"


async def test_a_client_with_every_scope_limits_nobody(shop: Shop) -> None:
    party = await registered(shop, scopes=ALL_SCOPES)
    assert await administers(shop, await party.login("ada"))
    assert (await me(shop, await party.login("alice")))["roles"] == ["customer"]


# --- revocation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [{}, {"client_id": "lockgate-login"}])
async def test_nobody_in_particular_revokes_nothing_of_a_client_with_a_secret(
    shop: Shop, redis: Redis, form: dict[str, str]
) -> None:
    """R-149, RFC 7009 section 2.1: a finder of such a token may not end it either, and is not told."""
    party = await registered(shop)
    session, machine = await party.login("alice"), (await party.token()).json()
    before = sorted(await redis.keys("*:session:*"))
    for token in (session["refresh_token"], session["access_token"], machine["access_token"]):
        answer = await shop.http.post("/auth/revoke", data={"token": token, **form})
        assert (answer.status_code, answer.content) == (200, b"")
    assert await orders(shop, session) == await orders(shop, machine) == 200
    assert sorted(await redis.keys("*:session:*")) == before
    assert (await redis.keys("*:jti:*"), await redis.keys("*:ended:*")) == ([], [])
    assert await shop.events("revoke") == []
    assert (await refresh(shop, session["refresh_token"], party)).status_code == 200


async def test_the_public_clients_tokens_are_revoked_by_whoever_holds_them(shop: Shop) -> None:
    """R-149"""
    first, second = await shop.tokens("alice"), await shop.tokens("alice")
    await shop.http.post("/auth/revoke", data={"token": first["access_token"], "client_id": "lockgate-login"})
    await shop.http.post("/auth/revoke", json={"token": second["refresh_token"]})
    assert await orders(shop, first) == await orders(shop, second) == 401
    assert code(await refresh(shop, second["refresh_token"])) == (400, "invalid_grant")


@pytest.mark.parametrize("media", ["form", "json"])
async def test_a_hint_of_any_length_and_a_token_longer_than_any_are_no_mistakes(shop: Shop, media: str) -> None:
    """R-149, R-151: RFC 7009 section 2.2 and RFC 7662 section 2.2 know no such error."""
    party = await registered(shop)
    tokens = await shop.tokens("alice")

    async def post(path: str, **content: str) -> httpx.Response:
        if media == "form":
            return await shop.http.post(path, data=content, headers=party.basic)
        return await shop.http.post(path, json=content, headers=party.basic)

    told = await post("/auth/introspect", token=tokens["access_token"], token_type_hint="x" * 65)
    assert told.json()["active"] is True
    assert (await post("/auth/introspect", token="x" * 9000)).json() == {"active": False}
    assert (await post("/auth/revoke", token="x" * 9000)).status_code == 200
    own = (await party.token()).json()
    assert (await post("/auth/revoke", token=own["access_token"], token_type_hint="x" * 65)).status_code == 200
    assert await orders(shop, own) == 401


# --- a client that was removed -------------------------------------------------------------------------------------


async def test_the_sessions_that_a_removed_client_has_begun_end_with_it(shop: Shop, redis: Redis) -> None:
    """R-142: at once, also their access tokens, and no other client's."""
    party, other = await registered(shop), await registered(shop, "other")
    its = [await party.login("alice"), await party.login("bob")]
    others = [await other.login("alice"), await shop.tokens("alice")]
    async with redis.pubsub() as ears:
        await ears.subscribe(ENDED_CHANNEL)
        await remove(shop, "reports")
        heard = [message async for message in _heard(ears, 3)]
    for tokens in its:
        assert await orders(shop, tokens) == 401
        assert f"sid:{tokens['session_id']}" in heard
    for tokens in others:
        assert await orders(shop, tokens) == 200
    listed = (await shop.http.get("/auth/sessions", headers=bearer(others[1]))).json()["sessions"]
    assert {one["session_id"] for one in listed} == {tokens["session_id"] for tokens in others}


async def _heard(ears: Any, count: int) -> Any:  # noqa: ANN401 - redis-py does not say
    for _ in range(count + 1):
        message = await ears.get_message(timeout=5)
        if message is not None and message["type"] == "message":
            yield message["data"].decode()


async def test_registering_a_name_again_revives_nothing(shop: Shop) -> None:
    party = await registered(shop)
    tokens = await party.login("alice")
    await remove(shop, "reports")
    again = await registered(shop)
    assert code(await refresh(shop, tokens["refresh_token"], again)) == (400, "invalid_grant")
    assert await orders(shop, tokens) == 401


async def test_a_removal_that_got_no_further_than_the_name_is_made_up_for_before_it_is_given_away(
    shop: Shop, redis: Redis
) -> None:
    party = await registered(shop)
    session, machine = await party.login("alice"), (await party.token()).json()
    await redis.hdel(CLIENTS, "reports")
    again = await registered(shop)
    assert await orders(shop, session) == await orders(shop, machine) == 401
    assert code(await refresh(shop, session["refresh_token"], again)) == (400, "invalid_grant")


@pytest.mark.parametrize("anew", [False, True])
async def test_a_login_that_was_under_way_begins_no_session(shop: Shop, redis: Redis, *, anew: bool) -> None:
    """It authenticated before the client was removed, and begins a session after the others have been ended."""
    party = await registered(shop)
    client = await Clients(redis, shop.node.clock).authenticate("reports", party.secret)
    assert isinstance(client, Client)
    await remove(shop, "reports")
    if anew:
        await registered(shop)
    before = sorted(await redis.keys("*:session:*"))
    outcome = await shop.node.worker.auth.sessions.login("alice", PASSWORD, VISITOR, client=client)
    assert isinstance(outcome, Refusal)
    assert outcome.reason is Reason.CLIENT_REFUSED
    assert sorted(await redis.keys("*:session:*")) == before


async def test_the_public_clients_name_is_nobody_elses(shop: Shop) -> None:
    tokens = await shop.tokens("ada")
    content = {"client_id": "lockgate-login", "scopes": []}
    answer = await shop.http.post("/admin/clients", json=content, headers=bearer(tokens))
    assert code(answer) == (409, "client_exists")
    gone = await shop.http.delete("/admin/clients/lockgate-login", headers=bearer(tokens))
    assert gone.status_code == 404
    assert (await refresh(shop, tokens["refresh_token"])).status_code == 200


# --- what is told of a refresh token -------------------------------------------------------------------------------


async def test_of_a_refresh_token_it_is_told_what_a_refresh_would_give(shop: Shop, redis: Redis) -> None:
    """R-151, RFC 7662 section 2.2; for the gateway alone, and not what a resource takes for an access token (R-30)."""
    party = await registered(shop, scopes=ALL_SCOPES)
    tokens = await party.login("alice")
    await time_passes_at(redis, 60)
    tokens = (await refresh(shop, tokens["refresh_token"], party)).json()
    assert tokens["refresh_expires_in"] == 14 * 86_400
    content = (await party.post("/auth/introspect", token=tokens["refresh_token"])).json()
    ends_in, lasted = content.pop("exp") - shop.node.clock.now(), time.time() - content.pop("iat")
    assert 14 * 86_400 - WITHIN_S < ends_in <= 14 * 86_400
    assert 60 <= lasted < 60 + WITHIN_S
    assert content == {
        "active": True,
        "scope": "orders:read orders:write",
        "client_id": "reports",
        "sub": (await me(shop, tokens))["user_id"],
        "aud": "http://127.0.0.1:8080",
        "iss": "http://127.0.0.1:8080",
        "jti": f"{tokens['session_id']}.1",
        "token_type": "refresh_token",
    }


async def test_a_refresh_token_expires_when_its_session_does_at_the_latest(shop: Shop, redis: Redis) -> None:
    """R-146"""
    party = await registered(shop)
    tokens = await party.login("alice")
    for _ in range(2):
        await time_passes_at(redis, 13 * 86_400)
        tokens = (await refresh(shop, tokens["refresh_token"], party)).json()
    ends = (await party.post("/auth/introspect", token=tokens["refresh_token"])).json()["exp"]
    for ends_in in (tokens["refresh_expires_in"], ends - shop.node.clock.now()):
        assert 4 * 86_400 - WITHIN_S < ends_in <= 4 * 86_400


async def test_a_refresh_token_that_no_refresh_would_take_is_not_active(shop: Shop) -> None:
    """R-147: the account is read, as at a refresh."""
    party = await registered(shop)
    blocked, changed = await party.login("alice"), await party.login("bob")
    assert await active(party, blocked["refresh_token"])
    sub = (await me(shop, blocked))["user_id"]
    await shop.users.set_status(sub, Status.BLOCKED)
    assert not await active(party, blocked["refresh_token"])
    shop.node.tick(1)  # a password is told from the one before by when it was set
    await shop.users.change_password((await me(shop, changed))["user_id"], PASSWORD, "another-long-password")
    assert not await active(party, changed["refresh_token"])


async def test_while_accounts_are_away_nothing_is_said_of_a_refresh_token(
    caller: Caller, service: Upstream, redis: Redis
) -> None:
    """R-147: what a refresh would give cannot be known."""
    added = await Clients(redis, caller.node.clock).add("reports", ["orders:read"])
    assert added is not None
    basic = base64.b64encode(f"reports:{added[1]}".encode()).decode()
    fields = f"Authorization: Basic {basic}\r\n"
    tokens = (await caller.json("/auth/login", CREDENTIALS, fields=fields)).json
    question = {"token": tokens["refresh_token"]}
    assert (await caller.json("/auth/introspect", question, fields=fields)).json["scope"] == "orders:read"
    await service.stop()
    problem(await caller.json("/auth/introspect", question, fields=fields), 503, "accounts_unavailable")


# --- a client in its own name --------------------------------------------------------------------------------------


async def test_where_nobody_has_authenticated_no_time_of_it_is_told(shop: Shop, upstream: Upstream) -> None:
    """RFC 9068 section 2.2.1"""
    party = await registered(shop)
    machine, user = (await party.token()).json(), await shop.tokens("alice")
    assert await orders(shop, machine) == 200
    assert upstream.requests[-1].values("x-auth-time") == []
    assert (await me(shop, machine))["auth_time"] is None
    assert await orders(shop, user) == 200
    assert upstream.requests[-1].value("x-auth-time") == str((await me(shop, user))["auth_time"])


# --- credentials that are none -------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["Basic", "Basic !", "basic x y"])
async def test_a_field_that_names_no_client_is_not_nobody_in_particular(shop: Shop, redis: Redis, field: str) -> None:
    """R-44, RFC 6749 section 2.3: and nothing happens."""
    party = await registered(shop)
    tokens = await shop.tokens("alice")
    headers = {"authorization": field}
    before = sorted(await redis.keys("*:session:*"))
    credentials = {"username": "alice", "password": PASSWORD}
    body = {"client_id": party.client_id, "client_secret": party.secret}
    for answer in (
        await shop.http.post("/auth/login", json=credentials, headers=headers),
        await shop.http.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]}, headers=headers),
        await shop.http.post("/auth/revoke", data={"token": tokens["refresh_token"]}, headers=headers),
        await shop.http.post("/auth/introspect", data={"token": "x", **body}, headers=headers),
        await shop.http.post("/auth/token", data={"grant_type": "client_credentials", **body}, headers=headers),
        await shop.http.post(
            "/auth/token",
            data={"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]},
            headers=headers,
        ),
    ):
        assert code(answer) == REFUSED
        assert answer.headers["www-authenticate"] == 'Basic realm="lockgate"'
    assert sorted(await redis.keys("*:session:*")) == before
    assert await orders(shop, tokens) == 200
    assert (await shop.http.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})).status_code == 200


# --- forms ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ["grant_type=client_credentials&", "&grant_type=client_credentials&scope"])
async def test_a_form_may_have_names_without_values(shop: Shop, body: str) -> None:
    """RFC 6749 section 3.2: what has no value was not sent."""
    party = await registered(shop)
    answer = await shop.http.post("/auth/token", content=body, headers={**party.basic, **FORM})
    assert (answer.status_code, answer.json().get("scope")) == (200, "orders:read orders:write")


async def test_the_gateways_own_refresh_takes_what_oauth_clients_send(shop: Shop) -> None:
    """RFC 6749 section 6, R-145, R-148"""
    party = await registered(shop)
    own, its = await shop.tokens("alice"), await party.login("alice")
    form = {"grant_type": "refresh_token", "refresh_token": own["refresh_token"], "client_id": "lockgate-login"}
    narrow = (await shop.http.post("/auth/refresh", data={**form, "scope": "orders:read", "resource": "x"})).json()
    assert narrow["scope"] == "orders:read"
    body = {"refresh_token": its["refresh_token"], "client_id": "reports"}
    assert code(await shop.http.post("/auth/refresh", data={**body, "client_secret": "wrong"})) == REFUSED
    assert (await shop.http.post("/auth/refresh", data={**body, "client_secret": party.secret})).status_code == 200


async def test_a_session_shows_where_it_was_refreshed_from_last(shop: Shop) -> None:
    tokens = await shop.tokens("alice")
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    fresh = (await shop.http.post("/auth/token", data=form, headers={"user-agent": "another device"})).json()
    (listed,) = (await shop.http.get("/auth/sessions", headers=bearer(fresh))).json()["sessions"]
    assert listed["device"] == "another device"
