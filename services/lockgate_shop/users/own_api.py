"""What users keep here: addresses and files. All of it is the asking user's own."""

from datetime import datetime
from typing import Annotated, Final, Self
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import Field
from starlette.responses import RedirectResponse

from lockgate_shop.kit.data.paging import BAD_CURSOR
from lockgate_shop.kit.data.uploads import (
    NOT_UPLOADED,
    TOO_LARGE,
    TOO_MANY_PENDING,
    TYPE_REFUSED,
    UPLOAD_DIFFERS,
    UploadStatus,
    WantedUpload,
)
from lockgate_shop.kit.http.api import DEFAULT_PAGE, Answer, Body, Cursor, Limit, Line, from_state
from lockgate_shop.kit.http.caller import UserId
from lockgate_shop.kit.http.problems import documented, granted, refuse
from lockgate_shop.kit.http.upload_api import PICTURE_LIFE, BegunAnswer, FileName, UploadAnswer, UploadBody
from lockgate_shop.kit.problem import CREDENTIALS_REQUIRED, NOT_FOUND
from lockgate_shop.users.accounts import Accounts
from lockgate_shop.users.addresses import TOO_MANY, Addresses
from lockgate_shop.users.files import Files, Purpose
from lockgate_shop.users.models import Account, Address

MINE: Final = documented(CREDENTIALS_REQUIRED, NOT_FOUND)

router: Final = APIRouter(prefix="/users/me", responses=MINE)


async def _own_account(user: UserId, request: Request) -> Account:
    return granted(await from_state(Accounts, "accounts", request).read(user))


def _addresses(request: Request) -> Addresses:
    return from_state(Addresses, "addresses", request)


def _files(request: Request) -> Files:
    return from_state(Files, "files", request)


OwnAccount = Annotated[Account, Depends(_own_account)]
AddressesDep = Annotated[Addresses, Depends(_addresses)]
FilesDep = Annotated[Files, Depends(_files)]
Text = Annotated[Line, Field(max_length=120)]


class AddressBody(Body):
    """Where to send things. Only what every country has is required."""

    name: Text
    line1: Text
    line2: Text | None = None
    postal_code: Annotated[Line, Field(max_length=20)] | None = None
    city: Text
    region: Text | None = None
    country: Annotated[str, Field(pattern="^[A-Z]{2}$", description="ISO 3166-1 alpha-2", examples=["DE"])]


class AddressAnswer(AddressBody):
    """An address that is kept."""

    id: UUID
    created_at: datetime

    @classmethod
    def of(cls, address: Address) -> Self:
        """What its owner sees of `address`."""
        return cls.model_validate({name: getattr(address, name) for name in cls.model_fields})


class AddressesAnswer(Answer):
    """All addresses of an account, the oldest first."""

    items: list[AddressAnswer]


class FileBody(UploadBody):
    """A file that is about to be stored: an avatar (at most 5 MB), or any other file (at most 100 MB)."""

    purpose: Purpose
    filename: FileName | None = None


class FileAnswer(UploadAnswer):
    """A file; once confirmed, with an address where it can be downloaded for five minutes, without credentials."""

    download_url: str | None


class FilesAnswer(Answer):
    """A page of files, the newest first; `next` is given back as `after` for the one behind it."""

    items: list[UploadAnswer]
    next: str | None


@router.get("/addresses")
async def list_addresses(account: OwnAccount, addresses: AddressesDep) -> AddressesAnswer:
    """One's addresses."""
    return AddressesAnswer(items=[AddressAnswer.of(address) for address in await addresses.all_of(account.id)])


@router.post("/addresses", status_code=201, responses=documented(TOO_MANY))
async def add_address(body: AddressBody, account: OwnAccount, addresses: AddressesDep) -> AddressAnswer:
    """Add an address."""
    return AddressAnswer.of(granted(await addresses.add(account.id, body.model_dump())))


@router.put("/addresses/{address_id}")
async def replace_address(
    address_id: UUID, body: AddressBody, account: OwnAccount, addresses: AddressesDep
) -> AddressAnswer:
    """Write another address over one; what is left out is removed."""
    return AddressAnswer.of(granted(await addresses.replace(account.id, address_id, body.model_dump())))


@router.delete("/addresses/{address_id}", status_code=204)
async def remove_address(address_id: UUID, account: OwnAccount, addresses: AddressesDep) -> None:
    """Forget an address."""
    granted(await addresses.remove(account.id, address_id))


@router.post("/uploads", status_code=201, responses=documented(TYPE_REFUSED, TOO_LARGE, TOO_MANY_PENDING))
async def begin_upload(body: FileBody, account: OwnAccount, files: FilesDep) -> BegunAnswer:
    """Announce a file, and learn where to store it. Store it with `PUT` there, then confirm it, within 15 minutes."""
    wanted = WantedUpload(body.purpose, body.content_type, body.size, body.filename)
    return BegunAnswer.begun(*granted(await files.begin(account.id, wanted)))


@router.post("/uploads/{upload_id}/confirm", responses=documented(NOT_UPLOADED, UPLOAD_DIFFERS))
async def confirm_upload(upload_id: UUID, account: OwnAccount, files: FilesDep) -> UploadAnswer:
    """Say that a file has been stored. Only now it counts, and an avatar is shown; doing so again changes nothing."""
    return UploadAnswer.of(granted(await files.confirm(account.id, upload_id)))


@router.get("/uploads", responses=documented(BAD_CURSOR))
async def list_uploads(
    account: OwnAccount, files: FilesDep, limit: Limit = DEFAULT_PAGE, after: Cursor = None
) -> FilesAnswer:
    """One's files, and what was announced and may still be stored."""
    page = granted(await files.page(account.id, limit, after))
    return FilesAnswer(items=[UploadAnswer.of(upload) for upload in page.items], next=page.next)


@router.get("/uploads/{upload_id}")
async def read_upload(upload_id: UUID, account: OwnAccount, files: FilesDep) -> FileAnswer:
    """One file, and where to download it."""
    upload = granted(await files.read(account.id, upload_id))
    is_there = upload.status == UploadStatus.CONFIRMED
    return FileAnswer.of(upload, download_url=await files.download_address(upload) if is_there else None)


@router.delete("/uploads/{upload_id}", status_code=204)
async def remove_upload(upload_id: UUID, account: OwnAccount, files: FilesDep) -> None:
    """Forget a file."""
    granted(await files.remove(account.id, upload_id))


@router.get("/avatar", status_code=302, response_class=RedirectResponse)
async def show_avatar(account: OwnAccount, files: FilesDep) -> RedirectResponse:
    """To where the avatar can be seen."""
    if account.avatar_id is None:
        refuse(NOT_FOUND)
    location = await files.picture_address(account.avatar_id)
    return RedirectResponse(location, status_code=302, headers={"Cache-Control": PICTURE_LIFE})
