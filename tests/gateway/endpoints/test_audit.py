"""What the audit trail says of each call, and what it never says."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from redis.asyncio import Redis

from tests.support.shop import PASSWORD, Shop, bearer


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
    await shop.http.post("/auth/refresh", json={"refresh_token": "lgr_nonsense"})
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
        "refresh.refused",
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


async def test_no_event_holds_a_secret(capsys: pytest.CaptureFixture[str], shop: Shop, redis: Redis) -> None:
    #
    tokens = await shop.tokens("alice")
    refreshed = (await shop.http.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})).json()
    await shop.login("a-password-typed-as-a-name", "wrong-password")
    captcha = (await shop.http.get("/auth/captcha")).json()["id"]
    await shop.login("alice", "wrong-password", captcha={"id": captcha, "answer": "1234-answer"})
    await shop.http.post("/auth/revoke", json={"token": refreshed["refresh_token"]})
    await shop.events()
    kept = str(await redis.xrange("lg:audit"))
    written = capsys.readouterr().out
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
    #
    capsys.readouterr()
    nasty = 'client\r\n{"log": "audit", "event": "login", "sub": "ada"}\x1b[2J\u2028'
    form = {"grant_type": "client_credentials", "client_id": nasty, "client_secret": "x"}
    answer = await shop.http.post("/auth/token", data=form)
    assert answer.status_code == 401
    (line,) = lines(capsys.readouterr().out)
    assert line["event"] == "client.refused"
    assert line["client_id"] == nasty


async def test_many_events_at_once_are_all_kept(shop: Shop) -> None:
    async def refuse(http: httpx.AsyncClient) -> None:
        await http.post("/auth/refresh", json={"refresh_token": "lgr_none"})

    await asyncio.gather(*(refuse(shop.http) for _ in range(60)))
    events = await shop.events("refresh.refused")
    assert len({event["request_id"] for event in events}) == 60
