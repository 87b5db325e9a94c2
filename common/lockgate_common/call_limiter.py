"""Fair queues with bounds: for work of which only so much may go on at a time.

A caller waits in order, for a bounded time, and beside a bounded number of other callers. So a flood of calls costs
memory and time within limits, and the callers that cannot be served learn it early.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from lockgate_common.background import BackgroundTasks

T = TypeVar("T")


class QueueFullError(Exception):
    """Too many callers wait, or a caller's turn did not come in time: the work was not begun."""


class OutcomeLateError(Exception):
    """The work was begun, and its outcome did not come in time."""


class BoundedQueue:
    """Gives turns, of which only so many are taken at a time.

    Args:
        at_once: turns taken at a time.
        wait_s: how long a caller may wait for a turn.
        waiting: callers that may wait at a time; `None` for any number.
    """

    def __init__(self, *, at_once: int, wait_s: float, waiting: int | None = None) -> None:
        self._turns = asyncio.Semaphore(at_once)
        self._free = at_once
        self._wait_s = wait_s
        self._most_waiting = waiting
        self._waiting = 0

    @property
    def room(self) -> int:
        """How many more callers could come now, to take a turn or to wait. Only for a queue with a bound."""
        if self._most_waiting is None:
            raise RuntimeError("this queue takes any number")
        return self._free + self._most_waiting - self._waiting

    async def take(self) -> None:
        """Take a turn, which lasts until `give_back`.

        Raises:
            QueueFullError: no turn came.
        """
        if self._turns.locked():
            await self._wait()
        else:
            await self._turns.acquire()
        self._free -= 1

    def give_back(self) -> None:
        """End a turn."""
        self._free += 1
        self._turns.release()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """A turn for as long as the context lasts.

        Raises:
            QueueFullError: no turn came.
        """
        await self.take()
        try:
            yield
        finally:
            self.give_back()

    async def _wait(self) -> None:
        if self._most_waiting is not None and self._waiting >= self._most_waiting:
            raise QueueFullError
        self._waiting += 1
        try:
            async with asyncio.timeout(self._wait_s):
                await self._turns.acquire()
        except TimeoutError:
            raise QueueFullError from None
        finally:
            self._waiting -= 1


class CallLimiter:
    """Makes calls in turn. A call that has begun goes on to its end, and holds its turn until then.

    A caller that is cancelled, because its client hung up, neither ends its call nor makes room for another one. So a
    client that hangs up has spent a turn like any other; and an HTTP client below is never cancelled in the middle of
    its work, which costs httpx a connection for good.

    Args:
        at_once: calls under way.
        wait_s: how long a call may wait for its turn.
        waiting: calls that may wait at a time; `None` for any number.
        outcome_s: how long a caller waits for the outcome of a call that has begun; `None` until it is there.
    """

    def __init__(
        self, *, at_once: int, wait_s: float, waiting: int | None = None, outcome_s: float | None = None
    ) -> None:
        self._queue = BoundedQueue(at_once=at_once, wait_s=wait_s, waiting=waiting)
        self._outcome_s = outcome_s
        self._calls = BackgroundTasks()

    @property
    def room(self) -> int:
        """How many more calls could come now: to be made at once, or to wait."""
        return self._queue.room

    async def run(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The outcome of a call, which is made when it is its turn.

        Raises:
            QueueFullError: the call was not made.
            OutcomeLateError: it was made.
        """
        await self._queue.take()
        task = self._calls.start(call())
        task.add_done_callback(self._end)
        await asyncio.wait({task}, timeout=self._outcome_s)
        if not task.done():
            raise OutcomeLateError
        return task.result()

    async def close(self) -> None:
        """Cancel the calls that are under way."""
        await self._calls.close()

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._queue.give_back()
        if not task.cancelled():
            task.exception()  # looked at, because the caller may have left
