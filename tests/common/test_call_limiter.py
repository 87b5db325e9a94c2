"""Calls that wait in a fair queue with bounds, as those to the users service do (R-122)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest
import pytest_asyncio

from lockgate_common.call_limiter import BoundedQueue, CallLimiter, OutcomeLateError, QueueFullError
from tests.support.raw import WITHIN_S, until

AT_ONCE = 2
WAITING = 3


class Calls:
    """Calls that end when the test says so.

    Attributes:
        begun: their numbers, in order.
    """

    def __init__(self, limiter: CallLimiter) -> None:
        self.limiter = limiter
        self.begun: list[int] = []
        self._ends: dict[int, asyncio.Future[int]] = {}
        self.callers: list[asyncio.Task[int]] = []

    def ask(self, *numbers: int) -> None:
        """A caller for each of these calls."""
        for number in numbers:
            self.callers.append(asyncio.create_task(self.limiter.run(partial(self._call, number))))

    def end(self, *numbers: int) -> None:
        """These calls have their outcome: their number."""
        for number in numbers:
            self._ends[number].set_result(number)

    def fail(self, number: int) -> None:
        """This call fails."""
        self._ends[number].set_exception(LookupError("broken"))

    async def _call(self, number: int) -> int:
        self.begun.append(number)
        self._ends[number] = asyncio.get_running_loop().create_future()
        return await self._ends[number]


def limiter(*, wait_s: float = WITHIN_S, outcome_s: float = WITHIN_S) -> CallLimiter:
    return CallLimiter(at_once=AT_ONCE, waiting=WAITING, wait_s=wait_s, outcome_s=outcome_s)


@pytest_asyncio.fixture
async def calls() -> AsyncIterator[Calls]:
    made = Calls(limiter())
    yield made
    for caller in made.callers:
        caller.cancel()
    await asyncio.gather(*made.callers, return_exceptions=True)
    await made.limiter.close()


async def settle() -> None:
    """Let everything happen that waits for nothing."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_so_many_are_under_way_and_the_others_follow_in_order(calls: Calls) -> None:
    calls.ask(0, 1, 2, 3, 4)
    await settle()
    assert calls.begun == [0, 1]
    calls.end(1)
    await settle()
    assert calls.begun == [0, 1, 2]
    calls.end(0, 2)
    await settle()
    calls.end(3, 4)
    assert await asyncio.gather(*calls.callers) == [0, 1, 2, 3, 4]


async def test_who_hangs_up_ends_no_call_and_makes_no_room(calls: Calls) -> None:
    calls.ask(0, 1, 2)
    await settle()
    calls.callers[0].cancel()
    await settle()
    assert calls.callers[0].cancelled()
    assert calls.begun == [0, 1]
    calls.end(0)
    await settle()
    assert calls.begun == [0, 1, 2]


async def test_who_hangs_up_while_waiting_leaves_the_place_to_the_next(calls: Calls) -> None:
    calls.ask(0, 1, 2, 3)
    await settle()
    calls.callers[2].cancel()
    await settle()
    calls.end(0)
    await settle()
    assert calls.begun == [0, 1, 3]


async def test_who_hangs_up_when_the_turn_has_just_come_passes_it_on(calls: Calls) -> None:
    calls.ask(0, 1, 2, 3)
    await settle()
    full = calls.limiter.room
    calls.end(0)
    while calls.limiter.room == full:  # noqa: ASYNC110 - ends when the turn is given, not yet taken
        await asyncio.sleep(0)
    calls.callers[2].cancel()
    await settle()
    assert 3 in calls.begun
    calls.end(1)
    await settle()
    calls.ask(4)
    await settle()
    assert 4 in calls.begun


async def test_one_more_than_may_wait_is_refused_at_once(calls: Calls) -> None:
    calls.ask(*range(AT_ONCE + WAITING))
    await settle()
    with pytest.raises(QueueFullError):
        await calls.limiter.run(lambda: asyncio.sleep(0))
    calls.end(0)
    await settle()
    calls.ask(9)
    await settle()
    assert not calls.callers[-1].done()


async def test_who_waits_too_long_is_refused_and_the_queue_goes_on() -> None:
    calls = Calls(limiter(wait_s=0.02))
    calls.ask(0, 1, 2)
    with pytest.raises(QueueFullError):
        await calls.callers[2]
    assert calls.begun == [0, 1]
    calls.end(0, 1)
    await asyncio.gather(*calls.callers[:2])
    assert await calls.limiter.run(lambda: asyncio.sleep(0, "yes")) == "yes"


async def test_an_outcome_that_is_late_is_none_and_its_turn_ends_with_the_call() -> None:
    calls = Calls(limiter(outcome_s=0.02))
    calls.ask(0, 1)
    for caller in calls.callers:
        with pytest.raises(OutcomeLateError):
            await caller
    calls.ask(2)
    await settle()
    assert calls.begun == [0, 1]
    calls.end(0)
    await until(lambda: 2 in calls.begun)
    await calls.limiter.close()
    with pytest.raises((asyncio.CancelledError, OutcomeLateError)):
        await calls.callers[2]


async def test_a_call_that_fails_gives_its_turn_back_also_when_nobody_hears_of_it(calls: Calls) -> None:
    calls.ask(0, 1, 2, 3)
    await settle()
    calls.callers[0].cancel()
    calls.fail(0)
    calls.fail(1)
    await settle()
    with pytest.raises(LookupError, match="broken"):
        await calls.callers[1]
    assert calls.begun == [0, 1, 2, 3]


async def test_closing_gives_up_what_is_under_way(calls: Calls) -> None:
    calls.ask(0)
    await settle()
    await calls.limiter.close()
    with pytest.raises(asyncio.CancelledError):
        await calls.callers[0]


async def test_the_room_is_what_is_left_of_turns_and_places(calls: Calls) -> None:
    rooms = [calls.limiter.room]
    for number in range(AT_ONCE + WAITING):
        calls.ask(number)
        await settle()
        rooms.append(calls.limiter.room)
    calls.end(0)
    await settle()
    assert rooms == [5, 4, 3, 2, 1, 0]
    assert calls.limiter.room == 1


async def test_a_turn_ends_with_its_context_also_by_a_fault() -> None:
    queue = BoundedQueue(at_once=1, wait_s=WITHIN_S)
    with pytest.raises(LookupError):
        async with queue.turn():
            raise LookupError
    async with queue.turn():
        waiting = asyncio.create_task(queue.take())
        await settle()
        assert not waiting.done()
    await waiting


async def test_a_queue_without_a_bound_takes_any_number_and_refuses_by_time_alone() -> None:
    queue = BoundedQueue(at_once=1, wait_s=0.02)
    await queue.take()
    outcomes = await asyncio.gather(*(queue.take() for _ in range(100)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {QueueFullError}
