"""The routes of orders: placing, finding and cancelling them."""

from datetime import datetime
from typing import Annotated, Final, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from pydantic import model_validator

from lockgate_shop.kit.data.paging import BAD_CURSOR
from lockgate_shop.kit.http.api import DEFAULT_PAGE, Body, Cursor, Limit, ResponseBody, from_state
from lockgate_shop.kit.http.caller import CallerDep, UserId
from lockgate_shop.kit.http.idempotency import BAD_KEY, KEY_IN_FLIGHT, KEY_REUSED, IdempotencyKey, body_fingerprint
from lockgate_shop.kit.http.links import LinkTable
from lockgate_shop.kit.http.problems import RETRY_AFTER_S, RefusedError, document_problems, require_granted
from lockgate_shop.kit.problem import CREDENTIALS_REQUIRED, NOT_FOUND, UPSTREAM_AWAY
from lockgate_shop.orders.checkout import Checkouts, Purchase
from lockgate_shop.orders.items import Money, SomeItems, by_product
from lockgate_shop.orders.models import INITIAL, Order, Status
from lockgate_shop.orders.orders import Orders
from lockgate_shop.orders.stock import OUT_OF_STOCK

LINKS: Final = LinkTable({"/orders": frozenset({"gateway"})})

router: Final = APIRouter(prefix="/orders")


async def _get_orders(request: Request) -> Orders:
    return from_state(Orders, "orders", request)


async def _get_checkouts(request: Request) -> Checkouts:
    return from_state(Checkouts, "checkouts", request)


OrdersDep = Annotated[Orders, Depends(_get_orders)]
CheckoutsDep = Annotated[Checkouts, Depends(_get_checkouts)]


class PlaceBody(Body):
    """What to buy: these items, each product once, or what is in one's cart."""

    items: SomeItems | None = None
    from_cart: Literal[True] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.items is None) == (self.from_cart is None):
            raise ValueError("either items or from_cart")
        return self


class LineResponse(ResponseBody):
    """So many of one product, at the unit price they were bought at."""

    product_id: UUID
    name: str
    quantity: int
    unit_price: Money


class OrderResponse(ResponseBody):
    """An order, as its owner sees it."""

    id: UUID
    status: Literal["placed", "cancelled"]
    total: Money
    placed_at: datetime
    items: list[LineResponse]

    @classmethod
    def from_order(cls, order: Order, *, status: Status | None = None) -> Self:
        """What the owner of `order` sees; or saw, when it had the given status."""
        items = [
            LineResponse(
                product_id=line.product_id,
                name=line.name,
                quantity=line.quantity,
                unit_price=Money(amount=line.price_minor, currency=order.currency),
            )
            for line in order.lines
        ]
        total = Money(amount=order.total_minor, currency=order.currency)
        return cls.model_validate({**vars(order), "status": status or order.status, "total": total, "items": items})


class OrdersResponse(ResponseBody):
    """A page of orders; `next` is given back as `after` for the one behind it."""

    items: list[OrderResponse]
    next: str | None


@router.post(
    "",
    status_code=201,
    responses=document_problems(CREDENTIALS_REQUIRED, BAD_KEY, OUT_OF_STOCK, KEY_IN_FLIGHT, KEY_REUSED, UPSTREAM_AWAY),
)
async def place_order(  # noqa: PLR0913 - what makes a purchase, all by name
    *,
    user: UserId,
    caller: CallerDep,
    body: PlaceBody,
    checkouts: CheckoutsDep,
    key: IdempotencyKey,
    response: Response,
) -> OrderResponse:
    """Buy, at the prices of now. With an `Idempotency-Key`, once, however often it is asked."""
    purchase = Purchase(
        user_id=user,
        items=by_product(body.items) if body.items else None,
        fingerprint=body_fingerprint(body.model_dump(mode="json")),
        key=key,
    )
    order = await checkouts.place_order(caller, purchase)
    if order is KEY_IN_FLIGHT:
        raise RefusedError(KEY_IN_FLIGHT, headers={"Retry-After": str(RETRY_AFTER_S)})
    placed = require_granted(order)
    response.headers["Location"] = f"/orders/{placed.id}"
    # Also when it is cancelled by now: the same request has the same answer.
    return OrderResponse.from_order(placed, status=INITIAL)


@router.get("", responses=document_problems(BAD_CURSOR, CREDENTIALS_REQUIRED))
async def list_orders(
    user: UserId, orders: OrdersDep, limit: Limit = DEFAULT_PAGE, after: Cursor = None
) -> OrdersResponse:
    """One's own orders, newest first."""
    page = require_granted(await orders.list_orders(user, limit, after))
    return OrdersResponse(items=[OrderResponse.from_order(order) for order in page.items], next=page.next)


@router.get("/{order_id}", responses=document_problems(CREDENTIALS_REQUIRED, NOT_FOUND))
async def read_order(user: UserId, order_id: UUID, orders: OrdersDep) -> OrderResponse:
    """One's own order."""
    return OrderResponse.from_order(require_granted(await orders.read_order(user, order_id)))


@router.post("/{order_id}/cancel", responses=document_problems(CREDENTIALS_REQUIRED, NOT_FOUND))
async def cancel_order(user: UserId, caller: CallerDep, order_id: UUID, orders: OrdersDep) -> OrderResponse:
    """Cancel one's own order, whose stock goes back; one that is cancelled already stays so."""
    return OrderResponse.from_order(require_granted(await orders.cancel_order(caller, user, order_id)))
