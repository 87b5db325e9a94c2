"""Taking stock for an order, and giving it back: never twice, and never more than there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from lockgate_shop.kit.clock import Clock, utc_now
from lockgate_shop.kit.problem import Problem
from lockgate_shop.products.models import Product, Reservation, ReservationLine, ReservationStatus

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

    from lockgate_shop.kit.data.cache import Cache
    from lockgate_shop.kit.data.database import Database

OUT_OF_STOCK: Final = Problem(409, "out_of_stock", "There is not enough of a product, or it is not for sale")
MIXED_CURRENCIES: Final = Problem(409, "mixed_currencies", "The products are not all sold in one currency")
RESERVATION_DIFFERS: Final = Problem(409, "reservation_differs", "This reservation is another one, or was released")


@dataclass(frozen=True, slots=True)
class Reserved:
    """A reservation that is held.

    Attributes:
        reservation: with its lines.
        is_new: whether this call took the stock, and not an earlier one with the same id.
    """

    reservation: Reservation
    is_new: bool


class _RollBackError(Exception):
    """Ends a transaction without a trace of it; carries the refusal out."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


class Reservations:
    """Reservations in the database. Each method is one transaction and may raise `StoreUnavailableError`."""

    def __init__(self, database: Database, cache: Cache, clock: Clock) -> None:
        self._database = database
        self._cache = cache
        self._clock = clock

    async def reserve_stock(self, reservation_id: UUID, wanted: Mapping[UUID, int]) -> Reserved | Problem:
        """Take all that is wanted, or nothing.

        Args:
            reservation_id: chosen by the caller; the same id with the same wishes is answered the same.
            wanted: quantities (at least 1) by product.
        """
        try:
            async with self._database.write_session() as session:
                earlier = await _find_reservation(session, reservation_id)
                if earlier is not None:
                    return _repeat_reservation(earlier, wanted)
                reserved = Reserved(await self._take_stock(session, reservation_id, wanted), is_new=True)
            await self._cache.invalidate(wanted.keys())
        except _RollBackError as refused:
            return refused.problem
        except IntegrityError:
            # Another call with the same id was faster; the reservation exists now.
            async with self._database.read_session() as session:
                other = await _find_reservation(session, reservation_id)
            return _repeat_reservation(other, wanted) if other else RESERVATION_DIFFERS
        return reserved

    async def release_stock(self, reservation_id: UUID) -> None:
        """Give the stock back, once. An id that never reserved anything cannot reserve from now on.

        So a caller that lost the response to `reserve_stock` can release and is done, also if that call arrives later.
        """
        try:
            async with self._database.write_session() as session:
                given_back = await self._give_back(session, reservation_id)
        except IntegrityError:
            # It was reserved, or released, between our look and our insert; now it is there to be released.
            async with self._database.write_session() as session:
                given_back = await self._give_back(session, reservation_id)
        await self._cache.invalidate(given_back)

    async def _take_stock(self, session: AsyncSession, reservation_id: UUID, wanted: Mapping[UUID, int]) -> Reservation:
        reservation = Reservation(
            id=reservation_id, status=ReservationStatus.HELD, created_at=utc_now(self._clock), lines=[]
        )
        session.add(reservation)
        # Before any stock is touched: another call with the same id waits here, and not for the last item.
        await session.flush()
        # In one order for all calls: two reservations that lock the same rows never wait for each other.
        for product_id in sorted(wanted):
            quantity = wanted[product_id]
            taken = await session.execute(
                update(Product)
                .where(Product.id == product_id, Product.withdrawn_at.is_(None), Product.stock >= quantity)
                .values(stock=Product.stock - quantity)
                .returning(Product.name, Product.price_minor, Product.currency)
                .execution_options(synchronize_session=False)
            )
            row = taken.one_or_none()
            if row is None:
                raise _RollBackError(OUT_OF_STOCK)
            reservation.lines.append(
                ReservationLine(
                    product_id=product_id,
                    quantity=quantity,
                    name=row.name,
                    price_minor=row.price_minor,
                    currency=row.currency,
                )
            )
        if len({line.currency for line in reservation.lines}) > 1:
            raise _RollBackError(MIXED_CURRENCIES)
        return reservation

    async def _give_back(self, session: AsyncSession, reservation_id: UUID) -> list[UUID]:
        """The products that have more stock than before."""
        released = await session.execute(
            update(Reservation)
            .where(Reservation.id == reservation_id, Reservation.status == ReservationStatus.HELD)
            .values(status=ReservationStatus.RELEASED)
            .execution_options(synchronize_session=False)
        )
        if _row_count(released) == 0:
            if await _find_reservation(session, reservation_id) is None:
                now = utc_now(self._clock)
                session.add(Reservation(id=reservation_id, status=ReservationStatus.RELEASED, created_at=now))
            return []
        found = await session.scalars(
            select(ReservationLine)
            .where(ReservationLine.reservation_id == reservation_id)
            .order_by(ReservationLine.product_id)
        )
        lines = found.all()
        for line in lines:
            await session.execute(
                update(Product)
                .where(Product.id == line.product_id)
                .values(stock=Product.stock + line.quantity)
                .execution_options(synchronize_session=False)
            )
        return [line.product_id for line in lines]


def _row_count(result: object) -> int:
    return int(getattr(result, "rowcount", 0))


async def _find_reservation(session: AsyncSession, reservation_id: UUID) -> Reservation | None:
    return await session.get(Reservation, reservation_id)


def _repeat_reservation(earlier: Reservation, wanted: Mapping[UUID, int]) -> Reserved | Problem:
    same = {line.product_id: line.quantity for line in earlier.lines} == wanted
    if earlier.status != ReservationStatus.HELD or not same:
        return RESERVATION_DIFFERS
    return Reserved(earlier, is_new=False)
