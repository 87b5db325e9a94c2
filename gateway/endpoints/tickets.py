"""`POST /auth/tickets`: a one-time ticket for a browser's WebSocket or event stream."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from gateway.edge.answers import SECURITY_HEADERS
from gateway.edge.request import InboundRequest
from gateway.endpoints.problems import RefusedError, described, inbound
from gateway.errors import Reason, Refusal
from gateway.identity.bearer import bearer
from gateway.identity.model import UnverifiedToken
from gateway.pipeline import Pipeline
from gateway.sessions.cookie_sessions import CookieSessions
from gateway.sessions.tickets import Tickets
from gateway.stores.layout import TICKET_LIFE_S


def router(tickets: Tickets, pipeline: Pipeline, cookies: CookieSessions) -> APIRouter:
    """The call for tickets."""
    api = APIRouter(prefix="/auth", tags=["auth"])

    @api.post("/tickets", status_code=201, responses=described(Reason.TOO_MANY_TICKETS))
    async def ticket(request: Request) -> Response:
        """A ticket that stands for the access token of this call, once; by a cookie, for the token behind it."""
        source = inbound(request)
        verdict = await pipeline.admit(source)
        if isinstance(verdict, Refusal):
            raise RefusedError(verdict)
        token = await _token_of(source, cookies)
        if token is None or isinstance(token, Refusal):
            raise RefusedError(token or Refusal(Reason.NO_CREDENTIALS))
        issued = await tickets.issue(token, verdict.sub)
        if isinstance(issued, Refusal):
            raise RefusedError(issued)
        words = {"ticket": issued, "expires_in": TICKET_LIFE_S}
        return JSONResponse(words, status_code=201, headers=dict(SECURITY_HEADERS))

    return api


async def _token_of(source: InboundRequest, cookies: CookieSessions) -> UnverifiedToken | Refusal | None:
    """The token of a call that was let in, from wherever it is."""
    value = cookies.presented(source.headers)
    if value is None or isinstance(value, Refusal):
        return bearer(source.headers.authorization)
    cookie = cookies.read(value)
    return cookie if isinstance(cookie, Refusal) else await cookies.token(cookie, source.own_id)
