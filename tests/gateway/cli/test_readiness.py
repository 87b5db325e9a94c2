"""A worker is ready when it has told itself, in the life that is asked about."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from lockgate.cli.readiness import Readiness, tell_parent
from lockgate.cli.supervisor import Child

if TYPE_CHECKING:
    from lockgate.cli.process import Process


async def never_started(_: Child) -> Process:
    raise OSError("no process is needed here")


async def launch(readiness: Readiness) -> None:
    child = replace(Child("gateway-1", (), {}, readiness.was_told), launch=never_started)
    try:
        await readiness.forget_at_launch(child).launch(child)
    except OSError:
        return


async def test_a_worker_is_ready_when_it_has_told_and_stays_so() -> None:
    readiness = Readiness()
    assert not await readiness.was_told()
    tell_parent(os.dup(readiness.descriptor))
    assert await readiness.was_told()
    assert await readiness.was_told()


async def test_what_a_life_has_told_says_nothing_of_the_next_one() -> None:
    """Neither what was heard of it, nor what it told just before its end."""
    readiness = Readiness()
    for heard in (True, False):
        tell_parent(os.dup(readiness.descriptor))
        assert not heard or await readiness.was_told()
        await launch(readiness)
        assert not await readiness.was_told()


async def test_more_can_be_asked_for() -> None:
    answers = [True, False]

    async def is_ready() -> bool:
        return answers.pop()

    readiness = Readiness(is_ready)
    assert not await readiness.was_told()
    assert answers == [True, False]
    tell_parent(os.dup(readiness.descriptor))
    assert [await readiness.was_told(), await readiness.was_told()] == [False, True]


def test_a_parent_that_has_gone_does_not_matter() -> None:
    told, descriptor = os.pipe()
    os.close(told)
    tell_parent(descriptor)
