"""The rules of the catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from lockgate_shop.kit.clock import Clock, utc_now
from lockgate_shop.kit.data.paging import BAD_CURSOR, Page, page_of, read_cursor
from lockgate_shop.kit.problem import NOT_FOUND, Problem
from lockgate_shop.products.models import Product, fold_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lockgate_shop.kit.data.cache import Cache
    from lockgate_shop.products.store import Filter, ProductStore


@dataclass(frozen=True, slots=True, kw_only=True)
class NewProduct:
    """A product to put into the catalogue; the price in the currency's smallest unit."""

    name: str
    description: str
    price_minor: int
    currency: str
    stock: int


class Catalogue:
    """Everything that can be done with products, but reserving them.

    A user that can write reads from the database itself; a replica or the cache may serve all other users.
    """

    def __init__(self, store: ProductStore, cache: Cache, clock: Clock) -> None:
        self._store = store
        self._cache = cache
        self._clock = clock

    async def list_products(
        self, wanted: Filter, limit: int, cursor: str | None, *, may_lag: bool
    ) -> Page[Product] | Problem:
        """Up to `limit` of the products that are wanted, by name, from where the cursor says."""
        after = None
        if cursor is not None:
            after = _parse_position(cursor)
            if after is None:
                return BAD_CURSOR
        rows = await self._store.list_products(wanted, limit + 1, after, may_lag=may_lag)
        return page_of(rows, limit, lambda product: (product.name, str(product.id)))

    async def read_product(self, product_id: UUID) -> Product | Problem:
        """One product that is for sale."""
        return await self._store.by_id(product_id) or NOT_FOUND

    async def read_cached(self, product_id: UUID, render: Callable[[Product], bytes]) -> bytes | Problem:
        """One product that is for sale, as `render` makes it; perhaps made before."""

        async def load_product() -> bytes | None:
            product = await self._store.by_id(product_id)
            return render(product) if product else None

        return await self._cache.read_value(product_id, load_product) or NOT_FOUND

    async def read_all(self, product_ids: Sequence[UUID]) -> dict[UUID, Product]:
        """Those of the products that are for sale."""
        return await self._store.by_ids(product_ids)

    async def add_product(self, wanted: NewProduct) -> Product:
        """Put a product into the catalogue."""
        product = self._new_product(uuid4(), wanted)
        await self._store.add_product(product)
        return product

    async def add_missing(self, wanted: Mapping[UUID, NewProduct]) -> None:
        """Put in those of the products, by id, that were never there."""
        await self._store.add_missing(
            [self._new_product(product_id, product) for product_id, product in wanted.items()]
        )

    async def change_product(self, product_id: UUID, values: Mapping[str, object]) -> Product | Problem:
        """Set some columns of a product."""
        changed = await self._store.change_product(product_id, {**values, "updated_at": utc_now(self._clock)})
        await self._cache.invalidate([product_id])
        return changed or NOT_FOUND

    async def withdraw_product(self, product_id: UUID) -> Product | Problem:
        """Take a product out of the catalogue; orders that hold it keep it."""
        return await self.change_product(product_id, {"withdrawn_at": utc_now(self._clock)})

    def _new_product(self, product_id: UUID, wanted: NewProduct) -> Product:
        now = utc_now(self._clock)
        return Product(
            id=product_id,
            name=wanted.name,
            description=wanted.description,
            price_minor=wanted.price_minor,
            currency=wanted.currency,
            stock=wanted.stock,
            created_at=now,
            updated_at=now,
            withdrawn_at=None,
            search_text=fold_text(f"{wanted.name}\n{wanted.description}"),
        )


def _parse_position(cursor: str) -> tuple[str, UUID] | None:
    key = read_cursor(cursor)
    if isinstance(key, Problem):
        return None
    try:
        return key[0], UUID(key[1])
    except ValueError:
        return None
