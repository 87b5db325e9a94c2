"""Exports in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select, tuple_, update

from lockgate_shop.orders.models import UNFINISHED, Export, ExportStatus, Order

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from lockgate_shop.kit.data.database import Database


class ExportStore:
    """Each method is one transaction and may raise `StoreUnavailableError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_export(self, export: Export, most: int) -> bool:
        """Store a new export and count what it will hold; or not, when its user has `most` unfinished ones already."""
        mine = (Export.user_id == export.user_id, Export.status.in_(UNFINISHED))
        orders = (Order.user_id == export.user_id, Order.placed_at <= export.requested_at)
        async with self._database.write_session() as session:
            unfinished = await session.execute(select(func.count()).select_from(Export).where(*mine))
            if unfinished.scalar_one() >= most:
                return False
            counted = await session.execute(select(func.count()).select_from(Order).where(*orders))
            export.total = counted.scalar_one()
            session.add(export)
            return True

    async def by_id(self, user_id: str, export_id: UUID) -> Export | None:
        """The export with this id, if it is this user's."""
        async with self._database.read_session() as session:
            found = await session.scalars(select(Export).where(Export.id == export_id, Export.user_id == user_id))
            return found.one_or_none()

    async def start_export(self, export_id: UUID, now: datetime) -> Export | None:
        """Begin an export, perhaps once more; None when there is nothing to do any more."""
        async with self._database.write_session() as session:
            export = await session.get(Export, export_id, with_for_update=True)
            if export is None or export.status not in UNFINISHED:
                return None
            export.status = ExportStatus.RUNNING
            export.attempts += 1
            export.done = 0
            export.touched_at = now
            return export

    async def record_progress(self, export_id: UUID, done: int, now: datetime) -> None:
        """Tell how many orders are written."""
        await self._change_export(export_id, {"done": done, "touched_at": now})

    async def finish_export(self, export_id: UUID, status: ExportStatus, now: datetime) -> bool:
        """End an export; whether it was this call that did."""
        return await self._change_export(export_id, {"status": status, "finished_at": now, "touched_at": now})

    async def list_orders(self, export: Export, after: tuple[datetime, UUID] | None, limit: int) -> Sequence[Order]:
        """Up to `limit` of the orders that an export holds, oldest first, from behind the one of this time and id."""
        query = select(Order).where(Order.user_id == export.user_id, Order.placed_at <= export.requested_at)
        if after is not None:
            query = query.where(tuple_(Order.placed_at, Order.id) > after)
        async with self._database.read_session() as session:
            return (await session.scalars(query.order_by(Order.placed_at, Order.id).limit(limit))).all()

    async def forgotten_by_the_queue(self, before: datetime, limit: int) -> Sequence[UUID]:
        """Up to `limit` unfinished exports of which nothing was heard since this moment."""
        query = select(Export.id).where(Export.status.in_(UNFINISHED), Export.touched_at < before)
        async with self._database.read_session() as session:
            return (await session.scalars(query.order_by(Export.touched_at).limit(limit))).all()

    async def forget_ended(self, before: datetime) -> None:
        """Drop the exports that ended before this moment."""
        async with self._database.write_session() as session:
            await session.execute(delete(Export).where(Export.finished_at < before))

    async def _change_export(self, export_id: UUID, values: dict[str, object]) -> bool:
        async with self._database.write_session() as session:
            changed = await session.scalars(
                update(Export)
                .where(Export.id == export_id, Export.status.in_(UNFINISHED))
                .values(values)
                .returning(Export.id)
                .execution_options(synchronize_session=False)
            )
            return changed.one_or_none() is not None
