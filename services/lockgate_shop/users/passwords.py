"""Argon2id in a bounded pool of threads."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import secrets
import sys
import threading
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum
from typing import TYPE_CHECKING, Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from lockgate_shop.kit.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

MIN_CHARACTERS: Final = 8
"""Code points, so that eight of any script will do."""
MAX_BYTES: Final = 512
"""In UTF-8, of the form that is hashed. Cutting a longer one off would make two passwords one."""
MAX_TYPED_BYTES: Final = 3 * MAX_BYTES
"""In UTF-8, as typed; a longer password is refused before it costs anything. No character is decomposed into more than
three times its bytes, so every spelling of a password of `MAX_BYTES` is within."""

TIME_COST: Final = 2
MEMORY_KIB: Final = 19 * 1024
PARALLELISM: Final = 1
QUEUE_WAIT_S: Final = 2.0
NICENESS: Final = 5
"""By how much the threads that hash stand back behind the rest of this process."""


class Fit(IntEnum):
    """Whether a password made a hash; false for `NO` alone.

    Attributes:
        OLD: it did, but another hash of it should be stored: it was made at another cost, or of another spelling.
    """

    NO = 0
    YES = 1
    OLD = 2


def acceptable(password: str) -> bool:
    """Whether a new password has a length that we take; any text of that length is a password."""
    return _may_be_hashed(password) and len(_normal(password)) >= MIN_CHARACTERS


def spellings(password: str) -> tuple[str, ...]:
    """The texts that may have been hashed for a password, the form of today first; none: no account can have it.

    One password can be typed in several Unicode spellings: macOS may decompose what other systems compose. Hashed is
    its NFC (NIST SP 800-63B section 5.1.1.2, RFC 8265 section 4.2). Hashes from before were made of what was typed.
    """
    normal = (_normal(password),) if _may_be_hashed(password) else ()
    typed = (password,) if len(password.encode()) <= MAX_BYTES else ()
    return tuple(dict.fromkeys((*normal, *typed)))


def _may_be_hashed(password: str) -> bool:
    # The first bound keeps normalising cheap.
    return len(password.encode()) <= MAX_TYPED_BYTES and len(_normal(password).encode()) <= MAX_BYTES


def _normal(password: str) -> str:
    return unicodedata.normalize("NFC", password)


class Passwords:
    """Hashes and verifies passwords without holding up the event loop.

    Args:
        threads: how many at once; each needs 19 MiB while it works.
        queue_wait_s: how long a password waits for its turn.
    """

    def __init__(self, threads: int, queue_wait_s: float = QUEUE_WAIT_S) -> None:
        self._hasher = PasswordHasher(TIME_COST, MEMORY_KIB, PARALLELISM)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="argon2", initializer=_step_back)
        self._queue_wait_s = queue_wait_s
        self._nobodys = _nobodys_hash()

    async def hash(self, password: str) -> str:
        """The PHC string of a password that is `acceptable`.

        Raises:
            BusyError: no thread was free in time.
        """
        return await self._in_pool(lambda: self._hasher.hash(_normal(password)))

    async def verify(self, password: str, stored: str | None) -> Fit:
        """Whether `password` made `stored`.

        Costs one full verification for each of the `spellings`, whatever the outcome and also without `stored`, so that
        the time depends on what was typed alone.

        Args:
            password: as typed; one that has no `spellings` fits nothing, at no cost.
            stored: a PHC string; None for an account that does not exist, which no password fits.

        Raises:
            BusyError: no thread was free in time.
        """
        return await self._in_pool(lambda: self._verify(password, stored))

    async def close(self) -> None:
        """Let running hashes end, and their threads with them."""
        self._pool.shutdown(cancel_futures=True)

    def _verify(self, password: str, stored: str | None) -> Fit:
        # All of them, also after one that fits: a blocked account must not be told from a wrong password by the time.
        fitting = [text for text in spellings(password) if self._fits_at_full_cost(text, stored)]
        if stored is None or not fitting:
            return Fit.NO
        is_of_today = self._full_cost(stored) and fitting[0] == _normal(password)
        return Fit.YES if is_of_today or not _may_be_hashed(password) else Fit.OLD

    def _fits_at_full_cost(self, text: str, stored: str | None) -> bool:
        fits = self._fits(text, stored) if stored is not None else False
        if stored is None or not self._full_cost(stored):
            # So that the time taken does not tell accounts that are missing, broken or old from the others.
            self._fits(text, self._nobodys)
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
        # The pool's own queue: a thread that is done takes the next password from it, and waits for no event loop.
        queued = self._pool.submit(work)
        outcome = asyncio.wrap_future(queued)
        try:
            await asyncio.wait({outcome}, timeout=self._queue_wait_s)
            # What has begun goes on, whoever hangs up: it makes no room for another hash. What has not is given up.
            if not outcome.done() and queued.cancel():
                raise BusyError("passwords are waiting")
            return await asyncio.shield(outcome)
        except asyncio.CancelledError:
            queued.cancel()
            raise


def _step_back() -> None:
    """Let event loops go first: a hash takes far longer than what they are waiting to do."""
    # Only there a priority is a thread's own. A sandbox may forbid to change it; the hashes work all the same.
    if sys.platform == "linux":
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)


def _nobodys_hash() -> str:
    """A hash of today's parameters that no password is known to fit."""
    salt, digest = (base64.b64encode(secrets.token_bytes(length)).rstrip(b"=").decode() for length in (16, 32))
    return f"$argon2id$v=19$m={MEMORY_KIB},t={TIME_COST},p={PARALLELISM}${salt}${digest}"
