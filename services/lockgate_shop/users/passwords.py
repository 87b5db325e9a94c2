"""Argon2id in a bounded pool of threads, which queue for themselves and stand back.

A login costs one Argon2id hash of about 22 ms, and a flood of logins uses up the pool. Two promises hold: logins run
at nearly the rate of the hashes alone, and other requests do not wait (R-122). With a permit for each thread, a thread
that was done gave its permit to the event loop, which woke the next login, which gave the thread its work: whenever
the loop was busy, threads were idle. So a password goes into the pool's own queue, and a thread that is done takes the
next one by itself, in the order of arrival. A password whose hashing has not begun when its time is over is taken out
of the queue and gets 503, and so is one whose client hangs up. A hash that has begun keeps its thread to the end.

Threads that hash are always ready to run, so on a machine without a spare core an event loop that wakes up would wait
for its turn. On Linux, where a priority is a thread's own, the threads run at a lower priority than the rest of their
process, by 5. Where other work keeps all cores busy, logins get less of them than everything else; that is meant. On
other systems all threads have one priority.

Measured on two cores that other work was using as well, so only the comparison counts; `make bench`, p99
of a forwarded request and of one that the gateway responds to itself, 200/s, while logins use up the pool:

    threads                                          permits      queue
    1        logins as a share of Argon2id alone     0.90, 0.92   1.01, 0.95
    1        p99, ms                                 7, 7         11, 5
    2        logins as a share of Argon2id alone     0.78, 0.80   0.78, 0.64
    2        p99, ms                                 26, 19       10, 8

With one thread the pool was idle or waiting for a core for a tenth of the time before. With as many threads as cores
the share cannot reach 0.95: a login costs the gateway about 5 ms and the users service about 4 ms besides the hash,
more than half of that in httpx and SQLAlchemy, and there is no core to do it on. Niceness 10 instead of 5 made the p99
no better and cost more logins where other processes wanted the cores.
"""

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
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

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


class Cost(NamedTuple):
    """What one hash costs: passes over the memory, the memory in KiB, and lanes."""

    time: int
    memory_kib: int
    parallelism: int


class Fit(IntEnum):
    """Whether a password made a hash; false for `NO` alone.

    Attributes:
        OLD: it did, but another hash of it should be stored: it was made at another cost, or of another spelling.
    """

    NO = 0
    YES = 1
    OLD = 2


def is_acceptable(password: str) -> bool:
    """Whether a new password has a length that we take; any text of that length is a password."""
    return _may_be_hashed(password) and len(_normal_form(password)) >= MIN_CHARACTERS


def password_spellings(password: str) -> tuple[str, ...]:
    """The texts that may have been hashed for a password, the form of today first; none: no account can have it.

    One password can be typed in several Unicode spellings: macOS may decompose what other systems compose. Hashed is
    its NFC (NIST SP 800-63B section 5.1.1.2, RFC 8265 section 4.2). Hashes from before were made of what was typed.
    """
    normal = (_normal_form(password),) if _may_be_hashed(password) else ()
    typed = (password,) if len(password.encode()) <= MAX_BYTES else ()
    return tuple(dict.fromkeys((*normal, *typed)))


def _may_be_hashed(password: str) -> bool:
    # The first bound keeps normalising cheap.
    return len(password.encode()) <= MAX_TYPED_BYTES and len(_normal_form(password).encode()) <= MAX_BYTES


def _normal_form(password: str) -> str:
    return unicodedata.normalize("NFC", password)


class Passwords:
    """Hashes and verifies passwords without holding up the event loop.

    Args:
        threads: how many at once; each needs 19 MiB while it works.
        queue_wait_s: how long a password waits for its turn.
        cost: of each hash; today's where not given. No setting: a deployment could only weaken its hashes by it.
    """

    def __init__(self, threads: int, queue_wait_s: float = QUEUE_WAIT_S, cost: Cost | None = None) -> None:
        cost = cost or Cost(TIME_COST, MEMORY_KIB, PARALLELISM)
        self._hasher = PasswordHasher(*cost)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="argon2", initializer=_step_back)
        self._queue_wait_s = queue_wait_s
        self._nobodys = _nobodys_hash(cost)

    async def hash_password(self, password: str) -> str:
        """The PHC string of a password that is `is_acceptable`.

        Raises:
            BusyError: no thread was free in time.
        """
        return await self._in_pool(lambda: self._hasher.hash(_normal_form(password)))

    async def verify_password(self, password: str, stored: str | None) -> Fit:
        """Whether `password` made `stored`.

        Costs one full verification for each of the `password_spellings`, for every outcome and also without `stored`.
        So the time depends on the typed password alone.

        Args:
            password: as typed; one that has no `password_spellings` fits nothing, at no cost.
            stored: a PHC string; None for an account that does not exist, which no password fits.

        Raises:
            BusyError: no thread was free in time.
        """
        return await self._in_pool(lambda: self._verify_spellings(password, stored))

    async def close(self) -> None:
        """Let running hashes end, and their threads with them."""
        self._pool.shutdown(cancel_futures=True)

    def _verify_spellings(self, password: str, stored: str | None) -> Fit:
        # All of them, also after one that fits: a blocked account must not be told from a wrong password by the time.
        fitting = [text for text in password_spellings(password) if self._fits_at_full_cost(text, stored)]
        if stored is None or not fitting:
            return Fit.NO
        is_of_today = self._full_cost(stored) and fitting[0] == _normal_form(password)
        return Fit.YES if is_of_today or not _may_be_hashed(password) else Fit.OLD

    def _fits_at_full_cost(self, text: str, stored: str | None) -> bool:
        fits = self._fits_hash(text, stored) if stored is not None else False
        if stored is None or not self._full_cost(stored):
            # So that the time taken does not tell accounts that are missing, broken or old from the others.
            self._fits_hash(text, self._nobodys)
        return fits

    def _fits_hash(self, password: str, stored: str) -> bool:
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
            # A hash that has begun goes on: ending it would make no room for another. All others are dropped.
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


def _nobodys_hash(cost: Cost) -> str:
    """A hash of this cost that no password is known to fit."""
    salt, digest = (base64.b64encode(secrets.token_bytes(length)).rstrip(b"=").decode() for length in (16, 32))
    return f"$argon2id$v=19$m={cost.memory_kib},t={cost.time},p={cost.parallelism}${salt}${digest}"
