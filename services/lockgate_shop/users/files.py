"""The files of users: avatars, and all other files they keep here."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final
from uuid import UUID

from sqlalchemy import update

from lockgate_shop.kit.data.uploads import UploadRule, Uploads, WantedUpload
from lockgate_shop.users.models import Account, Upload

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from lockgate_shop.kit.clock import Clock
    from lockgate_shop.kit.data.database import Database
    from lockgate_shop.kit.data.objects import ObjectStore, SignedPut
    from lockgate_shop.kit.data.paging import Page
    from lockgate_shop.kit.problem import Problem


class Purpose(StrEnum):
    """What a file is for."""

    AVATAR = "avatar"
    FILE = "file"


PICTURES: Final = frozenset({"image/jpeg", "image/png", "image/webp"})
RULES: Final[dict[str, UploadRule]] = {
    Purpose.AVATAR: UploadRule(PICTURES, 5_000_000),
    Purpose.FILE: UploadRule(
        PICTURES
        | {"application/json", "application/pdf", "application/zip", "text/csv", "text/plain"}
        | {"audio/mpeg", "video/mp4"},
        100_000_000,
    ),
}


class Files:
    """The uploads of accounts, and which of them is an account's avatar; faults as `Uploads`."""

    def __init__(self, database: Database, objects: ObjectStore, clock: Clock) -> None:
        self._uploads = Uploads(Upload, RULES, database, objects, clock)

    async def begin_upload(self, account_id: UUID, wanted: WantedUpload) -> tuple[Upload, SignedPut] | Problem:
        """Take note of an upload, and sign the address where its bytes go."""
        return await self._uploads.begin_upload(str(account_id), wanted)

    async def confirm_upload(self, account_id: UUID, upload_id: UUID) -> Upload | Problem:
        """Let a file count; an avatar is shown from now on, and the one before it is gone."""

        async def show_avatar(session: AsyncSession, upload: Upload) -> UUID | None:
            if upload.purpose != Purpose.AVATAR:
                return None
            account = await session.get_one(Account, account_id, with_for_update=True)
            before, account.avatar_id = account.avatar_id, upload.id
            return before

        return await self._uploads.confirm_upload(str(account_id), upload_id, show_avatar)

    async def read_upload(self, account_id: UUID, upload_id: UUID) -> Upload | Problem:
        """One upload of an account."""
        return await self._uploads.read_upload(str(account_id), upload_id)

    async def list_uploads(self, account_id: UUID, limit: int, cursor: str | None) -> Page[Upload] | Problem:
        """Up to `limit` uploads of an account, the newest first."""
        return await self._uploads.list_uploads(str(account_id), limit, cursor)

    async def remove_upload(self, account_id: UUID, upload_id: UUID) -> Problem | None:
        """Forget a file; an avatar is shown no more."""

        async def hide_avatar(session: AsyncSession) -> None:
            shown = update(Account).where(Account.id == account_id, Account.avatar_id == upload_id)
            await session.execute(shown.values(avatar_id=None))

        return await self._uploads.remove_upload(str(account_id), upload_id, hide_avatar)

    async def download_address(self, upload: Upload) -> str:
        """Where a confirmed file can be fetched for some minutes; a browser saves a file of any type."""
        return await self._uploads.signed_address(upload.id, download_as=upload.filename or str(upload.id))

    async def picture_address(self, upload_id: UUID) -> str:
        """Where a confirmed picture can be seen for some minutes."""
        return await self._uploads.signed_address(upload_id)
