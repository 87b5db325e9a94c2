"""OAuth for clients with a secret: tokens, refresh, revocation, introspection, metadata."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from tests.support.parties import REFUSED, Party, active, orders, refresh, registered
from tests.support.shop import PASSWORD, Shop, bearer, code
from tests.support.store import time_passes_at

# --- client_credentials --------------------------------------------------------------------------------------------


async def test_a_client_gets_a_token_in_its_own_name(shop: Shop) -> None:
    # R-154, RFC 6749 section 4.4
    party = await registered(shop)
    answer = await party.token()
    content = answer.json()
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["pragma"] == "no-cache"
    assert set(content) == {"access_token", "token_type", "expires_in", "scope"}
    assert (content["token_type"], content["scope"]) == ("Bearer", "orders:read orders:write")
    me = (await shop.http.get("/auth/me", headers=bearer(content))).json()
    assert (me["user_id"], me["client_id"], me["roles"]) == ("client:reports", "reports", [])
    assert await orders(shop, content, "POST") == 200


async def test_a_client_asks_for_less_but_never_for_more(shop: Shop) -> None:
    party = await registered(shop)
    content = (await party.token(scope="orders:read")).json()
    assert content["scope"] == "orders:read"
    assert await orders(shop, content, "POST") == 403
    for scope in ("products:write", "orders:read products:write", "nonsense"):
        assert code(await party.token(scope=scope)) == (400, "invalid_scope")


async def test_the_secret_may_stand_in_the_body(shop: Shop) -> None:
    party = await registered(shop)
    form = {"grant_type": "client_credentials", "client_id": "reports", "client_secret": party.secret}
    assert (await shop.http.post("/auth/token", data=form)).status_code == 200


@pytest.mark.parametrize(
    "field",
    [
        "Basic",
        "Basic x y",
        "Basic !!!!",
        "Basic cmVwb3J0cw==",
        "Basic cmVwb3J0czo=",
        "Basic cmVwb3J0czp3cm9uZw==",
        "basic bm9ib2R5Ondyb25n",
    ],
)
async def test_whoever_is_not_a_client_is_told_how_to_be_one(shop: Shop, field: str) -> None:
    # reports without a secret, with a wrong one, an unknown client, and no credentials at all
    await registered(shop)
    form = {"grant_type": "client_credentials"}
    answer = await shop.http.post("/auth/token", data=form, headers={"authorization": field})
    assert code(answer) == REFUSED
    assert answer.json()["error"] == "invalid_client"
    assert answer.headers["www-authenticate"] == 'Basic realm="lockgate"'
    assert "access_token" not in answer.text


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"client_id": "reports"},
        {"client_id": "reports", "client_secret": "x"},
        {"client_secret": "x"},
        {"client_id": "lockgate-login"},
    ],
)
async def test_a_name_alone_is_no_client(shop: Shop, form: dict[str, str]) -> None:
    await registered(shop)
    answer = await shop.http.post("/auth/token", data={"grant_type": "client_credentials", **form})
    assert code(answer) == REFUSED


async def test_two_ways_of_showing_a_secret_are_one_too_many(shop: Shop) -> None:
    # RFC 6749 section 2.3
    party = await registered(shop)
    for more in ({"client_id": "reports", "client_secret": party.secret}, {"client_id": "other"}):
        answer = await party.token(**more)
        assert code(answer) == (400, "repeated_credentials")
        assert "www-authenticate" not in answer.headers
    assert (await party.token(client_id="reports")).status_code == 200


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"scope": "orders:read"}, (400, "invalid_fields")),
        ({"grant_type": "password", "username": "alice", "password": PASSWORD}, (400, "unsupported_grant_type")),
        ({"grant_type": ""}, (400, "invalid_fields")),
        ({"grant_type": "refresh_token"}, (400, "invalid_fields")),
    ],
)
async def test_what_is_no_grant_is_refused(shop: Shop, form: dict[str, str], expected: tuple[int, str]) -> None:
    # above all, no second way to try passwords.
    party = await registered(shop)
    assert code(await party.post("/auth/token", **form)) == expected


async def test_a_repeated_parameter_is_refused_and_an_unknown_one_ignored(shop: Shop) -> None:
    # RFC 6749 section 3.2
    """R-106."""
    party = await registered(shop)
    twice = "grant_type=client_credentials&scope=orders:read&scope=orders:write"
    kind = {"content-type": "application/x-www-form-urlencoded"}
    answer = await shop.http.post("/auth/token", content=twice, headers={**party.basic, **kind})
    assert code(answer) == (400, "invalid_fields")
    assert (await party.token(resource="https://a.example", scope="")).status_code == 200


async def test_json_is_no_form(shop: Shop) -> None:
    party = await registered(shop)
    content = {"grant_type": "client_credentials"}
    answer = await shop.http.post("/auth/token", json=content, headers=party.basic)
    assert code(answer) == (415, "unsupported_media_type")
    assert code(await shop.http.get("/auth/token")) == (405, "method_not_allowed")


async def test_a_removed_client_and_its_tokens_die_at_once(shop: Shop) -> None:
    party = await registered(shop)
    tokens = (await party.token()).json()
    admin = bearer(await shop.tokens("ada"))
    await shop.http.delete("/admin/clients/reports", headers=admin)
    assert await orders(shop, tokens) == 401
    assert code(await party.token()) == REFUSED
    again = await registered(shop)
    assert await orders(shop, tokens) == 401
    assert await orders(shop, (await again.token()).json()) == 200


async def test_redis_holds_no_secret(shop: Shop, redis: Redis) -> None:
    party = await registered(shop)
    assert party.secret.startswith("lgs_")
    assert party.secret.encode() not in (await redis.hget("lg:clients", "reports") or b"")


# --- refresh -------------------------------------------------------------------------------------------------------


async def test_the_token_endpoint_refreshes_like_the_gateways_own_call(shop: Shop) -> None:
    tokens = await shop.tokens("alice")
    answer = await refresh(shop, tokens["refresh_token"], client_id="lockgate-login")
    assert answer.status_code == 200
    assert answer.json()["session_id"] == tokens["session_id"]
    assert await orders(shop, answer.json()) == 200


async def test_a_clients_session_is_refreshed_by_that_client_alone(shop: Shop) -> None:
    #
    """R-148."""
    party, other = await registered(shop), await registered(shop, "other")
    tokens = await party.login("alice")
    stolen = tokens["refresh_token"]
    for answer in (await refresh(shop, stolen), await refresh(shop, stolen, other)):
        assert code(answer) == (400, "invalid_grant")
    own = await shop.http.post("/auth/refresh", json={"refresh_token": stolen})
    assert code(own) == (400, "invalid_grant")
    wrong = Party(shop, "reports", "wrong")
    assert code(await refresh(shop, stolen, wrong)) == REFUSED
    assert [event["reason"] for event in await shop.events("refresh.refused")] == ["refresh_foreign"] * 3
    assert (await refresh(shop, stolen, party)).status_code == 200


async def test_a_used_token_in_anothers_hands_is_not_told_from_one_that_is_not_theirs(shop: Shop) -> None:
    """R-142, R-148: nor does it end the session; only its own client can say that it was copied."""
    party, other = await registered(shop), await registered(shop, "other")
    used = (await party.login("alice"))["refresh_token"]
    latest = (await refresh(shop, used, party)).json()
    latest = (await refresh(shop, latest["refresh_token"], party)).json()
    for answer in (await refresh(shop, used), await refresh(shop, used, other)):
        assert code(answer) == (400, "invalid_grant")
    assert await orders(shop, latest) == 200
    assert code(await refresh(shop, used, party)) == (400, "refresh_reused")


async def test_a_public_session_is_nothing_for_a_client_with_a_secret(shop: Shop) -> None:
    party = await registered(shop)
    tokens = await shop.tokens("alice")
    assert code(await refresh(shop, tokens["refresh_token"], party)) == (400, "invalid_grant")
    assert (await refresh(shop, tokens["refresh_token"])).status_code == 200


async def test_a_clients_session_does_no_more_than_its_client_may(shop: Shop) -> None:
    party = await registered(shop, scopes=("orders:read",))
    tokens = await party.login("alice")
    assert tokens["scope"] == "orders:read"
    assert await orders(shop, tokens, "POST") == 403
    again = (await refresh(shop, tokens["refresh_token"], party)).json()
    assert again["scope"] == "orders:read"


async def test_a_scope_only_ever_narrows(shop: Shop) -> None:
    #
    """R-145."""
    tokens = await shop.tokens("alice")
    narrow = (await refresh(shop, tokens["refresh_token"], scope="orders:read")).json()
    assert narrow["scope"] == "orders:read"
    assert await orders(shop, narrow, "POST") == 403
    for scope in ("orders:write", "orders:read orders:write", "products:write"):
        answer = await refresh(shop, narrow["refresh_token"], scope=scope)
        assert code(answer) == (400, "invalid_scope")
    later = (await refresh(shop, narrow["refresh_token"])).json()
    assert later["scope"] == "orders:read"


async def test_a_refused_scope_costs_no_generation(shop: Shop) -> None:
    """R-145."""
    tokens = await shop.tokens("alice")
    assert code(await refresh(shop, tokens["refresh_token"], scope="admin")) == (400, "invalid_scope")
    shop.node.tick(60)
    assert (await refresh(shop, tokens["refresh_token"])).status_code == 200


async def test_a_reused_token_ends_the_session_whatever_scope_it_asks_for(shop: Shop) -> None:
    #
    """R-142."""
    tokens = await shop.tokens("alice")
    second = (await refresh(shop, tokens["refresh_token"], scope="orders:read")).json()
    third = (await refresh(shop, second["refresh_token"])).json()
    answer = await refresh(shop, tokens["refresh_token"], scope="orders:write")
    assert code(answer) == (400, "refresh_reused")
    assert answer.json()["error"] == "invalid_grant"
    assert await orders(shop, third) == 401


# --- revocation ----------------------------------------------------------------------------------------------------


async def test_a_client_does_not_revoke_what_is_another_clients(shop: Shop) -> None:
    #
    """R-149."""
    party, other = await registered(shop), await registered(shop, "other")
    session, machine = await party.login("alice"), (await party.token()).json()
    for token in (session["refresh_token"], session["access_token"], machine["access_token"]):
        answer = await other.post("/auth/revoke", token=token)
        assert (answer.status_code, answer.content) == (200, b"")
    assert await orders(shop, session) == await orders(shop, machine) == 200
    for token in (session["refresh_token"], machine["access_token"]):
        assert (await party.post("/auth/revoke", token=token, token_type_hint="nonsense")).status_code == 200
    assert await orders(shop, session) == await orders(shop, machine) == 401


async def test_a_wrong_secret_revokes_nothing(shop: Shop) -> None:
    # RFC 7009 section 2.1
    party = await registered(shop)
    tokens = (await party.token()).json()
    wrong = Party(shop, "reports", "wrong")
    assert code(await wrong.post("/auth/revoke", token=tokens["access_token"])) == REFUSED
    assert code(await party.post("/auth/revoke", token="")) == (400, "invalid_fields")
    assert await orders(shop, tokens) == 200


# --- introspection -------------------------------------------------------------------------------------------------


async def test_an_access_token_is_told_of_until_it_is_revoked(shop: Shop) -> None:
    # R-151, RFC 7662 section 2.2
    """R-151."""
    party = await registered(shop)
    tokens = await shop.tokens("alice")
    me = (await shop.http.get("/auth/me", headers=bearer(tokens))).json()
    answer = await party.post("/auth/introspect", token=tokens["access_token"])
    now = int(shop.node.clock.now())
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {
        "active": True,
        "scope": "orders:read orders:write",
        "client_id": "lockgate-login",
        "sub": me["user_id"],
        "exp": now + 300,
        "iat": now,
        "aud": "lockgate",
        "iss": "http://127.0.0.1:8080",
        "jti": me["token_id"],
        "token_type": "Bearer",
    }
    await shop.http.post("/auth/logout", headers=bearer(tokens))
    assert not await active(party, tokens["access_token"])


async def test_an_expired_token_is_not_active(shop: Shop) -> None:
    """R-151."""
    party = await registered(shop)
    tokens = await shop.tokens("alice")
    shop.node.tick(311)
    assert not await active(party, tokens["access_token"])


async def test_a_refresh_token_is_told_of_to_its_own_client(shop: Shop, redis: Redis) -> None:
    party, other = await registered(shop), await registered(shop, "other")
    tokens = await party.login("alice")
    content = (await party.post("/auth/introspect", token=tokens["refresh_token"])).json()
    assert content["active"] is True
    assert not await active(other, tokens["refresh_token"])
    newer = (await refresh(shop, tokens["refresh_token"], party)).json()
    assert not await active(party, tokens["refresh_token"])
    assert await active(party, newer["refresh_token"])
    await time_passes_at(redis, 14 * 86_400)
    assert not await active(party, newer["refresh_token"])


@pytest.mark.parametrize("token", ["x", "a.b.c", "lgr_x", "lgr_" + "A" * 100, "\u00e9", "x" * 8192])
async def test_of_anything_else_nothing_is_told(shop: Shop, token: str) -> None:
    #
    """R-151."""
    assert not await active(await registered(shop), token)


async def test_a_token_for_somebody_else_is_not_active(shop: Shop) -> None:
    """R-151."""
    party = await registered(shop)
    assert not await active(party, shop.node.tokens.token(aud="elsewhere"))
    assert await active(party, shop.node.tokens.token())


async def test_nobody_in_particular_is_told_nothing(shop: Shop) -> None:
    #
    """R-151."""
    tokens = await shop.tokens("alice")
    for headers in ({}, bearer(tokens)):
        answer = await shop.http.post("/auth/introspect", data={"token": tokens["access_token"]}, headers=headers)
        assert code(answer) == REFUSED


async def test_when_it_cannot_be_known_nothing_is_said_of_a_token(shop: Shop, redis: Redis) -> None:
    party = await registered(shop)
    tokens = await shop.tokens("alice")
    await redis.delete("lg:clients")
    await redis.set("lg:clients", "not a hash")
    answer = await party.post("/auth/introspect", token=tokens["access_token"])
    assert code(answer) == (503, "store_unavailable")


# --- metadata ------------------------------------------------------------------------------------------------------


async def test_the_metadata_names_calls_that_are_there(shop: Shop) -> None:
    # RFC 8414
    answer = await shop.http.get("/.well-known/oauth-authorization-server")
    content = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert content["issuer"] == shop.node.settings.token.issuer
    assert content["response_types_supported"] == []
    assert content["grant_types_supported"] == ["client_credentials", "refresh_token"]
    assert content["scopes_supported"] == ["orders:read", "orders:write", "products:write"]
    for name in ("token_endpoint", "revocation_endpoint", "introspection_endpoint", "jwks_uri"):
        path = content[name].removeprefix(content["issuer"])
        method = "GET" if name == "jwks_uri" else "POST"
        assert (await shop.http.request(method, path)).status_code not in (404, 405)
