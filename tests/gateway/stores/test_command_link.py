"""The link of the gateway's own calls: what it says where Redis refuses a command or gives no reply."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, ResponseError

from lockgate.errors import StoreUnavailableError
from lockgate.stores.command_link import CommandLink, command_link
from lockgate.stores.link import Replies
from lockgate.stores.script import Script
from lockgate.stores.trail import AuditTrail
from lockgate_common.redis.address import read_address
from lockgate_common.redis.client import connect
from tests.support.raw import WITHIN_S


@asynccontextmanager
async def opened(redis: Redis, timeout_s: float = WITHIN_S) -> AsyncIterator[CommandLink]:
    link = command_link(redis, timeout_s)
    assert link is not None
    await link.open()
    try:
        yield link
    finally:
        await link.close()


async def reads(redis: Redis) -> int:
    """How often this server has read from its clients."""
    return int((await redis.info("stats"))["total_reads_processed"])


async def test_commands_of_one_write_run_in_their_order(redis: Redis) -> None:
    async with opened(redis) as link:
        assert await link.run_all([("SET", "n", 1), ("INCRBY", "n", 2), ("GET", "n")]) == [b"OK", 3, b"3"]


async def test_an_error_is_the_one_that_redis_py_raises_and_the_next_command_runs(redis: Redis) -> None:
    await redis.rpush("list", "1")
    async with opened(redis) as link:
        with pytest.raises(ResponseError, match="wrong kind"):
            await link.run("GET", "list")
        with pytest.raises(NoScriptError):
            await link.run("EVALSHA", "0" * 40, 0)
        assert await link.run("LLEN", "list") == 1


async def test_a_script_that_the_server_does_not_know_runs_by_its_text_and_once(redis: Redis) -> None:
    await redis.script_flush()
    async with opened(redis) as link:
        script = Script(redis, "return redis.call('INCR', KEYS[1])", link=link)
        assert [await script(keys=["n"], args=[]) for _ in range(3)] == [1, 2, 3]


async def test_a_full_server_refuses_in_the_words_of_the_gateway(redis: Redis) -> None:
    async with opened(redis) as link:
        script = Script(redis, "return redis.call('SET', KEYS[1], 'x')", link=link)
        await redis.config_set("maxmemory", 1)
        try:
            with pytest.raises(OutOfMemoryError):
                await link.run("SET", "key", "value")
            with pytest.raises(StoreUnavailableError):
                await script(keys=["key"], args=[])
        finally:
            await redis.config_set("maxmemory", 0)
        assert await redis.exists("key") == 0


async def test_events_are_kept_in_their_order(redis: Redis) -> None:
    async with opened(redis) as link:
        trail = AuditTrail(redis, 1000, link)
        await trail.append([{"event": str(number)} for number in range(5)])
        assert [said["event"] for said in await trail.latest(9)] == ["4", "3", "2", "1", "0"]


async def test_a_caller_that_gives_up_takes_nothing_from_the_next_one(redis: Redis) -> None:
    async with opened(redis) as link:
        given_up = asyncio.create_task(link.run("INCR", "n"))
        next_one = asyncio.create_task(link.run("GET", "n"))
        await asyncio.sleep(0)  # both have been asked
        given_up.cancel()
        assert await next_one == b"1"


async def test_commands_of_one_turn_are_sent_together(redis: Redis) -> None:
    async with opened(redis) as link:
        before = await reads(redis)
        assert await asyncio.gather(*(link.run("INCR", "n") for _ in range(20))) == list(range(1, 21))
        assert await reads(redis) - before == 2  # one is the question itself


async def test_a_command_that_was_not_sent_is_never_sent_over_a_later_connection(redis: Redis) -> None:
    """Attack: its caller was told of no reply, and a reply to no command would be taken for the next caller's."""
    async with opened(redis) as link:
        told: list[Replies] = []
        link.ask([("SET", "old", "x")], told.append)
        link.connection_lost(None)
        assert told == [None]
        connected = asyncio.Event()
        link.listen(connected.set)
        await asyncio.wait_for(connected.wait(), WITHIN_S)
        assert await link.run("INCR", "new") == 1
        assert await redis.exists("old") == 0


async def test_questions_that_are_sent_together_keep_their_replies_apart(redis: Redis) -> None:
    async with opened(redis) as link:
        told: list[Replies] = []
        link.ask([("ECHO", "one")], told.append)
        link.ask([("ECHO", "two"), ("ECHO", "three")], told.append)
        assert await link.run("ECHO", "four") == b"four"
        assert told == [[b"one"], [b"two", b"three"]]


async def test_without_a_connection_a_command_fails_at_once(redis: Redis) -> None:
    async with opened(redis) as link:
        pass
    with pytest.raises(StoreUnavailableError):
        await link.run("PING")


async def test_a_server_that_became_a_replica_is_left(redis: Redis) -> None:
    async with opened(redis) as link:
        await redis.execute_command("REPLICAOF", "127.0.0.1", "1")  # type: ignore[no-untyped-call]
        try:
            with pytest.raises(ReadOnlyError):
                await link.run("SET", "key", "value")
            assert not link.connected
        finally:
            await redis.execute_command("REPLICAOF", "NO", "ONE")  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("url", ["redis+sentinel://127.0.0.1:1/main", "redis+cluster://127.0.0.1:1"])
async def test_a_group_of_servers_has_no_such_link(url: str) -> None:
    client = connect(read_address(url), 1)
    try:
        assert command_link(client) is None
    finally:
        await client.aclose()
