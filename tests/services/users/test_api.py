from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, text

from lockgate_shop.users import demo
from lockgate_shop.users.models import Account
from tests.support.peers import Peer, Who, problem
from tests.support.shop_calls import CAROL, count, database_of, registered

if TYPE_CHECKING:
    from fastapi import FastAPI

    from tests.support.peers import Clock, Links

AT_TODAYS_COST = pytest.mark.parametrize("cost", [None], ids=["at today's cost"])
"""For tests about the hash of a password."""


async def set_column(app: FastAPI, username: str, column: str, value: str) -> None:
    async with database_of(app).write_session() as session:
        account = (await session.scalars(select(Account).where(Account.username == username))).one()
        setattr(account, column, value)


async def verified(users: Peer, username: str, password: str) -> dict[str, Any]:
    answer = await users.call("POST", "/internal/credentials/verify", {"username": username, "password": password})
    assert answer.status_code == 200
    members: dict[str, Any] = answer.json()
    return members


async def test_anybody_can_register_and_becomes_a_customer(users: Peer) -> None:
    profile = await registered(users, email="carol@example.org")
    assert profile["username"] == "carol"
    assert profile["display_name"] == "carol"
    assert profile["email"] == "carol@example.org"
    assert profile["roles"] == ["customer"]
    assert profile["created_at"] == "2030-03-17T17:46:40Z"
    assert "password" not in str(profile)


@pytest.mark.parametrize("spelling", ["carol", "CAROL", "  carol ", "\uff43arol"])
async def test_a_name_is_taken_in_every_spelling(users: Peer, users_app: FastAPI, spelling: str) -> None:
    await registered(users)
    answer = await users.call("POST", "/users/register", {**CAROL, "username": spelling})
    assert (answer.status_code, problem(answer)["code"]) == (409, "username_taken")
    assert await count(users_app) == 1


@pytest.mark.parametrize(
    "username",
    ["", "ab", "-ab", "ab-", "a b", "a" * 33, "c\u0430rol", "ca\nrol", "x" * 60_000, "\u200bcarol", "ca/rol"],
)
async def test_a_username_that_is_none_is_refused(users: Peer, users_app: FastAPI, username: str) -> None:
    answer = await users.call("POST", "/users/register", {**CAROL, "username": username})
    assert (answer.status_code, problem(answer)["code"]) == (400, "invalid_username")
    assert await count(users_app) == 0


@pytest.mark.parametrize("password", ["", "short12", "\U0001f600\U0001f600", "x" * 513, "\u00e4" * 257])
async def test_a_password_of_no_acceptable_length_makes_no_account(
    users: Peer, users_app: FastAPI, password: str
) -> None:
    #
    answer = await users.call("POST", "/users/register", {**CAROL, "password": password})
    assert (answer.status_code, problem(answer)["code"]) == (400, "invalid_password")
    assert await count(users_app) == 0


async def test_a_password_of_64_characters_of_any_script_is_one(users: Peer) -> None:
    #
    """R-121."""
    password = "\u6f22\u5b57" * 32
    await registered(users, password=password)
    assert (await verified(users, "carol", password))["valid"] is True
    assert (await verified(users, "carol", password[:-1]))["valid"] is False


@pytest.mark.parametrize("extra", [{"roles": ["admin"]}, {"status": "active"}, {"id": str(uuid4())}])
async def test_nobody_registers_with_more_rights(users: Peer, users_app: FastAPI, extra: dict[str, object]) -> None:
    answer = await users.call("POST", "/users/register", {**CAROL, **extra})
    assert problem(answer)["code"] == "invalid_fields"
    assert await count(users_app) == 0


async def test_a_user_reads_their_own_profile(users: Peer) -> None:
    profile = await registered(users)
    answer = await users.call("GET", "/users/me", who=Who(profile["id"]))
    assert answer.json() == profile


async def test_a_profile_needs_a_user(users: Peer) -> None:
    answer = await users.call("GET", "/users/me")
    assert (answer.status_code, problem(answer)["code"]) == (401, "credentials_required")


@pytest.mark.parametrize("sub", ["nobody", "00000000-0000-4000-8000-000000000000", "{0}", "urn:uuid:x"])
async def test_a_user_without_an_account_has_no_profile(users: Peer, sub: str) -> None:
    answer = await users.call("GET", "/users/me", who=Who(sub))
    assert (answer.status_code, problem(answer)["code"]) == (404, "not_found")


async def test_a_profile_changes_only_where_it_is_told(users: Peer) -> None:
    profile = await registered(users, email="carol@example.org")
    who = Who(profile["id"])
    changed = await users.call("PATCH", "/users/me", {"display_name": " Carol K. "}, who=who)
    assert changed.json() == {**profile, "display_name": "Carol K."}
    removed = await users.call("PATCH", "/users/me", {"email": None}, who=who)
    assert removed.json()["email"] is None
    assert (await users.call("GET", "/users/me", who=who)).json() == removed.json()


@pytest.mark.parametrize("address", ["admin@example.org", "carol@example.org", None])
async def test_an_address_that_a_user_gave_is_not_verified(
    users: Peer, users_app: FastAPI, address: str | None
) -> None:
    """R-323: services may take a verified address for the user."""
    sub = (await registered(users, email="carol@example.org"))["id"]

    async def is_verified() -> bool:
        return bool((await users.call("GET", f"/internal/accounts/{sub}")).json()["email_verified"])

    assert not await is_verified()
    async with database_of(users_app).write_session() as session:
        account = await session.get(Account, UUID(sub))
        assert account is not None
        account.email_verified = True
    assert await is_verified()
    await users.call("PATCH", "/users/me", {"display_name": "Carol"}, who=Who(sub))
    assert await is_verified()
    await users.call("PATCH", "/users/me", {"email": address}, who=Who(sub))
    assert not await is_verified()


async def test_no_user_verifies_an_address(users: Peer) -> None:
    """R-323."""
    asked = {"username": "mallory", "password": "a-long-enough-one", "email": "a@b.example", "email_verified": True}
    answer = await users.call("POST", "/users/register", asked)
    assert answer.status_code == 400
    sub = (await registered(users))["id"]
    answer = await users.call("PATCH", "/users/me", {"email_verified": True}, who=Who(sub))
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "change",
    [
        {"display_name": None},
        {"display_name": ""},
        {"display_name": "a\u0007b"},
        {"display_name": "x" * 81},
        {"email": "no-address"},
        {"email": "a@b@c"},
        {"username": "mallory"},
        {"roles": ["admin"]},
    ],
)
async def test_a_bad_change_changes_nothing(users: Peer, change: dict[str, object]) -> None:
    profile = await registered(users)
    who = Who(profile["id"])
    answer = await users.call("PATCH", "/users/me", change, who=who)
    assert (answer.status_code, problem(answer)["code"]) == (400, "invalid_fields")
    assert (await users.call("GET", "/users/me", who=who)).json() == profile


async def test_the_right_password_brings_the_account(users: Peer) -> None:
    profile = await registered(users)
    outcome = await verified(users, "  CAROL", CAROL["password"])
    assert outcome["valid"] is True
    account = outcome["account"]
    assert account["sub"] == profile["id"]
    assert account["status"] == "active"
    assert account["roles"] == ["customer"]
    assert not any("hash" in name for name in account)


@pytest.mark.parametrize(
    ("username", "password"),
    [("carol", "wrong"), ("nobody", CAROL["password"]), ("", ""), ("carol", "x" * 513), ("car ol", "wrong-password")],
)
async def test_whatever_is_wrong_with_a_login_looks_the_same(users: Peer, username: str, password: str) -> None:
    """R-120."""
    await registered(users)
    assert await verified(users, username, password) == {"valid": False}


async def test_a_blocked_account_looks_like_a_wrong_password(users: Peer, users_app: FastAPI) -> None:
    """R-120."""
    profile = await registered(users)
    await set_column(users_app, "carol", "status", "blocked")
    assert await verified(users, "carol", CAROL["password"]) == {"valid": False}
    account = await users.call("GET", f"/internal/accounts/{profile['id']}")
    assert account.json()["status"] == "blocked"


async def test_a_damaged_hash_fits_no_password(users: Peer, users_app: FastAPI) -> None:
    await registered(users)
    await set_column(users_app, "carol", "password_hash", "not a hash")
    assert await verified(users, "carol", CAROL["password"]) == {"valid": False}


@AT_TODAYS_COST
async def test_a_hash_of_an_older_cost_is_renewed_at_login(users: Peer, users_app: FastAPI) -> None:
    from argon2 import PasswordHasher  # noqa: PLC0415 - only to make an old hash

    await registered(users)
    old = PasswordHasher(1, 8 * 1024, 1).hash(CAROL["password"])
    await set_column(users_app, "carol", "password_hash", old)
    assert (await verified(users, "carol", CAROL["password"]))["valid"] is True
    async with database_of(users_app).read_session() as session:
        renewed = await session.scalar(select(Account.password_hash))
    assert renewed is not None
    assert "m=19456,t=2,p=1" in renewed
    assert (await verified(users, "carol", CAROL["password"]))["valid"] is True


NFC, NFD = (unicodedata.normalize(form, "p\u00e4ssw\u00f6rd-\u00e9") for form in ("NFC", "NFD"))


@pytest.mark.parametrize("chosen", [NFC, NFD], ids=["composed", "decomposed"])
async def test_a_password_is_the_same_one_in_every_unicode_spelling(users: Peer, chosen: str) -> None:
    """R-217"""
    await registered(users, password=chosen)
    for typed in (NFC, NFD):
        assert (await verified(users, "carol", typed))["valid"] is True
    assert (await verified(users, "carol", "passw\u00f6rd-\u00e9"))["valid"] is False


@AT_TODAYS_COST
async def test_a_hash_of_a_decomposed_password_is_renewed_at_login_and_fits_every_spelling_then(
    users: Peer, users_app: FastAPI
) -> None:
    """R-217: who registered on macOS, before passwords were composed, goes on to log in there, and then anywhere."""
    from argon2 import PasswordHasher  # noqa: PLC0415 - only to make an old hash

    await registered(users)
    await set_column(users_app, "carol", "password_hash", PasswordHasher(2, 19 * 1024, 1).hash(NFD))
    before = (await verified(users, "carol", NFD))["account"]
    assert await verified(users, "carol", NFC) == {"valid": True, "account": before}


@AT_TODAYS_COST
async def test_a_blocked_account_with_an_old_hash_does_not_show_itself(users: Peer, users_app: FastAPI) -> None:
    """R-217: nor is its hash touched."""
    from argon2 import PasswordHasher  # noqa: PLC0415 - only to make an old hash

    await registered(users)
    old = PasswordHasher(2, 19 * 1024, 1).hash(NFD)
    await set_column(users_app, "carol", "password_hash", old)
    await set_column(users_app, "carol", "status", "blocked")
    assert await verified(users, "carol", NFD) == {"valid": False}
    async with database_of(users_app).read_session() as session:
        assert await session.scalar(select(Account.password_hash)) == old


async def test_the_gateway_reads_an_account_by_its_sub(users: Peer) -> None:
    profile = await registered(users)
    account = await users.call("GET", f"/internal/accounts/{profile['id']}")
    assert account.json()["username"] == "carol"
    missing = await users.call("GET", f"/internal/accounts/{uuid4()}")
    assert (missing.status_code, problem(missing)["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["/internal/credentials/verify", "/users/register"])
async def test_another_service_cannot_call_what_is_the_gateways(
    users: Peer, users_app: FastAPI, links: Links, clock: Clock, path: str
) -> None:
    other = Peer(users.http, links, "orders", "users", clock)
    answer = await other.call("POST", path, CAROL)
    assert (answer.status_code, problem(answer)["code"]) == (403, "link_refused")
    assert await count(users_app) == 0


async def test_demo_users_are_seeded_once_and_keep_what_they_changed(users: Peer, users_app: FastAPI) -> None:
    await demo.seed_users(users_app)
    alice = (await verified(users, "alice", demo.PASSWORD))["account"]
    await users.call("PATCH", "/users/me", {"display_name": "A."}, who=Who(alice["sub"]))
    await demo.seed_users(users_app)
    assert await count(users_app) == 3
    again = (await verified(users, "alice", demo.PASSWORD))["account"]
    assert (again["sub"], again["display_name"]) == (alice["sub"], "A.")
    assert (await verified(users, "admin", demo.PASSWORD))["account"]["roles"] == ["customer", "admin"]


async def test_the_database_itself_refuses_an_unknown_status(users: Peer, users_app: FastAPI) -> None:
    await registered(users)
    with pytest.raises(Exception, match="accounts_status"):
        async with database_of(users_app).write_session() as session:
            await session.execute(text("UPDATE accounts SET status = 'king'"))


async def test_the_gateway_says_what_an_account_is_for(users: Peer) -> None:
    profile = await registered(users)
    path = f"/internal/accounts/{profile['id']}"
    answer = await users.call("PUT", f"{path}/roles", {"roles": ["customer", "admin", "admin"]})
    assert problem(answer)["code"] == "invalid_fields"
    answer = await users.call("PUT", f"{path}/roles", {"roles": ["customer", "admin"]})
    assert answer.json()["roles"] == ["admin", "customer"]
    assert (await users.call("GET", path)).json()["roles"] == ["admin", "customer"]


@pytest.mark.parametrize("roles", [[], ["king"], "admin", None])
async def test_roles_that_are_none_change_nothing(users: Peer, roles: object) -> None:
    profile = await registered(users)
    path = f"/internal/accounts/{profile['id']}"
    answer = await users.call("PUT", f"{path}/roles", {"roles": roles})
    assert (answer.status_code, problem(answer)["code"]) == (400, "invalid_fields")
    assert (await users.call("GET", path)).json()["roles"] == ["customer"]
    missing = await users.call("PUT", f"/internal/accounts/{uuid4()}/roles", {"roles": ["admin"]})
    assert missing.status_code == 404


async def test_the_demo_users_have_verified_addresses(users: Peer, users_app: FastAPI) -> None:
    """R-323."""
    await demo.seed_users(users_app)
    account = (await verified(users, "alice", demo.PASSWORD))["account"]
    assert (account["email"], account["email_verified"]) == ("alice@shop.example", True)
