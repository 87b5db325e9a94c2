"""Attempts at passwords, counted on a real Redis: the rules that no call over HTTP shows well."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from lockgate.accounts.call_limiter import FULL, LATE, CallLimiter
from lockgate.accounts.captcha import CaptchaAnswer, CaptchaCheck
from lockgate.accounts.password_guard import PasswordGuard
from lockgate.accounts.throttle import CostBucket, Throttle, account_digest
from lockgate.edge.client_address import counted_network
from lockgate.errors import AccountsUnavailableError, Reason, Refusal, StoreUnavailableError
from lockgate.settings import LoginSettings
from lockgate.stores.redis import connect
from tests.support.raw import WITHIN_S, until
from tests.support.store import Store, time_passes_at

LOGIN = LoginSettings(window_s=900, account_attempts=5, address_attempts=20, all_attempts=30, address_limit=40)


@pytest.fixture
def throttle(redis: Redis) -> Throttle:
    return Throttle(redis, LOGIN)


async def outcomes(throttle: Throttle, times: int, user: str, address: str, *, solved: bool = False) -> list[str]:
    """What so many attempts in a row come to."""
    found = [await throttle.enter(user, address, solved=solved) for _ in range(times)]
    return ["go" if refusal is None else refusal.reason.name for refusal in found]


@pytest.mark.parametrize(
    ("address", "counted_as"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_an_address_is_counted_as_its_site(address: str, counted_as: str) -> None:
    #
    """R-126."""
    assert counted_network(address) == counted_as


@pytest.mark.parametrize("spelling", ["Alice", " alice\t", "\uff21LICE", "ALICE\u00a0"])
def test_spellings_of_a_name_are_one_account(spelling: str) -> None:
    #
    """R-125."""
    assert account_digest(spelling) == account_digest("alice")
    assert account_digest(spelling) != account_digest("alicia")


async def test_a_site_has_one_counter_for_all_of_its_addresses(throttle: Throttle) -> None:
    #
    """R-123, R-126."""
    for number in range(LOGIN.address_attempts):
        assert await outcomes(throttle, 1, f"user-{number}", f"2001:db8::{number:x}") == ["go"]
    assert await outcomes(throttle, 1, "somebody", "2001:db8::ffff:1") == ["CAPTCHA_REQUIRED"]
    assert await outcomes(throttle, 1, "somebody", "2001:db8:0:1::1") == ["go"]


async def test_many_addresses_together_bring_captchas_for_everybody_but_never_a_wait(throttle: Throttle) -> None:
    #
    """R-123, R-124."""
    for number in range(LOGIN.all_attempts):
        assert await outcomes(throttle, 1, f"user-{number}", f"192.0.2.{number}") == ["go"]
    assert await outcomes(throttle, 1, "somebody", "198.51.100.1") == ["CAPTCHA_REQUIRED"]
    assert await outcomes(throttle, 1, "somebody", "198.51.100.1", solved=True) == ["go"]


async def test_whoever_shares_an_address_with_a_guesser_gets_in_with_a_captcha(throttle: Throttle) -> None:
    #
    """R-124."""
    for number in range(3 * LOGIN.address_limit):
        await throttle.enter(f"user-{number}", "192.0.2.1", solved=False)
    assert await outcomes(throttle, 1, "alice", "192.0.2.1") == ["LOGIN_THROTTLED"]
    assert await outcomes(throttle, 1, "alice", "192.0.2.1", solved=True) == ["go"]
    assert await outcomes(throttle, 1, "alice", "192.0.2.1") == ["LOGIN_THROTTLED"]


async def test_attempts_with_captchas_do_not_make_the_others_wait_longer(throttle: Throttle) -> None:
    #
    for number in range(3 * LOGIN.address_limit):
        await throttle.enter(f"user-{number}", "192.0.2.1", solved=True)
    refusal = await throttle.enter("alice", "192.0.2.1", solved=False)
    assert refusal is not None
    assert int(dict(refusal.headers)["Retry-After"]) <= math.ceil(LOGIN.window_s / LOGIN.address_attempts)


async def test_attempts_come_back_one_by_one(redis: Redis, throttle: Throttle) -> None:
    assert await outcomes(throttle, 6, "alice", "192.0.2.1") == ["go"] * 5 + ["CAPTCHA_REQUIRED"]
    await time_passes_at(redis, LOGIN.window_s / LOGIN.account_attempts)
    assert await outcomes(throttle, 2, "alice", "192.0.2.1") == ["go", "CAPTCHA_REQUIRED"]


async def test_an_attack_of_any_length_is_forgotten_two_windows_later(redis: Redis, throttle: Throttle) -> None:
    for number in range(100):
        await throttle.enter("alice", f"192.0.2.{number}", solved=True)
    life_ms = max([await redis.pttl(key) async for key in redis.scan_iter("lg:login:*")])
    assert 0 < life_ms <= 2 * LOGIN.window_s * 1000
    await time_passes_at(redis, 2 * LOGIN.window_s)
    assert await outcomes(throttle, 1, "alice", "198.51.100.1") == ["go"]


async def test_a_clock_of_redis_that_was_set_back_gives_nothing_away(redis: Redis, throttle: Throttle) -> None:
    await outcomes(throttle, 5, "alice", "192.0.2.1")
    await time_passes_at(redis, -3600)
    assert await outcomes(throttle, 1, "alice", "192.0.2.1") == ["CAPTCHA_REQUIRED"]


async def test_what_is_taken_back_is_never_more_than_there_was(throttle: Throttle) -> None:
    assert await throttle.enter("alice", "192.0.2.1", solved=False, attempt="one") is None
    assert await outcomes(throttle, 2, "alice", "192.0.2.1") == ["go"] * 2
    for attempt in ("one", "one", "unknown"):
        await throttle.take_back("alice", "192.0.2.1", attempt)
    assert await outcomes(throttle, 4, "alice", "192.0.2.1") == ["go"] * 3 + ["CAPTCHA_REQUIRED"]


async def test_attempts_at_once_are_counted_one_by_one(throttle: Throttle) -> None:
    #
    """R-123."""
    found = await asyncio.gather(*(throttle.enter("alice", "192.0.2.1", solved=False) for _ in range(30)))
    assert sum(refusal is None for refusal in found) == LOGIN.account_attempts


async def test_a_store_that_is_away_lets_nobody_try() -> None:
    """R-123."""
    nobody = connect("redis://127.0.0.1:1")
    with pytest.raises(StoreUnavailableError):
        await Throttle(nobody, LOGIN).enter("alice", "192.0.2.1", solved=True)
    await nobody.aclose()


class Hosted(CaptchaCheck):
    """A hosted captcha, plugged in."""

    async def solved(self, given: CaptchaAnswer, address: str) -> bool:
        return (given.id, given.answer, address) == ("site-key", "token", "192.0.2.1")


class Door:
    """A password behind a guard; counts the looks at it."""

    def __init__(self, *, right: bool = False, away: bool = False) -> None:
        self.looks = 0
        self._right = right
        self._away = away

    async def look(self) -> str | None:
        self.looks += 1
        if self._away:
            raise AccountsUnavailableError("away")
        return "account" if self._right else None


def limiter(at_once: int = 1, waiting: int = 0) -> CallLimiter:
    return CallLimiter(at_once=at_once, waiting=waiting, wait_s=WITHIN_S, outcome_s=WITHIN_S)


async def guarded(guard: PasswordGuard, door: Door, captcha: CaptchaAnswer | None = None) -> str | Refusal | None:
    return await guard.check("alice", "192.0.2.1", captcha, door.look)


async def test_a_hosted_captcha_can_be_plugged_in(throttle: Throttle) -> None:
    """R-127."""
    guard, wrong, right = PasswordGuard(throttle, Hosted(), limiter().run), Door(), Door(right=True)
    for _ in range(LOGIN.account_attempts):
        assert await guarded(guard, wrong) is None
    refused = await guarded(guard, right, CaptchaAnswer("site-key", "other"))
    assert isinstance(refused, Refusal)
    assert (refused.reason, right.looks) == (Reason.CAPTCHA_REQUIRED, 0)
    assert await guarded(guard, right, CaptchaAnswer("site-key", "token")) == "account"


async def test_while_accounts_are_away_nobodys_attempts_are_used_up(throttle: Throttle) -> None:
    guard, away = PasswordGuard(throttle, Hosted(), limiter().run), Door(away=True)
    for _ in range(3 * LOGIN.account_attempts):
        with pytest.raises(AccountsUnavailableError):
            await guarded(guard, away)
    assert await guarded(guard, Door(right=True)) == "account"


async def test_who_waits_for_a_turn_or_gets_none_is_not_counted(throttle: Throttle) -> None:
    # otherwise clients that only hang up would bring captchas for all users.
    one_by_one, end, begun = limiter(waiting=LOGIN.all_attempts), asyncio.Event(), asyncio.Event()

    async def other() -> None:
        begun.set()
        await end.wait()

    busy = asyncio.create_task(one_by_one.run(other))
    await begun.wait()
    guard, door = PasswordGuard(throttle, Hosted(), one_by_one.run), Door()
    crowd = [asyncio.create_task(guarded(guard, door)) for _ in range(LOGIN.all_attempts)]
    await asyncio.sleep(0)
    with pytest.raises(AccountsUnavailableError, match=FULL):
        await guarded(guard, door)
    for task in crowd:
        task.cancel()
    await asyncio.gather(*crowd, return_exceptions=True)
    end.set()
    await busy
    assert door.looks == 0
    assert await outcomes(throttle, LOGIN.account_attempts, "alice", "192.0.2.1") == ["go"] * LOGIN.account_attempts


async def test_who_hangs_up_in_the_middle_of_a_right_attempt_gets_it_back(throttle: Throttle) -> None:
    one_by_one, end, begun = limiter(waiting=1), asyncio.Event(), asyncio.Event()

    async def look() -> str:
        begun.set()
        await end.wait()
        return "account"

    guard = PasswordGuard(throttle, Hosted(), one_by_one.run)
    attempt = asyncio.create_task(guard.check("alice", "192.0.2.1", None, look))
    await begun.wait()
    attempt.cancel()
    end.set()
    await guarded(guard, Door(right=True))  # behind it
    assert attempt.cancelled()
    assert await outcomes(throttle, LOGIN.account_attempts, "alice", "192.0.2.1") == ["go"] * LOGIN.account_attempts


async def test_an_allowance_is_spent_by_cost_and_comes_back(redis: Redis) -> None:
    allowance = CostBucket(redis, name="drawing", limit=10, window_s=100)
    assert await allowance.spend("192.0.2.1", 9) is None
    refusal = await allowance.spend("192.0.2.1", 2)
    assert refusal is not None
    assert dict(refusal.headers) == {
        "RateLimit-Policy": '"drawing";q=10;w=100',
        "RateLimit": '"drawing";r=0;t=10',
        "Retry-After": "10",
    }
    assert await allowance.spend("192.0.2.2", 9) is None
    await time_passes_at(redis, 10)
    assert await allowance.spend("192.0.2.1", 2) is None


# --- 503 -------------------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def away(tmp_path: Path) -> AsyncIterator[tuple[Store, Throttle]]:
    """A Redis of its own, and what counts there."""
    store = Store(tmp_path)
    await store.start()
    client = connect(store.url)
    yield store, Throttle(client, LOGIN)
    await client.aclose()
    store.kill()


@pytest.mark.process
async def test_attempts_that_a_frozen_redis_counts_later_are_taken_back(away: tuple[Store, Throttle]) -> None:
    """R-229: each ended in 503, and its client is asked for no captcha afterwards."""
    store, throttle = away
    assert await outcomes(throttle, 1, "alice", "192.0.2.1") == ["go"]
    async with store.frozen():
        tries = [throttle.enter("alice", "192.0.2.1", solved=False) for _ in range(2 * LOGIN.account_attempts)]
        ends = await asyncio.gather(*tries, return_exceptions=True)
    assert {type(end) for end in ends} == {StoreUnavailableError}
    left = LOGIN.account_attempts - 1
    assert await outcomes(throttle, left + 1, "alice", "192.0.2.1") == ["go"] * left + ["CAPTCHA_REQUIRED"]


@pytest.mark.process
async def test_a_success_that_a_frozen_redis_could_not_be_told_is_taken_back_later(
    away: tuple[Store, Throttle],
) -> None:
    """R-229: the password was right, and its login ended in 503."""
    store, throttle = away

    async def look() -> str:
        await frozen.enter_async_context(store.frozen())
        return "account"

    for _ in range(LOGIN.account_attempts + 1):
        async with contextlib.AsyncExitStack() as frozen:
            with pytest.raises(StoreUnavailableError):
                await PasswordGuard(throttle, Hosted(), limiter().run).check("alice", "192.0.2.1", None, look)
    assert await outcomes(throttle, LOGIN.account_attempts, "alice", "192.0.2.1") == ["go"] * LOGIN.account_attempts


@pytest.mark.parametrize("right", [True, False])
async def test_an_attempt_whose_client_was_told_503_counts_as_none(throttle: Throttle, *, right: bool) -> None:
    """R-229: its outcome came too late for the client to learn it, so it is no guess."""
    end = asyncio.Event()

    async def look() -> str | None:
        await end.wait()
        return "account" if right else None

    hurried = CallLimiter(at_once=1, waiting=1, wait_s=WITHIN_S, outcome_s=0.01)
    guard = PasswordGuard(throttle, Hosted(), hurried.run)
    for _ in range(LOGIN.account_attempts + 1):
        end.clear()
        with pytest.raises(AccountsUnavailableError, match=LATE):
            await guard.check("alice", "192.0.2.1", None, look)
        end.set()
        await until(lambda: hurried.room == 2)
    assert await outcomes(throttle, LOGIN.account_attempts, "alice", "192.0.2.1") == ["go"] * LOGIN.account_attempts
