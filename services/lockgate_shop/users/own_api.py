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
from lockgate_shop.kit.http.api import DEFAULT_PAGE, Body, Cursor, Limit, Line, ResponseBody, from_state
from lockgate_shop.kit.http.caller import UserId
from lockgate_shop.kit.http.problems import document_problems, refuse_request, require_granted
from lockgate_shop.kit.http.upload_api import PICTURE_LIFE, BegunResponse, FileName, UploadBody, UploadResponse
from lockgate_shop.kit.problem import CREDENTIALS_REQUIRED, NOT_FOUND
from lockgate_shop.users.accounts import Accounts
from lockgate_shop.users.addresses import TOO_MANY, Addresses
from lockgate_shop.users.files import Files, Purpose
from lockgate_shop.users.models import AccountRecord, Address

MINE: Final = document_problems(CREDENTIALS_REQUIRED, NOT_FOUND)

router: Final = APIRouter(prefix="/users/me", responses=MINE)


async def _own_account(user: UserId, request: Request) -> AccountRecord:
    return require_granted(await from_state(Accounts, "accounts", request).read_account(user))


async def _get_addresses(request: Request) -> Addresses:
    return from_state(Addresses, "addresses", request)


async def _get_files(request: Request) -> Files:
    return from_state(Files, "files", request)


OwnAccount = Annotated[AccountRecord, Depends(_own_account)]
AddressesDep = Annotated[Addresses, Depends(_get_addresses)]
FilesDep = Annotated[Files, Depends(_get_files)]
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


class AddressResponse(AddressBody):
    """An address that is kept."""

    id: UUID
    created_at: datetime

    @classmethod
    def from_address(cls, address: Address) -> Self:
        """What its owner sees of `address`."""
        return cls.model_validate({name: getattr(address, name) for name in cls.model_fields})


class AddressesResponse(ResponseBody):
    """All addresses of an account, the oldest first."""

    items: list[AddressResponse]


class FileBody(UploadBody):
    """A file that is about to be stored: an avatar (at most 5 MB), or any other file (at most 100 MB)."""

    purpose: Purpose
    filename: FileName | None = None


class FileResponse(UploadResponse):
    """A file; once confirmed, with an address where it can be downloaded for five minutes, without credentials."""

    download_url: str | None


class FilesResponse(ResponseBody):
    """A page of files, the newest first; `next` is given back as `after` for the one behind it."""

    items: list[UploadResponse]
    next: str | None


@router.get("/addresses")
async def list_addresses(account: OwnAccount, addresses: AddressesDep) -> AddressesResponse:
    """One's addresses."""
    return AddressesResponse(
        items=[AddressResponse.from_address(address) for address in await addresses.all_of(account.id)]
    )


@router.post("/addresses", status_code=201, responses=document_problems(TOO_MANY))
async def add_address(body: AddressBody, account: OwnAccount, addresses: AddressesDep) -> AddressResponse:
    """Add an address."""
    return AddressResponse.from_address(require_granted(await addresses.add_address(account.id, body.model_dump())))


@router.put("/addresses/{address_id}")
async def replace_address(
    address_id: UUID, body: AddressBody, account: OwnAccount, addresses: AddressesDep
) -> AddressResponse:
    """Write another address over one; what is left out is removed."""
    return AddressResponse.from_address(
        require_granted(await addresses.replace_address(account.id, address_id, body.model_dump()))
    )


@router.delete("/addresses/{address_id}", status_code=204)
async def remove_address(address_id: UUID, account: OwnAccount, addresses: AddressesDep) -> None:
    """Forget an address."""
    require_granted(await addresses.remove_address(account.id, address_id))


@router.post("/uploads", status_code=201, responses=document_problems(TYPE_REFUSED, TOO_LARGE, TOO_MANY_PENDING))
async def begin_upload(body: FileBody, account: OwnAccount, files: FilesDep) -> BegunResponse:
    """Announce a file, and learn where to store it. Store it with `PUT` there, then confirm it, within 15 minutes."""
    wanted = WantedUpload(body.purpose, body.content_type, body.size, body.filename)
    return BegunResponse.from_begun(*require_granted(await files.begin_upload(account.id, wanted)))


@router.post("/uploads/{upload_id}/confirm", responses=document_problems(NOT_UPLOADED, UPLOAD_DIFFERS))
async def confirm_upload(upload_id: UUID, account: OwnAccount, files: FilesDep) -> UploadResponse:
    """Say that a file has been stored. Only now it counts, and an avatar is shown; doing so again changes nothing."""
    return UploadResponse.from_upload(require_granted(await files.confirm_upload(account.id, upload_id)))


@router.get("/uploads", responses=document_problems(BAD_CURSOR))
async def list_uploads(
    account: OwnAccount, files: FilesDep, limit: Limit = DEFAULT_PAGE, after: Cursor = None
) -> FilesResponse:
    """One's files, and what was announced and may still be stored."""
    page = require_granted(await files.list_uploads(account.id, limit, after))
    return FilesResponse(items=[UploadResponse.from_upload(upload) for upload in page.items], next=page.next)


@router.get("/uploads/{upload_id}")
async def read_upload(upload_id: UUID, account: OwnAccount, files: FilesDep) -> FileResponse:
    """One file, and where to download it."""
    upload = require_granted(await files.read_upload(account.id, upload_id))
    is_there = upload.status == UploadStatus.CONFIRMED
    return FileResponse.from_upload(upload, download_url=await files.download_address(upload) if is_there else None)


@router.delete("/uploads/{upload_id}", status_code=204)
async def remove_upload(upload_id: UUID, account: OwnAccount, files: FilesDep) -> None:
    """Forget a file."""
    require_granted(await files.remove_upload(account.id, upload_id))


@router.get("/avatar", status_code=302, response_class=RedirectResponse)
async def show_avatar(account: OwnAccount, files: FilesDep) -> RedirectResponse:
    """To where the avatar can be seen."""
    if account.avatar_id is None:
        refuse_request(NOT_FOUND)
    location = await files.picture_address(account.avatar_id)
    return RedirectResponse(location, status_code=302, headers={"Cache-Control": PICTURE_LIFE})
