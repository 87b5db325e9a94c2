"""A bounded, fair queue in front of calls of which only so many may be under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from lockgate.errors import AccountsUnavailableError

T = TypeVar("T")

FULL: Final = "too many calls are waiting"
LATE: Final = "no answer in time"


class Lane:
    """Lets so many calls be under way at once; others wait in order, not for long, and not in any number.

    A call belongs to nobody once it has begun: who gives up waiting for it neither ends it nor makes room for another.
    So a client that hangs up has spent a turn like any other, and the HTTP client below is never cancelled in the
    middle of its work, which costs httpx a connection for good.

    Args:
        at_once: calls under way.
        waiting: calls that may wait for their turn.
        wait_s: how long each of them may.
        answer_s: how long anybody waits for the outcome of a call that has begun.
    """

    def __init__(self, *, at_once: int, waiting: int, wait_s: float, answer_s: float) -> None:
        self._turns = asyncio.Semaphore(at_once)
        self._at_once = at_once
        self._room = waiting
        self._wait_s = wait_s
        self._answer_s = answer_s
        self._under_way: set[asyncio.Task[Any]] = set()

    @property
    def room(self) -> int:
        """How many more calls could come now: to be made at once, or to wait."""
        return self._at_once - len(self._under_way) + self._room

    async def run(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The outcome of a call, which is made when it is its turn.

        Raises:
            AccountsUnavailableError: it was not made, because too many wait or its turn did not come in time; or it
                was, and its outcome did not come in time.
        """
        await self._turn()
        task = asyncio.get_running_loop().create_task(call())
        self._under_way.add(task)
        task.add_done_callback(self._over)
        await asyncio.wait({task}, timeout=self._answer_s)
        if not task.done():
            raise AccountsUnavailableError(LATE)
        return task.result()

    async def close(self) -> None:
        """Give up the calls that are under way."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _turn(self) -> None:
        if not self._turns.locked():
            await self._turns.acquire()
            return
        if not self._room:
            raise AccountsUnavailableError(FULL)
        self._room -= 1
        try:
            async with asyncio.timeout(self._wait_s):
                await self._turns.acquire()
        except TimeoutError:
            raise AccountsUnavailableError(FULL) from None
        finally:
            self._room += 1

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        self._turns.release()
        if not task.cancelled():
            task.exception()  # looked at, for who asked may have left
