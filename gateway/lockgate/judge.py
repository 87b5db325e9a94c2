"""May this request pass? The stages that every credential takes, for every kind of request.

    authenticate   which credential?                      400 401 403
    admit          was it revoked? within rate limits?     401 429 503
    authorize      does it meet the route's demand?        401 403

Forwarded requests, WebSockets, renewals, forward-auth and the gateway's own calls all pass here. The stages stand once,
as callbacks, because a forwarded request must not cost a coroutine; `judge_later` awaits the same stages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from lockgate.admission.gate import Admission, Decide, Verdict
from lockgate.clock import Clock
from lockgate.edge.request import InboundRequest
from lockgate.errors import Reason, Refusal
from lockgate.identity.model import Identity, VerifiedClaims
from lockgate.policy.authorize import Demand, authorize
from lockgate.policy.limits import Limit, choose_limits
from lockgate.sessions.authenticator import Authenticator, Pending
from lockgate.stores.link import await_callback, call_back
from lockgate_common.background import BackgroundTasks

OWN_CALL: Final = Demand("required", frozenset(), ())
"""Of the gateway's own calls, which look at roles and rights themselves."""


class Judge:
    """Takes requests through the stages.

    Args:
        authenticator: finds the claims of a request.
        admission: asks Redis about them.
        clock: the time.
    """

    def __init__(self, authenticator: Authenticator, admission: Admission, clock: Clock) -> None:
        self._authenticator = authenticator
        self._admission = admission
        self._clock = clock
        self._lookups = BackgroundTasks()

    def judge(self, request: InboundRequest, demand: Demand, decide: Decide, tickets: Sequence[str] = ()) -> None:
        """Judge a request.

        Args:
            request: without tickets in its query.
            demand: what it must bring.
            decide: called once with the verdict, at once or in a later tick.
            tickets: those that were taken out of the query.
        """
        claims = None if demand.auth == "public" else self._authenticator.authenticate(request, tickets)
        if isinstance(claims, Pending):
            self._look_up(claims, partial(self._admit_claims, request.client, request.path, demand, decide))
        else:
            self._admit_claims(request.client, request.path, demand, decide, claims)

    async def judge_later(self, request: InboundRequest, demand: Demand) -> Verdict:
        """The verdict of `judge`, for callers that can wait."""
        return await await_callback(partial(self.judge, request, demand))

    async def identify(self, request: InboundRequest) -> Identity | Refusal:
        """The identity that makes one of the gateway's own calls."""
        verdict = await self.judge_later(request, OWN_CALL)
        if isinstance(verdict, Refusal):
            return verdict
        return verdict.identity or Refusal(Reason.NO_CREDENTIALS)

    async def renew(self, token: bytes, path: str, demand: Demand, current: VerifiedClaims) -> VerifiedClaims | Refusal:
        """Judge a token that is to take the place of an open socket's: of the same user and session.

        Args:
            token: as the client sent it.
            path: of the handshake.
            demand: what the handshake had to bring; a renewal counts for no rate limit.
            current: the claims that the socket lives by.
        """
        claims = await self._authenticator.verify(token)
        if isinstance(claims, Refusal):
            return claims
        if (claims.principal.sub, claims.principal.sid) != (current.principal.sub, current.principal.sid):
            return Refusal(Reason.TOKEN_BAD_CLAIMS, note="of another session")
        demand = demand._replace(limits=(), role_limits=())
        verdict: Verdict = await await_callback(lambda decide: self._admit_claims("", path, demand, decide, claims))
        return verdict if isinstance(verdict, Refusal) else claims

    async def close(self) -> None:
        """Give up the lookups that have not ended."""
        await self._lookups.close()

    def _admit_claims(
        self, client: str, path: str, demand: Demand, decide: Decide, claims: VerifiedClaims | Refusal | None
    ) -> None:
        if isinstance(claims, Refusal):
            decide(claims)
            return
        # The claims alone decide about rights. A client learns of missing rights after admission, so that a revoked
        # token gets 401. Micro-optimisation: so the usual request takes the caller's callback to admission as it is.
        missing = authorize(demand, None if claims is None else claims.principal, path, self._clock)
        limits: Sequence[Limit] = demand.limits
        if demand.role_limits and claims is not None:
            limits = choose_limits(limits, demand.role_limits, claims.principal.roles)
        if claims is None and demand.auth == "required":
            decide(Refusal(Reason.NO_CREDENTIALS))
        elif missing is None:
            self._admission.ask(claims, limits, client, decide)
        else:
            self._admission.ask(claims, limits, client, partial(_refuse_admitted, missing, decide))

    def _look_up(self, pending: Pending, then: Callable[[VerifiedClaims | Refusal | None], None]) -> None:
        async def find() -> None:
            call_back(then, await pending.find())

        self._lookups.start(find())


def _refuse_admitted(missing: Refusal, decide: Decide, verdict: Verdict) -> None:
    decide(verdict if isinstance(verdict, Refusal) else missing)
