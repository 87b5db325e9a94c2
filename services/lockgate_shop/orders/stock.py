"""What orders asks of the products service."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final
from uuid import UUID

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from lockgate_shop.kit.errors import OutboundError, OutcomeUnknownError
from lockgate_shop.kit.http.outbound import Call, ServiceClient
from lockgate_shop.kit.problem import Problem
from lockgate_trust import Caller

log = structlog.get_logger("service")

QUOTE: Final = Call("POST", "/internal/quotes", idempotent=True)
RESERVE: Final = Call("POST", "/internal/reservations", idempotent=True)
RELEASE: Final = Call("DELETE", "/internal/reservations/{reservation_id}", idempotent=True)
CALLS: Final = (QUOTE, RESERVE, RELEASE)
"""All that orders may call there. A reservation has an id of its own, so that asking twice takes once."""

OUT_OF_STOCK: Final = Problem(409, "out_of_stock", "There is not enough of a product, or it is not for sale")
MIXED_CURRENCIES: Final = Problem(409, "mixed_currencies", "The products are not all sold in one currency")
_REFUSALS: Final = {problem.code: problem for problem in (OUT_OF_STOCK, MIXED_CURRENCIES)}


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class Money(_Told):
    """An amount in the currency's smallest unit."""

    amount: int
    currency: str


class ReservedLine(_Told):
    """So many of one product, taken at this unit price."""

    product_id: UUID
    name: str
    quantity: int
    unit_price: Money


class QuotedLine(_Told):
    """So many of one product, if there are so many, at the price of now; without one when it is not for sale."""

    product_id: UUID
    quantity: int
    available: bool
    name: str | None
    unit_price: Money | None


class Quote(_Told):
    """What some products would cost now; `total` is None where they could not be bought."""

    items: list[QuotedLine]
    total: Money | None = None


class _Reservation(_Told):
    items: list[ReservedLine]


class Stock:
    """The stock of the products service, on behalf of the request's caller."""

    def __init__(self, products: ServiceClient) -> None:
        self._products = products

    async def quote_items(self, caller: Caller, wanted: Mapping[UUID, int]) -> Quote:
        """Prices and availability, in the order of what is wanted. Takes nothing.

        Raises:
            OutboundError: products gave no usable answer.
        """
        if not wanted:
            return Quote(items=[])
        reply = await self._products.call(caller, QUOTE, {"items": _wanted_items(wanted)})
        try:
            lines = Quote.model_validate(reply.body).items
        except ValidationError as error:
            raise OutcomeUnknownError("products answered something else") from error
        return Quote(items=lines, total=_total_price(lines))

    async def reserve_items(
        self, caller: Caller, reservation_id: UUID, wanted: Mapping[UUID, int]
    ) -> list[ReservedLine] | Problem:
        """Take all that is wanted (at least 1 of each), or nothing, and learn the prices; in the order of `wanted`.

        Raises:
            OutboundError: products gave no usable answer. It may have taken the stock: release it.
        """
        body = {"reservation_id": str(reservation_id), "items": _wanted_items(wanted)}
        reply = await self._products.call(caller, RESERVE, body)
        refusal = _REFUSALS.get(reply.code or "")
        if reply.status == HTTPStatus.CONFLICT and refusal is not None:
            return refusal
        return _parse_lines(reply.status, reply.body, wanted)

    async def release_items(self, caller: Caller, reservation_id: UUID) -> bool:
        """Give back what was taken, if it was; a reservation that is still on its way will find nothing to take.

        Whether products has heard it. Never raises for a products service that is away: it is asked again later.
        """
        try:
            reply = await self._products.call(caller, RELEASE, reservation_id=reservation_id)
        except OutboundError as error:
            # Without a traceback: it says where we stood, and the reason is in the line.
            log.warning(
                "release_postponed", reservation=str(reservation_id), request_id=caller.request_id, fault=str(error)
            )
            return False
        return reply.status == HTTPStatus.NO_CONTENT


def _wanted_items(wanted: Mapping[UUID, int]) -> list[dict[str, object]]:
    return [{"product_id": str(product), "quantity": quantity} for product, quantity in wanted.items()]


def _parse_lines(status: int, body: object, wanted: Mapping[UUID, int]) -> list[ReservedLine]:
    if status not in {HTTPStatus.OK, HTTPStatus.CREATED}:
        raise OutcomeUnknownError(f"products answered {status}")
    try:
        lines = {line.product_id: line for line in _Reservation.model_validate(body).items}
    except ValidationError as error:
        raise OutcomeUnknownError("products answered something else") from error
    if wanted != {key: line.quantity for key, line in lines.items()}:
        raise OutcomeUnknownError("products took something else")
    return [lines[product] for product in wanted]


def _total_price(lines: list[QuotedLine]) -> Money | None:
    prices = [(line.quantity, line.unit_price) for line in lines if line.available and line.unit_price]
    currencies = {price.currency for _, price in prices}
    if len(prices) != len(lines) or len(currencies) != 1:
        return None
    return Money(amount=sum(quantity * price.amount for quantity, price in prices), currency=currencies.pop())
