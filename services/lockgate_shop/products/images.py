"""The image of a product."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from sqlalchemy import select, update

from lockgate_shop.kit.clock import Clock, utc_now
from lockgate_shop.kit.data.uploads import UploadRule, Uploads, WantedUpload
from lockgate_shop.kit.problem import NOT_FOUND, Problem
from lockgate_shop.products.models import Product, Upload

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from lockgate_shop.kit.data.cache import Cache
    from lockgate_shop.kit.data.database import Database
    from lockgate_shop.kit.data.objects import ObjectStore, SignedPut

IMAGE: Final = "image"
RULES: Final = {IMAGE: UploadRule(frozenset({"image/jpeg", "image/png", "image/webp"}), 10_000_000)}


class Images:
    """Images of products that are for sale; faults as `Uploads`."""

    def __init__(self, database: Database, objects: ObjectStore, cache: Cache, clock: Clock) -> None:
        self._database = database
        self._uploads = Uploads(Upload, RULES, database, objects, clock)
        self._cache = cache
        self._clock = clock

    async def begin_image(self, product_id: UUID, content_type: str, size: int) -> tuple[Upload, SignedPut] | Problem:
        """Take note of an image, and sign the address where its bytes go."""
        if await self._read_product(product_id) is None:
            return NOT_FOUND
        return await self._uploads.begin_upload(str(product_id), WantedUpload(IMAGE, content_type, size))

    async def confirm_image(self, product_id: UUID, upload_id: UUID) -> Upload | Problem:
        """Show an image from now on; the one before it is gone."""

        async def show_image(session: AsyncSession, upload: Upload) -> UUID | None:
            product = await session.get_one(Product, product_id, with_for_update=True)
            before, product.image_id = product.image_id, upload.id
            product.updated_at = utc_now(self._clock)
            return before

        confirmed = await self._uploads.confirm_upload(str(product_id), upload_id, show_image)
        await self._cache.invalidate([product_id])
        return confirmed

    async def remove_image(self, product_id: UUID) -> Problem | None:
        """Show no image any more."""
        product = await self._read_product(product_id)
        if product is None or product.image_id is None:
            return NOT_FOUND
        shown = product.image_id

        async def hide_image(session: AsyncSession) -> None:
            now = utc_now(self._clock)
            mine = update(Product).where(Product.id == product_id, Product.image_id == shown)
            await session.execute(mine.values(image_id=None, updated_at=now))

        removed = await self._uploads.remove_upload(str(product_id), shown, hide_image)
        await self._cache.invalidate([product_id])
        return removed

    async def image_address(self, product_id: UUID) -> str | Problem:
        """Where the image can be seen for some minutes."""
        product = await self._read_product(product_id)
        if product is None or product.image_id is None:
            return NOT_FOUND
        return await self._uploads.signed_address(product.image_id)

    async def _read_product(self, product_id: UUID) -> Product | None:
        query = select(Product).where(Product.id == product_id, Product.withdrawn_at.is_(None))
        async with self._database.read_session() as session:
            return (await session.scalars(query)).one_or_none()
