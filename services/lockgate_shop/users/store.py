"""Accounts in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from lockgate_shop.users.models import Account

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    from lockgate_shop.kit.data.database import Database


class AccountStore:
    """Reads and writes accounts. Each method is one transaction and may raise `StoreUnavailableError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def by_id(self, account_id: UUID) -> Account | None:
        """The account with this id."""
        async with self._database.read_session() as session:
            return await session.get(Account, account_id)

    async def by_username(self, username: str) -> Account | None:
        """The account with this name in its normal form."""
        async with self._database.read_session() as session:
            found = await session.scalars(select(Account).where(Account.username == username))
            return found.one_or_none()

    async def add_account(self, account: Account) -> bool:
        """Store a new account; False when its name is taken."""
        try:
            async with self._database.write_session() as session:
                session.add(account)
        except IntegrityError:
            return False
        return True

    async def change_account(self, account_id: UUID, values: Mapping[str, object]) -> Account | None:
        """Set some columns of an account, and read it back; None when there is none."""
        async with self._database.write_session() as session:
            account = await session.get(Account, account_id)
            if account is not None:
                for column, value in values.items():
                    setattr(account, column, value)
            return account

    async def replace_password(self, account_id: UUID, old: str, new: str, at: datetime) -> Account | None:
        """Store the hash of another password, and when; None when the password has been changed meanwhile."""
        async with self._database.write_session() as session:
            account = await session.get(Account, account_id, with_for_update=True)
            if account is None or account.password_hash != old:
                return None
            account.password_hash = new
            account.password_changed_at = at
            return account

    async def replace_hash(self, account_id: UUID, old: str, new: str) -> None:
        """Store another hash of the same password, unless the password has been changed meanwhile."""
        async with self._database.write_session() as session:
            await session.execute(
                update(Account).where(Account.id == account_id, Account.password_hash == old).values(password_hash=new)
            )
