"""`/auth/captcha`: a captcha as a picture or a sound, for a login that needs one."""

from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from lockgate.accounts.captcha import LIFE_S, Captchas, Kind
from lockgate.accounts.throttle import CostBucket
from lockgate.edge.responses import SECURITY_HEADERS
from lockgate.endpoints.dependencies import call_origin_of
from lockgate.endpoints.problems import RefusedError
from lockgate.errors import Reason, Refusal

PATH: Final = "/auth/captcha"
ALLOWANCE: Final = 120
ALLOWANCE_S: Final = 300
"""What an address may spend in `ALLOWANCE_S`, in the units of `COST`: a dozen sounds, or 40 pictures."""
COST: Final[dict[str, int]] = {"new": 1, "png": 2, "wav": 9}
MEDIA: Final[dict[Kind, str]] = {"png": "image/png", "wav": "audio/wav"}


def build_router(captchas: Captchas, allowance: CostBucket) -> APIRouter:
    """The calls of `/auth/captcha`."""
    api = APIRouter(prefix=PATH, tags=["auth"])

    async def spend_allowance(request: Request, cost: int) -> None:
        refusal = await allowance.spend(call_origin_of(request).address, cost)
        if refusal is not None:
            raise RefusedError(refusal)

    async def draw_captcha(request: Request, captcha: str, kind: Kind) -> Response:
        await spend_allowance(request, COST[kind])
        content = await captchas.draw(captcha, kind)
        if content is None:
            raise RefusedError(Refusal(Reason.NOT_FOUND))
        return Response(content, media_type=MEDIA[kind], headers=SECURITY_HEADERS)

    @api.get("")
    async def new(request: Request) -> Response:
        """A captcha: six digits, shown and read out; good for one attempt at a password."""
        await spend_allowance(request, COST["new"])
        captcha = await captchas.create()
        content = {
            "id": captcha,
            "image": f"{PATH}/{captcha}.png",
            "audio": f"{PATH}/{captcha}.wav",
            "expires_in": LIFE_S,
        }
        return JSONResponse(content, headers=SECURITY_HEADERS)

    @api.get("/{captcha}.png")
    async def picture(request: Request, captcha: str) -> Response:
        """The digits as a picture."""
        return await draw_captcha(request, captcha, "png")

    @api.get("/{captcha}.wav")
    async def sound(request: Request, captcha: str) -> Response:
        """The digits, read out."""
        return await draw_captcha(request, captcha, "wav")

    return api
