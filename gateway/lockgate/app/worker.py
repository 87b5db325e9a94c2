"""One worker process: its parts put together, opened in one order and closed in the other."""

from __future__ import annotations

import contextlib
import math
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from lockgate.accounts.call_limiter import FULL
from lockgate.app.build import build_auth, build_data_path, build_foundation, build_observability, overtime_bounds
from lockgate.app.http import make_own_calls
from lockgate.app.rule_change import RuleChange
from lockgate.clock import Clock
from lockgate.edge.connection import ClientConnection, Edge
from lockgate.edge.draining import BodyBounds
from lockgate.edge.fair_starter import FairStarter
from lockgate.edge.handler import Handler
from lockgate.edge.notices import Notice
from lockgate.edge.own_call import OwnCall
from lockgate.edge.path import ROOT, SERVER_WIDE
from lockgate.edge.request import InboundRequest
from lockgate.endpoints import health, problems
from lockgate.errors import LockgateError
from lockgate.identity.marks import SharedMarks
from lockgate.keys.auto_rotation import AutoRotation
from lockgate.observe.audit import Event
from lockgate.observe.metrics import Gauges, RulesMetrics
from lockgate.pipeline import Pipeline
from lockgate.policy.rules import Rules
from lockgate.settings import Settings
from lockgate.stores.check import StoreCheck

Act = Callable[[], Awaitable[object]]

ADMISSION_TIMEOUT_S = 0.1
"""How long a forwarded request waits for Redis before it is answered 503."""
EXPIRES_SOON_S: Final = 7 * 86_400
"""`/readyz` warns for this long before a certificate expires."""
TAKE_PASSWORDS: Final = frozenset({"/auth/login", "/auth/password"})
"""The calls that need no credentials and cost most. They alternate with all others, so that a flood of them delays any
other call by one turn."""


class Worker:
    """Everything that one worker process consists of.

    Args:
        settings: the configuration.
        clock: the time.
        admission_timeout_s: how long a request waits for Redis before it is answered 503. Not a setting: no operator
            has a use for another one; where client, worker and service share one event loop, Redis is not to blame.
        marks: of verified signatures, which all workers of the node share; a worker that is alone makes its own.

    Raises:
        ConfigurationError: something it cannot start without is missing or wrong.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        admission_timeout_s: float = ADMISSION_TIMEOUT_S,
        *,
        marks: SharedMarks | None = None,
    ) -> None:
        base = self.base = build_foundation(settings, clock, admission_timeout_s, marks or SharedMarks())
        auth = self.auth = build_auth(base)
        path = self.path = build_data_path(base, auth)
        self.pipeline = Pipeline(
            rules=base.rules,
            judge=path.judge,
            services=path.services,
            answer_here=self._answer_here,
            sockets=path.sockets,
            open_tokens=path.open_tokens,
            ticker=base.ticker,
            clock=clock,
        )
        self.rule_change = RuleChange(base, auth, path)
        turns = FairStarter()
        # Where no password could be checked now, a login is refused before it costs anything.
        self._passwords, self._others = turns.add_queue(auth.accounts.room_for_passwords), turns.add_queue()
        self.observability = build_observability(base, self._build_gauges(), path.services.count_retries)
        self.observability.metrics.rules = self._describe_rules
        self.edge = self._build_edge()
        self.store = StoreCheck(
            base.redis,
            settings.redis_url.get_secret_value() if settings.redis_url else "",
            connected=lambda: base.link.connected,
            refused=lambda: path.revocations.refused,
        )
        self.checks: dict[str, health.Check] = {
            "redis": self.store,
            "keys": self._check_keys,
            "accounts": self._check_accounts,
            "node": self._check_node,
            "rules": self._check_rules,
            "proxies": self._check_proxies,
        }
        if base.keys.certificates is not None:
            self.checks["certificates"] = self._check_certificates
        self.rotation = self._auto_rotation()
        self.calls = make_own_calls(base, auth, path, self.pipeline, self.checks)
        base.link.listen(path.revocations.renew)
        base.keys.ring.listen(lambda _: path.open_tokens.end_unsigned())
        base.keys.listen_refused(self._note_refused_keys)
        base.ticker.add_listener(base.keys.poll)
        base.rules.listen(self._follow_rules)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open the parts in the order of one list, and close them in reverse."""
        await self.store.at_start()
        base, auth, path = self.base, self.auth, self.path
        parts = [
            _closing_part(close=base.redis.aclose),
            *([_closing_part(base.calls.open, close=base.calls.close)] if base.calls is not None else []),
            _closing_part(close=auth.audit.flush),
            _closing_part(close=auth.accounts.close),
            _closing_part(close=auth.cookies.close),
            _closing_part(close=path.judge.close),
            path.services.running(),
            _closing_part(base.link.open, close=base.link.close),
            _closing_part(path.revocations.open, close=path.revocations.close),
            _closing_part(close=path.sockets.close),
            _closing_part(close=base.keys.close),
            *([_closing_part(close=self.rotation.close)] if self.rotation is not None else []),
        ]
        async with contextlib.AsyncExitStack() as stack:
            if self.observability.tracing is not None:
                stack.callback(self.observability.tracing.close)
            for part in parts:
                await stack.enter_async_context(part)
            base.ticker.start()
            stack.callback(base.ticker.stop)
            yield

    def drain(self) -> None:
        """Take no more requests than are under way; end what would never end by itself."""
        self.edge.draining = True
        self.path.open_tokens.close_all()

    def is_certified(self, host: str) -> bool:
        """Whether the gateway has a certificate for a host, which has no port."""
        certificates = self.base.keys.certificates
        return certificates is not None and certificates.value.are_for(host)

    def _build_edge(self) -> Edge:
        settings, rules = self.base.settings, self.base.rules.value
        origins = rules.origins
        return Edge(
            settings.server,
            settings.limits,
            self.base.ticker,
            begin_request=self.pipeline.begin,
            observer=self.observability.observer,
            body_bounds=self._body_bounds,
            speaks_oauth=self._speaks_oauth,
            cors_lines=origins.cors_lines,
            vary=origins.vary,
            read_refused_head=origins.read_refused_head,
            is_certified=self.is_certified,
            hidden=rules.routes.identity_names,
        )

    def _body_bounds(self, request: InboundRequest) -> BodyBounds:
        return self.base.rules.value.body_bounds(request)

    def _speaks_oauth(self, request: InboundRequest) -> bool:
        routes = self.base.rules.value.routes
        return problems.speaks_oauth(request.path) and routes.is_own(request.host, request.path)

    def _follow_rules(self, rules: Rules) -> None:
        """Let the edge and what is open go by new rules, in the callback that puts them in force."""
        settings, origins = rules.settings, rules.origins
        self.edge.replace_rules(
            settings.server,
            settings.limits,
            cors_lines=origins.cors_lines,
            vary=origins.vary,
            read_refused_head=origins.read_refused_head,
            hidden=rules.routes.identity_names,
        )
        self.path.open_tokens.replace_overtime(overtime_bounds(settings.limits))
        self.path.open_tokens.judge_again()

    def _answer_here(self, request: InboundRequest, client: ClientConnection) -> Handler:
        is_about_server = request.path in {SERVER_WIDE, ROOT}
        respond = health.describe_server if is_about_server else self.calls.find(request.method, request.path)
        # A liveness probe asks whether this worker lives; its other calls must not hold the response up.
        queue = None if request.path == health.ALIVE else self._others
        if request.path in TAKE_PASSWORDS:
            queue = self._passwords
        return OwnCall(respond, request, client, self.base.ticker, queue)

    def _certificates_expire_at(self) -> float:
        certificates = self.base.keys.certificates
        return math.inf if certificates is None else certificates.value.expires_at

    def _note_refused_keys(self, what: str, problem: str) -> None:
        # Each worker for itself: each has its own last good keys, and may have its own copy of the files.
        worker = f"{socket.gethostname()}:{os.getpid()}"
        self.auth.audit.record(Event.KEYS_REFUSED, group=what, reason=problem, worker=worker)

    def _auto_rotation(self) -> AutoRotation | None:
        base = self.base
        if not base.settings.keys.rotate_after_s:
            return None
        rotation = AutoRotation(base.settings, self.auth.key_lock, self.auth.audit, base.clock)
        base.ticker.add_listener(rotation.poll)
        return rotation

    def _build_gauges(self) -> Gauges:
        expiry = "Unix time at which the first certificate for clients expires."
        return {
            **(
                {"lockgate_certificate_expires_seconds": (expiry, self._certificates_expire_at)}
                if self.base.keys.certificates is not None
                else {}
            ),
            "lockgate_connections": ("Open client connections.", lambda: len(self.edge.connections)),
            "lockgate_redis_connected": (
                "1 while admission can ask Redis; of a Cluster, any master.",
                lambda: float(self.base.link.connected),
            ),
            **{
                f"lockgate_{notice.name.lower()}": (
                    f"Since the start: {notice.value}.",
                    lambda notice=notice: float(self.edge.heads.notices.counts[notice]),  # type: ignore[misc]
                )
                for notice in Notice
            },
            "lockgate_upstream_load": (
                "Requests at services, and waiting for a connection to one.",
                self.path.services.open_requests,
            ),
        }

    def _describe_rules(self) -> RulesMetrics:
        state = self.rule_change.state
        return RulesMetrics(self.rule_change.revision, state.taken, state.refused)

    async def _check_keys(self) -> str | None:
        # The reason stands in the log: it names files, and any client may ask.
        return "they cannot be reloaded, the last good ones are in use" if self.base.keys.problem else None

    async def _check_certificates(self) -> str | None:
        left_s = self._certificates_expire_at() - self.base.clock.now()
        return None if left_s > EXPIRES_SOON_S else f"one expires in {max(left_s, 0) / 3600:.0f} hours"

    async def _check_accounts(self) -> str | None:
        # No reason to be taken out of service: clients that have a token are served, and other nodes fare no better.
        return self.auth.accounts.trouble if self.auth.accounts.room_for_passwords() > 0 else FULL

    async def _check_node(self) -> None:
        if self.edge.draining:
            raise LockgateError("draining")

    async def _check_rules(self) -> str | None:
        problem = self.rule_change.state.problem
        return None if problem is None else f"{problem}; the rules of revision {self.rule_change.revision} are in use"

    async def _check_proxies(self) -> str | None:
        notices, now = self.edge.heads.notices, self.base.ticker.now
        if notices.is_recent(Notice.PROXY_UNLISTED, now):
            return "a peer that is not in server.trusted_proxies says where requests come from"
        if notices.is_recent(Notice.ADDRESS_UNREADABLE, now):
            return "a trusted proxy gives addresses that cannot be read"
        return None


@contextlib.asynccontextmanager
async def _closing_part(open_it: Act | None = None, *, close: Act) -> AsyncIterator[None]:
    if open_it is not None:
        await open_it()
    try:
        yield
    finally:
        await close()
