"""The rules of orders that are placed: finding one's own, and cancelling them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from lockgate_shop.kit.clock import Clock, utc_now
from lockgate_shop.kit.data.paging import BAD_CURSOR, Page, page_of, read_cursor
from lockgate_shop.kit.problem import NOT_FOUND, Problem

if TYPE_CHECKING:
    from lockgate_shop.orders.checkout import Checkouts
    from lockgate_shop.orders.events import OrderEvents
    from lockgate_shop.orders.models import Order
    from lockgate_shop.orders.store import OrderStore
    from lockgate_trust import Caller


class Orders:
    """Everything that can be done with orders, but placing them."""

    def __init__(self, store: OrderStore, checkouts: Checkouts, events: OrderEvents, clock: Clock) -> None:
        self._store = store
        self._checkouts = checkouts
        self._events = events
        self._clock = clock

    async def read_order(self, user_id: str, order_id: UUID) -> Order | Problem:
        """The user's own order; `NOT_FOUND` for another user's."""
        return await self._store.by_id(user_id, order_id) or NOT_FOUND

    async def list_orders(self, user_id: str, limit: int, cursor: str | None) -> Page[Order] | Problem:
        """Up to `limit` of one's own orders, newest first, from where the cursor says."""
        before = None
        if cursor is not None:
            before = _parse_position(cursor)
            if before is None:
                return BAD_CURSOR
        rows = await self._store.list_orders(user_id, limit + 1, before)
        return page_of(rows, limit, lambda order: (order.placed_at.isoformat(), str(order.id)))

    async def cancel_order(self, caller: Caller, user_id: str, order_id: UUID) -> Order | Problem:
        """Cancel one's own order, and give its stock back: now, or as soon as products is there again.

        An order that is cancelled already is answered as it is.
        """
        cancelled = await self._store.cancel_order(user_id, order_id, utc_now(self._clock))
        order = await self.read_order(user_id, order_id)
        if cancelled and not isinstance(order, Problem):
            await self._checkouts.release_stock(caller, order_id)
            await self._events.publish_change(order)
        return order


def _parse_position(cursor: str) -> tuple[datetime, UUID] | None:
    key = read_cursor(cursor)
    if isinstance(key, Problem):
        return None
    try:
        placed_at, order_id = datetime.fromisoformat(key[0]), UUID(key[1])
    except ValueError:
        return None
    return (placed_at, order_id) if placed_at.tzinfo else None
