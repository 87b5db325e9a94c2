"""Checkout: from a wish to an order, never twice for one `Idempotency-Key`, and never with stock that gets lost.

What is about to happen is stored before anything is taken: a checkout, whose id becomes the order's and names the
reservation. The order is stored in one transaction with the end of its checkout. A process that finds an abandoned
checkout can therefore take it back, in one transaction, and then give its stock back as often as it takes.

docs/decisions/0060 has the races, and what was not chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

import structlog

from lockgate_shop.kit.clock import Clock, utc_now
from lockgate_shop.kit.errors import BusyError, OutcomeUnknownError, StoreUnavailableError
from lockgate_shop.kit.http.idempotency import KEY_IN_FLIGHT, KEY_REUSED
from lockgate_shop.kit.problem import Problem
from lockgate_shop.orders.models import INITIAL, Checkout, Order, OrderLine, Status
from lockgate_shop.orders.stock import MIXED_CURRENCIES, OUT_OF_STOCK
from lockgate_trust import Caller

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lockgate_shop.orders.carts import Carts
    from lockgate_shop.orders.checkout_store import CheckoutStore
    from lockgate_shop.orders.events import OrderEvents
    from lockgate_shop.orders.stock import ReservedLine, Stock

log = structlog.get_logger("service")

LEASE: Final = timedelta(seconds=30)
"""A checkout that takes longer was left behind: no call of it waits that long."""
KEY_LIFE: Final = timedelta(days=7)
"""How long an Idempotency-Key is remembered."""
CART_EMPTY: Final = Problem(409, "cart_empty", "There is nothing in the cart")
SWEPT_AT_ONCE: Final = 200

_REFUSALS: Final = {problem.code: problem for problem in (OUT_OF_STOCK, MIXED_CURRENCIES, CART_EMPTY)}


@dataclass(frozen=True, slots=True)
class Purchase:
    """What a user asks to buy.

    Attributes:
        items: quantities by product; None for what is in the user's cart.
        fingerprint: tells this request from others.
        key: the client's Idempotency-Key; None where it gave none, and each request is a purchase of its own.
    """

    user_id: str
    items: Mapping[UUID, int] | None
    fingerprint: str
    key: str | None


class Checkouts:
    """Buying, and cleaning up after processes that died during a purchase."""

    def __init__(self, store: CheckoutStore, stock: Stock, carts: Carts, events: OrderEvents, clock: Clock) -> None:
        self._store = store
        self._stock = stock
        self._carts = carts
        self._events = events
        self._clock = clock

    async def place_order(self, caller: Caller, purchase: Purchase) -> Order | Problem:
        """Buy at the prices of now, or tell how the same purchase ended before.

        Raises:
            OutboundError: products is away; there is no order, and what was taken is given back.
            StoreUnavailableError: the same, for the database or the cart.
        """
        checkout = self._new_checkout(purchase)
        earlier = await self._store.begin_checkout(checkout)
        if earlier is not None and self._is_left_behind(earlier):
            if earlier.fingerprint != purchase.fingerprint:
                return KEY_REUSED
            await self._take_back(caller, earlier.order_id)
            checkout = self._new_checkout(purchase)
            earlier = await self._store.begin_checkout(checkout)
        if earlier is not None:
            return await self._repeat_outcome(purchase, earlier)
        return await self._buy_items(caller, purchase, checkout.order_id)

    async def sweep_checkouts(self) -> None:
        """Take back what was left behind, give back what is owed, and forget old keys.

        Any number of processes may do so at once and as often as they like.
        """
        now = utc_now(self._clock)
        caller = Caller(request_id=f"sweep-{uuid4()}", service="orders")
        for order_id in await self._store.left_behind(now - LEASE, SWEPT_AT_ONCE):
            log.warning("checkout_left_behind", order=str(order_id))
            await self._store.take_back(order_id, now)
        for reservation_id in await self._store.to_release(SWEPT_AT_ONCE):
            await self.release_stock(caller, reservation_id)
        await self._store.forget_ended(now - KEY_LIFE)

    async def release_stock(self, caller: Caller, reservation_id: UUID) -> None:
        """Give back the stock of a reservation whose release is owed; where that fails now, a sweep does it later."""
        if await self._stock.release_items(caller, reservation_id):
            await self._store.confirm_release(reservation_id)

    async def _buy_items(self, caller: Caller, purchase: Purchase, order_id: UUID) -> Order | Problem:
        ended = False
        try:
            lines = await self._reserve_items(caller, purchase, order_id)
            if isinstance(lines, Problem):
                await self._store.refuse_checkout(order_id, lines.code)
                ended = True
                return lines
            order = self._new_order(order_id, purchase.user_id, lines)
            if not await self._store.place_order(order):
                raise OutcomeUnknownError("the checkout took so long that it was taken back")
            ended = True
        finally:
            # Also when the client left: a cancelled request must not keep the stock.
            if not ended:
                await self._take_back(caller, order_id)
        await self._take_out_of_cart(purchase, order)
        await self._events.publish_change(order)
        return order

    async def _reserve_items(
        self, caller: Caller, purchase: Purchase, order_id: UUID
    ) -> Sequence[ReservedLine] | Problem:
        items = purchase.items
        if items is None:
            items = (await self._carts.read_cart(purchase.user_id)).items
        return await self._stock.reserve_items(caller, order_id, items) if items else CART_EMPTY

    async def _take_back(self, caller: Caller, order_id: UUID) -> None:
        try:
            if await self._store.take_back(order_id, utc_now(self._clock)):
                await self.release_stock(caller, order_id)
        except StoreUnavailableError as error:
            # Whether there is an order now only the database knows; a sweep will ask it.
            log.warning("checkout_left_behind", order=str(order_id), fault=str(error))

    async def _repeat_outcome(self, purchase: Purchase, earlier: Checkout) -> Order | Problem:
        if earlier.fingerprint != purchase.fingerprint:
            return KEY_REUSED
        if earlier.outcome is None:
            return KEY_IN_FLIGHT
        if earlier.outcome != Status.PLACED:
            return _REFUSALS[earlier.outcome]
        order = await self._store.read_order(earlier.order_id)
        await self._take_out_of_cart(purchase, order)  # perhaps it died before
        return order

    async def _take_out_of_cart(self, purchase: Purchase, order: Order) -> None:
        """Take what was bought out of the cart it came from; an order is no less placed when that fails."""
        if purchase.items is not None:
            return
        bought = {line.product_id: line.quantity for line in order.lines}
        try:
            await self._carts.change_cart(order.user_id, lambda cart: cart.without_bought(order.id, bought))
        except (StoreUnavailableError, BusyError) as error:
            log.warning("cart_kept", order=str(order.id), fault=str(error))

    def _new_checkout(self, purchase: Purchase) -> Checkout:
        return Checkout(
            order_id=uuid4(),
            user_id=purchase.user_id,
            idempotency_key=purchase.key,
            fingerprint=purchase.fingerprint,
            started_at=utc_now(self._clock),
            outcome=None,
        )

    def _is_left_behind(self, checkout: Checkout) -> bool:
        return checkout.outcome is None and checkout.started_at < utc_now(self._clock) - LEASE

    def _new_order(self, order_id: UUID, user_id: str, lines: Sequence[ReservedLine]) -> Order:
        return Order(
            id=order_id,
            user_id=user_id,
            status=INITIAL,
            currency=lines[0].unit_price.currency,
            total_minor=sum(line.quantity * line.unit_price.amount for line in lines),
            placed_at=utc_now(self._clock),
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
