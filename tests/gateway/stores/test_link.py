"""The link to Redis: the parts that it takes over from redis-py, and its behaviour when replies fail."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import hiredis
import pytest
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection

from lockgate.stores.link import RedisLink
from lockgate.stores.links import StoreLink
from tests.support.admission import WITHIN_S, opened
from tests.support.raw import POLL_S, until

MGET = (b"MGET", b"a", b"b")


async def answer(link: StoreLink, *commands: tuple[Any, ...]) -> list[Any] | None:
    """Ask, and wait for what comes back."""
    future: asyncio.Future[list[Any] | None] = asyncio.get_running_loop().create_future()
    link.ask(commands, future.set_result)
    async with asyncio.timeout(WITHIN_S):
        return await future


async def test_what_is_taken_over_from_redis_py_is_still_there(redis: Redis) -> None:
    """Two private names of redis-py are used. Where an upgrade renames them, this fails and says so."""
    for kind in (Connection, UnixDomainSocketConnection, SSLConnection):
        assert issubclass(kind, AbstractConnection)
        assert callable(kind._close)  # noqa: SLF001 - this is what is tested
    connection: Any = redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    assert connection._writer is None  # noqa: SLF001 - as above
    await connection.connect()
    try:
        writer: Any = connection._writer  # noqa: SLF001 - as above
        assert isinstance(writer, asyncio.StreamWriter), "redis-py no longer keeps a stream writer"
        assert callable(writer.transport.set_protocol)
        assert hasattr(hiredis, "PushNotification")
    finally:
        await connection.disconnect(nowait=True)


async def test_one_write_is_answered_command_by_command(redis: Redis) -> None:
    await redis.set("a", "1")
    async with opened(redis) as link:
        assert await answer(link, MGET, (b"INCRBY", b"n", 3), (b"GET", b"n")) == [[b"1", None], 3, b"3"]


async def test_an_error_of_redis_is_no_answer_and_the_next_question_is_asked(redis: Redis) -> None:
    await redis.rpush("list", "1")
    async with opened(redis) as link:
        assert await answer(link, MGET, (b"GET", b"list")) is None
        assert await answer(link, MGET) == [[None, None]]
        assert link.connected


async def test_an_answer_of_a_megabyte_comes_in_pieces_and_whole(redis: Redis) -> None:
    await redis.set("a", b"x" * 2**20)
    async with opened(redis) as link:
        assert await answer(link, MGET) == [[b"x" * 2**20, None]]


async def test_a_connection_that_the_server_closed_is_made_again(redis: Redis) -> None:
    async with opened(redis) as link:
        assert await answer(link, MGET) is not None
        await redis.client_kill_filter(_type="normal", skipme=True)
        async with asyncio.timeout(WITHIN_S):
            while await answer(link, MGET) is None:  # noqa: ASYNC110 - what is waited for happens inside the link
                await asyncio.sleep(POLL_S)


Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def a_server(script: Script) -> AsyncIterator[Redis]:
    """A server that greets redis-py as Redis does, and then replies as the script says."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser = hiredis.Reader()
        try:
            while data := await reader.read(4096):
                parser.feed(data)
                while (command := parser.gets()) is not False:
                    if command[0] in (b"MGET", b"GET"):
                        await script(reader, writer)
                    else:
                        writer.write(b"%1\r\n$5\r\nproto\r\n:3\r\n" if command[0] == b"HELLO" else b"+OK\r\n")
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with Redis(host="127.0.0.1", port=port) as client:
        yield client
    server.close()


async def test_questions_under_way_at_the_end_are_answered_none_and_once() -> None:
    answers: list[object] = []

    async def silent(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        """Never answer."""

    async with a_server(silent) as client:
        link = RedisLink(client.connection_pool.make_connection, WITHIN_S)
        await link.open()
        for _ in range(3):
            link.ask([MGET], answers.append)
        assert answers == []
        await link.close()
        link.ask([MGET], answers.append)
    assert answers == [None] * 4
    assert not link.connected


@pytest.mark.parametrize("out_of_band", [b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n", b">1\r\n+MOVING\r\n"])
async def test_what_the_server_says_unasked_is_nobodys_answer(out_of_band: bytes) -> None:
    """A push between two answers would hand every later request its neighbour's."""

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(out_of_band + b"*2\r\n$1\r\n1\r\n$-1\r\n" + out_of_band)

    async with a_server(script) as client, opened(client) as link:
        for _ in range(3):
            assert await answer(link, MGET) == [[b"1", None]]


async def test_a_link_can_be_closed_at_any_moment_of_connecting(redis: Redis) -> None:
    """redis-py may take the cancellation for a time-out of its own."""
    for ticks in range(40):
        link = RedisLink(redis.connection_pool.make_connection, WITHIN_S)
        await link.open()
        link.connection_lost(None)  # the keeper begins to connect again
        for _ in range(ticks):
            await asyncio.sleep(0)
        async with asyncio.timeout(WITHIN_S):
            await link.close()
        assert not link.connected


@pytest.mark.parametrize("garbage", [b"*2\r\nHTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\0\0", struct.pack("!Q", 1)])
async def test_what_is_not_redis_protocol_ends_the_connection(garbage: bytes) -> None:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(garbage)

    async with a_server(script) as client, opened(client) as link:
        assert await answer(link, MGET) is None


async def test_an_answer_that_nobody_asked_for_ends_the_connection() -> None:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"*2\r\n$1\r\n1\r\n$-1\r\n" * 2)

    async with a_server(script) as client, opened(client) as link:
        assert await answer(link, MGET) == [[b"1", None]]
        await until(lambda: not link.connected)


async def test_a_fault_in_what_is_called_back_costs_the_others_nothing(redis: Redis) -> None:
    """A defect of ours in one request must not leave the rest of them waiting for ever."""
    said: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context["exception"]))

    def fails(_: object) -> None:
        raise IndexError("ours")

    async with opened(redis) as link:
        link.ask([MGET], fails)
        assert await answer(link, MGET) == [[None, None]]
        assert link.connected
    assert [type(one) for one in said] == [IndexError]


async def test_a_worker_that_was_busy_for_longer_than_the_time_out_does_not_blame_redis(redis: Redis) -> None:
    """The answer has been lying in the socket: a loop that was held up runs its timers before it reads."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    async with opened(redis, timeout_s=0.1) as link:
        replies: asyncio.Future[list[Any] | None] = loop.create_future()

        def ask_and_be_busy() -> None:
            ours.recv(1)
            link.ask([MGET], replies.set_result)
            end = time.monotonic() + 0.3
            while time.monotonic() < end:
                hashlib.sha256(b"work" * 10_000)

        loop.add_reader(ours, ask_and_be_busy)
        theirs.send(b"!")
        async with asyncio.timeout(WITHIN_S):
            assert await replies == [[None, None]]
        assert link.connected
        loop.remove_reader(ours)
    ours.close()
    theirs.close()


async def test_a_replica_that_was_a_master_is_left_and_asked_for_again() -> None:
    """READONLY: a new connection may find the new master."""
    writes: list[asyncio.StreamWriter] = []

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writes.append(writer)
        writer.write(
            b"$1\r\n1\r\n" if len(writes) > 1 else b"-READONLY You can't write against a read only replica.\r\n"
        )

    async with a_server(script) as client, opened(client) as link:
        assert await answer(link, (b"GET", b"a")) is None
        async with asyncio.timeout(WITHIN_S):
            while (replies := await answer(link, (b"GET", b"a"))) is None:  # noqa: ASYNC110 - as above
                await asyncio.sleep(POLL_S)
    assert replies == [b"1"]
    assert writes[0] is not writes[1]
