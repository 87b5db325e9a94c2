"""`/auth`: end a session, and show the caller's identity.

Login is in `endpoints.login`; refresh, token and revoke are in `endpoints.grants`.
"""

# Without `from __future__ import annotations`: FastAPI could not look up `caller`, which is local, by its name, and
# would take the identity from the query.

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from lockgate.edge.responses import SECURITY_HEADERS
from lockgate.endpoints.browser import Browser, PresentedCookie
from lockgate.endpoints.dependencies import call_origin_of, identity_of
from lockgate.endpoints.problems import describe_refusals, inbound_request, problem_response
from lockgate.errors import Reason, Refusal
from lockgate.identity.model import Identity
from lockgate.judge import Judge
from lockgate.sessions.lifecycle import Sessions


def build_router(sessions: Sessions, judge: Judge, browser: Browser) -> APIRouter:
    """The calls of `/auth` about the caller's own session."""
    api = APIRouter(prefix="/auth", tags=["auth"])
    caller = Annotated[Identity, Depends(identity_of(judge))]
    unlimited = Annotated[Identity, Depends(identity_of(judge, unlimited=True))]

    def without_cookie(presented: PresentedCookie) -> Response:
        deleted = browser.delete_cookie(presented)
        return Response(status_code=204, headers={**SECURITY_HEADERS, **dict(deleted)})

    @api.post("/logout", status_code=204)
    async def logout(request: Request) -> Response:
        """End this session. The response deletes a session cookie also where its session has ended already."""
        cookie = browser.read_cookie(inbound_request(request))
        identity = await judge.identify(inbound_request(request))
        if not isinstance(identity, Refusal):
            await sessions.logout(identity, call_origin_of(request))
        elif cookie is None or identity.reason.status != HTTPStatus.UNAUTHORIZED:
            return problem_response(request, identity)
        return without_cookie(cookie)

    @api.post("/logout-all", status_code=204, responses=describe_refusals(Reason.BEYOND_SESSION))
    async def logout_all(request: Request, identity: unlimited) -> Response:
        """End every session of this user."""
        await sessions.logout_all(identity, call_origin_of(request))
        return without_cookie(browser.read_cookie(inbound_request(request)))

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
