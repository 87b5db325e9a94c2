"""The catalogue in the database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select, tuple_

from lockgate_shop.products.models import Product, fold_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncSession

    from lockgate_shop.kit.data.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which products are meant; what is None does not matter.

    Attributes:
        words: each of them is somewhere in the name or the description, in any case.
        currency: they are sold in; prices (in its smallest unit) mean nothing without.
        in_stock: whether there is any left.
    """

    words: tuple[str, ...] = ()
    currency: str | None = None
    min_price: int | None = None
    max_price: int | None = None
    in_stock: bool | None = None

    def sql_conditions(self) -> list[ColumnElement[bool]]:
        """The same as SQL."""
        found = [Product.search_text.contains(fold_text(word), autoescape=True) for word in self.words]
        if self.currency is not None:
            found.append(Product.currency == self.currency)
        if self.min_price is not None:
            found.append(Product.price_minor >= self.min_price)
        if self.max_price is not None:
            found.append(Product.price_minor <= self.max_price)
        if self.in_stock is not None:
            found.append(Product.stock > 0 if self.in_stock else Product.stock == 0)
        return found


class ProductStore:
    """Reads and writes products. Each method is one transaction and may raise `StoreUnavailableError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_products(
        self, wanted: Filter, limit: int, after: tuple[str, UUID] | None, *, may_lag: bool
    ) -> Sequence[Product]:
        """Up to `limit` products by name, from after the one with this name and id.

        Args:
            wanted: the conditions that products must meet.
            limit: the most products to return.
            after: name and id of the last product before this page; None for the first page.
            may_lag: whether a replica may serve the query.
        """
        query = select(Product).where(Product.withdrawn_at.is_(None), *wanted.sql_conditions())
        if after is not None:
            query = query.where(tuple_(Product.name, Product.id) > after)
        query = query.order_by(Product.name, Product.id).limit(limit)

        async def run_query(session: AsyncSession) -> Sequence[Product]:
            return (await session.scalars(query)).all()

        if may_lag:
            return await self._database.read_lagging(run_query)
        async with self._database.read_session() as session:
            return await run_query(session)

    async def by_id(self, product_id: UUID) -> Product | None:
        """The product with this id, unless it is withdrawn."""
        return (await self.by_ids([product_id])).get(product_id)

    async def by_ids(self, product_ids: Sequence[UUID]) -> dict[UUID, Product]:
        """Those of the products that are for sale."""
        query = select(Product).where(Product.id.in_(product_ids), Product.withdrawn_at.is_(None))
        async with self._database.read_session() as session:
            return {product.id: product for product in await session.scalars(query)}

    async def add_product(self, product: Product) -> None:
        """Store a new product."""
        async with self._database.write_session() as session:
            session.add(product)

    async def add_missing(self, products: Sequence[Product]) -> None:
        """Store those of the products that were never there, not even withdrawn."""
        async with self._database.write_session() as session:
            for product in products:
                if await session.get(Product, product.id) is None:
                    session.add(product)

    async def change_product(self, product_id: UUID, values: Mapping[str, object]) -> Product | None:
        """Set some columns of a product that is for sale, and read it back; None when there is none."""
        query = select(Product).where(Product.id == product_id, Product.withdrawn_at.is_(None)).with_for_update()
        async with self._database.write_session() as session:
            product = (await session.scalars(query)).one_or_none()
            if product is not None:
                for column, value in values.items():
                    setattr(product, column, value)
                product.search_text = fold_text(f"{product.name}\n{product.description}")
            return product
