"""`POST /auth/login`: a session begins. It goes on in `endpoints.grants`."""

# Without `from __future__ import annotations`, as in `endpoints.auth`.

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from lockgate.edge.responses import SECURITY_HEADERS
from lockgate.endpoints.bodies import Body, body_of, document_body
from lockgate.endpoints.browser import Browser
from lockgate.endpoints.dependencies import client_of, origin_of
from lockgate.endpoints.grants import describe_grant
from lockgate.endpoints.problems import inbound_request, problem_response
from lockgate.endpoints.sessions import Solved
from lockgate.errors import Refusal
from lockgate.identity.session_cookie import SessionCookie
from lockgate.sessions.lifecycle import Sessions, Tokens
from lockgate.sessions.oauth_clients import Grants


class Login(Body):
    """Credentials; `mode` says whether the response holds tokens, or sets a cookie and holds none."""

    username: Annotated[str, Field(min_length=1, max_length=256)]
    password: Annotated[str, Field(min_length=1, max_length=1024, repr=False)]
    captcha: Solved | None = None
    mode: Literal["token", "cookie"] = "token"


def build_router(sessions: Sessions, grants: Grants, browser: Browser) -> APIRouter:
    """The call."""
    api = APIRouter(prefix="/auth", tags=["auth"])

    @api.post("/login", openapi_extra=document_body(Login))
    async def login(request: Request, body: Annotated[Login, Depends(body_of(Login))]) -> Response:
        """Begin a session, on behalf of the authenticated client, if there is one.

        The session of a cookie in the request ends: the response sets another cookie, or deletes it.
        """
        source = inbound_request(request)
        old = browser.read_replaced_cookie(source, wanted=body.mode == "cookie")
        client, call = await client_of(source, None, grants), origin_of(source)
        captcha = body.captcha.to_answer() if body.captcha else None
        log_in = sessions.login_by_cookie if body.mode == "cookie" else sessions.login
        outcome = await log_in(body.username, body.password, call, captcha=captcha, client=client)
        if isinstance(outcome, Refusal):
            return problem_response(request, outcome)
        if isinstance(old, SessionCookie):
            await sessions.replace(old, call)
        if isinstance(outcome, Tokens):
            return browser.without_cookie(JSONResponse(describe_grant(outcome), headers=SECURITY_HEADERS), old)
        cookie, held = outcome
        return browser.with_cookie(
            JSONResponse(describe_grant(held), headers=SECURITY_HEADERS), cookie, held.refresh_expires_in
        )

    return api
