"""The rules of orders: placing one, and finding one's own."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from services.kit.clock import Clock, moment
from services.kit.paging import BAD_CURSOR, Page, page_of, read_cursor
from services.kit.problems import NOT_FOUND, Problem
from services.orders.models import INITIAL, Order, OrderLine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.orders.stock import ReservedLine, Stock, Wish
    from services.orders.store import OrderStore
    from trust import Caller


class Orders:
    """Everything that can be done with orders."""

    def __init__(self, store: OrderStore, stock: Stock, clock: Clock) -> None:
        self._store = store
        self._stock = stock
        self._clock = clock

    async def place(self, caller: Caller, user_id: str, wishes: Sequence[Wish]) -> Order | Problem:
        """Buy: take the stock, then store the order at the prices it was taken at.

        Raises:
            OutboundError: products is away; nothing is stored here and nothing stays taken there.
            StoreUnavailableError: the order could not be stored; the stock was given back.
        """
        order_id = uuid4()
        lines = await self._stock.reserve(caller, order_id, wishes)
        if isinstance(lines, Problem):
            return lines
        order = self._made(order_id, user_id, lines)
        stored = False
        try:
            await self._store.add(order)
            stored = True
        finally:
            # Also when the client left: a cancelled request must not keep the stock.
            if not stored:
                await self._stock.release(caller, order_id)
        return order

    async def read(self, user_id: str, order_id: UUID) -> Order | Problem:
        """One's own order; somebody else's is as good as none."""
        return await self._store.by_id(user_id, order_id) or NOT_FOUND

    async def page(self, user_id: str, limit: int, cursor: str | None) -> Page[Order] | Problem:
        """Up to `limit` of one's own orders, newest first, from where the cursor says."""
        before = None
        if cursor is not None:
            before = _position(cursor)
            if before is None:
                return BAD_CURSOR
        rows = await self._store.listed(user_id, limit + 1, before)
        return page_of(rows, limit, lambda order: (order.placed_at.isoformat(), str(order.id)))

    def _made(self, order_id: UUID, user_id: str, lines: Sequence[ReservedLine]) -> Order:
        return Order(
            id=order_id,
            user_id=user_id,
            status=INITIAL,
            currency=lines[0].unit_price.currency,
            total_minor=sum(line.quantity * line.unit_price.amount for line in lines),
            placed_at=moment(self._clock),
            lines=[
                OrderLine(
                    position=position,
                    product_id=line.product_id,
                    name=line.name,
                    quantity=line.quantity,
                    price_minor=line.unit_price.amount,
                )
                for position, line in enumerate(lines)
            ],
        )


def _position(cursor: str) -> tuple[datetime, UUID] | None:
    key = read_cursor(cursor)
    if isinstance(key, Problem):
        return None
    try:
        placed_at, order_id = datetime.fromisoformat(key[0]), UUID(key[1])
    except ValueError:
        return None
    return (placed_at, order_id) if placed_at.tzinfo else None
