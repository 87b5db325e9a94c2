"""Demo users, for a stack on a developer's machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lockgate_shop.users.accounts import Accounts, Registration
from lockgate_shop.users.models import Role

if TYPE_CHECKING:
    from fastapi import FastAPI

PASSWORD: Final = "correct-horse-battery"  # noqa: S105 - printed by `lockgate dev`, and good for nothing else
USERS: Final = {
    "alice": ("Alice Liddell", (Role.CUSTOMER,)),
    "bob": ("Bob Cratchit", (Role.CUSTOMER,)),
    "admin": ("Ada Admin", (Role.CUSTOMER, Role.ADMIN)),
}


async def seed_users(app: FastAPI) -> None:
    """Register the demo users that do not exist yet."""
    accounts: Accounts = app.state.accounts
    for username, (display_name, roles) in USERS.items():
        wanted = Registration(
            username=username,
            password=PASSWORD,
            display_name=display_name,
            email=f"{username}@shop.example",
            email_verified=True,
        )
        await accounts.register_account(wanted, roles)
