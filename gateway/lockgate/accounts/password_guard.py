"""Stands before every look at a password, whichever call it is for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Protocol, TypeVar

from lockgate.accounts.captcha import CaptchaAnswer, CaptchaCheck
from lockgate.accounts.throttle import Throttle, new_attempt
from lockgate.errors import AccountsUnavailableError, Refusal

T = TypeVar("T")


class InTurn(Protocol):
    """Makes a call when it is its turn, and to its end, even if its caller is cancelled: `CallLimiter.run`."""

    def __call__(self, call: Callable[[], Coroutine[Any, Any, T]], /) -> Coroutine[Any, Any, T]:
        """The outcome of the call; raises `AccountsUnavailableError` where its turn does not come."""
        ...


class PasswordGuard:
    """Lets a password be looked at unless there were too many attempts.

    One for all calls that take a password: a second door without a guard would make the first one worthless.

    An attempt is counted when its turn has come, and not before: a client that only waits, and perhaps hangs up, would
    count as a guess, and a crowd of those would bring captchas for all users.

    Args:
        throttle: counts.
        captchas: judge answers.
        in_turn: bounds how many attempts are under way.
    """

    def __init__(self, throttle: Throttle, captchas: CaptchaCheck, in_turn: InTurn) -> None:
        self._throttle = throttle
        self._captchas = captchas
        self._in_turn = in_turn

    async def check(
        self, username: str, address: str, captcha: CaptchaAnswer | None, look: Callable[[], Awaitable[T | None]]
    ) -> T | Refusal | None:
        """Look at a password, if that is allowed now.

        Args:
            username: of the account.
            address: of the client.
            captcha: what came with the call; used up, whether it was needed or not.
            look: compares the password; `None` is a wrong one.

        Returns:
            What `look` found, or a refusal that is the same for right and wrong passwords.

        Raises:
            StoreUnavailableError: attempts cannot be counted, so none is made.
            AccountsUnavailableError: its turn did not come, so it does not count; or the service is away.
        """
        solved = captcha is not None and await self._captchas.solved(captcha, address)
        given_up = asyncio.Event()
        try:
            return await self._in_turn(partial(self._attempt, username, address, look, given_up, solved=solved))
        except AccountsUnavailableError:
            # Perhaps it goes on all the same. The client is told 503, so its outcome counts as none.
            given_up.set()
            raise

    async def _attempt(
        self,
        username: str,
        address: str,
        look: Callable[[], Awaitable[T | None]],
        given_up: asyncio.Event,
        *,
        solved: bool,
    ) -> T | Refusal | None:
        attempt = new_attempt()
        refusal = await self._throttle.enter(username, address, solved=solved, attempt=attempt)
        if refusal is not None:
            return refusal
        try:
            found = await look()
        except AccountsUnavailableError:
            await self._throttle.take_back(username, address, attempt)
            raise
        if found is not None or given_up.is_set():
            await self._throttle.take_back(username, address, attempt)
        return found
