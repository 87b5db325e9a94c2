"""What carts and orders have in common on the wire: so many of one product, and money."""

from collections.abc import Iterable
from typing import Annotated, TypeVar
from uuid import UUID

from pydantic import AfterValidator, Field

from lockgate_shop.kit.http.api import Body, ResponseBody
from lockgate_shop.orders.carts import MAX_LINES, MAX_QUANTITY


class Quantity(Body):
    """So many of one product from now on; 0 for none."""

    product_id: UUID
    quantity: Annotated[int, Field(strict=True, ge=0, le=MAX_QUANTITY)]


class Item(Quantity):
    """So many of one product."""

    quantity: Annotated[int, Field(strict=True, ge=1, le=MAX_QUANTITY)]


Q = TypeVar("Q", bound=Quantity)


def _check_distinct(items: list[Q]) -> list[Q]:
    if len({item.product_id for item in items}) != len(items):
        raise ValueError("a product comes twice")
    return items


Items = Annotated[list[Item], Field(max_length=MAX_LINES), AfterValidator(_check_distinct)]
"""Each product once."""
SomeItems = Annotated[list[Item], Field(min_length=1, max_length=MAX_LINES), AfterValidator(_check_distinct)]
SomeQuantities = Annotated[list[Quantity], Field(min_length=1, max_length=MAX_LINES), AfterValidator(_check_distinct)]


def by_product(items: Iterable[Quantity]) -> dict[UUID, int]:
    """Quantities by product, in the order of the list."""
    return {item.product_id: item.quantity for item in items}


class Money(ResponseBody):
    """An amount in the currency's smallest unit (cents)."""

    amount: int
    currency: str
