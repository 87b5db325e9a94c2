"""A call for which there is no turn, or no outcome in time, is told like a users service that is away (R-122)."""

from __future__ import annotations

import asyncio

import pytest

from lockgate.accounts.call_limiter import FULL, LATE, CallLimiter
from lockgate.errors import AccountsUnavailableError
from tests.support.raw import WITHIN_S


async def test_a_call_beyond_the_bound_is_told_at_once() -> None:
    limiter, end = CallLimiter(at_once=1, waiting=0, wait_s=WITHIN_S, outcome_s=WITHIN_S), asyncio.Event()
    first = asyncio.create_task(limiter.run(end.wait))
    await asyncio.sleep(0)
    with pytest.raises(AccountsUnavailableError, match=FULL):
        await limiter.run(end.wait)
    end.set()
    assert await first


async def test_an_outcome_that_is_late_is_told_and_the_call_goes_on() -> None:
    limiter, end = CallLimiter(at_once=1, waiting=0, wait_s=WITHIN_S, outcome_s=0.01), asyncio.Event()
    with pytest.raises(AccountsUnavailableError, match=LATE):
        await limiter.run(end.wait)
    assert limiter.room == 0
    await limiter.close()
    assert limiter.room == 1


async def test_a_fault_of_the_call_itself_stays_what_it_is() -> None:
    async def fail() -> None:
        raise LookupError("broken")

    with pytest.raises(LookupError, match="broken"):
        await CallLimiter(at_once=1, waiting=0, wait_s=WITHIN_S, outcome_s=WITHIN_S).run(fail)
