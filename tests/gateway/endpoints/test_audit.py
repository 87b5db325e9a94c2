"""What the audit trail says of each call, and what it never says."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from lockgate.errors import AccountsUnavailableError
from lockgate.observe.audit import SOME_WINDOW_S
from lockgate.sessions.call_origin import CallOrigin
from tests.support import shop as shops
from tests.support import upstream as upstreams
from tests.support.parties import registered
from tests.support.shop import PASSWORD, Shop, bearer
from tests.support.upstream import Upstream

MALFORMED = {"authorization": "Basic !!"}


def lines(text: str) -> list[dict[str, str]]:
    """The audit lines among what the node wrote."""
    found = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [line for line in found if line.get("log") == "audit"]


async def test_a_life_of_a_session_is_told_in_order(capsys: pytest.CaptureFixture[str], shop: Shop) -> None:
    await shop.login("alice", "wrong")
    first = await shop.tokens("alice")
    refreshed = await shop.http.post("/auth/refresh", json={"refresh_token": first["refresh_token"]})
    again = await shop.http.post("/auth/refresh", json={"refresh_token": refreshed.json()["refresh_token"]})
    await shop.http.post("/auth/refresh", json={"refresh_token": first["refresh_token"]})
    second = await shop.tokens("alice")
    await shop.http.post("/auth/logout", headers=bearer(second))
    third = await shop.tokens("alice")
    await shop.http.post("/auth/revoke", json={"token": third["access_token"]})
    events = await shop.events()
    assert again.status_code == 200
    assert [event["event"] for event in events] == [
        "login.refused",
        "login",
        "refresh",
        "refresh",
        "refresh.reused",
        "login",
        "logout",
        "login",
        "revoke",
    ]
    assert events[4]["sid"] == first["session_id"]
    assert events[4]["reason"] == "refresh_reused"
    assert events[6]["sid"] == second["session_id"]
    assert events[8]["jti"]
    assert all(event["address"] == "127.0.0.1" and len(event["request_id"]) == 32 for event in events)
    written = lines(capsys.readouterr().out)
    assert [line["event"] for line in written] == [event["event"] for event in events]


async def test_an_answer_and_its_event_have_the_same_request_id(shop: Shop) -> None:
    answer = await shop.login("alice", "wrong")
    (event,) = await shop.events()
    assert event["request_id"] == answer.headers["x-request-id"]


async def test_events_are_told_apart_where_a_trusted_peer_repeats_its_request_id(
    redis: Redis, redis_url: str, upstream: Upstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """R-212: the trail has ids of the gateway's own; the access log has both, so that each leads to the other."""
    del redis
    async with shops.running(
        tmp_path, redis_url, upstream.url, server={"trusted_proxies": ["127.0.0.0/8"]}
    ) as behind_proxy:
        await behind_proxy.add_user("alice")
        behind_proxy.http.headers["x-request-id"] = "front-1"
        answers = [await behind_proxy.login("alice", "wrong") for _ in range(2)]
        events = await behind_proxy.events("login.refused")
    assert [answer.headers["x-request-id"] for answer in answers] == ["front-1"] * 2
    ids = [event["request_id"] for event in events]
    assert len(set(ids)) == 2
    assert all(len(one) == 32 for one in ids)
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    logged = [line for line in found if line.get("path") == "/auth/login"]
    assert [(line["request_id"], line["own_id"]) for line in logged] == [("front-1", one) for one in ids]


async def test_no_event_holds_a_secret(capsys: pytest.CaptureFixture[str], shop: Shop, redis: Redis) -> None:
    #
    """R-184."""
    tokens = await shop.tokens("alice")
    refreshed = (await shop.http.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})).json()
    await shop.login("a-password-typed-as-a-name", "wrong-password")
    captcha = (await shop.http.get("/auth/captcha")).json()["id"]
    await shop.login("alice", "wrong-password", captcha={"id": captcha, "answer": "1234-answer"})
    await shop.http.post("/auth/revoke", json={"token": refreshed["refresh_token"]})
    await shop.events()
    kept = str(await redis.xrange("lg:audit"))
    written = capsys.readouterr().out
    assert "login.refused" in kept
    assert "login.refused" in written
    secrets = [PASSWORD, "wrong-password", "a-password-typed", "1234-answer"]
    secrets += [answer[name] for answer in (tokens, refreshed) for name in ("access_token", "refresh_token")]
    for secret in secrets:
        assert secret not in kept
        assert secret not in written


async def test_a_line_of_the_log_does_not_need_redis(
    capsys: pytest.CaptureFixture[str], shop: Shop, redis: Redis
) -> None:
    await redis.set("lg:audit", "not a stream")
    assert (await shop.login("alice")).status_code == 200
    assert (await shop.login("alice", "wrong")).status_code == 400
    await shop.node.worker.auth.audit.flush()
    written = [line["event"] for line in lines(capsys.readouterr().out)]
    assert [event for event in written if event != "trail.failed"] == ["login", "login.refused"]
    assert "trail.failed" in written
    # What waited is in the trail as soon as it can be, in order.
    await redis.delete("lg:audit")
    await shop.login("alice")
    assert [event["event"] for event in await shop.events()] == ["login", "login.refused", "login"]


async def test_an_event_is_one_line_whatever_a_client_sends(capsys: pytest.CaptureFixture[str], shop: Shop) -> None:
    """R-184."""
    capsys.readouterr()
    nasty = 'client\r\n{"log": "audit", "event": "login", "sub": "mallory"}\x1b[2J\u2028'
    form = {"grant_type": "client_credentials", "client_id": nasty, "client_secret": "x"}
    answer = await shop.http.post("/auth/token", data=form)
    assert answer.status_code == 401
    written = capsys.readouterr().out
    (line,) = lines(written)
    assert line["event"] == "client.refused"
    assert "mallory" not in written


async def test_a_secret_in_the_place_of_a_name_is_not_written_down(
    capsys: pytest.CaptureFixture[str], shop: Shop
) -> None:
    # a client that confuses the two halves of its Basic credentials.
    secret = (await registered(shop)).secret
    capsys.readouterr()
    grant = {"grant_type": "client_credentials"}
    answer = await shop.http.post("/auth/token", data=grant, auth=(secret, "reports"))
    assert answer.status_code == 401
    await shop.http.post("/auth/token", data={**grant, "client_id": secret, "client_secret": "reports"})
    written = capsys.readouterr().out
    assert secret not in written
    assert secret not in str(await shop.events())
    first, second = lines(written)
    assert first["reason"] == "unknown"
    assert first["client"] == second["client"]
    assert "client_id" not in first


async def test_what_anybody_can_bring_about_is_in_the_log_and_pushes_nothing_out_of_the_trail(
    capsys: pytest.CaptureFixture[str], shop: Shop
) -> None:
    tokens = await shop.tokens("alice")
    await shop.http.post("/auth/logout", headers=bearer(tokens))
    for _ in range(6):
        await shop.login("alice", "wrong")
    before = await shop.events()
    capsys.readouterr()
    refused = [
        await shop.http.post("/auth/refresh", json={"refresh_token": "lgr_nonsense"}),
        await shop.http.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]}),
        await shop.http.post("/auth/token", data={"grant_type": "client_credentials"}, auth=("nobody", "x")),
        await shop.http.post("/auth/token", data={"grant_type": "client_credentials"}, headers=MALFORMED),
        await shop.http.post("/auth/token", data={"grant_type": "client_credentials"}),
        await shop.http.post("/auth/introspect", data={"token": "x"}),
        await shop.http.post("/auth/introspect", data={"token": "x"}, headers=MALFORMED),
        await shop.http.post("/auth/introspect", data={"token": "x", "client_id": "lockgate-login"}),
        await shop.login("alice", "wrong"),
    ]
    assert all(answer.status_code in (400, 401) for answer in refused)
    assert await shop.events() == before
    assert [(line["event"], line["reason"]) for line in lines(capsys.readouterr().out)] == [
        ("refresh.refused", "refresh_malformed"),
        ("refresh.refused", "refresh_unknown"),
        ("client.refused", "unknown"),
        *[("client.refused", "client_refused")] * 5,
        ("login.refused", "captcha_required"),
    ]


async def test_a_wrong_secret_of_a_client_is_in_the_trail_once_a_minute(
    capsys: pytest.CaptureFixture[str], shop: Shop
) -> None:
    await registered(shop)
    capsys.readouterr()
    for _ in range(3):
        await shop.http.post("/auth/introspect", data={"token": "x"}, auth=("reports", "wrong"))
    shop.node.tick(SOME_WINDOW_S)
    await shop.http.post("/auth/introspect", data={"token": "x"}, auth=("reports", "wrong"))
    events = await shop.events("client.refused")
    assert [(event["client_id"], event["reason"]) for event in events] == [("reports", "wrong")] * 2
    assert len(lines(capsys.readouterr().out)) == 4


async def test_a_user_who_was_logged_out_but_not_blocked_is_in_the_trail(shop: Shop) -> None:
    # The users service goes away before it could be told.
    alice, call = bearer(await shop.tokens("alice")), CallOrigin("192.0.2.1", "", "request-7")
    sub = (await shop.http.get("/auth/me", headers=alice)).json()["user_id"]
    # Not over HTTP, which asks for the account before.
    administration = shop.node.worker.auth.administration
    with upstreams.nobody() as url:
        await shop.move_accounts(url)
        with pytest.raises(AccountsUnavailableError):
            await administration.block(sub, "ada", call)
    assert (await shop.http.get("/auth/me", headers=alice)).status_code == 401
    (event,) = await shop.events("logout.all", "user.blocked")
    assert (event["event"], event["sub"], event["actor"]) == ("logout.all", sub, "ada")
    assert event["reason"] == "accounts_away"


async def test_many_events_at_once_are_all_kept(shop: Shop) -> None:
    async def refuse(http: httpx.AsyncClient) -> None:
        form = {"grant_type": "client_credentials", "scope": "not:ours"}
        await http.post("/auth/token", data=form, auth=("reports", secret))

    secret = (await registered(shop)).secret
    await asyncio.gather(*(refuse(shop.http) for _ in range(60)))
    events = await shop.events("client.refused")
    assert len({event["request_id"] for event in events}) == 60
