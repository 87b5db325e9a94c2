"""The owner of tasks that nothing awaits.

The event loop keeps only a weak reference to a task (documentation of `asyncio.create_task`), and a task that its owner
forgets outlives the owner. So each object that starts tasks has one of these, and closes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

CANCEL_AGAIN_S: Final = 0.1
"""How long a cancelled task may go on: redis-py may take a cancellation for a time-out of its own."""


class BackgroundTasks:
    """The tasks of one owner."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        """How many tasks have not ended."""
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task that begins in the next turn of the event loop, and is kept until its end."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The outcome of `work`, which goes on to its end if the caller is cancelled."""
        task = self.start(work)
        task.add_done_callback(_look_at_outcome)
        return await asyncio.shield(task)

    async def finish(self) -> None:
        """Wait until every task has ended, with those that begin meanwhile."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Cancel every task, and wait until all have ended."""
        while self._tasks:
            await end_tasks(*self._tasks)


async def end_tasks(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, and wait until all have ended; a task that takes a cancellation for its own is cancelled again."""
    left = set(tasks)
    for task in tasks:
        task.add_done_callback(_look_at_outcome)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)


def _look_at_outcome(task: asyncio.Task[Any]) -> None:
    """Asyncio logs an exception that nothing has looked at."""
    if not task.cancelled():
        task.exception()
