"""`POST /auth/tickets`: a one-time ticket for a browser's WebSocket or event stream."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from lockgate.edge.request import InboundRequest
from lockgate.edge.responses import SECURITY_HEADERS
from lockgate.endpoints.problems import RefusedError, describe_refusals, inbound_request
from lockgate.errors import Reason, Refusal
from lockgate.identity.bearer import bearer
from lockgate.identity.model import UnverifiedToken
from lockgate.judge import Judge
from lockgate.sessions.cookie_sessions import CookieSessions
from lockgate.sessions.tickets import Tickets
from lockgate.stores.layout import TICKET_LIFE_S


def build_router(tickets: Tickets, judge: Judge, cookies: CookieSessions) -> APIRouter:
    """The call for tickets."""
    api = APIRouter(prefix="/auth", tags=["auth"])

    @api.post("/tickets", status_code=201, responses=describe_refusals(Reason.TOO_MANY_TICKETS))
    async def ticket(request: Request) -> Response:
        """A ticket that stands for the access token of this call, or of its session cookie, once."""
        source = inbound_request(request)
        verdict = await judge.identify(source)
        if isinstance(verdict, Refusal):
            raise RefusedError(verdict)
        token = await _token_of(source, cookies)
        if token is None or isinstance(token, Refusal):
            raise RefusedError(token or Refusal(Reason.NO_CREDENTIALS))
        issued = await tickets.issue(token, verdict.sub)
        if isinstance(issued, Refusal):
            raise RefusedError(issued)
        words = {"ticket": issued, "expires_in": TICKET_LIFE_S}
        return JSONResponse(words, status_code=201, headers=SECURITY_HEADERS)

    return api


async def _token_of(source: InboundRequest, cookies: CookieSessions) -> UnverifiedToken | Refusal | None:
    """The access token of an identified call: in its Authorization field, or behind its session cookie."""
    value = cookies.presented(source.headers)
    if value is None or isinstance(value, Refusal):
        return bearer(source.authorization)
    cookie = cookies.read(value)
    return cookie if isinstance(cookie, Refusal) else await cookies.token(cookie, source.own_id)
