"""The routes of the cart: one for each user, the same on every node."""

from typing import Annotated, Final, Self
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Request, Response

from lockgate_shop.kit.http.api import Body, ResponseBody, from_state
from lockgate_shop.kit.http.caller import CallerDep, UserId
from lockgate_shop.kit.http.problems import document_problems, require_granted
from lockgate_shop.kit.problem import CREDENTIALS_REQUIRED, STORE_AWAY, UPSTREAM_AWAY
from lockgate_shop.orders.carts import CART_CHANGED, CART_FULL, Cart, Carts, Change
from lockgate_shop.orders.items import Items, Money, SomeItems, SomeQuantities, by_product
from lockgate_shop.orders.stock import Quote, Stock

router: Final = APIRouter(prefix="/orders/cart")

REFUSALS: Final = document_problems(CREDENTIALS_REQUIRED, STORE_AWAY)
CHANGE_REFUSALS: Final = document_problems(CREDENTIALS_REQUIRED, CART_FULL, CART_CHANGED, STORE_AWAY)


async def _get_carts(request: Request) -> Carts:
    return from_state(Carts, "carts", request)


async def _get_stock(request: Request) -> Stock:
    return from_state(Stock, "stock", request)


CartsDep = Annotated[Carts, Depends(_get_carts)]
StockDep = Annotated[Stock, Depends(_get_stock)]
IfMatch = Annotated[str | None, Header(alias="If-Match", max_length=200)]


class CartBody(Body):
    """All that the cart is to hold; each product once."""

    items: Items


class CartChangeBody(Body):
    """Quantities of some products; 0 takes one out."""

    items: SomeQuantities


class MergeBody(Body):
    """A cart that was filled before the login, under an id that the client made up for this one merge."""

    merge_id: UUID
    items: SomeItems


class CartItem(ResponseBody):
    """So many of one product."""

    product_id: UUID
    quantity: int


class CartResponse(ResponseBody):
    """A cart. Prices are those of the moment and not part of it: see its quote."""

    items: list[CartItem]

    @classmethod
    def from_cart(cls, cart: Cart) -> Self:
        """What the owner of `cart` sees."""
        return cls(items=[CartItem(product_id=key, quantity=quantity) for key, quantity in cart.items.items()])


class QuoteLine(ResponseBody):
    """What one product costs now, and whether there is enough of it; without a price when it is not for sale."""

    product_id: UUID
    quantity: int
    available: bool
    name: str | None
    unit_price: Money | None


class QuoteResponse(ResponseBody):
    """The cart at the prices of now. Nothing is promised; `total` is null where the cart could not be bought."""

    items: list[QuoteLine]
    total: Money | None

    @classmethod
    def from_quote(cls, quote: Quote) -> Self:
        """What the owner of the cart sees."""
        return cls.model_validate(quote.model_dump())


def _cart_response(cart: Cart, response: Response) -> CartResponse:
    response.headers["ETag"] = cart.etag
    return CartResponse.from_cart(cart)


@router.get("", responses=REFUSALS)
async def read_cart(user: UserId, carts: CartsDep, response: Response) -> CartResponse:
    """One's own cart, perhaps an empty one."""
    return _cart_response(await carts.read_cart(user), response)


@router.get("/quote", responses=document_problems(CREDENTIALS_REQUIRED, STORE_AWAY, UPSTREAM_AWAY))
async def quote_cart(user: UserId, caller: CallerDep, carts: CartsDep, stock: StockDep) -> QuoteResponse:
    """One's own cart at the prices of now."""
    cart = await carts.read_cart(user)
    return QuoteResponse.from_quote(await stock.quote_items(caller, cart.items))


@router.put("", responses=CHANGE_REFUSALS)
async def replace_cart(
    user: UserId, body: CartBody, carts: CartsDep, response: Response, if_match: IfMatch = None
) -> CartResponse:
    """Hold these items and no others. The last write wins, unless its `If-Match` fails."""
    return await _change_cart(carts, user, if_match, lambda cart: cart.with_items(by_product(body.items)), response)


@router.patch("", responses=CHANGE_REFUSALS)
async def change_cart(
    user: UserId, body: CartChangeBody, carts: CartsDep, response: Response, if_match: IfMatch = None
) -> CartResponse:
    """Set the quantities of some products; the others stay, also where another client sets them meanwhile."""
    return await _change_cart(
        carts, user, if_match, lambda cart: cart.with_quantities(by_product(body.items)), response
    )


@router.delete("", status_code=204, responses=document_problems(CREDENTIALS_REQUIRED, CART_CHANGED, STORE_AWAY))
async def empty_cart(user: UserId, carts: CartsDep, if_match: IfMatch = None) -> None:
    """Take everything out."""
    require_granted(await carts.change_cart(user, lambda cart: cart.with_items({}), if_match=if_match))


@router.post("/merge", responses=document_problems(CREDENTIALS_REQUIRED, CART_FULL, STORE_AWAY))
async def merge_cart(user: UserId, body: MergeBody, carts: CartsDep, response: Response) -> CartResponse:
    """Add a guest's cart to one's own, once: a `merge_id` that was merged already changes nothing any more."""
    return await _change_cart(
        carts, user, None, lambda cart: cart.with_merged(body.merge_id, by_product(body.items)), response
    )


async def _change_cart(
    carts: Carts, user: str, if_match: str | None, change: Change, response: Response
) -> CartResponse:
    return _cart_response(require_granted(await carts.change_cart(user, change, if_match=if_match)), response)
