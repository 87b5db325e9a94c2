"""The main flow: what happens to a request, stage by stage.

edge        bytes → InboundRequest                    (before this file: `edge.protocol`)
policy      which route? default deny                  404 405 501
identity    Authorization or cookie → VerifiedClaims   400 401 403
admission   still welcome? → Identity                  401 429 503
policy      may this identity do this here?            403
forward     sign, send, stream back                    502 503 504
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import partial

from lockgate.admission.gate import Admission, Verdict
from lockgate.admission.open_tokens import Watches
from lockgate.clock import Clock
from lockgate.edge.connection import ClientConnection
from lockgate.edge.handler import Handler
from lockgate.edge.preflight import Preflight
from lockgate.edge.request import InboundRequest
from lockgate.edge.ticker import Ticker
from lockgate.edge.wire import Field
from lockgate.errors import Reason, Refusal, StoreUnavailableError
from lockgate.forward.exchange import Exchange
from lockgate.forward.service import Service
from lockgate.forward.websocket.handshake import is_one, read
from lockgate.forward.websocket.socket import Socket, Sockets
from lockgate.forward.websocket.upgrade import Entry
from lockgate.identity.bearer import bearer, format_gate, in_query
from lockgate.identity.model import Identity, VerifiedClaims
from lockgate.identity.session_cookie import SessionCookie
from lockgate.identity.ticket import taken_from_stream
from lockgate.identity.verifier import Verifier
from lockgate.policy.authorize import authorize
from lockgate.policy.origins import Origins
from lockgate.policy.routes import Route, RouteTable, asks_nothing, find, is_own
from lockgate.sessions.cookie_sessions import CookieSessions
from lockgate.sessions.tickets import Tickets

AnswerHere = Callable[[InboundRequest, ClientConnection], Handler]


class Pipeline:
    """Takes each request through the stages. Nothing flows back, and a stage that refuses costs nothing of the next.

    Args:
        routes: the route table.
        verifier: of access tokens.
        admission: asks Redis.
        services: by route name.
        answer_here: handles what the gateway answers itself.
        sockets: what open WebSockets share.
        watches: of what stays open.
        tickets: stand for tokens.
        cookies: so do these.
        origins: whose pages may do what.
        ticker: the worker's coarse clock.
        clock: the time.
    """

    def __init__(  # noqa: PLR0913 - one argument for each stage
        self,
        *,
        routes: RouteTable,
        verifier: Verifier,
        admission: Admission,
        services: Mapping[str, Service],
        answer_here: AnswerHere,
        sockets: Sockets,
        watches: Watches,
        tickets: Tickets,
        cookies: CookieSessions,
        origins: Origins,
        ticker: Ticker,
        clock: Clock,
    ) -> None:
        self._routes = routes
        self._verifier = verifier
        self._admission = admission
        self._services = services
        self._answer_here = answer_here
        self._sockets = sockets
        self._watches = watches
        self._tickets = tickets
        self._cookies = cookies
        self._origins = origins
        self._ticker = ticker
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, request: InboundRequest, client: ClientConnection) -> Handler:
        """A request's head has arrived; its body, if any, goes to the handler that is returned."""
        if request.headers.origin is not None:
            preflight = self._origins.preflight(request)
            if preflight is not None:
                return self._answer_preflight(request, client, preflight)
        route = find(self._routes, request.method, request.path)
        if isinstance(route, Refusal):
            own = asks_nothing(request) or (is_own(request.path) and route.reason is not Reason.BAD_TARGET)
            return self._answer_here(request, client) if own else self._refuse(request, client, route)
        client.route = route.name
        if request.headers.upgrade:
            return Socket(request, client, route, self, self._sockets)
        tickets: list[str] = []
        if request.query is not None:
            request, tickets = taken_from_stream(request)
        exchange = Exchange(request, client, self._ticker, self._clock, self._watches)
        if tickets and route.auth != "public":
            self._begin_task(self._enter_by_ticket(exchange, route, request, tickets))
            return exchange
        claims = self._claims_for(route, request)
        if isinstance(claims, Refusal):
            exchange.refuse(claims)
        elif isinstance(claims, SessionCookie):
            self._cookies.when_known(claims, request.own_id, partial(self._ask, exchange, route, request))
        else:
            self._admission.ask(
                claims, route.limits, request.client, partial(self._let_in, exchange, route, request.method)
            )
        return exchange

    async def enter(self, request: InboundRequest, route: Route) -> Verdict:
        """From identity to authorization, for what can wait: the stages of `begin`, in the same order."""
        claims = await self._settled(self._claims_for(route, request), request)
        if isinstance(claims, Refusal):
            return claims
        verdict = await self._admission.answer(claims, route.limits, request.client)
        if isinstance(verdict, Refusal):
            return verdict
        return authorize(route, request.method, verdict.identity) or verdict

    async def open_socket(self, request: InboundRequest, route: Route) -> Entry | Refusal:
        """Let a WebSocket's handshake in. A token that it carries in its own way is judged like any other."""
        handshake = read(request, route)
        if isinstance(handshake, Refusal):
            return handshake
        foreign = self._origins.foreign_socket(request, route, carries_token=handshake.carries_token)
        if foreign is not None:
            return foreign
        token = handshake.token
        if handshake.ticket is not None:
            token = await self._tickets.redeem(handshake.ticket)
            if token is None:
                return Refusal(Reason.TICKET_UNKNOWN)
        if token is not None:
            request = _with_token(request, token)
        verdict = await self.enter(request, route)
        return verdict if isinstance(verdict, Refusal) else Entry(handshake, verdict, self._services[route.name])

    async def renew(self, token: str, route: Route, current: VerifiedClaims) -> VerifiedClaims | Refusal:
        """Let another token take the place of an open socket's: of the same user, and of the same session."""
        unverified = format_gate(token.encode("utf-8", "replace"))
        claims = unverified if isinstance(unverified, Refusal) else self._verifier.verify(unverified)
        if isinstance(claims, Refusal):
            return claims
        if (claims.principal.sub, claims.principal.sid) != (current.principal.sub, current.principal.sid):
            return Refusal(Reason.TOKEN_BAD_CLAIMS, note="of another session")
        verdict = await self._admission.verdict(claims)
        if isinstance(verdict, Refusal):
            return verdict
        return authorize(route, "GET", verdict) or claims

    async def vouch(self, request: InboundRequest, path: str) -> list[Field] | Refusal:
        """Judge a request that a front proxy holds, and sign who asks for it to the service of its route.

        Args:
            request: as it is judged.
            path: as the proxy sends it, which is what the service checks the signature with.
        """
        route = find(self._routes, request.method, request.path)
        if isinstance(route, Refusal):
            return route
        # The proxy upgrades by itself; whose page asks has to be looked at before.
        refusal = self._origins.foreign_socket(request, route, carries_token=False) if is_one(request) else None
        verdict = refusal or await self.enter(request, route)
        if isinstance(verdict, Refusal):
            return verdict
        requests = self._services[route.name].requests
        return requests.identity_fields(request, verdict.identity, path=path, now=self._clock.now())

    def identify(self, request: InboundRequest) -> VerifiedClaims | SessionCookie | Refusal | None:
        """Who is asking; `None` where the request carries no credentials, a cookie where Redis has to be asked for it.

        A cookie and a Bearer are two ways at once, and so is a token in the query beside one of them; neither is what
        is left when the other fails, however malformed it is (R-41, R-42, R-43). Credentials of another scheme are for
        some other reader, such as a front door's Basic, and count for nothing (R-204).
        """
        facts = request.headers
        if (
            request.query is not None
            and in_query(request.query)
            and (facts.session_cookies or bearer(facts.authorization) is not None)
        ):
            return Refusal(Reason.REPEATED_CREDENTIALS)
        if facts.session_cookies:
            value = self._cookies.presented(request.headers)
            if value is not None:
                return value if isinstance(value, Refusal) else self._by_cookie(request, value)
        remembered = self._verifier.recall(request.headers.credentials)
        if remembered is not None:
            return remembered
        token = bearer(request.headers.authorization)
        if token is None or isinstance(token, Refusal):
            return token
        return self._verifier.verify(token)

    async def admit(self, request: InboundRequest) -> Identity | Refusal:
        """From identity to admission, for calls that the gateway answers itself and that need an identity."""
        claims = await self._settled(self.identify(request), request)
        if claims is None:
            return Refusal(Reason.NO_CREDENTIALS)
        if isinstance(claims, Refusal):
            return claims
        return await self._admission.verdict(claims)

    def _by_cookie(self, request: InboundRequest, value: bytes) -> VerifiedClaims | SessionCookie | Refusal:
        if bearer(request.headers.authorization) is not None:
            return Refusal(Reason.REPEATED_CREDENTIALS)
        refusal = self._origins.cross_site(request)
        if refusal is not None:
            return refusal
        return self._cookies.recall(value, request.own_id) or self._cookies.read(value)

    async def _settled(
        self, found: VerifiedClaims | SessionCookie | Refusal | None, request: InboundRequest
    ) -> VerifiedClaims | Refusal | None:
        """The same, with a cookie looked up."""
        return await self._cookies.claims(found, request.own_id) if isinstance(found, SessionCookie) else found

    def _claims_for(self, route: Route, request: InboundRequest) -> VerifiedClaims | SessionCookie | Refusal | None:
        """Who is asking, as far as the route wants to know."""
        if route.auth == "public":
            return None
        claims = self.identify(request)
        return Refusal(Reason.NO_CREDENTIALS) if claims is None and route.auth == "required" else claims

    def _ask(self, exchange: Exchange, route: Route, request: InboundRequest, claims: VerifiedClaims | Refusal) -> None:
        """A cookie or a ticket was looked up."""
        if isinstance(claims, Refusal):
            exchange.refuse(claims)
        elif not exchange.over:
            decide = partial(self._let_in, exchange, route, request.method)
            self._admission.ask(claims, route.limits, request.client, decide)

    def _begin_task(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the loop itself keeps no hold of it
        task.add_done_callback(self._tasks.discard)

    async def _enter_by_ticket(
        self, exchange: Exchange, route: Route, request: InboundRequest, tickets: list[str]
    ) -> None:
        """From identity on, for an event stream whose token is behind a ticket."""
        if len(tickets) > 1 or bearer(request.headers.authorization) is not None:
            exchange.refuse(Refusal(Reason.REPEATED_CREDENTIALS))
            return
        try:
            token = await self._tickets.redeem(tickets[0])
        except StoreUnavailableError as error:
            exchange.refuse(Refusal(Reason.STORE_AWAY, note=str(error)))
            return
        claims = None if token is None else await self._settled(self.identify(_with_token(request, token)), request)
        self._ask(exchange, route, request, claims or Refusal(Reason.TICKET_UNKNOWN))

    def _answer_preflight(self, request: InboundRequest, client: ClientConnection, preflight: str | Refusal) -> Handler:
        if isinstance(preflight, str):
            return Preflight(request, client, preflight, self._ticker.date)
        return self._refuse(request, client, preflight)

    def _refuse(self, request: InboundRequest, client: ClientConnection, refusal: Refusal) -> Handler:
        exchange = Exchange(request, client, self._ticker, self._clock, self._watches)
        exchange.refuse(refusal)
        return exchange

    def _let_in(self, exchange: Exchange, route: Route, method: str, verdict: Verdict) -> None:
        """Admission has answered."""
        if isinstance(verdict, Refusal):
            exchange.refuse(verdict)
            return
        refusal = authorize(route, method, verdict.identity)
        if refusal is not None:
            exchange.refuse(refusal)
        else:
            exchange.forward(self._services[route.name], verdict, route.timeout_s)


def _with_token(request: InboundRequest, token: bytes) -> InboundRequest:
    """A request as if its token had come in Authorization, for the stages that judge it."""
    carried = request.headers._replace(authorization=(b"Bearer " + token,), credentials=b"")
    return request._replace(headers=carried)
