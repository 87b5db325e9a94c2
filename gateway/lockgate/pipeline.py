"""The main flow: what happens to a request, stage by stage.

edge        bytes → InboundRequest                    (before this file: `edge.protocol`)
policy      which route? default deny                  404 405 501
judge       authenticate → admit → authorize           400 401 403 429 503
forward     sign, send, stream back                    502 503 504
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from lockgate.admission.open_tokens import OpenTokens
from lockgate.clock import Clock
from lockgate.edge.connection import ClientConnection
from lockgate.edge.handler import Handler
from lockgate.edge.own_call import Reply, write_reply
from lockgate.edge.request import InboundRequest
from lockgate.edge.responses import render_no_content
from lockgate.edge.ticker import Ticker
from lockgate.edge.wire import Field
from lockgate.errors import Reason, Refusal
from lockgate.forward.exchange import Exchange
from lockgate.forward.services import Services
from lockgate.forward.websocket.handshake import is_handshake
from lockgate.forward.websocket.socket import Socket, Sockets
from lockgate.identity.ticket import taken_from_stream
from lockgate.judge import Judge
from lockgate.keys.current import Current
from lockgate.policy.own_paths import is_options_probe
from lockgate.policy.routes import RouteTable, find_route
from lockgate.policy.rules import Rules

AnswerHere = Callable[[InboundRequest, ClientConnection], Handler]


class Pipeline:
    """Takes each request through the stages. Nothing flows back, and a refused request costs nothing of later stages.

    Args:
        rules: the rules in force.
        judge: authenticates, admits and authorizes.
        services: of the same rules.
        answer_here: handles the gateway's own calls.
        sockets: what the WebSockets of this worker share.
        open_tokens: end a response with its token.
        ticker: the worker's coarse clock.
        clock: the time.
    """

    def __init__(  # noqa: PLR0913 - one argument for each stage
        self,
        *,
        rules: Current[Rules],
        judge: Judge,
        services: Services,
        answer_here: AnswerHere,
        sockets: Sockets,
        open_tokens: OpenTokens,
        ticker: Ticker,
        clock: Clock,
    ) -> None:
        self._rules = rules
        self._judge = judge
        self._services = services
        self._answer_here = answer_here
        self._sockets = sockets
        self._open_tokens = open_tokens
        self._ticker = ticker
        self._clock = clock

    def begin(self, request: InboundRequest, client: ClientConnection) -> Handler | None:
        """Start a request whose head has arrived.

        Returns:
            What takes the request's body, and hears of its client; `None`: the response was written already.
        """
        rules = self._rules.value
        may_end_here = request.headers.origin is not None or rules.routes.https is not None
        if may_end_here and self._answer_first(rules, request, client):
            return None
        route = find_route(rules.routes, request)
        if isinstance(route, Refusal):
            refusal = _refuse_own(rules.routes, request, route)
            if refusal is None:
                return self._answer_here(request, client)
            client.refuse_request(refusal)
            return None
        client.route = route.name
        if route.reply is not None:
            self._answer_at_once(request, client, route.reply.respond_to(request))
            return None
        service = self._services.by_route[route.name]
        if request.headers.upgrade:
            return Socket(request, client, route, rules.origins, service, self._sockets)
        tickets: list[str] = []
        if request.query is not None:
            request, tickets = taken_from_stream(request)
        exchange = Exchange(request, client, service, route.timeout_s, self._ticker, self._clock, self._open_tokens)
        self._judge.judge(request, route.demands[request.method], exchange.take_verdict, tickets)
        return exchange

    async def sign_for_proxy(self, request: InboundRequest, path: str) -> list[Field] | Refusal:
        """Judge a request that a front proxy holds, and sign its identity for the service of its route.

        Args:
            request: as it is judged.
            path: as the proxy sends it, which the service checks the signature with.
        """
        rules = self._rules.value
        route = find_route(rules.routes, request)
        if isinstance(route, Refusal):
            return route
        if route.reply is not None:
            return Refusal(Reason.NO_ROUTE)  # no service gets the request that the proxy holds
        if route.rewrite is not None:
            return Refusal(Reason.REWRITTEN)  # the proxy sends its own path, which the route's service does not have
        requests = self._services.by_route[route.name].requests
        if is_handshake(request):  # the proxy upgrades by itself, so the page that asks is checked here
            refusal = rules.origins.refuse_foreign_socket(request, route, carries_token=False)
            if refusal is not None:
                return refusal
        verdict = await self._judge.judge_later(request, route.demands[request.method])
        if isinstance(verdict, Refusal):
            return verdict
        return requests.identity_fields(request, verdict.identity, path=path, now=self._clock.now())

    def _answer_first(self, rules: Rules, request: InboundRequest, client: ClientConnection) -> bool:
        """Answer a preflight, or a request that has to come by https; whether the request was one of these."""
        https = rules.routes.https
        to_https = None if https is None else https.respond_to(request)
        if to_https is not None:
            self._answer_at_once(request, client, to_https)
            return True
        preflight = rules.origins.judge_preflight(request)
        if preflight is not None:
            self._answer_preflight(request, client, preflight)
        return preflight is not None

    def _answer_at_once(self, request: InboundRequest, client: ClientConnection, reply: Reply | Refusal) -> None:
        if isinstance(reply, Refusal):
            client.refuse_request(reply)
        else:
            write_reply(reply, request, client, self._ticker.date, is_read=not request.has_body)

    def _answer_preflight(self, request: InboundRequest, client: ClientConnection, preflight: str | Refusal) -> None:
        if isinstance(preflight, Refusal):
            client.refuse_request(preflight)
            return
        if request.has_body or not client.keep_alive:
            client.keep_alive = False
            preflight += "Connection: close\r\n"
        client.write_now(render_no_content(preflight, request.request_id, self._ticker.date))
        client.finish_response(HTTPStatus.NO_CONTENT)


def _refuse_own(routes: RouteTable, request: InboundRequest, unrouted: Refusal) -> Refusal | None:
    """The refusal of a request without a route; `None` for one that the gateway itself answers."""
    if unrouted.reason is Reason.NO_ROUTE and is_options_probe(request):
        return None
    if unrouted.reason is Reason.BAD_TARGET or not routes.is_own(request.host, request.path):
        return unrouted
    return routes.refuse_own(request)
