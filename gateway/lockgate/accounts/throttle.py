"""How many attempts at a password there may be: for one account, from one address, and in all together.

A lock on an account is a gift to an attacker that wants to shut its owner out. So past the limit an attempt needs a
captcha instead. Only an address can be told to wait, and only while it solves no captchas: a user may share an address
with a guesser. A success takes back its own attempt and no other, so guesses at one account cannot be paid for with
logins to another.

One Lua script keeps the three counters and counts an attempt before the password is looked at: counters that are read
first and written later let parallel guesses through. The counters are buckets that drain evenly over a window. A fixed
window lets twice the limit through at its border, and its `Retry-After` cannot be exact. A counter stops at twice its
limit, so two quiet windows after any attack everything is as before.

All three counters carry the hash tag `{login}`, because one script needs them in one slot of a Redis Cluster. So every
login goes through one slot; the hashing of passwords is the narrower place by two orders of magnitude. An attacker
that pays for solved captchas can go on guessing, a captcha for each guess, at the rate that the counters of addresses
leave.
"""

from __future__ import annotations

import hashlib
import math
import secrets
import unicodedata
from collections import deque
from enum import Enum
from typing import Final

from lockgate.edge.client_address import counted_network
from lockgate.edge.limit_fields import policy_item, refused_fields
from lockgate.errors import Reason, Refusal, StoreUnavailableError
from lockgate.settings import LoginSettings
from lockgate.stores.command_link import CommandLink
from lockgate.stores.layout import allowance_key, login_keys
from lockgate.stores.script import Script, read_script
from lockgate_common.redis.client import RedisClient

REFRESH_WINDOW_S: Final = 60
"""Also of revocations."""
ATTEMPT_LIFE_S: Final = 120
"""How long an attempt can be taken back: longer than one takes, and than Redis is usually away."""
MAX_OWED: Final = 1000
"""Attempts that a worker has still to take back; more than can be under way."""
_MS: Final = 1000


class Attempt(Enum):
    """What becomes of an attempt."""

    GO = "go"
    CAPTCHA = "captcha"
    WAIT = "wait"


class Throttle:
    """Counts attempts at passwords, in Redis, for all nodes.

    Args:
        redis: where the counters are.
        login: how many are allowed.
        link: of own calls, where there is one.

    Methods raise `StoreUnavailableError`: without counters no password is looked at. An attempt that ended so may have
    been counted, or is counted later by a Redis that was frozen. It is taken back with the next attempt at this worker
    that Redis responds to.
    """

    def __init__(self, redis: RedisClient, login: LoginSettings, link: CommandLink | None = None) -> None:
        self._login = login
        self._script = Script(redis, read_script(__package__, "throttle.lua"), link=link)
        self._owed: deque[tuple[str, str, str]] = deque(maxlen=MAX_OWED)

    async def enter(self, username: str, address: str, *, solved: bool, attempt: str = "") -> Refusal | None:
        """Count an attempt, and say whether it may be made.

        Args:
            username: as it was typed.
            address: of the client.
            solved: a captcha was solved for this attempt.
            attempt: its name, by which it can be taken back; made here where not given.

        Returns:
            `None` if it may; else `CAPTCHA_REQUIRED`, or `LOGIN_THROTTLED` with Retry-After.
        """
        await self._pay_back()
        attempt = attempt or new_attempt()
        try:
            code, wait_ms = await self._run("take", username, address, attempt, solved=solved)
        except StoreUnavailableError:
            self._owed.append((username, address, attempt))
            raise
        outcome = Attempt(code.decode("ascii"))
        if outcome is Attempt.GO:
            return None
        if outcome is Attempt.CAPTCHA:
            return Refusal(Reason.CAPTCHA_REQUIRED, note="wrong answer" if solved else "none given")
        return Refusal(
            Reason.LOGIN_THROTTLED, headers=used_up("login", self._login.address_limit, self._login.window_s, wait_ms)
        )

    async def take_back(self, username: str, address: str, attempt: str) -> None:
        """The attempt succeeded, or its client was told of no outcome: it does not count."""
        try:
            await self._run("give", username, address, attempt)
        except StoreUnavailableError:
            self._owed.append((username, address, attempt))
            raise

    async def _pay_back(self) -> None:
        """Take back what could not be taken back when it was due."""
        while self._owed:
            # Out of the others' hands while it is under way: those that come meanwhile pay the next one.
            owed = self._owed.popleft()
            try:
                await self._run("give", *owed)
            except BaseException:
                self._owed.appendleft(owed)
                raise

    async def _run(
        self, what: str, username: str, address: str, attempt: str, *, solved: bool = False
    ) -> tuple[bytes, int]:
        login = self._login
        code, wait_ms = await self._script(
            keys=login_keys(account_digest(username), counted_network(address), attempt),
            args=[
                what,
                login.window_s * _MS,
                int(solved),
                login.account_attempts,
                login.address_attempts,
                login.all_attempts,
                login.address_limit,
                ATTEMPT_LIFE_S * _MS,
            ],
        )
        return code, wait_ms


class CostBucket:
    """How much work an address may ask for that costs us more than it costs them.

    Args:
        redis: where the counters are.
        name: of the kind of work.
        limit: how much in one window.
        window_s: seconds.
        link: of own calls, where there is one.
    """

    def __init__(
        self, redis: RedisClient, *, name: str, limit: int, window_s: int, link: CommandLink | None = None
    ) -> None:
        self._name = name
        self._limit = limit
        self._window_s = window_s
        self._script = Script(redis, read_script(__package__, "allowance.lua"), link=link)

    async def spend(self, address: str, cost: int = 1) -> Refusal | None:
        """Take from what an address may have; a refusal with Retry-After where it is used up.

        Raises:
            StoreUnavailableError: Redis did not answer.
        """
        wait_ms = await self._script(
            keys=[allowance_key(self._name, counted_network(address))],
            args=[self._window_s * _MS, self._limit, cost],
        )
        if not wait_ms:
            return None
        return Refusal(
            Reason.RATE_LIMITED, headers=used_up(self._name, self._limit, self._window_s, wait_ms), note=self._name
        )


def new_attempt() -> str:
    """A name for an attempt."""
    return secrets.token_hex(8)


def account_digest(username: str) -> str:
    """What stands for an account in counters and in the audit trail: the same for every spelling of its name.

    A digest, because people type passwords where the name belongs. The form that is hashed (NFKC, case folded,
    trimmed) is the one in which the users service looks names up.
    """
    form = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", username).casefold()).strip()
    return hashlib.sha256(form.encode("utf-8", "replace")).hexdigest()[:32]


def used_up(name: str, limit: int, window_s: int, wait_ms: int) -> tuple[tuple[str, str], ...]:
    """The fields of a response to a client over a limit: the same as of a route's rate limit.

    Args:
        name: of the limit.
        limit: how much there may be in a window.
        window_s: the length of the window in seconds.
        wait_ms: until there may be more.
    """
    # Whole seconds, at least one (RFC 9110 section 10.2.3).
    return refused_fields(policy_item(name, limit, window_s), name, max(1, math.ceil(wait_ms / _MS)))
