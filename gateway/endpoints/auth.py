"""`/auth`: log in, go on, end, and who am I."""

# Without `from __future__ import annotations`: FastAPI could not look up `someone`, which is local, by its name, and
# would take the identity from the query.

import dataclasses
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from gateway.edge.answers import SECURITY_HEADERS
from gateway.endpoints.asking import OAuthBody, client_of, visitor_of
from gateway.endpoints.bodies import FORM, JSON, Body, body_of, documented
from gateway.endpoints.problems import RefusedError, inbound, refused
from gateway.endpoints.sessions import Solved
from gateway.errors import Refusal
from gateway.identity.model import Identity
from gateway.pipeline import Pipeline
from gateway.sessions.grants import Grants
from gateway.sessions.service import Sessions, Tokens

NO_STORE = dict(SECURITY_HEADERS)
_EITHER = (JSON, FORM)


class Login(Body):
    """Credentials."""

    username: Annotated[str, Field(min_length=1, max_length=256)]
    password: Annotated[str, Field(min_length=1, max_length=1024, repr=False)]
    captcha: Solved | None = None


class Refresh(Body):
    """The refresh token; `grant_type` as OAuth clients send it."""

    refresh_token: Annotated[str, Field(min_length=1, max_length=4096)]
    grant_type: Annotated[str, Field(pattern="^refresh_token$")] = "refresh_token"


class Revoke(OAuthBody):
    """The token to revoke (RFC 7009 section 2.1); the hint may be wrong or unknown, the token is found all the same."""

    token: Annotated[str, Field(min_length=1, max_length=8192)]
    token_type_hint: Annotated[str, Field(max_length=64)] | None = None


def router(sessions: Sessions, grants: Grants, pipeline: Pipeline) -> APIRouter:
    """The calls of `/auth`."""
    api = APIRouter(prefix="/auth", tags=["auth"])

    async def current_identity(request: Request) -> Identity:
        verdict = await pipeline.admit(inbound(request))
        if isinstance(verdict, Refusal):
            raise RefusedError(verdict)
        return verdict

    someone = Annotated[Identity, Depends(current_identity)]

    @api.post("/login", openapi_extra=documented(Login))
    async def login(request: Request, body: Annotated[Login, Depends(body_of(Login))]) -> Response:
        """Begin a session; for the client that authenticates, if one does."""
        client = await client_of(request, None, grants)
        captcha = body.captcha.given() if body.captcha else None
        outcome = await sessions.login(
            body.username, body.password, visitor_of(request), captcha=captcha, client=client
        )
        return _answer(request, outcome)

    @api.post("/refresh", openapi_extra=documented(Refresh, media=_EITHER))
    async def refresh(request: Request, body: Annotated[Refresh, Depends(body_of(Refresh, media=_EITHER))]) -> Response:
        """A new access token and the next refresh token (RFC 6749 section 6)."""
        client = await client_of(request, None, grants)
        return _answer(request, await sessions.refresh(body.refresh_token, visitor_of(request), client=client))

    @api.post("/revoke", response_class=Response, openapi_extra=documented(Revoke, media=_EITHER))
    async def revoke(request: Request, body: Annotated[Revoke, Depends(body_of(Revoke, media=_EITHER))]) -> Response:
        """Make a token worthless (RFC 7009); 200 also for one that nobody knows, or that is another client's."""
        client = await client_of(request, body, grants)
        await sessions.revoke(body.token, visitor_of(request), client=client)
        return Response(status_code=200, headers=NO_STORE)

    @api.post("/logout", status_code=204)
    async def logout(request: Request, identity: someone) -> Response:
        """End this session."""
        await sessions.logout(identity, visitor_of(request))
        return Response(status_code=204, headers=NO_STORE)

    @api.post("/logout-all", status_code=204)
    async def logout_all(request: Request, identity: someone) -> Response:
        """End every session of this user."""
        await sessions.logout_all(identity, visitor_of(request))
        return Response(status_code=204, headers=NO_STORE)

    @api.get("/me")
    async def me(identity: someone) -> Response:
        """The identity as the services see it."""
        return JSONResponse(_as_services_see(identity), headers=NO_STORE)

    return api


def _answer(request: Request, outcome: Tokens | Refusal) -> Response:
    if isinstance(outcome, Refusal):
        return refused(request, outcome)
    return JSONResponse({"token_type": "Bearer", **dataclasses.asdict(outcome)}, headers=NO_STORE)


def _as_services_see(identity: Identity) -> dict[str, Any]:
    return {
        "user_id": identity.sub,
        "roles": sorted(identity.roles),
        "scopes": sorted(identity.scopes),
        "session_id": identity.sid,
        "token_id": identity.jti,
        "auth_time": identity.auth_time,
        "client_id": identity.client_id,
    }
