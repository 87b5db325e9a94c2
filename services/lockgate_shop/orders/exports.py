"""Exports: all orders of a user as one CSV file, made by a job and fetched from object storage."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

import structlog

from lockgate_shop.kit.clock import Clock, utc_now
from lockgate_shop.kit.errors import StoreUnavailableError
from lockgate_shop.kit.problem import NOT_FOUND, Problem
from lockgate_shop.orders.models import Export, ExportStatus, Order

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lockgate_shop.kit.data.jobs import Queue
    from lockgate_shop.kit.data.objects import ObjectStore
    from lockgate_shop.orders.export_store import ExportStore

log = structlog.get_logger("service")

JOB: Final = "export"
MOST_UNFINISHED: Final = 3
MAX_ATTEMPTS: Final = 5
"""How often an export is begun; what fails or kills its worker each time has to end."""
LOST_AFTER: Final = timedelta(minutes=5)
"""An unfinished export that is silent for so long is put into the queue again: Redis may have forgotten it."""
KEPT_FOR: Final = timedelta(days=7)
"""How long an export can be looked up. The file goes by the bucket's own rule for `exports/`, a day later or so."""
LINK_LIFE_S: Final = 300
TOO_MANY_EXPORTS: Final = Problem(429, "too_many_exports", "Exports asked for before are not finished yet")

COLUMNS: Final = (
    "order_id",
    "placed_at",
    "status",
    "product_id",
    "name",
    "quantity",
    "unit_price_minor",
    "currency",
)
_PAGE: Final = 100
_SWEPT_AT_ONCE: Final = 50
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


class Exports:
    """Asking for exports, looking at them, and making them."""

    def __init__(self, store: ExportStore, objects: ObjectStore, queue: Queue, clock: Clock) -> None:
        self._store = store
        self._objects = objects
        self._queue = queue
        self._clock = clock

    async def request_export(self, user_id: str) -> Export | Problem:
        """Ask for an export of the orders of now. A worker makes it, soon or as soon as there is one."""
        now = utc_now(self._clock)
        export = Export(
            id=uuid4(),
            user_id=user_id,
            status=ExportStatus.QUEUED,
            total=0,
            done=0,
            attempts=0,
            requested_at=now,
            touched_at=now,
            finished_at=None,
        )
        if not await self._store.add_export(export, MOST_UNFINISHED):
            return TOO_MANY_EXPORTS
        await self._put_job(export.id)
        return export

    async def read_export(self, user_id: str, export_id: UUID) -> Export | Problem:
        """The user's own export; `NOT_FOUND` for another user's."""
        return await self._store.by_id(user_id, export_id) or NOT_FOUND

    async def download_url(self, export: Export) -> str:
        """A URL under which a finished export can be fetched for `LINK_LIFE_S` by any holder of the URL."""
        name = f"orders-{export.requested_at:%Y-%m-%d}.csv"
        return await self._objects.presign_get(_object_key(export.id), expires_s=LINK_LIFE_S, download_as=name)

    async def make_export(self, export_id: UUID) -> None:
        """The job: write the file, from its beginning however often it was begun; end it once.

        Raises:
            StoreUnavailableError: the database or the object storage is away.
        """
        export = await self._store.start_export(export_id, utc_now(self._clock))
        if export is None:
            return
        if export.attempts > MAX_ATTEMPTS:
            log.error("export_failed", export=str(export_id), attempts=export.attempts)
            await self._store.finish_export(export_id, ExportStatus.FAILED, utc_now(self._clock))
            return
        content = await self._write_csv(export)
        await self._objects.put_object(_object_key(export_id), content, content_type="text/csv; charset=utf-8")
        if await self._store.finish_export(export_id, ExportStatus.DONE, utc_now(self._clock)):
            log.info("export_done", export=str(export_id), attempts=export.attempts, bytes=len(content))

    async def sweep_exports(self) -> None:
        """Put into the queue again what it has forgotten, and forget what is old."""
        now = utc_now(self._clock)
        for export_id in await self._store.forgotten_by_the_queue(now - LOST_AFTER, _SWEPT_AT_ONCE):
            await self._put_job(export_id)
        await self._store.forget_ended(now - KEPT_FOR)

    async def _put_job(self, export_id: UUID) -> None:
        try:
            await self._queue.put_job(JOB, export_id)
        except StoreUnavailableError as error:
            # It is stored, and will be put again.
            log.warning("job_not_put", job=str(export_id), fault=str(error))

    async def _write_csv(self, export: Export) -> bytes:
        text = io.StringIO(newline="")
        writer = csv.writer(text)  # RFC 4180
        writer.writerow(COLUMNS)
        done, after = 0, None
        while page := await self._store.list_orders(export, after, _PAGE):
            for order in page:
                writer.writerows(_csv_rows(order))
            done += len(page)
            after = (page[-1].placed_at, page[-1].id)
            await self._store.record_progress(export.id, done, utc_now(self._clock))
        return text.getvalue().encode()


def _csv_rows(order: Order) -> Iterator[tuple[object, ...]]:
    for line in order.lines:
        # A spreadsheet must not take a product's name for a formula.
        name = f"'{line.name}" if line.name.startswith(_FORMULA) else line.name
        yield (
            order.id,
            order.placed_at.isoformat(),
            order.status,
            line.product_id,
            name,
            line.quantity,
            line.price_minor,
            order.currency,
        )


def _object_key(export_id: UUID) -> str:
    return f"exports/{export_id}.csv"
