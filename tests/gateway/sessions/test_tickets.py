"""One-time tickets: used once, for 30 seconds, and worth nothing to a reader or writer of Redis (R-173)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from lockgate.errors import Reason, Refusal, StoreUnavailableError
from lockgate.identity.model import UnverifiedToken
from lockgate.sessions.tickets import Tickets
from lockgate.stores.layout import TICKET_LIFE_S, UserKeys
from lockgate_common.redis.client import RedisClient

MOST = 5
TOKEN = UnverifiedToken("aaaa.bbbb.cccc")


async def only_entry(redis: RedisClient) -> tuple[bytes, bytes]:
    (key,) = [each async for each in redis.scan_iter("lg:ticket:*")]
    value = await redis.get(key)
    assert isinstance(key, bytes)
    assert isinstance(value, bytes)
    return key, value


async def issued(tickets: Tickets, sub: str = "alice") -> str:
    ticket = await tickets.issue(TOKEN, sub)
    assert isinstance(ticket, str)
    return ticket


async def test_a_user_has_so_many_tickets_at_a_time_and_no_more(redis: RedisClient) -> None:
    """R-224: however many ask at once, on whichever node; the others of the user go on to work."""
    nodes = Tickets(redis, MOST), Tickets(redis, MOST)
    outcomes = await asyncio.gather(*(nodes[number % 2].issue(TOKEN, "alice") for number in range(4 * MOST)))
    tickets = [outcome for outcome in outcomes if isinstance(outcome, str)]
    refusals = [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
    assert len(tickets) == MOST
    assert {refusal.reason for refusal in refusals} == {Reason.TOO_MANY_TICKETS}
    assert 29 <= int(dict(refusals[0].headers)["Retry-After"]) <= 30
    assert len([each async for each in redis.scan_iter("lg:ticket:*")]) == MOST
    assert await nodes[0].redeem(tickets[0]) == TOKEN.encode()
    await issued(nodes[0], "bob")


async def test_a_ticket_whose_time_is_over_makes_room(redis: RedisClient) -> None:
    """R-224: by the clock of Redis."""
    tickets = Tickets(redis, 1)
    await issued(tickets)
    assert isinstance(await tickets.issue(TOKEN, "alice"), Refusal)
    counted_by = UserKeys.of("alice").tickets
    names: list[Any] = await redis.zrange(counted_by, 0, -1)
    await redis.zincrby(counted_by, -TICKET_LIFE_S * 1000, names[0])
    await issued(tickets)


async def test_a_ticket_is_redeemed_once(redis: RedisClient) -> None:
    tickets = Tickets(redis, MOST)
    ticket = await issued(tickets)
    assert await tickets.redeem(ticket) == TOKEN.encode()
    assert await tickets.redeem(ticket) is None
    assert [each async for each in redis.scan_iter("lg:ticket:*")] == []


async def test_of_many_at_once_one_redeems_it(redis: RedisClient) -> None:
    tickets = Tickets(redis, MOST)
    ticket = await issued(tickets)
    outcomes = await asyncio.gather(*(tickets.redeem(ticket) for _ in range(20)))
    assert [outcome for outcome in outcomes if outcome is not None] == [TOKEN.encode()]


async def test_a_ticket_lives_for_thirty_seconds(redis: RedisClient) -> None:
    await issued(Tickets(redis, MOST))
    keys = [each async for each in redis.scan_iter()]
    assert len(keys) == 2, "the ticket, and what it is counted by"
    for key in keys:
        assert 29_000 < await redis.pttl(key) <= 30_000


async def test_redis_holds_neither_the_ticket_nor_the_token(redis: RedisClient) -> None:
    ticket = await issued(Tickets(redis, MOST))
    key, value = await only_entry(redis)
    assert ticket.encode() not in key + value
    assert TOKEN.encode() not in value


async def test_a_value_that_was_tampered_with_redeems_nothing(redis: RedisClient) -> None:
    tickets = Tickets(redis, MOST)
    ticket = await issued(tickets)
    key, value = await only_entry(redis)
    await redis.set(key, bytes([value[0] ^ 1]) + value[1:])
    assert await tickets.redeem(ticket) is None


@pytest.mark.parametrize("ticket", ["", "x", "A" * 42, "A" * 44, "é" * 43, "A" * 42 + "=", "A" * 42 + "\n"])
async def test_what_is_no_ticket_does_not_reach_redis(ticket: str) -> None:
    async with Redis.from_url("unix:///nowhere/redis.sock") as nobody:
        assert await Tickets(nobody, MOST).redeem(ticket) is None


async def test_without_redis_there_are_no_tickets() -> None:
    async with Redis.from_url("unix:///nowhere/redis.sock") as nobody:
        with pytest.raises(StoreUnavailableError):
            await Tickets(nobody, MOST).issue(TOKEN, "alice")
        with pytest.raises(StoreUnavailableError):
            await Tickets(nobody, MOST).redeem("A" * 43)
