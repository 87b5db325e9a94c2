"""Logging in under guesses (R-120 to R-131)."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from lockgate.accounts.captcha import digits
from lockgate.keys import keyring
from tests.support import shop as shops
from tests.support.shop import PASSWORD, Shop, code
from tests.support.store import time_passes_at

FREE = 5
"""Failures before a captcha is asked for."""
WRONG = (400, "invalid_grant")
CAPTCHA = (400, "captcha_required")


async def solved(shop: Shop, http: httpx.AsyncClient | None = None) -> dict[str, str]:
    """A captcha with its answer, as the secret of the key ring tells."""
    answer = await (http or shop.http).get("/auth/captcha")
    captcha = answer.json()["id"]
    secret = keyring.load(shop.node.settings.keys.directory).refresh_secrets[0]
    return {"id": captcha, "answer": digits(secret, captcha)}


async def fail(shop: Shop, times: int, username: str = "alice") -> list[tuple[int, str]]:
    """Guess wrongly."""
    return [code(await shop.login(username, f"wrong-{number}")) for number in range(times)]


@pytest.mark.parametrize(("username", "password"), [("alice", "wrong"), ("nobody", PASSWORD), ("No Name", "x" * 500)])
async def test_whatever_is_wrong_has_one_answer(shop: Shop, username: str, password: str) -> None:
    #
    """R-120."""
    answer = await shop.login(username, password)
    body = answer.json()
    assert body.pop("request_id") == answer.headers["x-request-id"]
    assert body == {
        "type": "about:blank",
        "title": "Bad Request",
        "status": 400,
        "detail": "Username or password is wrong",
        "code": "invalid_grant",
        "error": "invalid_grant",
        "error_description": "Username or password is wrong",
    }
    assert "set-cookie" not in answer.headers


async def test_after_a_few_failures_the_right_password_alone_does_not_show_itself(shop: Shop) -> None:
    #
    """R-123."""
    assert await fail(shop, FREE) == [WRONG] * FREE
    wrong, right = await shop.login("alice", "wrong"), await shop.login("alice")
    assert code(wrong) == code(right) == CAPTCHA
    assert {**wrong.json(), "request_id": ""} == {**right.json(), "request_id": ""}
    assert await shop.events("login") == []


async def test_with_a_captcha_the_victim_gets_in_at_any_time(shop: Shop) -> None:
    # the attacker goes on, and the victim is asked for nothing but a captcha.
    """R-124."""
    await fail(shop, FREE + 10)
    assert (await shop.login("alice", captcha=await solved(shop))).status_code == 200


async def test_a_captcha_is_good_for_one_attempt(shop: Shop) -> None:
    #
    """R-127."""
    await fail(shop, FREE)
    captcha = await solved(shop)
    assert code(await shop.login("alice", "wrong", captcha=captcha)) == WRONG
    assert code(await shop.login("alice", captcha=captcha)) == CAPTCHA


@pytest.mark.parametrize("zero", ["0", "\uff10", "\u0660", "\u06f0", "\u0966"], ids=["ascii", "wide", "ar", "fa", "hi"])
async def test_a_captcha_may_be_answered_in_the_digits_of_any_keyboard(shop: Shop, zero: str) -> None:
    """R-217: the numbers of Japanese, Arabic, Persian and Hindi keyboards, with any space between them."""
    await fail(shop, FREE)
    captcha = await solved(shop)
    typed = "\u3000".join(chr(ord(zero) + int(digit)) for digit in captcha["answer"])
    assert (await shop.login("alice", captcha={**captcha, "answer": f" {typed}\t"})).status_code == 200


async def test_a_password_in_two_spellings_is_one_guess(shop: Shop) -> None:
    """R-217: of a decomposed one both forms are looked at, which must not make guesses cheaper or dearer."""
    guesses = [f"e\u0301-wrong-{number}" for number in range(FREE)]
    assert [code(await shop.login("alice", guess)) for guess in guesses] == [WRONG] * FREE
    assert code(await shop.login("alice", "e\u0301-wrong")) == CAPTCHA


@pytest.mark.parametrize("answer", ["", "0", "not digits", "\u0661" * 6, "9" * 2048])
async def test_a_wrong_answer_uses_the_captcha_up(shop: Shop, answer: str) -> None:
    #
    """R-127."""
    await fail(shop, FREE)
    captcha = await solved(shop)
    assert code(await shop.login("alice", captcha={**captcha, "answer": answer})) == CAPTCHA
    assert code(await shop.login("alice", captcha=captcha)) == CAPTCHA


@pytest.mark.parametrize("captcha", ["A" * 22, "x", "\u00e9" * 22, "all", "../all"])
async def test_a_captcha_that_nobody_made_is_not_solved(shop: Shop, captcha: str) -> None:
    """R-127."""
    await fail(shop, FREE)
    secret = keyring.load(shop.node.settings.keys.directory).refresh_secrets[0]
    assert code(await shop.login("alice", captcha={"id": captcha, "answer": digits(secret, captcha)})) == CAPTCHA


async def test_a_captcha_of_one_node_is_checked_by_another(shop: Shop) -> None:
    """R-127."""
    await fail(shop, FREE)
    async with shops.another_node(shop) as http:
        captcha = await solved(shop, http)
    assert (await shop.login("alice", captcha=captcha)).status_code == 200


async def test_a_captcha_gets_too_old(shop: Shop, redis: Redis) -> None:
    """R-127."""
    await fail(shop, FREE)
    captcha = await solved(shop)
    assert 290 <= await redis.ttl(f"lg:captcha:{captcha['id']}") <= 300
    await redis.delete(f"lg:captcha:{captcha['id']}")
    assert code(await shop.login("alice", captcha=captcha)) == CAPTCHA


async def test_every_spelling_of_a_name_has_the_same_counter(shop: Shop) -> None:
    #
    """R-125."""
    for spelling in ("alice", "ALICE", "  alice ", "\uff41lice", "Alice"):
        assert code(await shop.login(spelling, "wrong")) == WRONG
    assert code(await shop.login("aLICE")) == CAPTCHA


async def test_names_that_nobody_has_are_counted_like_others(shop: Shop) -> None:
    # otherwise a captcha would tell which names exist.
    """R-120, R-123."""
    await fail(shop, FREE, "nobody")
    assert code(await shop.login("nobody", "wrong")) == CAPTCHA


async def test_a_success_takes_back_its_own_attempt_and_no_other(shop: Shop) -> None:
    #
    """R-123."""
    await fail(shop, FREE - 1)
    for _ in range(3):
        assert (await shop.login("alice")).status_code == 200
    assert await fail(shop, 2) == [WRONG, CAPTCHA]


async def test_many_attempts_at_once_are_not_more_than_in_a_row(shop: Shop) -> None:
    #
    """R-123."""
    answers = await asyncio.gather(*(shop.login("alice", "wrong") for _ in range(3 * FREE)))
    assert sorted(map(code, answers)) == sorted([WRONG] * FREE + [CAPTCHA] * 2 * FREE)


async def test_an_address_that_goes_on_and_on_is_sent_away_but_not_who_solves_a_captcha(
    shop: Shop, redis: Redis
) -> None:
    #
    """R-123, R-124."""
    login = shop.node.settings.login
    codes = [code(await shop.login(f"user-{number}", "wrong")) for number in range(login.address_limit)]
    asked = login.address_limit - login.address_attempts
    assert codes == [WRONG] * login.address_attempts + [CAPTCHA] * asked
    answer = await shop.login("alice")
    assert code(answer) == (429, "too_many_attempts")
    wait = int(answer.headers["retry-after"])
    assert 1 <= wait <= login.window_s
    assert (await shop.login("alice", captcha=await solved(shop))).status_code == 200
    await time_passes_at(redis, wait)
    assert code(await shop.login("alice")) == CAPTCHA


async def test_after_a_quiet_window_everything_is_as_before(shop: Shop, redis: Redis) -> None:
    """R-124."""
    await fail(shop, FREE + 30)
    await time_passes_at(redis, 2 * shop.node.settings.login.window_s)
    assert await fail(shop, FREE) == [WRONG] * FREE


async def test_two_nodes_count_together(shop: Shop) -> None:
    """R-123."""
    async with shops.another_node(shop) as http:
        for number in range(FREE):
            door = http if number % 2 else shop.http
            await door.post("/auth/login", json={"username": "alice", "password": "wrong"})
        answer = await http.post("/auth/login", json={"username": "alice", "password": PASSWORD})
    assert code(answer) == CAPTCHA


async def test_without_counters_no_password_is_looked_at(shop: Shop, redis: Redis) -> None:
    # Login fails closed: a value of the wrong type is a Redis that cannot do what it is asked.
    """R-123."""
    await redis.set("lg:login:{login}:all", "not a hash")
    answer = await shop.login("alice")
    assert code(answer) == (503, "store_unavailable")
    assert answer.headers["retry-after"]
    assert await shop.events("login") == []


@pytest.mark.parametrize(
    "captcha", ["x", {"id": "a"}, {"id": "a", "answer": "b", "more": 1}, {"id": "a" * 3000, "answer": "b"}]
)
async def test_what_is_no_captcha_is_refused_before_anything_is_counted(
    shop: Shop,
    redis: Redis,
    captcha: Any,  # noqa: ANN401 - JSON
) -> None:
    #
    """R-127."""
    assert code(await shop.login("alice", captcha=captcha)) == (400, "invalid_fields")
    assert await redis.keys("lg:login:*") == []


async def test_redis_holds_neither_names_nor_answers(shop: Shop, redis: Redis) -> None:
    # what was typed into the wrong field stays out of counters and audit trail alike.
    """R-127."""
    await fail(shop, 1, "my-secret-in-the-wrong-field")
    captcha = await solved(shop)
    assert len(await shop.events("login.refused")) == 1
    held = str([[key, await everything_in(redis, key)] for key in await redis.keys("lg:*")])
    assert captcha["id"] in held
    assert "my-secret" not in held
    assert captcha["answer"] not in held


async def everything_in(redis: Redis, key: Any) -> Any:  # noqa: ANN401 - what the client gives
    """What a key of any type holds."""
    kind = await redis.type(key)
    if kind == b"hash":
        return await redis.hgetall(key)
    return await redis.xrange(key) if kind == b"stream" else await redis.get(key)
