"""A small catalogue for a stack on a developer's machine; its ids never change, so that examples can name them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid5

from lockgate_shop.products.catalogue import Catalogue, NewProduct

if TYPE_CHECKING:
    from fastapi import FastAPI

_NAMESPACE: Final = UUID("6d1c1a52-5d0e-5c6b-9f0e-0f6a3f1f7a10")
_ITEMS: Final = (
    ("Anglepoise desk lamp", "Warm light where it is needed; brass joints, cloth cord.", 8900, 12),
    ("Beeswax candles, six", "Dipped by hand; nine hours each.", 1850, 60),
    ("Cast-iron skillet, 26 cm", "Seasoned with flaxseed oil; outlives its owner.", 5400, 25),
    ("Field notebook, dotted", "96 pages, sewn, lies flat.", 950, 200),
    ("Fountain pen, steel nib", "Writes a fine line; takes any ink.", 3200, 40),
    ("Linen tea towels, two", "Woven in one width; dries glasses without lint.", 1600, 80),
    ("Pocket transistor radio", "FM and shortwave, a week on two batteries.", 4400, 15),
    ("Wool blanket, 140 by 200", "Undyed lambswool; the last ten of this winter.", 12900, 10),
)


def product_id(name: str) -> UUID:
    """The id under which a demo product is seeded."""
    return uuid5(_NAMESPACE, name)


async def seed_products(app: FastAPI) -> None:
    """Put in those of the demo products that were never there."""
    catalogue: Catalogue = app.state.catalogue
    await catalogue.add_missing(
        {
            product_id(name): NewProduct(
                name=name, description=description, price_minor=price_minor, currency="EUR", stock=stock
            )
            for name, description, price_minor, stock in _ITEMS
        }
    )
