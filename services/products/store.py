"""The catalogue in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select, tuple_

from services.products.models import Product

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from services.kit.database import Database


class ProductStore:
    """Reads and writes products. Each method is one transaction and may raise `StoreUnavailableError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def listed(self, limit: int, after: tuple[str, UUID] | None) -> Sequence[Product]:
        """Up to `limit` products by name, from after the one with this name and id."""
        query = select(Product).where(Product.withdrawn_at.is_(None))
        if after is not None:
            query = query.where(tuple_(Product.name, Product.id) > after)
        async with self._database.read() as session:
            found = await session.scalars(query.order_by(Product.name, Product.id).limit(limit))
            return found.all()

    async def by_id(self, product_id: UUID) -> Product | None:
        """The product with this id, unless it is withdrawn."""
        return (await self.by_ids([product_id])).get(product_id)

    async def by_ids(self, product_ids: Sequence[UUID]) -> dict[UUID, Product]:
        """Those of the products that are for sale."""
        query = select(Product).where(Product.id.in_(product_ids), Product.withdrawn_at.is_(None))
        async with self._database.read() as session:
            return {product.id: product for product in await session.scalars(query)}

    async def add(self, product: Product) -> None:
        """Store a new product."""
        async with self._database.write() as session:
            session.add(product)

    async def add_missing(self, products: Sequence[Product]) -> None:
        """Store those of the products that were never there, not even withdrawn."""
        async with self._database.write() as session:
            for product in products:
                if await session.get(Product, product.id) is None:
                    session.add(product)

    async def change(self, product_id: UUID, values: Mapping[str, object]) -> Product | None:
        """Set some columns of a product that is for sale, and read it back; None when there is none."""
        query = select(Product).where(Product.id == product_id, Product.withdrawn_at.is_(None)).with_for_update()
        async with self._database.write() as session:
            product = (await session.scalars(query)).one_or_none()
            if product is not None:
                for column, value in values.items():
                    setattr(product, column, value)
            return product
