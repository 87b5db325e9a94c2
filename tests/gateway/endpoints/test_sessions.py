"""A user's own sessions and password."""

from __future__ import annotations

import time
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.support.raw import WITHIN_S
from tests.support.shop import PASSWORD, Shop, bearer, code
from tests.support.store import time_passes_at

NEW = "another-good-password"


async def listed(shop: Shop, tokens: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await shop.http.get("/auth/sessions", headers=bearer(tokens))
    assert answer.status_code == 200
    found: list[dict[str, Any]] = answer.json()["sessions"]
    return found


async def lives(shop: Shop, tokens: dict[str, Any]) -> bool:
    """Whether an access token is let in."""
    return (await shop.http.get("/auth/me", headers=bearer(tokens))).status_code == 200


async def can_go_on(shop: Shop, tokens: dict[str, Any]) -> bool:
    """Whether a refresh token is good."""
    answer = await shop.http.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
    return answer.status_code == 200


async def change(shop: Shop, tokens: dict[str, Any], current: str = PASSWORD, new: str = NEW) -> Any:  # noqa: ANN401 - answer
    content = {"current_password": current, "new_password": new}
    return await shop.http.post("/auth/password", json=content, headers=bearer(tokens))


async def test_a_user_sees_their_sessions_and_nobody_elses(shop: Shop, redis: Redis) -> None:
    shop.http.headers["user-agent"] = "Phone"
    first = await shop.tokens("alice")
    await time_passes_at(redis, 60)
    shop.http.headers["user-agent"] = "Laptop"
    second = await shop.tokens("alice")
    await shop.tokens("ada")
    found = await listed(shop, second)
    assert [(one["session_id"], one["device"], one["current"]) for one in found] == [
        (second["session_id"], "Laptop", True),
        (first["session_id"], "Phone", False),
    ]
    assert found[0]["address"] == "127.0.0.1"
    assert 60 <= found[0]["created"] - found[1]["last_used"] < 60 + WITHIN_S
    assert time.time() - WITHIN_S < found[0]["created"] <= time.time()
    assert "token" not in str(found).replace("lockgate", "")


async def test_a_refresh_shows_as_last_use(shop: Shop, redis: Redis) -> None:
    tokens = await shop.tokens("alice")
    await time_passes_at(redis, 120)
    answer = await shop.http.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
    (session,) = await listed(shop, answer.json())
    assert 120 <= session["last_used"] - session["created"] < 120 + WITHIN_S


async def test_ending_one_session_leaves_the_others(shop: Shop) -> None:
    mine, lost = await shop.tokens("alice"), await shop.tokens("alice")
    answer = await shop.http.delete(f"/auth/sessions/{lost['session_id']}", headers=bearer(mine))
    assert answer.status_code == 204
    assert await lives(shop, mine)
    assert not await lives(shop, lost)
    assert not await can_go_on(shop, lost)
    assert [one["session_id"] for one in await listed(shop, mine)] == [mine["session_id"]]
    assert [event["sid"] for event in await shop.events("session.ended")] == [lost["session_id"]]


async def test_somebody_elses_session_is_not_found_and_goes_on(shop: Shop, redis: Redis) -> None:
    mine, theirs = await shop.tokens("alice"), await shop.tokens("ada")
    for sid in (theirs["session_id"], "0" * 32, "x", "%7Bx%7D"):
        answer = await shop.http.delete(f"/auth/sessions/{sid}", headers=bearer(mine))
        assert code(answer) == (404, "not_found")
    assert await lives(shop, theirs)
    assert await redis.keys("*ended*") == []


async def test_nobody_in_particular_has_no_sessions(shop: Shop) -> None:
    for method, path in (("GET", "/auth/sessions"), ("DELETE", "/auth/sessions/x"), ("POST", "/auth/password")):
        assert code(await shop.http.request(method, path)) == (401, "credentials_required")


async def test_a_new_password_ends_every_session_but_this_one(shop: Shop) -> None:
    mine, other = await shop.tokens("alice"), await shop.tokens("alice")
    foreign = await shop.tokens("ada")
    shop.node.tick(1)
    assert (await change(shop, mine)).status_code == 204
    assert await lives(shop, mine)
    assert not await lives(shop, other)
    assert not await can_go_on(shop, other)
    assert await can_go_on(shop, mine)
    assert await lives(shop, foreign)
    assert code(await shop.login("alice")) == (400, "invalid_grant")
    assert (await shop.login("alice", NEW)).status_code == 200
    assert len(await shop.events("password.changed")) == 1


async def test_a_session_of_the_old_password_that_was_missed_ends_at_its_refresh(shop: Shop, redis: Redis) -> None:
    # as if it had begun, with the old password, while the password was being changed.
    mine, missed = await shop.tokens("alice"), await shop.tokens("alice")
    (index,) = await redis.keys("*:sessions")
    await redis.zrem(index, missed["session_id"])
    shop.node.tick(1)
    assert (await change(shop, mine)).status_code == 204
    assert not await can_go_on(shop, missed)
    assert not await lives(shop, missed)
    (event,) = await shop.events("refresh.refused")
    assert event["reason"] == "password_outdated"


@pytest.mark.parametrize(
    ("current", "new", "expected"),
    [
        ("wrong", NEW, (400, "invalid_grant")),
        (PASSWORD, "short", (400, "invalid_password")),
        (PASSWORD, "x" * 513, (400, "invalid_password")),
        ("wrong", "short", (400, "invalid_password")),
    ],
)
async def test_a_refused_change_changes_nothing(shop: Shop, current: str, new: str, expected: tuple[int, str]) -> None:
    #
    mine, other = await shop.tokens("alice"), await shop.tokens("alice")
    assert code(await change(shop, mine, current, new)) == expected
    assert await lives(shop, other)
    assert (await shop.login("alice")).status_code == 200
    assert len(await shop.events("password.refused")) == 1


async def test_guesses_at_the_current_password_count_like_those_at_the_login(shop: Shop) -> None:
    # a second door with a lock of its own would be no lock.
    mine = await shop.tokens("alice")
    for number in range(5):
        assert code(await change(shop, mine, f"wrong-{number}")) == (400, "invalid_grant")
    assert code(await change(shop, mine)) == (400, "captcha_required")
    assert code(await shop.login("alice")) == (400, "captcha_required")
    assert await shop.events("password.changed") == []
