"""Events that a client can cause without limit push none out of the audit trail, which is capped (R-224)."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from redis.asyncio import Redis

from lockgate.observe.audit import MAX_RATIONED, OFTEN, SOME, SOME_WINDOW_S, Audit, Event
from tests.support import shop as shops
from tests.support.clock import ManualClock
from tests.support.parties import refresh, registered
from tests.support.shop import PASSWORD, Shop, bearer, code
from tests.support.store import time_passes_at
from tests.support.upstream import Upstream

TIMES: Final = 4 * SOME
"""More often than a trail hears of anything."""
Tokens = dict[str, Any]
Provoke = Callable[[Shop, Tokens], Awaitable[httpx.Response]]


def audit_lines(text: str) -> list[dict[str, str]]:
    found = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [line for line in found if line.get("log") == "audit"]


async def revoke(shop: Shop, token: str) -> None:
    assert (await shop.http.post("/auth/revoke", json={"token": token})).status_code == 200


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
async def test_a_dead_token_that_is_revoked_again_and_again_is_one_event(
    capsys: pytest.CaptureFixture[str], shop: Shop, kind: str
) -> None:
    """R-224: the first revoke changed something, and the log has all of them."""
    tokens = await shop.tokens("alice")
    capsys.readouterr()
    for _ in range(TIMES):
        await revoke(shop, tokens[kind])
    assert len(await shop.events("revoke")) == 1
    assert [line["event"] for line in audit_lines(capsys.readouterr().out)] == ["revoke"] * TIMES


async def test_a_token_that_died_by_itself_is_no_event(shop: Shop) -> None:
    """R-224: it ran out, its session was logged out, its session was taken by another way."""
    ran_out, left = await shop.tokens("alice"), await shop.tokens("alice")
    await shop.http.post("/auth/logout", headers=bearer(left))
    shop.node.tick(90 * 86_400)
    for token in (ran_out["access_token"], left["refresh_token"], "lgr_nonsense", "a.b.c"):
        await revoke(shop, token)
    assert await shop.events("revoke") == []


async def test_an_address_may_revoke_so_often_and_no_more(
    redis: Redis, redis_url: str, upstream: Upstream, people: Path, tmp_path: Path
) -> None:
    """R-129, R-224: bound like refreshes, and apart from them. What is beyond it revokes nothing."""
    del redis
    shutil.copy(people, tmp_path)
    async with shops.running(tmp_path, redis_url, upstream.url, login={"refresh_limit": 3}) as shop:
        tokens = await shop.tokens("alice")
        for _ in range(3):
            await revoke(shop, "lgr_nonsense")
        refused = await shop.http.post("/auth/revoke", json={"token": tokens["access_token"]})
        assert code(refused) == (429, "rate_limited")
        assert refused.headers["retry-after"] == "20"
        assert (await shop.http.get("/auth/me", headers=bearer(tokens))).status_code == 200
        assert (await refresh(shop, tokens["refresh_token"])).status_code == 200


async def _foreign(shop: Shop, tokens: Tokens) -> httpx.Response:
    return await refresh(shop, tokens["refresh_token"])


async def _wide(shop: Shop, tokens: Tokens) -> httpx.Response:
    return await refresh(shop, tokens["refresh_token"], tokens["party"], scope="products:write")


async def _short(shop: Shop, tokens: Tokens) -> httpx.Response:
    content = {"current_password": PASSWORD, "new_password": "short"}
    return await shop.http.post("/auth/password", json=content, headers=bearer(tokens["own"]))


async def _wrong(shop: Shop, tokens: Tokens) -> httpx.Response:
    content = {"current_password": "wrong", "new_password": "another-good-password"}
    return await shop.http.post("/auth/password", json=content, headers=bearer(tokens["own"]))


@pytest.mark.parametrize(
    ("provoke", "event"),
    [
        (_foreign, "refresh.refused"),
        (_wide, "refresh.refused"),
        (_short, "password.refused"),
        (_wrong, "password.refused"),
    ],
)
async def test_a_refusal_that_can_be_repeated_at_will_is_in_the_trail_a_few_times_a_minute(
    capsys: pytest.CaptureFixture[str], shop: Shop, provoke: Provoke, event: str
) -> None:
    """R-224: each is in the log."""
    party = await registered(shop)
    tokens = {**await party.login("alice"), "party": party, "own": await shop.tokens("alice")}
    capsys.readouterr()
    for _ in range(TIMES):
        assert (await provoke(shop, tokens)).status_code == 400
    assert len(await shop.events(event)) == SOME
    assert [line["event"] for line in audit_lines(capsys.readouterr().out)] == [event] * TIMES
    shop.node.tick(SOME_WINDOW_S)
    await provoke(shop, tokens)
    assert len(await shop.events(event)) == SOME + 1


async def test_what_is_counted_for_one_is_not_counted_for_another(capsys: pytest.CaptureFixture[str]) -> None:
    """R-224: and a worker remembers no more of them than it has room for."""
    kept: list[dict[str, str]] = []

    class Kept:
        async def append(self, entries: Any) -> None:  # noqa: ANN401 - as the trail takes them
            kept.extend(entries)

    audit = Audit(Kept(), ManualClock())
    for number in range(SOME + 1):
        for who in ("alice", "bob"):
            audit.record_some(Event.REFRESH_REFUSED, who, {"sub": who, "reason": str(number)})
    await audit.flush()
    assert [entry["sub"] for entry in kept] == ["alice", "bob"] * SOME
    for number in range(MAX_RATIONED + 10):
        audit.record_some(Event.REFRESH_REFUSED, str(number), {}, most=0)
    assert len(audit._rationed) == MAX_RATIONED  # noqa: SLF001 - what a worker remembers
    capsys.readouterr()


async def test_what_users_do_to_themselves_is_in_the_trail_so_often_and_in_the_log_always(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """R-224: any client can register, and log in without end. What is done to them is kept, and what machines do."""
    kept: list[dict[str, str]] = []

    class Kept:
        async def append(self, entries: Any) -> None:  # noqa: ANN401 - as the trail takes them
            kept.extend(entries)

    audit, often = Audit(Kept(), ManualClock()), 2 * OFTEN
    for _ in range(often):
        audit.record_some(Event.REFRESH_REFUSED, "alice", {"sub": "alice", "reason": "refresh_foreign"})
        audit.record(Event.LOGIN, sub="alice")
        audit.record(Event.SESSION_ENDED, sub="alice", actor="ada")
        audit.record(Event.CLIENT_TOKEN, sub="client:reports")
    audit.record(Event.REFRESH_REFUSED, sub="alice", reason="password_outdated")
    await audit.flush()
    assert Counter(entry["event"] for entry in kept) == {
        "refresh.refused": SOME + 1,
        "login": OFTEN,
        "session.ended": often,
        "client.token": often,
    }
    assert kept[-1]["reason"] == "password_outdated", "what can be repeated hides nothing else"
    assert len(audit_lines(capsys.readouterr().out)) == 4 * often + 1


# --- sessions that make room -----------------------------------------------------------------------------------------


async def test_the_session_that_made_room_is_in_the_trail(
    redis: Redis, redis_url: str, upstream: Upstream, people: Path, tmp_path: Path
) -> None:
    """R-224: its user sees where the login came from that ended it."""
    shutil.copy(people, tmp_path)
    async with shops.running(tmp_path, redis_url, upstream.url, token={"sessions_per_user": 2}) as shop:
        oldest = await shop.tokens("alice")
        await time_passes_at(redis, 1)
        kept, stranger = await shop.tokens("alice"), await shop.tokens("bob")
        latest = await shop.tokens("alice")
        (event,) = await shop.events("session.ended")
        assert (event["sid"], event["reason"], event["address"]) == (oldest["session_id"], "too_many", "127.0.0.1")
        answers = [await shop.http.get("/auth/me", headers=bearer(one)) for one in (oldest, kept, stranger, latest)]
        assert [answer.status_code for answer in answers] == [401, 200, 200, 200]
        assert code(answers[0]) == (401, "invalid_token")


async def test_a_user_with_too_many_tickets_is_told_when_to_come_back(
    redis: Redis, redis_url: str, upstream: Upstream, people: Path, tmp_path: Path
) -> None:
    """R-224"""
    shutil.copy(people, tmp_path)
    async with shops.running(tmp_path, redis_url, upstream.url, token={"tickets_per_user": 2}) as shop:
        tokens, other = await shop.tokens("alice"), await shop.tokens("bob")
        for _ in range(2):
            assert (await shop.http.post("/auth/tickets", headers=bearer(tokens))).status_code == 201
        refused = await shop.http.post("/auth/tickets", headers=bearer(tokens))
        assert code(refused) == (429, "too_many_tickets")
        assert 1 <= int(refused.headers["retry-after"]) <= 30
        assert len(await redis.keys("lg:ticket:*")) == 2
        assert (await shop.http.post("/auth/tickets", headers=bearer(other))).status_code == 201
