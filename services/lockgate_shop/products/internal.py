"""The internal routes of the products service: prices for an order, and taking stock for it."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from pydantic import AfterValidator, Field

from lockgate_shop.kit.http.api import Body, ResponseBody, from_state
from lockgate_shop.kit.http.links import LinkTable
from lockgate_shop.kit.http.problems import document_problems, require_granted
from lockgate_shop.kit.problem import LINK_REFUSED
from lockgate_shop.products.api import CatalogueDep, Money
from lockgate_shop.products.models import Reservation
from lockgate_shop.products.reservations import OUT_OF_STOCK, Reservations

GATEWAY: Final = frozenset({"gateway"})
ORDERS: Final = frozenset({"orders"})
LINKS: Final = LinkTable({"/products": GATEWAY, "/internal/quotes": ORDERS, "/internal/reservations": ORDERS})

MAX_LINES: Final = 50
MAX_QUANTITY: Final = 1_000

router: Final = APIRouter(prefix="/internal", responses=document_problems(LINK_REFUSED))


async def _get_reservations(request: Request) -> Reservations:
    return from_state(Reservations, "reservations", request)


ReservationsDep = Annotated[Reservations, Depends(_get_reservations)]


class Item(Body):
    """So many of one product."""

    product_id: UUID
    quantity: Annotated[int, Field(strict=True, ge=1, le=MAX_QUANTITY)]


def _check_distinct(items: list[Item]) -> list[Item]:
    if len({item.product_id for item in items}) != len(items):
        raise ValueError("a product comes twice")
    return items


Items = Annotated[list[Item], Field(min_length=1, max_length=MAX_LINES), AfterValidator(_check_distinct)]


class QuoteBody(Body):
    """What a user thinks of buying."""

    items: Items


class QuoteLine(ResponseBody):
    """What one product costs now, and whether there is enough of it; without a price when it is not for sale."""

    product_id: UUID
    quantity: int
    available: bool
    name: str | None = None
    unit_price: Money | None = None


class QuoteResponse(ResponseBody):
    """A line for each product that was asked for, in that order."""

    items: list[QuoteLine]


class ReservationBody(Body):
    """What to take, under an id that the caller chooses."""

    reservation_id: UUID
    items: Items


class ReservedLine(ResponseBody):
    """So many of one product, at the price they were taken at."""

    product_id: UUID
    name: str
    quantity: int
    unit_price: Money


class ReservationResponse(ResponseBody):
    """Stock that is taken."""

    reservation_id: UUID
    items: list[ReservedLine]


@router.post("/quotes")
async def quote_products(body: QuoteBody, catalogue: CatalogueDep) -> QuoteResponse:
    """Prices and availability. Nothing is promised: a reservation is."""
    products = await catalogue.read_all([item.product_id for item in body.items])
    lines = []
    for item in body.items:
        product = products.get(item.product_id)
        if product is None:
            lines.append(QuoteLine(product_id=item.product_id, quantity=item.quantity, available=False))
            continue
        lines.append(
            QuoteLine(
                product_id=item.product_id,
                quantity=item.quantity,
                available=product.stock >= item.quantity,
                name=product.name,
                unit_price=Money(amount=product.price_minor, currency=product.currency),
            )
        )
    return QuoteResponse(items=lines)


@router.post(
    "/reservations",
    status_code=201,
    responses={200: {"description": "Reserved by an earlier call"}, **document_problems(OUT_OF_STOCK)},
)
async def reserve_stock(
    body: ReservationBody, reservations: ReservationsDep, response: Response
) -> ReservationResponse:
    """Take all of it, or nothing; asking again with the same id takes nothing more."""
    wanted = {item.product_id: item.quantity for item in body.items}
    reserved = require_granted(await reservations.reserve_stock(body.reservation_id, wanted))
    if not reserved.is_new:
        response.status_code = 200
    return _reservation_response(reserved.reservation)


@router.delete("/reservations/{reservation_id}", status_code=204)
async def release_stock(reservation_id: UUID, reservations: ReservationsDep) -> None:
    """Give the stock back; the id is used up, whether or not it had reserved anything."""
    await reservations.release_stock(reservation_id)


def _reservation_response(reservation: Reservation) -> ReservationResponse:
    lines = [
        ReservedLine(
            product_id=line.product_id,
            name=line.name,
            quantity=line.quantity,
            unit_price=Money(amount=line.price_minor, currency=line.currency),
        )
        for line in reservation.lines
    ]
    return ReservationResponse(reservation_id=reservation.id, items=lines)
