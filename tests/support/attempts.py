"""Requests that users try while the store is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import httpx

from lockgate.errors import Reason
from tests.support.people import Person, Place, refused

RECOVERY_S: Final = 5

Attempt = Callable[[Person, Place], Awaitable[httpx.Response]]

ATTEMPTS: Final[dict[str, Attempt]] = {
    "login": lambda who, place: who.tries_to_log_in(on=place),
    "refresh": lambda who, place: who.tries_to_refresh(on=place),
    "revoke": lambda who, place: who.tries_to_revoke(on=place),
    "logout": lambda who, place: who.tries_to_log_out(on=place),
    "logout everywhere": lambda who, place: who.tries_to_log_out_everywhere(on=place),
    "password": lambda who, place: who.tries_to_change_password(on=place),
}
"""Each of them has to write something."""
CALL: Final[Attempt] = lambda who, place: who.calls(on=place)  # noqa: E731 - as those above


async def until_answered(attempt: Attempt, who: Person, place: Place) -> httpx.Response:
    """Try again while the response says that the store is away, within the promised time."""
    async with asyncio.timeout(RECOVERY_S):
        while (answer := await attempt(who, place)).status_code == Reason.STORE_AWAY.status:
            refused(answer, Reason.STORE_AWAY)
    return answer
