"""The routes of the orders service."""

from datetime import datetime
from typing import Annotated, Final, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from pydantic import AfterValidator, Field

from services.kit.api import DEFAULT_PAGE, Answer, Body, Cursor, Limit, from_state
from services.kit.caller import CallerDep, UserId
from services.kit.links import LinkTable
from services.kit.paging import BAD_CURSOR
from services.kit.problems import CREDENTIALS_REQUIRED, NOT_FOUND, UPSTREAM_AWAY, documented, granted
from services.orders.models import Order
from services.orders.orders import Orders
from services.orders.stock import OUT_OF_STOCK, Wish

LINKS: Final = LinkTable({"/orders": frozenset({"gateway"})})

MAX_LINES: Final = 50
MAX_QUANTITY: Final = 1_000

router: Final = APIRouter(prefix="/orders")


def _orders(request: Request) -> Orders:
    return from_state(Orders, "orders", request)


OrdersDep = Annotated[Orders, Depends(_orders)]


class Item(Body):
    """So many of one product."""

    product_id: UUID
    quantity: Annotated[int, Field(strict=True, ge=1, le=MAX_QUANTITY)]


def _distinct(items: list[Item]) -> list[Item]:
    if len({item.product_id for item in items}) != len(items):
        raise ValueError("a product comes twice")
    return items


class PlaceBody(Body):
    """What to buy; each product once."""

    items: Annotated[list[Item], Field(min_length=1, max_length=MAX_LINES), AfterValidator(_distinct)]


class Money(Answer):
    """An amount in the currency's smallest unit (cents)."""

    amount: int
    currency: str


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
    def of(cls, order: Order) -> Self:
        """What the owner of `order` sees."""
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
        return cls.model_validate({**vars(order), "total": total, "items": items})


class OrdersAnswer(Answer):
    """A page of orders; `next` is given back as `after` for the one behind it."""

    items: list[OrderAnswer]
    next: str | None


@router.post("", status_code=201, responses=documented(CREDENTIALS_REQUIRED, OUT_OF_STOCK, UPSTREAM_AWAY))
async def place_order(
    user: UserId, caller: CallerDep, body: PlaceBody, orders: OrdersDep, response: Response
) -> OrderAnswer:
    """Buy, at the prices of now."""
    wishes = [Wish(item.product_id, item.quantity) for item in body.items]
    order = granted(await orders.place(caller, user, wishes))
    response.headers["Location"] = f"/orders/{order.id}"
    return OrderAnswer.of(order)


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
