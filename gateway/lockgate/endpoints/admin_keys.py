"""`/admin/keys`: which keys there are, and the next step of their rotation."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from lockgate.edge.responses import SECURITY_HEADERS
from lockgate.endpoints.bodies import Body, body_of, document_body
from lockgate.endpoints.dependencies import ADMIN, call_origin_of, identity_of
from lockgate.endpoints.problems import RefusedError, describe_refusals
from lockgate.errors import Reason, Refusal
from lockgate.identity.model import Identity
from lockgate.judge import Judge
from lockgate.keys.administration import KeyAdministration, Step
from lockgate.keys.files import timestamp


class WhichKeys(Body):
    """Which keys: those of access tokens, or the secrets of refresh tokens."""

    group: Literal["signing", "refresh"]


def build_router(keys: KeyAdministration, judge: Judge) -> APIRouter:
    """The calls."""
    api = APIRouter(prefix="/keys")
    admin = Annotated[Identity, Depends(identity_of(judge, ADMIN))]

    @api.get("", responses=describe_refusals(Reason.KEYS_UNUSABLE))
    async def listing(asking: admin) -> Response:
        """Every key that this node sees: `group`, `kid`, `alg`, `state`, `since`; never a secret."""
        del asking
        found = await keys.listing()
        if isinstance(found, Refusal):
            raise RefusedError(found)
        return JSONResponse({"keys": found}, headers=SECURITY_HEADERS)

    @api.post(
        "/rotate",
        openapi_extra=document_body(WhichKeys),
        responses=describe_refusals(Reason.KEYS_BUSY, Reason.KEYS_FIXED, Reason.KEYS_UNUSABLE),
    )
    async def rotate(
        request: Request, asking: admin, body: Annotated[WhichKeys, Depends(body_of(WhichKeys))]
    ) -> Response:
        """End keys after their time, and make the next step of a rotation; `waiting` where it is too early for one.

        `next_at` is when the step after it may be made.
        """
        step = await keys.rotate(body.group, actor=asking.sub, **call_origin_of(request).audit_fields)
        if isinstance(step, Refusal):
            raise RefusedError(step)
        return JSONResponse(_step_json(step), headers=SECURITY_HEADERS)

    return api


def _step_json(step: Step) -> dict[str, Any]:
    turn = step.turn
    return {
        "group": step.group,
        "did": str(turn.did),
        "kid": turn.key_id,
        "next_at": None if turn.next_at is None else timestamp(turn.next_at),
        "retired": list(step.retired),
    }
