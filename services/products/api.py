"""The public routes of the products service: the catalogue."""

from datetime import datetime
from typing import Annotated, Any, Final, Self
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import AfterValidator, Field, StringConstraints

from services.kit.api import DEFAULT_PAGE, Answer, Body, Cursor, Limit, Line, from_state
from services.kit.caller import require_scope
from services.kit.paging import BAD_CURSOR
from services.kit.problems import CREDENTIALS_REQUIRED, INSUFFICIENT_SCOPE, NOT_FOUND, documented, granted
from services.products.catalogue import Catalogue, NewProduct
from services.products.models import Product

router: Final = APIRouter(prefix="/products")

MAX_MINOR: Final = 10**12
MAX_STOCK: Final = 10**9


def _catalogue(request: Request) -> Catalogue:
    return from_state(Catalogue, "catalogue", request)


CatalogueDep = Annotated[Catalogue, Depends(_catalogue)]
MAY_WRITE: Final = [Depends(require_scope("products:write"))]
WRITE_REFUSALS: Final = documented(CREDENTIALS_REQUIRED, INSUFFICIENT_SCOPE, NOT_FOUND)


def _lines(text: str) -> str:
    if not all(character.isprintable() or character == "\n" for character in text):
        raise ValueError("control characters")
    return text


Name = Annotated[Line, Field(max_length=120)]
Description = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000), AfterValidator(_lines)]
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

    def columns(self) -> dict[str, Any]:
        """The columns that were given, and their values."""
        values = {name: getattr(self, name) for name in self.model_fields_set - {"price"}}
        if "price" in self.model_fields_set:
            values |= {"price_minor": self.price.amount, "currency": self.price.currency}
        return values


class ProductAnswer(Answer):
    """A product, as everybody sees it."""

    id: UUID
    name: str
    description: str
    price: Money
    stock: int
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, product: Product) -> Self:
        """What everybody sees of `product`."""
        price = Money(amount=product.price_minor, currency=product.currency)
        return cls.model_validate({**vars(product), "price": price})


class ProductsAnswer(Answer):
    """A page of the catalogue; `next` is given back as `after` for the one behind it."""

    items: list[ProductAnswer]
    next: str | None


@router.get("", responses=documented(BAD_CURSOR))
async def list_products(catalogue: CatalogueDep, limit: Limit = DEFAULT_PAGE, after: Cursor = None) -> ProductsAnswer:
    """The catalogue, by name."""
    page = granted(await catalogue.page(limit, after))
    return ProductsAnswer(items=[ProductAnswer.of(product) for product in page.items], next=page.next)


@router.get("/{product_id}", responses=documented(NOT_FOUND))
async def read_product(product_id: UUID, catalogue: CatalogueDep) -> ProductAnswer:
    """One product."""
    return ProductAnswer.of(granted(await catalogue.read(product_id)))


@router.post("", status_code=201, dependencies=MAY_WRITE, responses=WRITE_REFUSALS)
async def add_product(body: NewProductBody, catalogue: CatalogueDep) -> ProductAnswer:
    """Put a product into the catalogue."""
    wanted = NewProduct(
        name=body.name,
        description=body.description,
        price_minor=body.price.amount,
        currency=body.price.currency,
        stock=body.stock,
    )
    return ProductAnswer.of(await catalogue.add(wanted))


@router.patch("/{product_id}", dependencies=MAY_WRITE, responses=WRITE_REFUSALS)
async def change_product(product_id: UUID, body: ProductChangeBody, catalogue: CatalogueDep) -> ProductAnswer:
    """Change a product."""
    return ProductAnswer.of(granted(await catalogue.change(product_id, body.columns())))


@router.delete("/{product_id}", status_code=204, dependencies=MAY_WRITE, responses=WRITE_REFUSALS)
async def withdraw_product(product_id: UUID, catalogue: CatalogueDep) -> None:
    """Take a product out of the catalogue."""
    granted(await catalogue.withdraw(product_id))
