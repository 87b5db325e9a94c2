"""The public routes for images of products."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse

from lockgate_shop.kit.data.uploads import NOT_UPLOADED, TOO_LARGE, TOO_MANY_PENDING, TYPE_REFUSED, UPLOAD_DIFFERS
from lockgate_shop.kit.http.api import from_state
from lockgate_shop.kit.http.problems import document_problems, require_granted
from lockgate_shop.kit.http.upload_api import PICTURE_LIFE, BegunResponse, UploadBody, UploadResponse
from lockgate_shop.kit.problem import NOT_FOUND
from lockgate_shop.products.api import MAY_WRITE, WRITE_REFUSALS
from lockgate_shop.products.images import Images

router: Final = APIRouter(prefix="/products/{product_id}/image", responses=document_problems(NOT_FOUND))


async def _get_images(request: Request) -> Images:
    return from_state(Images, "images", request)


ImagesDep = Annotated[Images, Depends(_get_images)]


@router.get("", status_code=302, response_class=RedirectResponse)
async def show_image(product_id: UUID, images: ImagesDep) -> RedirectResponse:
    """To where the image can be seen."""
    location = require_granted(await images.image_address(product_id))
    return RedirectResponse(location, status_code=302, headers={"Cache-Control": PICTURE_LIFE})


@router.post(
    "/uploads",
    status_code=201,
    dependencies=MAY_WRITE,
    responses={**WRITE_REFUSALS, **document_problems(TYPE_REFUSED, TOO_LARGE, TOO_MANY_PENDING)},
)
async def begin_image(product_id: UUID, body: UploadBody, images: ImagesDep) -> BegunResponse:
    """Announce an image (at most 10 MB), and learn where to store it: with `PUT`, and confirmed, within 15 minutes."""
    return BegunResponse.from_begun(
        *require_granted(await images.begin_image(product_id, body.content_type, body.size))
    )


@router.post(
    "/uploads/{upload_id}/confirm",
    dependencies=MAY_WRITE,
    responses={**WRITE_REFUSALS, **document_problems(NOT_UPLOADED, UPLOAD_DIFFERS)},
)
async def confirm_image(product_id: UUID, upload_id: UUID, images: ImagesDep) -> UploadResponse:
    """Say that an image has been stored; it is shown from now on. Doing so again changes nothing."""
    return UploadResponse.from_upload(require_granted(await images.confirm_image(product_id, upload_id)))


@router.delete("", status_code=204, dependencies=MAY_WRITE, responses=WRITE_REFUSALS)
async def remove_image(product_id: UUID, images: ImagesDep) -> None:
    """Show no image any more."""
    require_granted(await images.remove_image(product_id))
