"""Judges WebSocket handshakes, and the tokens by which open WebSockets renew themselves."""

from __future__ import annotations

from typing import NamedTuple

from lockgate.admission.gate import Admitted
from lockgate.edge.request import InboundRequest
from lockgate.errors import Reason, Refusal
from lockgate.forward.service import Service
from lockgate.forward.websocket.handshake import Handshake, parse_handshake
from lockgate.identity.model import VerifiedClaims
from lockgate.judge import Judge
from lockgate.policy.origins import Origins
from lockgate.policy.route import Route
from lockgate.sessions.authenticator import with_token
from lockgate.sessions.tickets import Tickets


class Entry(NamedTuple):
    """An admitted handshake.

    Attributes:
        handshake: as the service may see it.
        admitted: the identity of the handshake.
        service: the service of the route.
    """

    handshake: Handshake
    admitted: Admitted
    service: Service


class Entrance:
    """Judges handshakes and renewals like any other request.

    Args:
        judge: authenticates, admits and authorizes.
        tickets: exchanges a ticket for its access token.
    """

    def __init__(self, judge: Judge, tickets: Tickets) -> None:
        self._judge = judge
        self._tickets = tickets

    async def open_socket(
        self, request: InboundRequest, route: Route, origins: Origins, service: Service
    ) -> Entry | Refusal:
        """Judge a handshake. A token among its subprotocols or behind a ticket is judged like any other.

        Args:
            request: the handshake.
            route: the route of its path.
            origins: the pages that may open a WebSocket, of the same rules as the route.
            service: the service of the route.

        Raises:
            StoreUnavailableError: the ticket could not be looked up.
        """
        handshake = parse_handshake(request, route)
        if isinstance(handshake, Refusal):
            return handshake
        refusal = origins.refuse_foreign_socket(request, route, carries_token=handshake.carries_token)
        if refusal is not None:
            return refusal
        token = handshake.token
        if handshake.ticket is not None:
            token = await self._tickets.redeem(handshake.ticket)
            if token is None:
                return Refusal(Reason.TICKET_UNKNOWN)
        judged = request if token is None else with_token(request, token)
        verdict = await self._judge.judge_later(judged, route.demands[request.method])
        return verdict if isinstance(verdict, Refusal) else Entry(handshake, verdict, service)

    async def renew_token(
        self, token: str, path: str, route: Route, current: VerifiedClaims
    ) -> VerifiedClaims | Refusal:
        """Judge a token that replaces an open socket's token of the same user and session.

        Args:
            token: as the client sent it.
            path: of the handshake.
            route: the socket's route.
            current: the claims of the socket's present token.
        """
        return await self._judge.renew(token.encode("utf-8", "replace"), path, route.demands["GET"], current)
