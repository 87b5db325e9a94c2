"""`POST /auth/login` and `POST /auth/refresh`: a session begins, and goes on."""

# Without `from __future__ import annotations`, as in `endpoints.auth`.

import dataclasses
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from lockgate.accounts.throttle import CostBucket
from lockgate.edge.responses import SECURITY_HEADERS
from lockgate.endpoints.bodies import FORM, JSON, Body, body_of, document_body
from lockgate.endpoints.browser import Browser
from lockgate.endpoints.dependencies import OAuthBody, call_origin_of, client_of, within_allowance
from lockgate.endpoints.problems import RefusedError, inbound_request, problem_response
from lockgate.endpoints.sessions import Solved
from lockgate.errors import Reason, Refusal
from lockgate.identity.bearer import bearer
from lockgate.identity.session_cookie import SessionCookie
from lockgate.sessions.cookie_sessions import CookieSession
from lockgate.sessions.lifecycle import Sessions, Tokens
from lockgate.sessions.oauth_clients import Grants

_EITHER = (JSON, FORM)


class Login(Body):
    """Credentials; `mode` says whether the response holds tokens, or sets a cookie and holds none."""

    username: Annotated[str, Field(min_length=1, max_length=256)]
    password: Annotated[str, Field(min_length=1, max_length=1024, repr=False)]
    captcha: Solved | None = None
    mode: Literal["token", "cookie"] = "token"


class Refresh(OAuthBody):
    """The refresh token, and what else OAuth clients send with it (RFC 6749 section 6)."""

    refresh_token: Annotated[str, Field(min_length=1, max_length=4096)]
    grant_type: Annotated[str, Field(pattern="^refresh_token$")] = "refresh_token"
    scope: Annotated[str, Field(max_length=1024)] = ""


def build_router(sessions: Sessions, grants: Grants, browser: Browser, allowance: CostBucket) -> APIRouter:
    """The calls; how often an address may refresh is its `allowance`."""
    api = APIRouter(prefix="/auth", tags=["auth"])
    read_refresh = body_of(Refresh, media=_EITHER)

    @api.post("/login", openapi_extra=document_body(Login))
    async def login(request: Request, body: Annotated[Login, Depends(body_of(Login))]) -> Response:
        """Begin a session, on behalf of the authenticated client, if there is one.

        The session of a cookie in the request ends: the response sets another cookie, or deletes it.
        """
        old = browser.read_replaced_cookie(request, wanted=body.mode == "cookie")
        client, call = await client_of(request, None, grants), call_origin_of(request)
        captcha = body.captcha.to_answer() if body.captcha else None
        log_in = sessions.login_by_cookie if body.mode == "cookie" else sessions.login
        outcome = await log_in(body.username, body.password, call, captcha=captcha, client=client)
        if isinstance(outcome, Refusal):
            return problem_response(request, outcome)
        if isinstance(old, SessionCookie):
            await sessions.replace(old, call)
        if isinstance(outcome, Tokens):
            return browser.without_cookie(_build_token_response(outcome), old)
        cookie, held = outcome
        return browser.with_cookie(_build_token_response(held), cookie, held.refresh_expires_in)

    @api.post(
        "/refresh",
        dependencies=[Depends(within_allowance(allowance))],
        openapi_extra=document_body(Refresh, media=_EITHER, required=browser.mode == "off"),
    )
    async def refresh(request: Request) -> Response:
        """A new access token and the next refresh token (RFC 6749 section 6).

        With the session cookie and no body: the account is read again, and the cookie stays as it is.
        """
        cookie = browser.read_cookie(request)
        if cookie is not None:
            return _build_token_response(await refresh_by(request, cookie))
        body = await read_refresh(request)
        client = await client_of(request, body, grants)
        outcome = await sessions.refresh(body.refresh_token, call_origin_of(request), client=client, scope=body.scope)
        return problem_response(request, outcome) if isinstance(outcome, Refusal) else _build_token_response(outcome)

    async def refresh_by(request: Request, cookie: SessionCookie | Refusal) -> CookieSession:
        source = inbound_request(request)
        # A well-formed Bearer is ignored here; a malformed one never leads to the cookie.
        if source.has_body or isinstance(bearer(source.authorization), Refusal):
            raise RefusedError(Refusal(Reason.REPEATED_CREDENTIALS))
        browser.check_same_site(request)
        held = cookie if isinstance(cookie, Refusal) else await browser.cookies.refresh(cookie, source.own_id)
        if isinstance(held, Refusal):
            raise RefusedError(held)
        return held

    return api


def _build_token_response(outcome: Tokens | CookieSession) -> Response:
    kind = {"token_type": "Bearer"} if isinstance(outcome, Tokens) else {}
    return JSONResponse({**kind, **dataclasses.asdict(outcome)}, headers=SECURITY_HEADERS)
