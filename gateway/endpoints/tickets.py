"""`POST /auth/tickets`: a one-time ticket for a browser's WebSocket."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from gateway.edge.answers import SECURITY_HEADERS
from gateway.endpoints.problems import RefusedError, inbound
from gateway.errors import Reason, Refusal
from gateway.identity.bearer import bearer
from gateway.pipeline import Pipeline
from gateway.sessions.tickets import Tickets
from gateway.stores.layout import TICKET_LIFE_S


def router(tickets: Tickets, pipeline: Pipeline) -> APIRouter:
    """The call for tickets."""
    api = APIRouter(prefix="/auth", tags=["auth"])

    @api.post("/tickets", status_code=201)
    async def ticket(request: Request) -> Response:
        """A ticket that stands for the access token of this call, once."""
        source = inbound(request)
        verdict = await pipeline.admit(source)
        if isinstance(verdict, Refusal):
            raise RefusedError(verdict)
        token = bearer(source.headers.authorization)
        if token is None or isinstance(token, Refusal):
            # Only who has a token needs a ticket: a session cookie opens a WebSocket by itself.
            raise RefusedError(Refusal(Reason.NO_CREDENTIALS))
        words = {"ticket": await tickets.issue(token), "expires_in": TICKET_LIFE_S}
        return JSONResponse(words, status_code=201, headers=dict(SECURITY_HEADERS))

    return api
