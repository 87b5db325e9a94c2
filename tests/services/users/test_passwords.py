from __future__ import annotations

import asyncio
import os
import threading
import unicodedata
from functools import partial

import pytest
from argon2 import PasswordHasher

from lockgate_shop.kit.errors import BusyError
from lockgate_shop.users.passwords import (
    MAX_BYTES,
    MAX_TYPED_BYTES,
    MEMORY_KIB,
    NICENESS,
    PARALLELISM,
    TIME_COST,
    Fit,
    Passwords,
    is_acceptable,
    password_spellings,
)


class Held:
    """Work that a hashing thread is busy with until it is let go."""

    def __init__(self) -> None:
        self.running = threading.Event()
        self.let_go = threading.Event()

    def __call__(self) -> None:
        self.running.set()
        assert self.let_go.wait(10)


async def test_a_hash_is_argon2id_of_the_documented_cost() -> None:
    """R-122."""
    passwords = Passwords(1)
    stored = await passwords.hash_password("correct-horse-battery")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert await passwords.verify_password("correct-horse-battery", stored)
    assert not await passwords.verify_password("correct-horse-batterz", stored)
    await passwords.close()


async def test_nobody_has_no_password_and_costs_one_verification_of_the_same_parameters() -> None:
    """R-120."""
    counted = _Counted(1)
    for stored in (None, "damaged", PasswordHasher(1, 8, 1).hash("x")):
        counted.full = 0
        assert not await counted.verify_password("anything", stored)
        assert counted.full == 1
    counted.full = 0
    assert await counted.verify_password("right-one", await counted.hash_password("right-one"))
    assert counted.full == 1
    await counted.close()


class _Counted(Passwords):
    """Counts the verifications of full cost."""

    full = 0

    def _fits_hash(self, password: str, stored: str) -> bool:
        self.full += "m=19456,t=2,p=1" in stored
        return super()._fits_hash(password, stored)


NFC, NFD = (unicodedata.normalize(form, "p\u00e4ssw\u00f6rd-\u1ebf\uac01") for form in ("NFC", "NFD"))


@pytest.mark.parametrize("chosen", [NFC, NFD], ids=["composed", "decomposed"])
@pytest.mark.parametrize("typed", [NFC, NFD], ids=["composed", "decomposed"])
async def test_a_password_fits_in_every_spelling(chosen: str, typed: str) -> None:
    """R-217"""
    passwords = Passwords(1)
    stored = await passwords.hash_password(chosen)
    assert await passwords.verify_password(typed, stored) is Fit.YES
    assert await passwords.verify_password(typed.replace("\u00e4", "a").replace("a\u0308", "a"), stored) is Fit.NO
    await passwords.close()


async def test_an_old_hash_of_a_spelling_that_is_not_composed_goes_on_to_work() -> None:
    """R-217: and is one to be replaced, so that every other spelling will do."""
    passwords = Passwords(1)
    old = PasswordHasher(TIME_COST, MEMORY_KIB, PARALLELISM).hash(NFD)
    assert await passwords.verify_password(NFD, old) is Fit.OLD
    assert await passwords.verify_password(NFC, old) is Fit.NO
    await passwords.close()


@pytest.mark.parametrize(("typed", "spelt"), [(NFC, 1), (NFD, 2)], ids=["composed", "decomposed"])
@pytest.mark.parametrize("whose", ["nobody", "right", "wrong", "old spelling", "damaged", "old cost"])
async def test_what_a_password_costs_depends_on_what_was_typed_alone(whose: str, typed: str, spelt: int) -> None:
    """R-217, R-122: or the time would tell accounts that exist, are blocked or were made long ago."""
    counted, today = _Counted(1), PasswordHasher(TIME_COST, MEMORY_KIB, PARALLELISM)
    stored = {
        "nobody": None,
        "right": today.hash(NFC),
        "wrong": today.hash("another one"),
        "old spelling": today.hash(NFD),
        "damaged": "damaged",
        "old cost": PasswordHasher(1, 8, 1).hash(NFC),
    }[whose]
    await counted.verify_password(typed, stored)
    assert counted.full == spelt
    await counted.close()


@pytest.mark.parametrize(
    ("password", "fine"),
    [
        ("e\u0301" * 7, False),
        ("e\u0301" * 8, True),
        ("e\u0301" * 256, True),
        ("e\u0301" * 257, False),
        ("\u03b9\u0308\u0301" * 256, True),
        ("\u0958" * 85, True),
        ("\u0958" * 86, False),
        ("\u0301" * 769, False),
    ],
    ids=lambda value: f"{len(value)} of {value[0]!a}" if isinstance(value, str) else str(value),
)
def test_the_length_of_a_password_is_that_of_the_form_that_is_hashed(password: str, *, fine: bool) -> None:
    """R-217: composed or not, and in whichever direction the two lengths differ."""
    assert is_acceptable(password) is fine


async def test_a_password_that_only_an_old_hash_may_have_is_not_hashed_anew() -> None:
    """R-217: its normal form is longer than a password may be; it goes on as it is."""
    passwords, password = Passwords(1), "\u0958" * 170
    old = PasswordHasher(TIME_COST, MEMORY_KIB, PARALLELISM).hash(password)
    assert await passwords.verify_password(password, old) is Fit.YES
    await passwords.close()


def test_a_password_that_no_account_can_have_costs_nothing() -> None:
    """R-217, R-121"""
    assert password_spellings("x" * 513) == ()
    assert password_spellings("\u0301" * 10_000) == ()


def test_no_character_has_a_spelling_of_more_than_three_times_its_bytes() -> None:
    """R-217: so the bound on what is typed refuses no spelling of a password that an account can have."""
    composed = [char for char in map(chr, range(0x30000)) if unicodedata.is_normalized("NFC", char) and _is_text(char)]
    assert len(composed) > 0x20000
    assert MAX_TYPED_BYTES == 3 * MAX_BYTES
    for char in composed:
        assert len(unicodedata.normalize("NFD", char).encode()) <= 3 * len(char.encode())


def _is_text(char: str) -> bool:
    return not "\ud800" <= char <= "\udfff"


async def test_who_waits_too_long_is_told_to_come_back() -> None:
    """R-122."""
    passwords = Passwords(1, queue_wait_s=0.05)
    held = Held()
    busy = asyncio.create_task(passwords._in_pool(held))  # noqa: SLF001 - stands for a long hash
    await asyncio.to_thread(held.running.wait, 10)
    with pytest.raises(BusyError):
        await passwords.hash_password("correct-horse-battery")
    held.let_go.set()
    await busy
    assert await passwords.hash_password("correct-horse-battery")
    await passwords.close()


async def test_a_client_that_hangs_up_makes_no_room_for_another_hash() -> None:
    """R-122."""
    passwords = Passwords(1, queue_wait_s=0.05)
    held = Held()
    busy = asyncio.create_task(passwords._in_pool(held))  # noqa: SLF001 - stands for a long hash
    await asyncio.to_thread(held.running.wait, 10)
    busy.cancel()
    with pytest.raises(asyncio.CancelledError):
        await busy
    with pytest.raises(BusyError):
        await passwords.hash_password("correct-horse-battery")
    held.let_go.set()
    patient = Passwords(1)
    assert await patient.hash_password("correct-horse-battery")
    await patient.close()
    await passwords.close()


async def test_a_password_whose_client_hangs_up_while_it_waits_is_never_hashed() -> None:
    passwords = Passwords(1)
    held, begun = Held(), threading.Event()
    busy = asyncio.create_task(passwords._in_pool(held))  # noqa: SLF001 - stands for a long hash
    await asyncio.to_thread(held.running.wait, 10)
    waiting = asyncio.create_task(passwords._in_pool(begun.set))  # noqa: SLF001 - stands for the next one
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    held.let_go.set()
    await busy
    # The queue is one of arrival: what comes out of it now stood behind.
    assert await passwords.hash_password("correct-horse-battery")
    assert not begun.is_set()
    await passwords.close()


async def test_threads_that_hash_stand_back_behind_the_event_loop() -> None:
    """R-122"""
    passwords = Passwords(1)
    of_this_thread = partial(os.getpriority, os.PRIO_PROCESS, 0)
    assert await passwords._in_pool(of_this_thread) == min(of_this_thread() + NICENESS, 19)  # noqa: SLF001 - asks the thread
    await passwords.close()


@pytest.mark.parametrize(
    ("password", "fine"),
    [
        ("x" * 7, False),
        ("x" * 8, True),
        ("\u00e4" * 7, False),
        ("\U0001f600" * 2, False),
        ("\U0001f600" * 8, True),
        ("\u6f22" * 7, False),
        ("\u6f22" * 64, True),
        ("\U0001f600" * 128, True),
        ("\U0001f600" * 128 + "x", False),
        ("x" * 512, True),
        ("x" * 513, False),
        ("\u00e4" * 256 + "x", False),
    ],
    ids=lambda value: f"{len(value)} of {value[0]!a}" if isinstance(value, str) else str(value),
)
def test_a_password_has_eight_characters_of_any_script_and_room_for_long_ones(password: str, *, fine: bool) -> None:
    """R-121: characters are code points; the cap is in bytes, because that is what hashing costs."""
    assert is_acceptable(password) is fine
