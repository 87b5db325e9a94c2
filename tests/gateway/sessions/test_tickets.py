"""One-time tickets: used once, for 30 seconds, and worth nothing to whoever reads or writes Redis (R-173)."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from gateway.errors import StoreUnavailableError
from gateway.identity.model import UnverifiedToken
from gateway.sessions.tickets import Tickets

TOKEN = UnverifiedToken("aaaa.bbbb.cccc")


async def only_entry(redis: Redis) -> tuple[bytes, bytes]:
    (key,) = [each async for each in redis.scan_iter()]
    value = await redis.get(key)
    assert isinstance(key, bytes)
    assert isinstance(value, bytes)
    return key, value


async def test_a_ticket_is_redeemed_once(redis: Redis) -> None:
    tickets = Tickets(redis)
    ticket = await tickets.issue(TOKEN)
    assert await tickets.redeem(ticket) == TOKEN.encode()
    assert await tickets.redeem(ticket) is None
    assert await redis.dbsize() == 0


async def test_of_many_at_once_one_redeems_it(redis: Redis) -> None:
    tickets = Tickets(redis)
    ticket = await tickets.issue(TOKEN)
    outcomes = await asyncio.gather(*(tickets.redeem(ticket) for _ in range(20)))
    assert [outcome for outcome in outcomes if outcome is not None] == [TOKEN.encode()]


async def test_a_ticket_lives_for_thirty_seconds(redis: Redis) -> None:
    await Tickets(redis).issue(TOKEN)
    (key,) = [each async for each in redis.scan_iter()]
    assert 29_000 < await redis.pttl(key) <= 30_000


async def test_redis_holds_neither_the_ticket_nor_the_token(redis: Redis) -> None:
    ticket = await Tickets(redis).issue(TOKEN)
    key, value = await only_entry(redis)
    assert ticket.encode() not in key + value
    assert TOKEN.encode() not in value


async def test_a_value_that_was_tampered_with_redeems_nothing(redis: Redis) -> None:
    tickets = Tickets(redis)
    ticket = await tickets.issue(TOKEN)
    key, value = await only_entry(redis)
    await redis.set(key, bytes([value[0] ^ 1]) + value[1:])
    assert await tickets.redeem(ticket) is None


@pytest.mark.parametrize("ticket", ["", "x", "A" * 42, "A" * 44, "é" * 43, "A" * 42 + "=", "A" * 42 + "\n"])
async def test_what_is_no_ticket_does_not_reach_redis(ticket: str) -> None:
    async with Redis.from_url("unix:///nowhere/redis.sock") as nobody:
        assert await Tickets(nobody).redeem(ticket) is None


async def test_without_redis_there_are_no_tickets() -> None:
    async with Redis.from_url("unix:///nowhere/redis.sock") as nobody:
        with pytest.raises(StoreUnavailableError):
            await Tickets(nobody).issue(TOKEN)
        with pytest.raises(StoreUnavailableError):
            await Tickets(nobody).redeem("A" * 43)
