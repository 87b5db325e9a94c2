from __future__ import annotations

import asyncio
import threading

import pytest
from argon2 import PasswordHasher

from services.kit.errors import BusyError
from services.users.passwords import Passwords, acceptable


class Held:
    """Work that a hashing thread is busy with until it is let go."""

    def __init__(self) -> None:
        self.running = threading.Event()
        self.let_go = threading.Event()

    def __call__(self) -> None:
        self.running.set()
        assert self.let_go.wait(10)


async def test_a_hash_is_argon2id_of_the_documented_cost() -> None:
    passwords = Passwords(1)
    stored = await passwords.hash("correct-horse-battery")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert await passwords.verify("correct-horse-battery", stored)
    assert not await passwords.verify("correct-horse-batterz", stored)
    await passwords.close()


async def test_nobody_has_no_password_and_costs_one_verification_of_the_same_parameters() -> None:
    counted = _Counted(1)
    for stored in (None, "damaged", PasswordHasher(1, 8, 1).hash("x")):
        counted.full = 0
        assert not await counted.verify("anything", stored)
        assert counted.full == 1
    counted.full = 0
    assert await counted.verify("right-one", await counted.hash("right-one"))
    assert counted.full == 1
    await counted.close()


class _Counted(Passwords):
    """Counts the verifications of full cost."""

    full = 0

    def _fits(self, password: str, stored: str) -> bool:
        self.full += "m=19456,t=2,p=1" in stored
        return super()._fits(password, stored)


async def test_who_waits_too_long_is_told_to_come_back() -> None:
    passwords = Passwords(1, queue_wait_s=0.05)
    held = Held()
    busy = asyncio.create_task(passwords._in_pool(held))  # noqa: SLF001 - stands for a long hash
    await asyncio.to_thread(held.running.wait, 10)
    with pytest.raises(BusyError):
        await passwords.hash("correct-horse-battery")
    held.let_go.set()
    await busy
    assert await passwords.hash("correct-horse-battery")
    await passwords.close()


async def test_a_client_that_hangs_up_makes_no_room_for_another_hash() -> None:
    passwords = Passwords(1, queue_wait_s=0.05)
    held = Held()
    busy = asyncio.create_task(passwords._in_pool(held))  # noqa: SLF001 - stands for a long hash
    await asyncio.to_thread(held.running.wait, 10)
    busy.cancel()
    with pytest.raises(asyncio.CancelledError):
        await busy
    with pytest.raises(BusyError):
        await passwords.hash("correct-horse-battery")
    held.let_go.set()
    patient = Passwords(1)
    assert await patient.hash("correct-horse-battery")
    await patient.close()
    await passwords.close()


@pytest.mark.parametrize(("length", "fine"), [(7, False), (8, True), (128, True), (129, False)])
def test_a_password_is_measured_in_bytes(length: int, *, fine: bool) -> None:
    assert acceptable("x" * length) is fine
    assert acceptable("\u00e4" * (length // 2) + "x" * (length % 2)) is fine
