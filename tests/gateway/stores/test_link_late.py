"""A worker that is late is not a Redis that is: an event loop that is held up is never taken for silence."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from lockgate.stores.links import StoreLink
from tests.support.admission import WITHIN_S, opened

TIMEOUT_S = 0.4
PING = (b"PING",)


def busy(seconds: float) -> None:
    """Hold the loop up, as a machine does that is given too little time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


async def asked(link: StoreLink, when: Callable[[Callable[[], None]], None]) -> list[Any] | None:
    """Ask at a moment that `when` chooses, while the loop is reading sockets: what comes next are timers."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[list[Any] | None] = loop.create_future()
    ours, theirs = socket.socketpair()

    def readable() -> None:
        ours.recv(1)
        when(lambda: link.ask([PING], future.set_result))

    loop.add_reader(ours, readable)
    theirs.send(b"!")
    try:
        async with asyncio.timeout(WITHIN_S):
            return await future
    finally:
        loop.remove_reader(ours)
        ours.close()
        theirs.close()


@pytest.mark.parametrize("share", [0.3, 0.475, 0.48, 0.49, 0.5, 0.51, 0.52, 0.55, 1.2])
async def test_an_answer_that_lies_there_is_read_before_redis_is_given_up(redis: Redis, share: float) -> None:
    """However soon after its time the watchdog comes, which is half of the time-out: timers run before reading."""

    def ask_and_be_busy(ask: Callable[[], None]) -> None:
        ask()
        busy(share * TIMEOUT_S)

    async with opened(redis, TIMEOUT_S) as link:
        assert await asked(link, ask_and_be_busy) == [b"PONG"]
        assert link.connected


@pytest.mark.parametrize("share", [0.48, 0.5, 0.51, 1.2])
async def test_what_was_late_before_the_question_is_not_counted(redis: Redis, share: float) -> None:
    """The loop's own clock stands still while a callback runs: a timer set behind it would be over already."""

    def be_busy_and_ask(ask: Callable[[], None]) -> None:
        busy(share * TIMEOUT_S)
        ask()

    async with opened(redis, TIMEOUT_S) as link:
        assert await asked(link, be_busy_and_ask) == [b"PONG"]
        assert link.connected
