"""A task of the background has an owner, which ends it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref

import pytest

from lockgate_common.background import BackgroundTasks, end_tasks


async def test_a_task_is_kept_until_its_end() -> None:
    tasks, go, ended = BackgroundTasks(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await go.wait()
        ended.set()

    task = weakref.ref(tasks.start(work()))
    await asyncio.sleep(0)
    gc.collect()
    assert task() is not None
    assert len(tasks) == 1
    go.set()
    await ended.wait()
    await tasks.finish()
    assert len(tasks) == 0


async def test_work_goes_on_when_its_caller_is_cancelled() -> None:
    tasks, go, ended = BackgroundTasks(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await go.wait()
        ended.set()

    caller = asyncio.create_task(tasks.run(work()))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert len(tasks) == 1
    go.set()
    await tasks.finish()
    assert ended.is_set()


async def test_the_caller_gets_the_outcome() -> None:
    tasks = BackgroundTasks()
    assert await tasks.run(asyncio.sleep(0, "yes")) == "yes"

    async def fail() -> None:
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        await tasks.run(fail())


async def test_finishing_waits_for_tasks_that_tasks_have_started() -> None:
    tasks, ended = BackgroundTasks(), asyncio.Event()

    async def last() -> None:
        await asyncio.sleep(0)
        ended.set()

    async def first() -> None:
        await asyncio.sleep(0)
        tasks.start(last())

    tasks.start(first())
    await tasks.finish()
    assert ended.is_set()


async def test_closing_cancels_every_task_and_waits_for_it() -> None:
    tasks, cleaned = BackgroundTasks(), asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.set()

    started = tasks.start(work())
    await asyncio.sleep(0)
    await tasks.close()
    assert started.cancelled()
    assert cleaned.is_set()
    assert len(tasks) == 0


async def test_a_task_that_swallows_a_cancellation_is_cancelled_again() -> None:
    tasks = BackgroundTasks()

    async def work() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    started = tasks.start(work())
    await asyncio.sleep(0)
    await tasks.close()
    assert started.cancelled()


async def test_tasks_end_though_one_takes_its_cancellation_for_a_time_out() -> None:
    """redis-py does so while it connects, and then waits for a message that never comes."""
    began = asyncio.Event()

    async def listen() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            began.set()
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    async def fail() -> None:
        raise LookupError("no")

    listening, failed = asyncio.create_task(listen()), asyncio.create_task(fail())
    await began.wait()
    async with asyncio.timeout(10):
        await end_tasks(listening, failed)
    assert listening.cancelled()
    assert isinstance(failed.exception(), LookupError)


async def test_there_may_be_no_task_to_end() -> None:
    await end_tasks()
