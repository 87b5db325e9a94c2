"""Whether a verified token is still welcome: asked of Redis on every request, once for all requests of a tick."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from lockgate.admission.gate import Admitted
from lockgate.errors import Reason
from lockgate.stores.layout import UserKeys
from tests.support.admission import claims, commands, gate, opened, reason, together

ALICE = UserKeys.of("alice")


async def test_a_token_that_nobody_revoked_is_let_in(redis: Redis) -> None:
    asked = claims()
    async with opened(redis) as link:
        (verdict,) = await together(gate(link), [asked])
        assert isinstance(verdict, Admitted)
        assert verdict.identity is asked.principal
        assert await gate(link).judge_token(asked) is asked.principal


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        (ALICE.jti("token-1"), "1", Reason.TOKEN_REVOKED),
        (ALICE.jti("token-1"), "", Reason.TOKEN_REVOKED),
        (ALICE.ended("session-1"), "1", Reason.SESSION_ENDED),
        (ALICE.epoch, "6", Reason.EPOCH_RAISED),
        (ALICE.epoch, "9007199254740993", Reason.EPOCH_RAISED),
    ],
)
async def test_what_redis_holds_against_a_token_counts_in_the_next_tick(
    redis: Redis, key: str, value: str, why: Reason
) -> None:
    """R-13, R-153: nothing is remembered from one question to the next, in either direction."""
    asked = claims(epoch=5)
    async with opened(redis) as link:
        admission = gate(link)
        assert reason(await admission.judge_token(asked)) is None
        await redis.set(key, value)
        assert reason(await admission.judge_token(asked)) is why
        await redis.delete(key)
        assert reason(await admission.judge_token(asked)) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (ALICE.jti("token-2"), "1"),
        (ALICE.ended("session-2"), "1"),
        (ALICE.epoch, "5"),
        (ALICE.epoch, "0"),
        (UserKeys.of("bob").jti("token-1"), "1"),
        (UserKeys.of("bob").ended("session-1"), "1"),
        (UserKeys.of("bob").epoch, "9"),
    ],
)
async def test_what_redis_holds_against_others_does_not_count(redis: Redis, key: str, value: str) -> None:
    await redis.set(key, value)
    async with opened(redis) as link:
        assert reason(await gate(link).judge_token(claims(epoch=5))) is None


async def test_fifty_requests_of_one_tick_are_one_mget(redis: Redis) -> None:
    await redis.set(UserKeys.of("user-7").jti("token-7"), "1")
    await redis.set(UserKeys.of("user-8").ended("session-8"), "1")
    await redis.set(UserKeys.of("user-9").epoch, "1")
    questions = [claims(f"user-{n}", f"token-{n}", f"session-{n}") for n in range(50)]
    async with opened(redis) as link:
        before = await commands(redis, "mget")
        verdicts = await together(gate(link), questions)
        assert await commands(redis, "mget") - before == 1
    refused = {number: why for number, verdict in enumerate(verdicts) if (why := reason(verdict)) is not None}
    assert refused == {7: Reason.TOKEN_REVOKED, 8: Reason.SESSION_ENDED, 9: Reason.EPOCH_RAISED}
    for number, verdict in enumerate(verdicts):  # no request gets another one's identity
        assert isinstance(verdict, Admitted) == (number not in refused)
        if isinstance(verdict, Admitted):
            assert verdict.identity is questions[number].principal


async def test_questions_of_many_ticks_get_their_own_answers(redis: Redis) -> None:
    """R-89: answers come in the order of the questions, however many are under way."""
    await redis.mset({UserKeys.of(f"user-{n}").jti("t"): "1" for n in range(0, 400, 3)})
    async with opened(redis) as link:
        admission = gate(link)
        asked: list[asyncio.Task[object]] = []
        for number in range(400):
            asked.append(asyncio.create_task(admission.judge_token(claims(f"user-{number}", "t", "s"))))
            if number % 7 == 0:
                await asyncio.sleep(0)  # the next tick
        verdicts = await asyncio.gather(*asked)
    for number, verdict in enumerate(verdicts):
        assert reason(verdict) is (Reason.TOKEN_REVOKED if number % 3 == 0 else None)


async def test_whoever_stops_waiting_takes_nothing_from_the_others(redis: Redis) -> None:
    """R-108: a cancelled request's answer goes nowhere, and the next one gets its own."""
    await redis.set(ALICE.jti("revoked"), "1")
    async with opened(redis) as link:
        admission = gate(link)
        for _ in range(50):
            gone = asyncio.create_task(admission.judge_token(claims(jti="revoked")))
            stays = asyncio.create_task(admission.judge_token(claims(jti="fine")))
            await asyncio.sleep(0)
            gone.cancel()
            assert reason(await stays) is None
            await asyncio.wait({gone})
            assert gone.cancelled()
        assert reason(await admission.judge_token(claims(jti="revoked"))) is Reason.TOKEN_REVOKED


@pytest.mark.parametrize("value", ["", "x", "1.5"])
async def test_a_counter_that_is_none_lets_nobody_in_and_keeps_nobody_waiting(redis: Redis, value: str) -> None:
    """Only a direct write to Redis can cause this. Other requests of the tick get their responses."""
    await redis.set(ALICE.epoch, value)
    async with opened(redis) as link:
        odd, fine = await together(gate(link), [claims("alice"), claims("bob")])
    assert reason(odd) is Reason.STORE_AWAY
    assert reason(fine) is None
