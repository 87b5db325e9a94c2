"""Accounts in the database."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Final

from sqlalchemy import bindparam, select, update
from sqlalchemy.exc import IntegrityError

from lockgate_shop.kit.data.rows import RowQuery
from lockgate_shop.users.models import Account, AccountRecord

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    from lockgate_shop.kit.data.database import Database


_NAMES: Final = tuple(column.name for column in fields(AccountRecord))
_COLUMNS: Final = tuple(Account.__table__.c[name] for name in _NAMES)


class AccountStore:
    """Reads and writes accounts. Each method is one transaction and may raise `StoreUnavailableError`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._by_id = RowQuery(database, select(*_COLUMNS).where(Account.id == bindparam("id")))
        self._by_username = RowQuery(database, select(*_COLUMNS).where(Account.username == bindparam("username")))

    async def by_id(self, account_id: UUID) -> AccountRecord | None:
        """The account with this id."""
        row = await self._by_id.fetch_row(account_id)
        return AccountRecord(*row) if row else None

    async def by_username(self, username: str) -> AccountRecord | None:
        """The account with this name in its normal form."""
        row = await self._by_username.fetch_row(username)
        return AccountRecord(*row) if row else None

    async def add_account(self, wanted: AccountRecord) -> bool:
        """Store a new account; False when its name is taken."""
        try:
            async with self._database.write_session() as session:
                session.add(Account(**{name: getattr(wanted, name) for name in _NAMES}))
        except IntegrityError:
            return False
        return True

    async def change_account(self, account_id: UUID, values: Mapping[str, object]) -> AccountRecord | None:
        """Set some columns of an account, and read it back; None when there is none."""
        async with self._database.write_session() as session:
            account = await session.get(Account, account_id)
            if account is not None:
                for column, value in values.items():
                    setattr(account, column, value)
            return _record(account) if account else None

    async def replace_password(self, account_id: UUID, old: str, new: str, at: datetime) -> AccountRecord | None:
        """Store the hash of another password, and when; None when the password has been changed meanwhile."""
        async with self._database.write_session() as session:
            account = await session.get(Account, account_id, with_for_update=True)
            if account is None or account.password_hash != old:
                return None
            account.password_hash = new
            account.password_changed_at = at
            return _record(account)

    async def replace_hash(self, account_id: UUID, old: str, new: str) -> None:
        """Store another hash of the same password, unless the password has been changed meanwhile."""
        async with self._database.write_session() as session:
            await session.execute(
                update(Account).where(Account.id == account_id, Account.password_hash == old).values(password_hash=new)
            )


def _record(account: Account) -> AccountRecord:
    return AccountRecord(*(getattr(account, name) for name in _NAMES))
