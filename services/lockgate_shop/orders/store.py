"""Orders in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select, tuple_, update

from lockgate_shop.orders.models import CANCELLABLE, Order, Release, Status

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from lockgate_shop.kit.data.database import Database


class OrderStore:
    """Reads and changes orders. Each method is one transaction and may raise `StoreUnavailableError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def by_id(self, user_id: str, order_id: UUID) -> Order | None:
        """The order with this id, if it is this user's."""
        async with self._database.read_session() as session:
            found = await session.scalars(select(Order).where(Order.id == order_id, Order.user_id == user_id))
            return found.one_or_none()

    async def list_orders(self, user_id: str, limit: int, before: tuple[datetime, UUID] | None) -> Sequence[Order]:
        """Up to `limit` orders of a user, newest first, from behind the one of this time and id."""
        query = select(Order).where(Order.user_id == user_id)
        if before is not None:
            query = query.where(tuple_(Order.placed_at, Order.id) < before)
        async with self._database.read_session() as session:
            found = await session.scalars(query.order_by(Order.placed_at.desc(), Order.id.desc()).limit(limit))
            return found.all()

    async def cancel_order(self, user_id: str, order_id: UUID, now: datetime) -> bool:
        """Cancel an order that can be, and remember that its stock is to be given back; whether it was this call."""
        async with self._database.write_session() as session:
            cancelled = await session.scalars(
                update(Order)
                .where(Order.id == order_id, Order.user_id == user_id, Order.status.in_(CANCELLABLE))
                .values(status=Status.CANCELLED)
                .returning(Order.id)
                .execution_options(synchronize_session=False)
            )
            if cancelled.one_or_none() is None:
                return False
            session.add(Release(reservation_id=order_id, since=now))
            return True
