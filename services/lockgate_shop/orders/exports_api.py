"""The routes of exports: asked for, looked up until done, and fetched from object storage."""

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from lockgate_shop.kit.http.api import Answer, from_state
from lockgate_shop.kit.http.caller import UserId
from lockgate_shop.kit.http.problems import documented, granted
from lockgate_shop.kit.problem import CREDENTIALS_REQUIRED, NOT_FOUND, STORE_AWAY
from lockgate_shop.orders.exports import LINK_LIFE_S, TOO_MANY_EXPORTS, Exports
from lockgate_shop.orders.models import Export, ExportStatus

router: Final = APIRouter(prefix="/orders/exports")

LOOK_AGAIN_S: Final = "1"


def _exports(request: Request) -> Exports:
    return from_state(Exports, "exports", request)


ExportsDep = Annotated[Exports, Depends(_exports)]


class Download(Answer):
    """Where the file is, for `expires_in` seconds, for whoever has this; asked for again, it is signed anew."""

    url: str
    expires_in: int


class ExportAnswer(Answer):
    """An export: `done` of `total` orders are written. There is a `download` when its status is `done`."""

    id: UUID
    status: Literal["queued", "running", "done", "failed"]
    total: int
    done: int
    requested_at: datetime
    finished_at: datetime | None
    download: Download | None = None


def _answer(export: Export, download: Download | None = None) -> ExportAnswer:
    return ExportAnswer.model_validate({**vars(export), "download": download})


@router.post("", status_code=202, responses=documented(CREDENTIALS_REQUIRED, TOO_MANY_EXPORTS))
async def request_export(user: UserId, exports: ExportsDep, response: Response) -> ExportAnswer:
    """Have all of one's own orders of now written into a file; `Location` tells how far it is."""
    export = granted(await exports.request(user))
    response.headers["Location"] = f"/orders/exports/{export.id}"
    response.headers["Retry-After"] = LOOK_AGAIN_S
    return _answer(export)


@router.get("/{export_id}", responses=documented(CREDENTIALS_REQUIRED, NOT_FOUND, STORE_AWAY))
async def read_export(user: UserId, export_id: UUID, exports: ExportsDep, response: Response) -> ExportAnswer:
    """How far it is, and at its end where the file is."""
    export = granted(await exports.read(user, export_id))
    if export.status == ExportStatus.DONE:
        return _answer(export, Download(url=await exports.link(export), expires_in=LINK_LIFE_S))
    if export.finished_at is None:
        response.headers["Retry-After"] = LOOK_AGAIN_S
    return _answer(export)
