"""Stands before every look at a password, whichever call it is for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.errors import AccountsUnavailableError, Refusal
from gateway.sessions.captcha import CaptchaAnswer, CaptchaCheck
from gateway.sessions.throttle import Throttle

T = TypeVar("T")


class PasswordGuard:
    """Lets a password be looked at unless there were too many attempts.

    One for all calls that take a password: a second door without a guard would make the first one worthless.

    Args:
        throttle: counts.
        captchas: judge answers.
    """

    def __init__(self, throttle: Throttle, captchas: CaptchaCheck) -> None:
        self._throttle = throttle
        self._captchas = captchas

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
        """
        solved = captcha is not None and await self._captchas.solved(captcha, address)
        refusal = await self._throttle.enter(username, address, solved=solved)
        if refusal is not None:
            return refusal
        try:
            found = await look()
        except AccountsUnavailableError:
            await self._throttle.take_back(username, address)
            raise
        if found is not None:
            await self._throttle.take_back(username, address)
        return found
