"""Argon2id in a bounded pool of threads."""

from __future__ import annotations

import asyncio
import base64
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from services.kit.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

MIN_BYTES: Final = 8
MAX_BYTES: Final = 128
"""A longer password is refused before it costs anything; cutting it off would make two passwords one."""

TIME_COST: Final = 2
MEMORY_KIB: Final = 19 * 1024
PARALLELISM: Final = 1
QUEUE_WAIT_S: Final = 2.0


def acceptable(password: str) -> bool:
    """Whether a new password has a length that we take; any text of that length is a password."""
    return MIN_BYTES <= len(password.encode()) <= MAX_BYTES


class Passwords:
    """Hashes and verifies passwords without holding up the event loop.

    Args:
        threads: how many at once; each needs 19 MiB while it works.
        queue_wait_s: how long a password waits for its turn.
    """

    def __init__(self, threads: int, queue_wait_s: float = QUEUE_WAIT_S) -> None:
        self._hasher = PasswordHasher(TIME_COST, MEMORY_KIB, PARALLELISM)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._permits = asyncio.Semaphore(threads)
        self._queue_wait_s = queue_wait_s
        self._nobodys = _nobodys_hash()

    async def hash(self, password: str) -> str:
        """The PHC string of a password that is `acceptable`.

        Raises:
            BusyError: no thread was free in time.
        """
        return await self._in_pool(lambda: self._hasher.hash(password))

    async def verify(self, password: str, stored: str | None) -> bool:
        """Whether `password` made `stored`; always at the cost of one full verification, also without `stored`.

        Args:
            password: of at most `MAX_BYTES`.
            stored: a PHC string; None for an account that does not exist, which no password fits.

        Raises:
            BusyError: no thread was free in time.
        """
        return await self._in_pool(lambda: self._verify(password, stored))

    def is_outdated(self, stored: str) -> bool:
        """Whether `stored` was made at another cost than today's."""
        return self._hasher.check_needs_rehash(stored)

    async def close(self) -> None:
        """Let running hashes end, and their threads with them."""
        self._pool.shutdown(cancel_futures=True)

    def _verify(self, password: str, stored: str | None) -> bool:
        fits = self._fits(password, stored) if stored is not None else False
        if stored is None or not self._full_cost(stored):
            # So that the time taken does not tell accounts that are missing, broken or old from the others.
            self._fits(password, self._nobodys)
        return fits

    def _fits(self, password: str, stored: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    def _full_cost(self, stored: str) -> bool:
        try:
            return not self._hasher.check_needs_rehash(stored)
        except InvalidHashError:
            return False

    async def _in_pool(self, work: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(self._queue_wait_s):
                await self._permits.acquire()
        except TimeoutError:
            raise BusyError("passwords are waiting") from None
        running = asyncio.get_running_loop().run_in_executor(self._pool, work)
        # The permit belongs to the hash: a client that hangs up does not make room for another one.
        running.add_done_callback(self._done)
        return await asyncio.shield(running)

    def _done(self, running: asyncio.Future[T]) -> None:
        self._permits.release()
        if not running.cancelled():
            running.exception()  # nobody may be left to ask for it


def _nobodys_hash() -> str:
    """A hash of today's parameters that no password is known to fit."""
    salt, digest = (base64.b64encode(secrets.token_bytes(length)).rstrip(b"=").decode() for length in (16, 32))
    return f"$argon2id$v=19$m={MEMORY_KIB},t={TIME_COST},p={PARALLELISM}${salt}${digest}"
