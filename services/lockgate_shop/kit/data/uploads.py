"""Files that clients store themselves: a signed address, a PUT to the object store, and a check before the file counts.

No byte of a file passes through a service or the gateway. A signed address is good for 15 minutes, also after the file
was checked: its holder could store another file of the same type and length over the checked one. So the address leads
to `incoming/<id>`. Confirming an upload checks size and type there, then has the store move the object to `kept/<id>`,
for which no client ever gets an address with the right to write. A lifecycle rule of the bucket empties `incoming/`
after a day and so removes files that were never confirmed; without the rule they cost space, and nothing else. Not
chosen:

- *Conditional writes* (`If-None-Match: *` signed into the address), which some stores ignore, nanio among them.
- *A sweeper in the service*, which a rule of the bucket replaces.

A confirmed file costs one copy inside the store; for 100 MB that is a second or so. Stores copy up to 5 GB in one
call.

boto3 signs and calls. A signature by hand takes 30 µs instead of about 400, and boto3 costs half a second and 31 MB in
each process that handles a file. But an upload is rare, a thread imports boto3's clients when the first file comes,
and credentials that rotate, regions and retries are the library's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar
from uuid import UUID, uuid4

import structlog
from sqlalchemy import BigInteger, String, Uuid, and_, delete, func, or_, select, tuple_
from sqlalchemy.orm import Mapped, mapped_column

from lockgate_shop.kit.clock import Clock, utc_now
from lockgate_shop.kit.data.database import UtcDateTime
from lockgate_shop.kit.data.paging import BAD_CURSOR, Page, page_of, read_cursor
from lockgate_shop.kit.errors import StoreUnavailableError
from lockgate_shop.kit.problem import NOT_FOUND, Problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncSession

    from lockgate_shop.kit.data.database import Database
    from lockgate_shop.kit.data.objects import ObjectStore, SignedPut

log = structlog.get_logger("service")

PUT_S: Final = 900
"""Seconds for storing and confirming a file: 100 MB at less than 1 Mbit/s."""
GET_S: Final = 300
MAX_PENDING: Final = 20
"""Uploads that one owner may have under way."""

TYPE_REFUSED: Final = Problem(400, "content_type_refused", "Files of this type are not taken here")
TOO_LARGE: Final = Problem(400, "upload_too_large", "The file is larger than is taken here")
TOO_MANY_PENDING: Final = Problem(409, "too_many_uploads", "Too many uploads are under way")
NOT_UPLOADED: Final = Problem(409, "not_uploaded", "Nothing has been stored at the address of this upload")
UPLOAD_DIFFERS: Final = Problem(409, "upload_differs", "What was stored has another size or type than was announced")


class UploadStatus(StrEnum):
    """Whether a file counts."""

    PENDING = "pending"
    CONFIRMED = "confirmed"


class UploadColumns:
    """An upload, as it is stored. Each service that takes files has a table of its own with these columns."""

    id: Mapped[UUID] = mapped_column(Uuid)
    owner: Mapped[str] = mapped_column(String(64))
    purpose: Mapped[str] = mapped_column(String(16))
    filename: Mapped[str | None] = mapped_column(String(255))
    content_type: Mapped[str] = mapped_column(String(100))
    size: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)


U = TypeVar("U", bound=UploadColumns)


@dataclass(frozen=True, slots=True)
class UploadRule:
    """What is taken for one purpose.

    Attributes:
        content_types: media types without parameters, in lower case. None that a browser would run.
        max_bytes: the most bytes of one file.
    """

    content_types: frozenset[str]
    max_bytes: int


@dataclass(frozen=True, slots=True)
class WantedUpload:
    """What a client announces to store; `size` in bytes."""

    purpose: str
    content_type: str
    size: int
    filename: str | None = None


class Uploads(Generic[U]):
    """The uploads of one service. Each method may raise `StoreUnavailableError`, for the database or the object store.

    Args:
        model: the table of this service's uploads.
        rules: what is taken, by purpose.
    """

    def __init__(
        self, model: type[U], rules: Mapping[str, UploadRule], database: Database, objects: ObjectStore, clock: Clock
    ) -> None:
        self._model: Any = model  # with the constructor that only mapped classes have
        self._rules = rules
        self._database = database
        self._objects = objects
        self._clock = clock

    async def begin_upload(self, owner: str, wanted: WantedUpload) -> tuple[U, SignedPut] | Problem:
        """Take note of an upload, and sign the address where its bytes go."""
        rule = self._rules[wanted.purpose]
        if wanted.content_type not in rule.content_types:
            return TYPE_REFUSED
        if wanted.size > rule.max_bytes:
            return TOO_LARGE
        upload = self._new_upload(owner, wanted)
        put = await self._objects.presign_put(
            _incoming_key(upload.id), content_type=wanted.content_type, content_length=wanted.size, expires_s=PUT_S
        )
        return (upload, put) if await self._store_pending(upload) else TOO_MANY_PENDING

    async def confirm_upload(
        self, owner: str, upload_id: UUID, attach: Callable[[AsyncSession, U], Awaitable[UUID | None]] | None = None
    ) -> U | Problem:
        """Let a file count, once the object store says that it is there as announced; doing so again changes nothing.

        Args:
            owner: the owner of the upload.
            upload_id: as `begin_upload` gave it.
            attach: told of the file in the transaction in which it begins to count; returns the upload it replaces.
        """
        upload = await self.read_upload(owner, upload_id)
        if isinstance(upload, Problem) or upload.status == UploadStatus.CONFIRMED:
            return upload
        problem = await self._keep_object(upload)
        if problem is not None:
            return problem
        replaced = None
        async with self._database.write_session() as session:
            kept: U | None = await session.get(self._model, upload_id, with_for_update=True)
            if kept is not None and kept.status == UploadStatus.PENDING:
                kept.status = UploadStatus.CONFIRMED
                replaced = await attach(session, kept) if attach else None
                if replaced is not None:
                    await session.execute(delete(self._model).where(self._model.id == replaced))
        if kept is None:
            await self._forget_object(upload_id)
        if replaced is not None:
            await self._forget_object(replaced)
        return kept or NOT_FOUND

    async def read_upload(self, owner: str, upload_id: UUID) -> U | Problem:
        """One upload of an owner; one that was not confirmed in time is gone."""
        query = select(self._model).where(self._model.id == upload_id, self._model.owner == owner, self._is_counted())
        async with self._database.read_session() as session:
            found: U | None = (await session.scalars(query)).one_or_none()
        return found or NOT_FOUND

    async def list_uploads(self, owner: str, limit: int, cursor: str | None) -> Page[U] | Problem:
        """Up to `limit` uploads of an owner, the newest first, from where the cursor says."""
        query = select(self._model).where(self._model.owner == owner, self._is_counted())
        if cursor is not None:
            after = _parse_position(cursor)
            if after is None:
                return BAD_CURSOR
            query = query.where(tuple_(self._model.created_at, self._model.id) < after)
        query = query.order_by(self._model.created_at.desc(), self._model.id.desc()).limit(limit + 1)
        async with self._database.read_session() as session:
            rows: Sequence[U] = (await session.scalars(query)).all()
        return page_of(rows, limit, lambda upload: (upload.created_at.isoformat(), str(upload.id)))

    async def signed_address(self, upload_id: UUID, *, download_as: str | None = None) -> str:
        """Where a confirmed file can be read for `GET_S` seconds."""
        return await self._objects.presign_get(_kept_key(upload_id), expires_s=GET_S, download_as=download_as)

    async def remove_upload(
        self, owner: str, upload_id: UUID, detach: Callable[[AsyncSession], Awaitable[None]] | None = None
    ) -> Problem | None:
        """Forget a file.

        Args:
            owner: the owner of the upload.
            upload_id: the upload to forget.
            detach: told in the transaction in which the file ceases to count.
        """
        async with self._database.write_session() as session:
            gone = await session.execute(
                delete(self._model).where(self._model.id == upload_id, self._model.owner == owner, self._is_counted())
            )
            if not getattr(gone, "rowcount", 0):
                return NOT_FOUND
            if detach is not None:
                await detach(session)
        await self._forget_object(upload_id)
        return None

    async def _keep_object(self, upload: U) -> Problem | None:
        """Move what was stored to where it is kept, if it is what was announced."""
        stored = await self._objects.head_object(_incoming_key(upload.id))
        if stored is None:
            # Moved already: by a request that did not live to say so, or that is just about to.
            return None if await self._objects.head_object(_kept_key(upload.id)) else NOT_UPLOADED
        if (stored.size, stored.content_type) != (upload.size, upload.content_type):
            await self._objects.delete_object(_incoming_key(upload.id))
            return UPLOAD_DIFFERS
        await self._objects.move_object(_incoming_key(upload.id), _kept_key(upload.id))
        return None

    async def _store_pending(self, upload: U) -> bool:
        mine = and_(self._model.owner == upload.owner, self._model.status == UploadStatus.PENDING)
        async with self._database.write_session() as session:
            await session.execute(delete(self._model).where(mine, ~self._is_counted()))
            pending = await session.scalar(select(func.count()).select_from(self._model).where(mine))
            if (pending or 0) >= MAX_PENDING:
                return False
            session.add(upload)
        return True

    async def _forget_object(self, upload_id: UUID) -> None:
        try:
            await self._objects.delete_object(_kept_key(upload_id))
            await self._objects.delete_object(_incoming_key(upload_id))
        except StoreUnavailableError as error:
            # The upload no longer counts and no client can get its address: a leftover, not a failure of the request.
            log.warning("object_left_behind", upload=str(upload_id), fault=str(error))

    def _is_counted(self) -> ColumnElement[bool]:
        confirmed: ColumnElement[bool] = self._model.status == UploadStatus.CONFIRMED
        return or_(confirmed, self._model.expires_at > utc_now(self._clock))

    def _new_upload(self, owner: str, wanted: WantedUpload) -> U:
        now = utc_now(self._clock)
        made: U = self._model(
            id=uuid4(),
            owner=owner,
            purpose=wanted.purpose,
            filename=wanted.filename,
            content_type=wanted.content_type,
            size=wanted.size,
            status=UploadStatus.PENDING,
            created_at=now,
            expires_at=now + timedelta(seconds=PUT_S),
        )
        return made


def _incoming_key(upload_id: UUID) -> str:
    return f"incoming/{upload_id}"


def _kept_key(upload_id: UUID) -> str:
    return f"kept/{upload_id}"


def _parse_position(cursor: str) -> tuple[datetime, UUID] | None:
    key = read_cursor(cursor)
    if isinstance(key, Problem):
        return None
    try:
        at, upload_id = datetime.fromisoformat(key[0]), UUID(key[1])
    except ValueError:
        return None
    return (at, upload_id) if at.tzinfo else None
