"""What orders asks of the products service."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from uuid import UUID

import structlog
from pydantic import BaseModel, ValidationError

from services.kit.errors import OutboundError, OutcomeUnknownError
from services.kit.outbound import ServiceClient
from services.kit.problems import Problem
from trust import Caller

log = structlog.get_logger("service")

OUT_OF_STOCK: Final = Problem(409, "out_of_stock", "There is not enough of a product, or it is not for sale")
MIXED_CURRENCIES: Final = Problem(409, "mixed_currencies", "The products are not all sold in one currency")
_REFUSALS: Final = {problem.code: problem for problem in (OUT_OF_STOCK, MIXED_CURRENCIES)}


@dataclass(frozen=True, slots=True)
class Wish:
    """So many of one product, as the user wants them."""

    product_id: UUID
    quantity: int


class Money(BaseModel):
    """An amount in the currency's smallest unit."""

    amount: int
    currency: str


class ReservedLine(BaseModel):
    """So many of one product, taken at this unit price."""

    product_id: UUID
    name: str
    quantity: int
    unit_price: Money


class _Reservation(BaseModel):
    items: list[ReservedLine]


class Stock:
    """The stock of the products service, on behalf of whoever is asking."""

    def __init__(self, products: ServiceClient) -> None:
        self._products = products

    async def reserve(
        self, caller: Caller, reservation_id: UUID, wishes: Sequence[Wish]
    ) -> list[ReservedLine] | Problem:
        """Take all that is wished for, or nothing, and learn the prices; the lines are in the order of the wishes.

        Raises:
            OutboundError: products gave no usable answer; nothing stays taken there.
        """
        body = {
            "reservation_id": str(reservation_id),
            "items": [{"product_id": str(wish.product_id), "quantity": wish.quantity} for wish in wishes],
        }
        try:
            reply = await self._products.call(caller, "POST", "/internal/reservations", body, idempotent=True)
            refusal = _REFUSALS.get(reply.code or "")
            if reply.status == HTTPStatus.CONFLICT and refusal is not None:
                return refusal
            return _lines(reply.status, reply.body, wishes)
        except (OutcomeUnknownError, asyncio.CancelledError):
            await self.release(caller, reservation_id)
            raise

    async def release(self, caller: Caller, reservation_id: UUID) -> None:
        """Give back what was taken, if it was; a reservation that is still on its way will find nothing to take.

        Never raises for a products service that is away: whoever releases has something worse to report already.
        """
        try:
            await self._products.call(caller, "DELETE", f"/internal/reservations/{reservation_id}", idempotent=True)
        except OutboundError as error:
            # Without a traceback: it says where we stood, and the reason is in the line.
            log.error(  # noqa: TRY400
                "reservation_left", reservation=str(reservation_id), request_id=caller.request_id, fault=str(error)
            )


def _lines(status: int, body: object, wishes: Sequence[Wish]) -> list[ReservedLine]:
    if status not in {HTTPStatus.OK, HTTPStatus.CREATED}:
        raise OutcomeUnknownError(f"products answered {status}")
    try:
        lines = {line.product_id: line for line in _Reservation.model_validate(body).items}
    except ValidationError as error:
        raise OutcomeUnknownError("products answered something else") from error
    if {wish.product_id: wish.quantity for wish in wishes} != {key: line.quantity for key, line in lines.items()}:
        raise OutcomeUnknownError("products took something else")
    return [lines[wish.product_id] for wish in wishes]
