"""Where users want things sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

from sqlalchemy import delete, func, select

from lockgate_shop.kit.clock import Clock, utc_now
from lockgate_shop.kit.problem import NOT_FOUND, Problem
from lockgate_shop.users.models import Account, Address

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lockgate_shop.kit.data.database import Database

MAX_ADDRESSES: Final = 20
TOO_MANY: Final = Problem(409, "too_many_addresses", "An account has at most 20 addresses")


class Addresses:
    """The addresses of accounts. Each method is one transaction and may raise `StoreUnavailableError`.

    An address that belongs to another account is as good as none.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def all_of(self, account_id: UUID) -> Sequence[Address]:
        """Those of one account, the oldest first."""
        query = select(Address).where(Address.account_id == account_id).order_by(Address.created_at, Address.id)
        async with self._database.read_session() as session:
            return (await session.scalars(query)).all()

    async def add_address(self, account_id: UUID, values: Mapping[str, str | None]) -> Address | Problem:
        """Add one to an account."""
        address = Address(id=uuid4(), account_id=account_id, created_at=utc_now(self._clock), **values)
        async with self._database.write_session() as session:
            # Locked, so that two requests cannot both add the last one.
            if await session.get(Account, account_id, with_for_update=True) is None:
                return NOT_FOUND
            mine = select(func.count()).select_from(Address).where(Address.account_id == account_id)
            if (await session.scalar(mine) or 0) >= MAX_ADDRESSES:
                return TOO_MANY
            session.add(address)
        return address

    async def replace_address(
        self, account_id: UUID, address_id: UUID, values: Mapping[str, str | None]
    ) -> Address | Problem:
        """Write another address over one."""
        query = select(Address).where(Address.id == address_id, Address.account_id == account_id).with_for_update()
        async with self._database.write_session() as session:
            address = (await session.scalars(query)).one_or_none()
            if address is None:
                return NOT_FOUND
            for column, value in values.items():
                setattr(address, column, value)
        return address

    async def remove_address(self, account_id: UUID, address_id: UUID) -> Problem | None:
        """Forget one."""
        async with self._database.write_session() as session:
            gone = await session.execute(
                delete(Address).where(Address.id == address_id, Address.account_id == account_id)
            )
        return None if getattr(gone, "rowcount", 0) else NOT_FOUND
