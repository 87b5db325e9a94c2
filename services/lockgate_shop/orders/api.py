"""The routes of orders: placing, finding and cancelling them."""

from datetime import datetime
from typing import Annotated, Final, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from pydantic import model_validator

from lockgate_shop.kit.data.paging import BAD_CURSOR
from lockgate_shop.kit.http.api import DEFAULT_PAGE, Answer, Body, Cursor, Limit, from_state
from lockgate_shop.kit.http.caller import CallerDep, UserId
from lockgate_shop.kit.http.idempotency import BAD_KEY, KEY_IN_FLIGHT, KEY_REUSED, IdempotencyKey, fingerprint
from lockgate_shop.kit.http.links import LinkTable
from lockgate_shop.kit.http.problems import RETRY_AFTER_S, RefusedError, documented, granted
from lockgate_shop.kit.problem import CREDENTIALS_REQUIRED, NOT_FOUND, UPSTREAM_AWAY
from lockgate_shop.orders.checkout import Checkouts, Purchase
from lockgate_shop.orders.items import Money, SomeItems, by_product
from lockgate_shop.orders.models import INITIAL, Order, Status
from lockgate_shop.orders.orders import Orders
from lockgate_shop.orders.stock import OUT_OF_STOCK

LINKS: Final = LinkTable({"/orders": frozenset({"gateway"})})

router: Final = APIRouter(prefix="/orders")


def _orders(request: Request) -> Orders:
    return from_state(Orders, "orders", request)


def _checkouts(request: Request) -> Checkouts:
    return from_state(Checkouts, "checkouts", request)


OrdersDep = Annotated[Orders, Depends(_orders)]
CheckoutsDep = Annotated[Checkouts, Depends(_checkouts)]


class PlaceBody(Body):
    """What to buy: these items, each product once, or what is in one's cart."""

    items: SomeItems | None = None
    from_cart: Literal[True] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.items is None) == (self.from_cart is None):
            raise ValueError("either items or from_cart")
        return self


class LineAnswer(Answer):
    """So many of one product, at the unit price they were bought at."""

    product_id: UUID
    name: str
    quantity: int
    unit_price: Money


class OrderAnswer(Answer):
    """An order, as its owner sees it."""

    id: UUID
    status: Literal["placed", "cancelled"]
    total: Money
    placed_at: datetime
    items: list[LineAnswer]

    @classmethod
    def of(cls, order: Order, *, status: Status | None = None) -> Self:
        """What the owner of `order` sees; or saw, when it had the given status."""
        items = [
            LineAnswer(
                product_id=line.product_id,
                name=line.name,
                quantity=line.quantity,
                unit_price=Money(amount=line.price_minor, currency=order.currency),
            )
            for line in order.lines
        ]
        total = Money(amount=order.total_minor, currency=order.currency)
        return cls.model_validate({**vars(order), "status": status or order.status, "total": total, "items": items})


class OrdersAnswer(Answer):
    """A page of orders; `next` is given back as `after` for the one behind it."""

    items: list[OrderAnswer]
    next: str | None


@router.post(
    "",
    status_code=201,
    responses=documented(CREDENTIALS_REQUIRED, BAD_KEY, OUT_OF_STOCK, KEY_IN_FLIGHT, KEY_REUSED, UPSTREAM_AWAY),
)
async def place_order(  # noqa: PLR0913 - what makes a purchase, all by name
    *,
    user: UserId,
    caller: CallerDep,
    body: PlaceBody,
    checkouts: CheckoutsDep,
    key: IdempotencyKey,
    response: Response,
) -> OrderAnswer:
    """Buy, at the prices of now. With an `Idempotency-Key`, once, however often it is asked."""
    purchase = Purchase(
        user_id=user,
        items=by_product(body.items) if body.items else None,
        fingerprint=fingerprint(body.model_dump(mode="json")),
        key=key,
    )
    order = await checkouts.place(caller, purchase)
    if order is KEY_IN_FLIGHT:
        raise RefusedError(KEY_IN_FLIGHT, headers={"Retry-After": str(RETRY_AFTER_S)})
    placed = granted(order)
    response.headers["Location"] = f"/orders/{placed.id}"
    # Also when it is cancelled by now: the same request has the same answer.
    return OrderAnswer.of(placed, status=INITIAL)


@router.get("", responses=documented(BAD_CURSOR, CREDENTIALS_REQUIRED))
async def list_orders(
    user: UserId, orders: OrdersDep, limit: Limit = DEFAULT_PAGE, after: Cursor = None
) -> OrdersAnswer:
    """One's own orders, newest first."""
    page = granted(await orders.page(user, limit, after))
    return OrdersAnswer(items=[OrderAnswer.of(order) for order in page.items], next=page.next)


@router.get("/{order_id}", responses=documented(CREDENTIALS_REQUIRED, NOT_FOUND))
async def read_order(user: UserId, order_id: UUID, orders: OrdersDep) -> OrderAnswer:
    """One's own order."""
    return OrderAnswer.of(granted(await orders.read(user, order_id)))


@router.post("/{order_id}/cancel", responses=documented(CREDENTIALS_REQUIRED, NOT_FOUND))
async def cancel_order(user: UserId, caller: CallerDep, order_id: UUID, orders: OrdersDep) -> OrderAnswer:
    """Cancel one's own order, whose stock goes back; one that is cancelled already stays so."""
    return OrderAnswer.of(granted(await orders.cancel(caller, user, order_id)))
