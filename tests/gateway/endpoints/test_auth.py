"""Log in, go on, end: `/auth` over a socket, with a real Redis. R-31, R-120, R-131, R-140 to R-154."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from lockgate.sessions.session_store import MAX_REPEATS
from lockgate.stores.layout import UserKeys
from tests.support.raw import Message
from tests.support.shop_rig import CREDENTIALS, PASSWORD, Caller, Users, bearer, problem
from tests.support.upstream import Upstream


def _granted(answer: Message) -> dict[str, object]:
    assert answer.status == 200, answer.raw
    assert answer.value("cache-control") == "no-store"
    assert answer.value("content-type") == "application/json"
    assert answer.values("set-cookie") == []
    tokens: dict[str, object] = answer.json
    assert set(tokens) >= {
        "access_token",
        "token_type",
        "expires_in",
        "refresh_token",
        "refresh_expires_in",
        "session_id",
        "scope",
    }
    assert tokens["token_type"] == "Bearer"
    assert tokens["expires_in"] == 300
    return tokens


async def test_a_login_gives_a_token_that_is_let_in(caller: Caller, service: Upstream) -> None:
    """R-154"""
    tokens = _granted(await caller.json("/auth/login", CREDENTIALS))
    assert tokens["scope"] == "orders:read orders:write"
    assert tokens["refresh_expires_in"] == 14 * 86_400
    assert await caller.welcome(str(tokens["access_token"])) == 200
    assert service.requests[-1].value("x-user-id") == "id-alice"
    assert service.requests[-1].value("x-session-id") == tokens["session_id"]


async def test_every_failure_of_a_login_looks_the_same(caller: Caller, users: Users, redis: Redis) -> None:
    """R-120: unknown, wrong, blocked."""
    users.status["id-bob"] = "blocked"
    answers = [
        await caller.json("/auth/login", {"username": name, "password": password})
        for name, password in (("alice", "wrong-password"), ("nobody", PASSWORD), ("bob", PASSWORD))
    ]
    seen = set()
    for answer in answers:
        members = problem(answer, 400, "invalid_grant")
        assert members["error"] == "invalid_grant"
        del members["request_id"]
        names = tuple(name for name, _ in answer.fields)
        seen.add((names, tuple(sorted(members.items()))))
    assert len(seen) == 1
    assert await redis.keys("*session*") == []


async def test_a_login_begins_a_session_of_its_own(caller: Caller) -> None:
    """R-130: and nothing of an earlier one goes over into it."""
    first, second = await caller.login(), await caller.login()
    assert first["session_id"] != second["session_id"]
    assert first["refresh_token"] != second["refresh_token"]


@pytest.mark.parametrize("how", ["json", "form"])
async def test_a_refresh_gives_the_next_tokens(caller: Caller, how: str) -> None:
    """R-154: RFC 6749 section 6 sends a form; our own clients send JSON."""
    tokens = await caller.login()
    body = {"refresh_token": tokens["refresh_token"]}
    send = caller.json if how == "json" else caller.form
    fresh = _granted(await send("/auth/refresh", {**body, "grant_type": "refresh_token"}))
    assert fresh["session_id"] == tokens["session_id"]
    assert fresh["refresh_token"] != tokens["refresh_token"]
    assert await caller.welcome(str(fresh["access_token"])) == 200


async def test_more_tabs_than_anybody_has_cost_nobody_the_session(caller: Caller, redis: Redis) -> None:
    """R-143: the count is bounded; a client beyond it comes again, with the token that the others were given."""
    tokens = await caller.login()
    body = {"refresh_token": tokens["refresh_token"]}
    answers = await asyncio.gather(*(caller.json("/auth/refresh", body) for _ in range(MAX_REPEATS + 15)))
    fresh = [_granted(answer) for answer in answers if answer.status == 200]
    assert len(fresh) == MAX_REPEATS + 1
    key = UserKeys.of("id-alice").session(tokens["session_id"])
    before = await redis.hgetall(key)
    late = await caller.json("/auth/refresh", body)
    for answer in (late, *(answer for answer in answers if answer.status != 200)):
        assert "error" not in problem(answer, 429, "too_many_refreshes")
        assert int(answer.value("retry-after")) >= 1
    assert await redis.hgetall(key) == before
    for one in (tokens, *fresh):
        assert await caller.welcome(str(one["access_token"])) == 200
    _granted(await caller.json("/auth/refresh", {"refresh_token": fresh[0]["refresh_token"]}))


async def test_a_reused_refresh_token_ends_the_session_and_its_access_tokens(caller: Caller) -> None:
    """R-142"""
    stolen = await caller.login()
    fresh = (await caller.json("/auth/refresh", {"refresh_token": stolen["refresh_token"]})).json
    fresh = (await caller.json("/auth/refresh", {"refresh_token": fresh["refresh_token"]})).json
    answer = await caller.json("/auth/refresh", {"refresh_token": stolen["refresh_token"]})
    members = problem(answer, 400, "refresh_reused")
    assert (members["error"], members["detail"]) == ("invalid_grant", "The refresh token is not valid")
    for tokens in (stolen, fresh):
        assert await caller.welcome(tokens["access_token"]) == 401
        problem(await caller.json("/auth/refresh", {"refresh_token": tokens["refresh_token"]}), 400, "invalid_grant")


async def test_an_access_token_is_no_refresh_token_and_the_other_way_round(caller: Caller, service: Upstream) -> None:
    """R-30, R-31"""
    tokens = await caller.login()
    answer = await caller.json("/auth/refresh", {"refresh_token": tokens["access_token"]})
    assert problem(answer, 400, "invalid_grant")["error"] == "invalid_grant"
    before = len(service.requests)
    assert await caller.welcome(tokens["refresh_token"]) == 401
    assert len(service.requests) == before
    assert await caller.welcome(tokens["access_token"]) == 200


@pytest.mark.parametrize("token", ["x", "lgr_", "lgr_AAAA", "lgr_" + "A" * 120, "ключ", "a.b.c"])
async def test_a_refresh_token_that_is_none_is_an_invalid_grant(caller: Caller, service: Upstream, token: str) -> None:
    answer = await caller.json("/auth/refresh", {"refresh_token": token})
    assert problem(answer, 400, "invalid_grant")["error"] == "invalid_grant"
    assert service.requests == []  # no account was looked up for it


@pytest.mark.parametrize("what", ["blocked", "deleted"])
async def test_an_account_that_may_no_longer_log_in_ends_its_session(
    caller: Caller, users: Users, redis: Redis, what: str
) -> None:
    """R-147"""
    tokens = await caller.login()
    if what == "blocked":
        users.status["id-alice"] = "blocked"
    else:
        del users.status["id-alice"]
    problem(await caller.json("/auth/refresh", {"refresh_token": tokens["refresh_token"]}), 400, "invalid_grant")
    assert await caller.welcome(tokens["access_token"]) == 401
    assert await redis.exists(UserKeys.of("id-alice").session(tokens["session_id"])) == 0
    users.status["id-alice"] = "active"
    problem(await caller.json("/auth/refresh", {"refresh_token": tokens["refresh_token"]}), 400, "invalid_grant")


@pytest.mark.parametrize("how", ["json", "form"])
@pytest.mark.parametrize("hint", [None, "access_token", "refresh_token", "saml_token"])
async def test_a_revoked_access_token_is_refused_at_once_whatever_the_hint(
    caller: Caller, how: str, hint: str | None
) -> None:
    """R-149"""
    tokens = await caller.login()
    send = caller.json if how == "json" else caller.form
    body = {"token": tokens["access_token"], **({} if hint is None else {"token_type_hint": hint})}
    answer = await send("/auth/revoke", body)
    assert (answer.status, answer.body, answer.value("cache-control")) == (200, b"", "no-store")
    assert await caller.welcome(tokens["access_token"]) == 401
    _granted(await caller.json("/auth/refresh", {"refresh_token": tokens["refresh_token"]}))


async def test_a_revoked_refresh_token_takes_the_whole_session_with_it(caller: Caller) -> None:
    """R-149"""
    tokens = await caller.login()
    assert (await caller.form("/auth/revoke", {"token": tokens["refresh_token"]})).status == 200
    assert await caller.welcome(tokens["access_token"]) == 401
    problem(await caller.json("/auth/refresh", {"refresh_token": tokens["refresh_token"]}), 400, "invalid_grant")


@pytest.mark.parametrize("token", ["x", "a.b.c", "lgr_AAAA", "lgr_" + "A" * 120, "ключ", "x" * 8192])
async def test_revoking_a_token_that_nobody_knows_is_200_and_writes_nothing(
    caller: Caller, redis: Redis, token: str
) -> None:
    """R-149"""
    before = set(await redis.keys("lg:{*"))
    answer = await caller.json("/auth/revoke", {"token": token})
    assert (answer.status, answer.body) == (200, b"")
    assert set(await redis.keys("lg:{*")) == before


async def test_a_token_that_is_dead_on_this_node_is_revoked_for_nodes_whose_clock_is_behind(
    caller: Caller, redis: Redis
) -> None:
    """R-149, R-221: however far behind: as long as any token lives, at least."""
    tokens = await caller.login()
    caller.node.tick(300 + 10)
    assert await caller.welcome(tokens["access_token"]) == 401
    await caller.json("/auth/revoke", {"token": tokens["access_token"]})
    (entry,) = await redis.keys(f"{UserKeys.of('id-alice').tag}:jti:*".replace("{", "[{]").replace("}", "[}]"))
    assert await redis.pttl(entry) > 300_000


async def test_a_logout_ends_this_session_only(caller: Caller) -> None:
    mine, other = await caller.login(), await caller.login()
    answer = await caller.post("/auth/logout", media=None, fields=bearer(mine))
    assert (answer.status, answer.body, answer.value("cache-control")) == (204, b"", "no-store")
    assert await caller.welcome(mine["access_token"]) == 401
    assert await caller.welcome(other["access_token"]) == 200
    problem(await caller.json("/auth/refresh", {"refresh_token": mine["refresh_token"]}), 400, "invalid_grant")


async def test_a_logout_everywhere_ends_every_session_of_this_user_only(caller: Caller) -> None:
    """R-153: also what was issued in the same second, for the node's clock stands still."""
    mine = [await caller.login() for _ in range(3)]
    bobs = await caller.login("bob")
    assert (await caller.post("/auth/logout-all", media=None, fields=bearer(mine[0]))).status == 204
    for tokens in mine:
        assert await caller.welcome(tokens["access_token"]) == 401
        problem(await caller.json("/auth/refresh", {"refresh_token": tokens["refresh_token"]}), 400, "invalid_grant")
    assert await caller.welcome(bobs["access_token"]) == 200
    assert await caller.welcome((await caller.login())["access_token"]) == 200


async def test_me_is_the_identity_that_the_services_see(caller: Caller, service: Upstream) -> None:
    tokens = await caller.login()
    answer = await caller.node.get("/auth/me", bearer(tokens))
    assert answer.status == 200
    assert answer.value("cache-control") == "no-store"
    await caller.welcome(tokens["access_token"])
    seen = service.requests[-1]
    me = answer.json
    assert me["user_id"] == seen.value("x-user-id")
    assert " ".join(me["scopes"]) == seen.value("x-user-scopes")
    assert me["session_id"] == seen.value("x-session-id")
    assert me["token_id"] == seen.value("x-token-id")


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/auth/logout"), ("POST", "/auth/logout-all"), ("GET", "/auth/me")],
)
async def test_what_needs_credentials_says_which(caller: Caller, method: str, path: str) -> None:
    """R-41, RFC 6750 section 3."""

    async def ask(fields: str) -> Message:
        return await caller.node.ask(f"{method} {path} HTTP/1.1\r\n{fields}")

    answer = await ask("")
    assert "error" not in problem(answer, 401, "credentials_required")
    assert "error=" not in answer.value("www-authenticate")
    answer = await ask("Authorization: Bearer a.b.c\r\n")
    assert problem(answer, 401, "invalid_token")["error"] == "invalid_token"
    assert 'error="invalid_token"' in answer.value("www-authenticate")
    line = bearer(await caller.login())
    for fields, code in ((line + line, "repeated_credentials"), ("Authorization: Bearer\r\n", "malformed_credentials")):
        answer = await ask(fields)
        assert problem(answer, 400, code)["error"] == "invalid_request"
        assert 'error="invalid_request"' in answer.value("www-authenticate")


async def test_a_client_can_tell_a_token_that_ran_out_from_one_that_was_taken_away(
    caller: Caller, service: Upstream
) -> None:
    """R-227: to refresh, or to ask for its identity. On routes and own calls alike; OAuth has one word for both."""
    ran_out, taken = await caller.login(), await caller.login("bob")
    assert (await caller.json("/auth/revoke", {"token": taken["access_token"]})).status == 200
    reached = len(service.requests)
    for tokens, after_s, code in ((taken, 0, "invalid_token"), (ran_out, 310, "token_expired")):
        caller.node.tick(after_s)
        for path in ("/orders", "/auth/me"):
            answer = await caller.node.get(path, bearer(tokens))
            assert (answer.status, answer.code) == (401, code)
            assert 'error="invalid_token"' in answer.value("www-authenticate")
    assert len(service.requests) == reached


async def test_a_route_asks_for_credentials_in_the_same_words(caller: Caller, service: Upstream) -> None:
    """R-41, RFC 6750 section 3: also where it is no 401."""
    line = bearer(await caller.login())
    before = len(service.requests)
    for fields in (line + line, "Authorization: Bearer\r\n", "Authorization: Bearer a b\r\n"):
        answer = await caller.node.get("/orders", fields)
        assert answer.status == 400
        assert 'error="invalid_request"' in answer.value("www-authenticate")
    assert len(service.requests) == before


@pytest.mark.parametrize("path", ["/auth/login", "/auth/refresh", "/auth/revoke", "/auth/logout", "/auth/logout-all"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_another_method_is_405_and_says_which_is_right(
    caller: Caller, service: Upstream, method: str, path: str
) -> None:
    """R-131: credentials in a query are no credentials, and no store is asked about them."""
    answer = await caller.node.ask(f"{method} {path}?username=alice&password={PASSWORD} HTTP/1.1\r\n")
    assert answer.status == 405
    assert answer.value("allow") == "POST"
    assert answer.value("cache-control") == "no-store"
    assert PASSWORD.encode() not in answer.raw
    assert service.requests == []


async def test_a_token_in_the_query_is_none(caller: Caller) -> None:
    """R-42"""
    tokens = await caller.login()
    for path in ("/auth/me", "/orders"):
        assert (await caller.node.get(f"{path}?access_token={tokens['access_token']}")).status == 401


@pytest.mark.parametrize("name", ["access_token", "a=b&access_token", "access%5Ftoken", "%61ccess_token"])
async def test_a_token_in_the_query_beside_one_in_a_field_is_one_too_many(
    caller: Caller, service: Upstream, name: str
) -> None:
    """R-41, R-42: and no service sees either of them."""
    tokens = await caller.login()
    token, before = tokens["access_token"], len(service.requests)
    for path in ("/auth/me", "/orders"):
        answer = await caller.node.get(f"{path}?{name}={token}", f"Authorization: Bearer {token}\r\n")
        assert (answer.status, answer.code) == (400, "repeated_credentials")
    assert len(service.requests) == before


@pytest.mark.parametrize("path", ["/auth", "/auth/", "/auth/nothing", "/auth/login/", "/auth/%6Cogin/x", "/authors"])
async def test_an_unknown_path_is_404(caller: Caller, path: str) -> None:
    answer = await caller.node.ask(f"POST {path} HTTP/1.1\r\nContent-Length: 0\r\n")
    assert answer.status == 404
    assert answer.value("cache-control") == "no-store"
    assert "error" not in answer.json  # OAuth has no word for it


async def test_a_users_service_that_is_away_is_503_and_costs_nobody_a_generation(
    caller: Caller, service: Upstream, redis: Redis
) -> None:
    """A lost connection to a service is no reason to log a user out."""
    tokens = await caller.login()
    key = UserKeys.of("id-alice").session(tokens["session_id"])
    before = await redis.hgetall(key)
    await service.stop()
    for path, body in (("/auth/refresh", {"refresh_token": tokens["refresh_token"]}), ("/auth/login", CREDENTIALS)):
        answer = await caller.json(path, body)
        assert problem(answer, 503, "accounts_unavailable")["error"] == "temporarily_unavailable"
        assert int(answer.value("retry-after")) >= 1
    assert await redis.hgetall(key) == before
