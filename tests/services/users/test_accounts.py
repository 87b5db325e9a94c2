"""What the gateway may change of an account on behalf of its login, password and administration calls."""

from __future__ import annotations

import unicodedata
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pytest

from tests.support.peers import problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.peers import Clock, Peer

CAROL: Final = {"username": "carol", "password": "first-password"}
OTHER: Final = "second-password"


async def _registered(users: Peer) -> str:
    answer = await users.call("POST", "/users/register", CAROL)
    assert answer.status_code == 201
    sub: str = answer.json()["id"]
    return sub


async def _verified(users: Peer, password: str) -> dict[str, Any]:
    content = {"username": CAROL["username"], "password": password}
    outcome: dict[str, Any] = (await users.call("POST", "/internal/credentials/verify", content)).json()
    return outcome


async def _changed(users: Peer, sub: str, current: str, new: str) -> Any:  # noqa: ANN401 - any JSON value
    content = {"sub": sub, "current_password": current, "new_password": new}
    return (await users.call("POST", "/internal/credentials/change", content)).json()


async def test_the_right_password_can_be_changed_and_the_account_says_since_when(users: Peer, clock: Clock) -> None:
    sub = await _registered(users)
    before = (await _verified(users, CAROL["password"]))["account"]["password_changed_at"]
    clock.now += 60.5
    outcome = await _changed(users, sub, CAROL["password"], OTHER)
    assert outcome["valid"] is True
    assert outcome["account"]["password_changed_at"] != before
    read = (await users.call("GET", f"/internal/accounts/{sub}")).json()
    assert read["password_changed_at"] == outcome["account"]["password_changed_at"]
    assert (await _verified(users, CAROL["password"]))["valid"] is False
    assert (await _verified(users, OTHER))["valid"] is True


@pytest.mark.parametrize("spelt", [partial(unicodedata.normalize, "NFC"), partial(unicodedata.normalize, "NFD")])
async def test_both_passwords_of_a_change_may_be_typed_in_any_unicode_spelling(
    users: Peer, spelt: Callable[[str], str]
) -> None:
    """R-217"""
    sub = await _registered(users)
    first, second = "\u00e9-first-password", "\u00e9-second-password"
    assert (await _changed(users, sub, CAROL["password"], first))["valid"] is True
    assert (await _changed(users, sub, spelt(first), spelt(second)))["valid"] is True
    assert (await _verified(users, second))["valid"] is True
    assert (await _verified(users, first))["valid"] is False


@pytest.mark.parametrize("current", ["wrong", "", OTHER, "x" * 513])
async def test_a_wrong_current_password_changes_nothing(users: Peer, current: str) -> None:
    sub = await _registered(users)
    assert await _changed(users, sub, current, OTHER) == {"valid": False}
    assert (await _verified(users, CAROL["password"]))["valid"] is True


async def test_nobody_is_like_a_wrong_password(users: Peer) -> None:
    await _registered(users)
    for sub in (str(uuid4()), "carol", ""):
        assert await _changed(users, sub, CAROL["password"], OTHER) == {"valid": False}


@pytest.mark.parametrize("new", ["short", "", "\U0001f600\U0001f600", "x" * 513])
async def test_a_new_password_of_no_acceptable_length_changes_nothing(users: Peer, new: str) -> None:
    #
    sub = await _registered(users)
    content = {"sub": sub, "current_password": CAROL["password"], "new_password": new}
    answer = await users.call("POST", "/internal/credentials/change", content)
    assert (answer.status_code, problem(answer)["code"]) == (400, "invalid_password")
    assert (await _verified(users, CAROL["password"]))["valid"] is True


async def test_an_account_is_found_by_every_spelling_of_its_name(users: Peer) -> None:
    sub = await _registered(users)
    for spelling in ("carol", " CAROL ", "\uff43arol"):
        found = await users.call("POST", "/internal/accounts/lookup", {"username": spelling})
        assert found.json()["sub"] == sub
    missing = await users.call("POST", "/internal/accounts/lookup", {"username": "nobody"})
    assert (missing.status_code, problem(missing)["code"]) == (404, "not_found")


async def test_a_blocked_account_cannot_log_in_until_it_is_unblocked(users: Peer) -> None:
    sub = await _registered(users)
    blocked = await users.call("PUT", f"/internal/accounts/{sub}/status", {"status": "blocked"})
    assert blocked.json()["status"] == "blocked"
    assert await _verified(users, CAROL["password"]) == {"valid": False}
    assert await _changed(users, sub, CAROL["password"], OTHER) == {"valid": False}
    await users.call("PUT", f"/internal/accounts/{sub}/status", {"status": "active"})
    assert (await _verified(users, CAROL["password"]))["valid"] is True


async def test_there_is_no_third_status(users: Peer) -> None:
    sub = await _registered(users)
    answer = await users.call("PUT", f"/internal/accounts/{sub}/status", {"status": "king"})
    assert (answer.status_code, problem(answer)["code"]) == (400, "invalid_fields")
    missing = await users.call("PUT", f"/internal/accounts/{uuid4()}/status", {"status": "blocked"})
    assert (missing.status_code, problem(missing)["code"]) == (404, "not_found")
