"""`/auth`: end a token or a session, and show the caller's identity.

Login and refresh are in `endpoints.login`, the token endpoint of OAuth in `endpoints.oauth`.
"""

# Without `from __future__ import annotations`: FastAPI could not look up `caller`, which is local, by its name, and
# would take the identity from the query.

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from lockgate.accounts.throttle import CostBucket
from lockgate.edge.responses import SECURITY_HEADERS
from lockgate.endpoints.bodies import FORM, JSON, body_of, document_body
from lockgate.endpoints.browser import Browser
from lockgate.endpoints.dependencies import OAuthBody, call_origin_of, client_of, identity_of, within_allowance
from lockgate.endpoints.problems import describe_refusals, inbound_request, problem_response
from lockgate.errors import Reason, Refusal
from lockgate.identity.model import Identity
from lockgate.judge import Judge
from lockgate.sessions.lifecycle import Sessions
from lockgate.sessions.oauth_clients import Grants

_EITHER = (JSON, FORM)


class Revoke(OAuthBody):
    """The token to revoke (RFC 7009 section 2.1); a wrong or unknown hint changes nothing.

    A token longer than any that the gateway issues is an unknown token, and no error in the request.
    """

    token: Annotated[str, Field(min_length=1)]
    token_type_hint: str | None = None


def build_router(
    sessions: Sessions, grants: Grants, judge: Judge, browser: Browser, allowance: CostBucket
) -> APIRouter:
    """The calls of `/auth`; how often an address may revoke is its `allowance`."""
    api = APIRouter(prefix="/auth", tags=["auth"])
    caller = Annotated[Identity, Depends(identity_of(judge))]
    unlimited = Annotated[Identity, Depends(identity_of(judge, unlimited=True))]

    @api.post(
        "/revoke",
        response_class=Response,
        dependencies=[Depends(within_allowance(allowance))],
        openapi_extra=document_body(Revoke, media=_EITHER),
    )
    async def revoke(request: Request, body: Annotated[Revoke, Depends(body_of(Revoke, media=_EITHER))]) -> Response:
        """Revoke a token (RFC 7009); 200 also for an unknown token, or a token of another client."""
        client = await client_of(request, body, grants)
        await sessions.revoke(body.token, call_origin_of(request), client=client)
        return Response(status_code=200, headers=SECURITY_HEADERS)

    @api.post("/logout", status_code=204)
    async def logout(request: Request) -> Response:
        """End this session. The response deletes a session cookie also where its session has ended already."""
        cookie = browser.read_cookie(request)
        identity = await judge.identify(inbound_request(request))
        if not isinstance(identity, Refusal):
            await sessions.logout(identity, call_origin_of(request))
        elif cookie is None or identity.reason.status != HTTPStatus.UNAUTHORIZED:
            return problem_response(request, identity)
        return browser.without_cookie(Response(status_code=204, headers=SECURITY_HEADERS), cookie)

    @api.post("/logout-all", status_code=204, responses=describe_refusals(Reason.BEYOND_SESSION))
    async def logout_all(request: Request, identity: unlimited) -> Response:
        """End every session of this user."""
        await sessions.logout_all(identity, call_origin_of(request))
        return browser.without_cookie(Response(status_code=204, headers=SECURITY_HEADERS), browser.read_cookie(request))

    @api.get("/me")
    async def me(identity: caller) -> Response:
        """The identity of the caller, and the client of its token, which services do not see."""
        return JSONResponse(_describe_identity(identity), headers=SECURITY_HEADERS)

    return api


def _describe_identity(identity: Identity) -> dict[str, Any]:
    return {
        "user_id": identity.sub,
        "roles": sorted(identity.roles),
        "scopes": sorted(identity.scopes),
        "session_id": identity.sid,
        "token_id": identity.jti,
        "auth_time": identity.auth_time,
        "client_id": identity.client_id,
    }
