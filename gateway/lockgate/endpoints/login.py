"""`POST /auth/login` and `POST /auth/refresh`: a session begins, and goes on."""

# Without `from __future__ import annotations`, as in `endpoints.auth`.

import dataclasses
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from lockgate.accounts.throttle import Allowance
from lockgate.edge.responses import SECURITY_HEADERS
from lockgate.endpoints.bodies import FORM, JSON, Body, body_of, documented
from lockgate.endpoints.browser import Browser
from lockgate.endpoints.dependencies import OAuthBody, call_origin_of, client_of, within
from lockgate.endpoints.problems import RefusedError, inbound, refused
from lockgate.endpoints.sessions import Solved
from lockgate.errors import Reason, Refusal
from lockgate.identity.bearer import bearer
from lockgate.identity.session_cookie import SessionCookie
from lockgate.sessions.cookie_sessions import Held
from lockgate.sessions.lifecycle import Sessions, Tokens
from lockgate.sessions.oauth_clients import Grants

_EITHER = (JSON, FORM)


class Login(Body):
    """Credentials; `mode` says whether the answer holds tokens, or sets a cookie and holds none."""

    username: Annotated[str, Field(min_length=1, max_length=256)]
    password: Annotated[str, Field(min_length=1, max_length=1024, repr=False)]
    captcha: Solved | None = None
    mode: Literal["token", "cookie"] = "token"


class Refresh(OAuthBody):
    """The refresh token, and what else OAuth clients send with it (RFC 6749 section 6)."""

    refresh_token: Annotated[str, Field(min_length=1, max_length=4096)]
    grant_type: Annotated[str, Field(pattern="^refresh_token$")] = "refresh_token"
    scope: Annotated[str, Field(max_length=1024)] = ""


def router(sessions: Sessions, grants: Grants, browser: Browser, allowance: Allowance) -> APIRouter:
    """The calls; how often an address may refresh is its `allowance`."""
    api = APIRouter(prefix="/auth", tags=["auth"])
    read_refresh = body_of(Refresh, media=_EITHER)

    @api.post("/login", openapi_extra=documented(Login))
    async def login(request: Request, body: Annotated[Login, Depends(body_of(Login))]) -> Response:
        """Begin a session; for the client that authenticates, if one does.

        The session of a cookie that comes along ends with it: the answer sets another cookie, or takes it away.
        """
        old = browser.to_replace(request, wanted=body.mode == "cookie")
        client, call = await client_of(request, None, grants), call_origin_of(request)
        captcha = body.captcha.given() if body.captcha else None
        log_in = sessions.login_by_cookie if body.mode == "cookie" else sessions.login
        outcome = await log_in(body.username, body.password, call, captcha=captcha, client=client)
        if isinstance(outcome, Refusal):
            return refused(request, outcome)
        if isinstance(old, SessionCookie):
            await sessions.replace(old, call)
        if isinstance(outcome, Tokens):
            return browser.taken(_told(outcome), old)
        cookie, held = outcome
        return browser.given(_told(held), cookie, held.refresh_expires_in)

    @api.post(
        "/refresh",
        dependencies=[Depends(within(allowance))],
        openapi_extra=documented(Refresh, media=_EITHER, required=browser.mode == "off"),
    )
    async def refresh(request: Request) -> Response:
        """A new access token and the next refresh token (RFC 6749 section 6).

        With the session cookie and no body: the account is read again, and the cookie stays as it is.
        """
        cookie = browser.quoted(request)
        if cookie is not None:
            return _told(await refresh_by(request, cookie))
        body = await read_refresh(request)
        client = await client_of(request, body, grants)
        outcome = await sessions.refresh(body.refresh_token, call_origin_of(request), client=client, scope=body.scope)
        return refused(request, outcome) if isinstance(outcome, Refusal) else _told(outcome)

    async def refresh_by(request: Request, cookie: SessionCookie | Refusal) -> Held:
        source = inbound(request)
        # A well-formed Bearer is ignored here; one that is malformed never leads to the cookie.
        if source.has_body or isinstance(bearer(source.headers.authorization), Refusal):
            raise RefusedError(Refusal(Reason.REPEATED_CREDENTIALS))
        browser.not_cross_site(request)
        held = cookie if isinstance(cookie, Refusal) else await browser.cookies.refresh(cookie, source.own_id)
        if isinstance(held, Refusal):
            raise RefusedError(held)
        return held

    return api


def _told(outcome: Tokens | Held) -> Response:
    kind = {"token_type": "Bearer"} if isinstance(outcome, Tokens) else {}
    return JSONResponse({**kind, **dataclasses.asdict(outcome)}, headers=SECURITY_HEADERS)
