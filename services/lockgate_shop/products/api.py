"""The public routes of the products service: the catalogue."""

from datetime import datetime
from typing import Annotated, Any, Final, Self
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import AfterValidator, Field, StringConstraints

from lockgate_shop.kit.data.paging import BAD_CURSOR, MAX_CURSOR, MAX_LIMIT
from lockgate_shop.kit.http.api import DEFAULT_PAGE, Body, Line, ResponseBody, from_state
from lockgate_shop.kit.http.caller import CallerDep, require_scope
from lockgate_shop.kit.http.etags import NOT_MODIFIED, IfNoneMatch, validated_response
from lockgate_shop.kit.http.problems import document_problems, refuse_request, require_granted
from lockgate_shop.kit.problem import CREDENTIALS_REQUIRED, INSUFFICIENT_SCOPE, NOT_FOUND, Problem
from lockgate_shop.products.catalogue import Catalogue, NewProduct
from lockgate_shop.products.models import Product
from lockgate_shop.products.store import Filter

router: Final = APIRouter(prefix="/products")

MAX_MINOR: Final = 10**12
MAX_STOCK: Final = 10**9
CURRENCY_REQUIRED: Final = Problem(400, "currency_required", "Prices are compared in one currency; say which")


async def _get_catalogue(request: Request) -> Catalogue:
    return from_state(Catalogue, "catalogue", request)


CatalogueDep = Annotated[Catalogue, Depends(_get_catalogue)]
WRITE_SCOPE: Final = "products:write"
MAY_WRITE: Final = [Depends(require_scope(WRITE_SCOPE))]
WRITE_REFUSALS: Final = document_problems(CREDENTIALS_REQUIRED, INSUFFICIENT_SCOPE, NOT_FOUND)


def _check_characters(text: str) -> str:
    if not all(character.isprintable() or character == "\n" for character in text):
        raise ValueError("control characters")
    return text


Name = Annotated[Line, Field(max_length=120)]
Description = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=2000), AfterValidator(_check_characters)
]
Stock = Annotated[int, Field(strict=True, ge=0, le=MAX_STOCK)]


class Money(Body):
    """An amount in the currency's smallest unit (cents), never a fraction."""

    amount: Annotated[int, Field(strict=True, ge=0, le=MAX_MINOR)]
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]


class NewProductBody(Body):
    """A product to put into the catalogue."""

    name: Name
    description: Description = ""
    price: Money
    stock: Stock = 0


class ProductChangeBody(Body):
    """What of a product is to change; what is left out stays. `stock` sets what is left, as counted on the shelf."""

    name: Name = ""
    description: Description = ""
    price: Money = Money(amount=0, currency="XXX")
    stock: Stock = 0

    def changed_columns(self) -> dict[str, Any]:
        """The columns that were given, and their values."""
        values = {name: getattr(self, name) for name in self.model_fields_set - {"price"}}
        if "price" in self.model_fields_set:
            values |= {"price_minor": self.price.amount, "currency": self.price.currency}
        return values


class ProductResponse(ResponseBody):
    """A product, as every client sees it."""

    id: UUID
    name: str
    description: str
    price: Money
    stock: int
    image: str | None
    """Where the picture is; another address when it is another picture."""
    created_at: datetime
    updated_at: datetime

    @classmethod
    def from_product(cls, product: Product) -> Self:
        """What every client sees of `product`."""
        price = Money(amount=product.price_minor, currency=product.currency)
        image = f"/products/{product.id}/image?v={product.image_id}" if product.image_id else None
        return cls.model_validate({**vars(product), "price": price, "image": image})


def _render_product(product: Product) -> bytes:
    return ProductResponse.from_product(product).model_dump_json().encode()


class ProductsResponse(ResponseBody):
    """A page of the catalogue; `next` is given back as `after` for the one behind it."""

    items: list[ProductResponse]
    next: str | None


class ListQuery(Body):
    """Which products are wanted."""

    q: Annotated[Line | None, Field(max_length=100, description="Words of the name or the description.")] = None
    currency: Annotated[str | None, Field(pattern="^[A-Z]{3}$")] = None
    min_price: Annotated[int | None, Field(ge=0, le=MAX_MINOR, description="In the currency's smallest unit.")] = None
    max_price: Annotated[int | None, Field(ge=0, le=MAX_MINOR, description="In the currency's smallest unit.")] = None
    in_stock: bool | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = DEFAULT_PAGE
    after: Annotated[str | None, Field(max_length=MAX_CURSOR, description="`next` of the page before.")] = None

    def to_filter(self) -> Filter:
        """The same as the store takes it."""
        return Filter(
            words=tuple((self.q or "").split()),
            currency=self.currency,
            min_price=self.min_price,
            max_price=self.max_price,
            in_stock=self.in_stock,
        )


@router.get(
    "", response_model=ProductsResponse, responses={**NOT_MODIFIED, **document_problems(BAD_CURSOR, CURRENCY_REQUIRED)}
)
async def list_products(
    query: Annotated[ListQuery, Query()], asking: CallerDep, catalogue: CatalogueDep, if_none_match: IfNoneMatch = None
) -> Response:
    """The catalogue by name, or what of it is wanted."""
    if query.currency is None and (query.min_price, query.max_price) != (None, None):
        refuse_request(CURRENCY_REQUIRED)
    page = require_granted(
        await catalogue.list_products(
            query.to_filter(), query.limit, query.after, may_lag=WRITE_SCOPE not in asking.scopes
        )
    )
    answer = ProductsResponse(items=[ProductResponse.from_product(product) for product in page.items], next=page.next)
    return validated_response(answer.model_dump_json().encode(), if_none_match)


@router.get("/{product_id}", response_model=ProductResponse, responses={**NOT_MODIFIED, **document_problems(NOT_FOUND)})
async def read_product(
    product_id: UUID, asking: CallerDep, catalogue: CatalogueDep, if_none_match: IfNoneMatch = None
) -> Response:
    """One product."""
    if WRITE_SCOPE in asking.scopes:
        return validated_response(
            _render_product(require_granted(await catalogue.read_product(product_id))), if_none_match
        )
    return validated_response(require_granted(await catalogue.read_cached(product_id, _render_product)), if_none_match)


@router.post("", status_code=201, dependencies=MAY_WRITE, responses=WRITE_REFUSALS)
async def add_product(body: NewProductBody, catalogue: CatalogueDep) -> ProductResponse:
    """Put a product into the catalogue."""
    wanted = NewProduct(
        name=body.name,
        description=body.description,
        price_minor=body.price.amount,
        currency=body.price.currency,
        stock=body.stock,
    )
    return ProductResponse.from_product(await catalogue.add_product(wanted))


@router.patch("/{product_id}", dependencies=MAY_WRITE, responses=WRITE_REFUSALS)
async def change_product(product_id: UUID, body: ProductChangeBody, catalogue: CatalogueDep) -> ProductResponse:
    """Change a product."""
    return ProductResponse.from_product(
        require_granted(await catalogue.change_product(product_id, body.changed_columns()))
    )


@router.delete("/{product_id}", status_code=204, dependencies=MAY_WRITE, responses=WRITE_REFUSALS)
async def withdraw_product(product_id: UUID, catalogue: CatalogueDep) -> None:
    """Take a product out of the catalogue."""
    require_granted(await catalogue.withdraw_product(product_id))
