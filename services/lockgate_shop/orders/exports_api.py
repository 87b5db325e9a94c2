"""The routes of exports: asked for, looked up until done, and fetched from object storage."""

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from lockgate_shop.kit.http.api import ResponseBody, from_state
from lockgate_shop.kit.http.caller import UserId
from lockgate_shop.kit.http.problems import document_problems, require_granted
from lockgate_shop.kit.problem import CREDENTIALS_REQUIRED, NOT_FOUND, STORE_AWAY
from lockgate_shop.orders.exports import LINK_LIFE_S, TOO_MANY_EXPORTS, Exports
from lockgate_shop.orders.models import Export, ExportStatus

router: Final = APIRouter(prefix="/orders/exports")

LOOK_AGAIN_S: Final = "1"


async def _get_exports(request: Request) -> Exports:
    return from_state(Exports, "exports", request)


ExportsDep = Annotated[Exports, Depends(_get_exports)]


class Download(ResponseBody):
    """Where the file is, for `expires_in` seconds, for any holder of the URL; each read signs a new one."""

    url: str
    expires_in: int


class ExportResponse(ResponseBody):
    """An export: `done` of `total` orders are written. There is a `download` when its status is `done`."""

    id: UUID
    status: Literal["queued", "running", "done", "failed"]
    total: int
    done: int
    requested_at: datetime
    finished_at: datetime | None
    download: Download | None = None


def _export_response(export: Export, download: Download | None = None) -> ExportResponse:
    return ExportResponse.model_validate({**vars(export), "download": download})


@router.post("", status_code=202, responses=document_problems(CREDENTIALS_REQUIRED, TOO_MANY_EXPORTS))
async def request_export(user: UserId, exports: ExportsDep, response: Response) -> ExportResponse:
    """Have all of one's own orders of now written into a file; `Location` tells how far it is."""
    export = require_granted(await exports.request_export(user))
    response.headers["Location"] = f"/orders/exports/{export.id}"
    response.headers["Retry-After"] = LOOK_AGAIN_S
    return _export_response(export)


@router.get("/{export_id}", responses=document_problems(CREDENTIALS_REQUIRED, NOT_FOUND, STORE_AWAY))
async def read_export(user: UserId, export_id: UUID, exports: ExportsDep, response: Response) -> ExportResponse:
    """How far it is, and at its end where the file is."""
    export = require_granted(await exports.read_export(user, export_id))
    if export.status == ExportStatus.DONE:
        return _export_response(export, Download(url=await exports.download_url(export), expires_in=LINK_LIFE_S))
    if export.finished_at is None:
        response.headers["Retry-After"] = LOOK_AGAIN_S
    return _export_response(export)
