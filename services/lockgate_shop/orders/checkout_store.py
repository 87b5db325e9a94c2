"""Checkouts in the database: what was begun, how it ended, and what is to be given back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError

from lockgate_shop.kit.errors import BusyError
from lockgate_shop.orders.models import Checkout, Order, Release, Status

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

    from lockgate_shop.kit.data.database import Database

_TRIES: Final = 3


class CheckoutStore:
    """Each method is one transaction and may raise `StoreUnavailableError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin_checkout(self, checkout: Checkout) -> Checkout | None:
        """Remember what is about to happen; or, where its user used its key before, give the checkout of that time.

        Raises:
            BusyError: the key is taken and given back faster than we can look.
        """
        for _ in range(_TRIES):
            try:
                async with self._database.write_session() as session:
                    session.add(checkout)
            except IntegrityError:
                earlier = await self._by_key(checkout)
                if earlier is not None:
                    return earlier
            else:
                return None
        raise BusyError("one Idempotency-Key, used again and again")

    async def place_order(self, order: Order) -> bool:
        """Store an order together with the end of its checkout; or neither, when that was taken back meanwhile."""
        async with self._database.write_session() as session:
            if not await _end_checkout(session, order.id, Status.PLACED):
                return False
            session.add(order)
            return True

    async def refuse_checkout(self, order_id: UUID, code: str) -> None:
        """End a checkout without an order."""
        async with self._database.write_session() as session:
            await _end_checkout(session, order_id, code)

    async def take_back(self, order_id: UUID, now: datetime) -> bool:
        """Forget a checkout that has not ended, its key included, and remember to give its stock back."""
        async with self._database.write_session() as session:
            forgotten = await session.scalars(
                delete(Checkout)
                .where(Checkout.order_id == order_id, Checkout.outcome.is_(None))
                .returning(Checkout.order_id)
                .execution_options(synchronize_session=False)
            )
            if forgotten.one_or_none() is None:
                return False
            session.add(Release(reservation_id=order_id, since=now))
            return True

    async def read_order(self, order_id: UUID) -> Order:
        """The order that a checkout ended with."""
        async with self._database.read_session() as session:
            return await session.get_one(Order, order_id)

    async def left_behind(self, before: datetime, limit: int) -> Sequence[UUID]:
        """Up to `limit` checkouts that were begun before this moment and have not ended, oldest first."""
        query = select(Checkout.order_id).where(Checkout.outcome.is_(None), Checkout.started_at < before)
        async with self._database.read_session() as session:
            return (await session.scalars(query.order_by(Checkout.started_at).limit(limit))).all()

    async def to_release(self, limit: int) -> Sequence[UUID]:
        """Up to `limit` reservations that are to be given back, oldest first."""
        async with self._database.read_session() as session:
            query = select(Release.reservation_id).order_by(Release.since).limit(limit)
            return (await session.scalars(query)).all()

    async def confirm_release(self, reservation_id: UUID) -> None:
        """Products has confirmed it."""
        async with self._database.write_session() as session:
            await session.execute(delete(Release).where(Release.reservation_id == reservation_id))

    async def forget_ended(self, before: datetime) -> None:
        """Drop the checkouts that were begun before this moment and have ended; their keys may be used again."""
        async with self._database.write_session() as session:
            await session.execute(delete(Checkout).where(Checkout.outcome.is_not(None), Checkout.started_at < before))

    async def _by_key(self, checkout: Checkout) -> Checkout | None:
        query = select(Checkout).where(
            Checkout.user_id == checkout.user_id, Checkout.idempotency_key == checkout.idempotency_key
        )
        async with self._database.read_session() as session:
            return (await session.scalars(query)).one_or_none()


async def _end_checkout(session: AsyncSession, order_id: UUID, outcome: str) -> bool:
    ended = await session.scalars(
        update(Checkout)
        .where(Checkout.order_id == order_id, Checkout.outcome.is_(None))
        .values(outcome=outcome)
        .returning(Checkout.order_id)
        .execution_options(synchronize_session=False)
    )
    return ended.one_or_none() is not None
