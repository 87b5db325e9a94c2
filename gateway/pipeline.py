"""The main flow: what happens to a request, stage by stage.

edge        bytes → InboundRequest                    (before this file: `edge.protocol`)
policy      which route? default deny                  404 405 501
identity    Authorization → VerifiedClaims             400 401
admission   still welcome? → Identity                  401 429 503
policy      may this identity do this here?            403
forward     sign, send, stream back                    502 503 504
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from gateway.admission.gate import Admission, Verdict
from gateway.clock import Clock
from gateway.edge.protocol import EdgeProtocol, Handler
from gateway.edge.request import InboundRequest
from gateway.edge.ticker import Ticker
from gateway.errors import Reason, Refusal
from gateway.forward.exchange import Exchange
from gateway.forward.service import Service
from gateway.identity.bearer import bearer
from gateway.identity.model import Identity, VerifiedClaims
from gateway.identity.verifier import Verifier
from gateway.policy.authorize import authorize
from gateway.policy.routes import Route, RouteTable, find, is_own

AnswerHere = Callable[[InboundRequest, EdgeProtocol], Handler]


class Pipeline:
    """Takes each request through the stages. Nothing flows back, and a stage that refuses costs nothing of the next.

    Args:
        routes: the route table.
        verifier: of access tokens.
        admission: asks Redis.
        services: by route name.
        answer_here: handles what the gateway answers itself.
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
        ticker: Ticker,
        clock: Clock,
    ) -> None:
        self._routes = routes
        self._verifier = verifier
        self._admission = admission
        self._services = services
        self._answer_here = answer_here
        self._ticker = ticker
        self._clock = clock

    def begin(self, request: InboundRequest, client: EdgeProtocol) -> Handler:
        """A request's head has arrived; its body, if any, goes to the handler that is returned."""
        if is_own(request.path):
            return self._answer_here(request, client)
        exchange = Exchange(request, client, self._ticker, self._clock)
        route = find(self._routes, request.method, request.path)
        if isinstance(route, Refusal):
            exchange.refuse(route)
            return exchange
        client.route = route.name
        claims = None if route.auth == "public" else self.identify(request)
        if claims is None and route.auth == "required":
            exchange.refuse(Refusal(Reason.NO_CREDENTIALS))
        elif isinstance(claims, Refusal):
            exchange.refuse(claims)
        else:
            self._admission.ask(
                claims, route.limits, request.client, partial(self._let_in, exchange, route, request.method)
            )
        return exchange

    def identify(self, request: InboundRequest) -> VerifiedClaims | Refusal | None:
        """Who is asking; `None` where the request carries no credentials."""
        token = bearer(request.headers.authorization)
        if token is None or isinstance(token, Refusal):
            return token
        return self._verifier.verify(token)

    async def admit(self, request: InboundRequest) -> Identity | Refusal:
        """From identity to admission, for calls that the gateway answers itself and that need an identity."""
        claims = self.identify(request)
        if claims is None:
            return Refusal(Reason.NO_CREDENTIALS)
        if isinstance(claims, Refusal):
            return claims
        return await self._admission.verdict(claims)

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
