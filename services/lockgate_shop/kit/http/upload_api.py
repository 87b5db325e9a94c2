"""Uploads, as clients announce and see them; the same in every service that takes files."""

from datetime import datetime
from typing import Annotated, Final, Literal, Self
from uuid import UUID

from pydantic import Field

from lockgate_shop.kit.data.objects import SignedPut
from lockgate_shop.kit.data.uploads import UploadColumns, UploadStatus
from lockgate_shop.kit.http.api import Body, Line, ResponseBody

PICTURE_LIFE: Final = "private, max-age=240"
"""For a redirection to a signed address: less than the address itself is good for."""

ContentType = Annotated[str, Field(min_length=3, max_length=100, examples=["image/png"])]
Size = Annotated[int, Field(strict=True, ge=1, le=10**12, description="In bytes.")]
FileName = Annotated[Line, Field(max_length=255)]


class UploadBody(Body):
    """A file that is about to be stored."""

    content_type: ContentType
    size: Size


class UploadResponse(ResponseBody):
    """A file, or one that is about to be; unconfirmed ones are gone at `expires_at`."""

    id: UUID
    purpose: str
    filename: str | None
    content_type: str
    size: int
    status: Literal["pending", "confirmed"]
    created_at: datetime
    expires_at: datetime | None

    @classmethod
    def from_upload(cls, upload: UploadColumns, **more: object) -> Self:
        """What the owner of `upload` sees."""
        expires_at = upload.expires_at if upload.status == UploadStatus.PENDING else None
        return cls.model_validate({**vars(upload), "expires_at": expires_at, **more})


class PutResponse(ResponseBody):
    """The request that stores the file: with these header fields, to the letter, and without any credentials."""

    method: Literal["PUT"] = "PUT"
    url: str
    headers: dict[str, str]


class BegunResponse(UploadResponse):
    """An upload that is taken note of, and how to store its bytes before it is confirmed."""

    put: PutResponse

    @classmethod
    def from_begun(cls, upload: UploadColumns, put: SignedPut) -> Self:
        """What the owner is told."""
        return cls.from_upload(upload, put=PutResponse(url=put.url, headers=put.headers))
