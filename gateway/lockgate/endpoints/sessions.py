"""`/auth/sessions` and `/auth/password`: a user lists and ends their own sessions, and changes their password."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from lockgate.accounts.captcha import MAX_ANSWER, CaptchaAnswer
from lockgate.edge.responses import SECURITY_HEADERS
from lockgate.endpoints.bodies import Body, body_of, document_body
from lockgate.endpoints.dependencies import call_origin_of, identity_of
from lockgate.endpoints.problems import describe_refusals, problem_response
from lockgate.errors import Reason
from lockgate.identity.model import Identity
from lockgate.judge import Judge
from lockgate.sessions.self_service import SelfService
from lockgate.views import session_json


class Solved(Body):
    """A captcha and its answer."""

    id: Annotated[str, Field(min_length=1, max_length=MAX_ANSWER)]
    answer: Annotated[str, Field(max_length=MAX_ANSWER, repr=False)]

    def to_answer(self) -> CaptchaAnswer:
        """The answer in the form that a login takes."""
        return CaptchaAnswer(self.id, self.answer)


class Password(Body):
    """The current password, and the new one."""

    current_password: Annotated[str, Field(min_length=1, max_length=1024, repr=False)]
    new_password: Annotated[str, Field(min_length=1, max_length=1024, repr=False)]
    captcha: Solved | None = None


def build_router(own: SelfService, judge: Judge) -> APIRouter:
    """The calls."""
    api = APIRouter(prefix="/auth", tags=["auth"])
    caller = Annotated[Identity, Depends(identity_of(judge))]
    unlimited = Annotated[Identity, Depends(identity_of(judge, unlimited=True))]
    limits = describe_refusals(Reason.BEYOND_SESSION)

    @api.get("/sessions", responses=limits)
    async def sessions(identity: unlimited) -> Response:
        """The user's live sessions, the latest used first."""
        found = [session_json(view, current=identity.sid) for view in await own.sessions(identity)]
        return JSONResponse({"sessions": found}, headers=SECURITY_HEADERS)

    @api.delete("/sessions/{session_id}", status_code=204, responses=limits)
    async def end(request: Request, identity: caller, session_id: str) -> Response:
        """End one of the user's own sessions; with a limited token, only the session of the token."""
        refusal = await own.end(identity, session_id, call_origin_of(request))
        return (
            Response(status_code=204, headers=SECURITY_HEADERS)
            if refusal is None
            else problem_response(request, refusal)
        )

    @api.post("/password", status_code=204, openapi_extra=document_body(Password), responses=limits)
    async def password(
        request: Request, identity: unlimited, body: Annotated[Password, Depends(body_of(Password))]
    ) -> Response:
        """Change the password; every other session of the user ends."""
        captcha = body.captcha.to_answer() if body.captcha else None
        refusal = await own.change_password(
            identity, body.current_password, body.new_password, call_origin_of(request), captcha
        )
        return (
            Response(status_code=204, headers=SECURITY_HEADERS)
            if refusal is None
            else problem_response(request, refusal)
        )

    return api
