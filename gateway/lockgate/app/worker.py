"""The composition root: every object of a worker is made here once, opened in order and closed in reverse."""

from __future__ import annotations

import contextlib
import math
import os
import socket
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import urlsplit

from fastapi import FastAPI

from lockgate.accounts.call_limiter import FULL
from lockgate.accounts.users import Accounts
from lockgate.admission.gate import Admission
from lockgate.admission.open_tokens import EndedChannel, Watches
from lockgate.admission.overtime import OvertimeBounds
from lockgate.app.auth_parts import AuthParts, Given
from lockgate.clock import Clock
from lockgate.edge.asgi import AsgiCall
from lockgate.edge.connection import ClientConnection, Edge
from lockgate.edge.draining import BodyBounds
from lockgate.edge.handler import Handler
from lockgate.edge.notices import Notice
from lockgate.edge.path import ROOT, SERVER_WIDE
from lockgate.edge.request import InboundRequest
from lockgate.edge.ticker import Ticker
from lockgate.edge.turns import Turns
from lockgate.endpoints import admin, forward_auth, health, openapi, problems, tickets, well_known
from lockgate.errors import ConfigurationError, LockgateError
from lockgate.forward.services import Services
from lockgate.forward.tls import tls_towards
from lockgate.forward.websocket.entry import Entrance
from lockgate.forward.websocket.leases import Leases
from lockgate.forward.websocket.socket import Sockets
from lockgate.identity.issuer import Issuer
from lockgate.identity.session_cookie import NAMES
from lockgate.identity.verifier import AccessTokenRules, Verifier
from lockgate.judge import Judge
from lockgate.keys.auto_rotation import AutoRotation
from lockgate.keys.reload import live_keys
from lockgate.observe.access_log import AccessLog
from lockgate.observe.audit import Event
from lockgate.observe.metrics import Gauges, Metrics
from lockgate.observe.observer import RequestObserver
from lockgate.observe.tracing import NONE, Sampler, Tracing
from lockgate.pipeline import Pipeline
from lockgate.policy.origins import Origins
from lockgate.policy.routes import RouteTable, is_own
from lockgate.sessions.authenticator import Authenticator
from lockgate.sessions.refresh_token import RefreshTokens
from lockgate.sessions.tickets import Tickets
from lockgate.settings import Settings
from lockgate.stores.check import StoreCheck
from lockgate.stores.layout import admission_keys
from lockgate.stores.links import link_to
from lockgate.stores.redis import connect
from lockgate_trust import LinkKeys

ADMISSION_TIMEOUT_S = 0.1
"""How long a forwarded request waits for Redis before it is answered 503."""
TAKE_PASSWORDS: Final = frozenset({"/auth/login", "/auth/password"})
"""Calls that anybody can ask for without having anything, and that cost most. They have their turns alternately with
all others, so that a flood of them costs any other call one turn."""


class Worker:
    """Everything one worker process consists of.

    Args:
        settings: the configuration.
        clock: the time.
        admission_timeout_s: how long a request waits for Redis before it is answered 503. Not a setting: no operator
            has a use for another one; where client, worker and service share one event loop, Redis is not to blame.

    Raises:
        ConfigurationError: something it cannot start without is missing or wrong.
    """

    def __init__(self, settings: Settings, clock: Clock, admission_timeout_s: float = ADMISSION_TIMEOUT_S) -> None:
        if settings.redis_url is None:
            raise ConfigurationError("redis_url is not set; `lockgate dev` brings a Redis of its own")
        token = settings.token
        self.ticker = Ticker(clock)
        self.redis = connect(settings.redis_url.get_secret_value())
        self.link = link_to(self.redis, admission_timeout_s)
        keys = self.keys = live_keys(settings, clock)
        ring, links = keys.ring.value, keys.links.value
        verifier = Verifier(
            ring,
            AccessTokenRules(token.issuer, token.audience, token.leeway_s, token.access_life_s),
            clock,
            cache_size=token.signature_cache,
            keys_of=admission_keys,
            on_unknown_key=keys.hurry,
        )
        issuer = Issuer(ring, issuer=token.issuer, audience=token.audience, life_s=token.access_life_s, clock=clock)
        refresh_tokens = RefreshTokens(ring.refresh_secrets)
        self.routes = RouteTable.compile(settings)
        self._settings = settings
        self._clock = clock
        self._sampler = Sampler(settings.tracing.share) if settings.tracing.endpoint else NONE
        self.accounts = Accounts(
            settings.addresses(settings.accounts.service),
            links.outbound(settings.accounts.service),
            timeout_s=settings.accounts.timeout_s,
            clock=clock,
            tls=tls_towards(settings.addresses(settings.accounts.service), settings.upstream),
        )
        turns = Turns()
        # Where nobody could look at its password, a call is refused before anything is done for it.
        self._passwords, self._others = turns.queue(self.accounts.room_for_passwords), turns.queue()
        self.services = Services(
            self.routes,
            settings.upstream,
            links,
            self.ticker,
            self._sampler,
            prefix=urlsplit(settings.server.public_url or "").path.rstrip("/"),
        )
        admission = Admission(self.link, clock)
        self.tickets = Tickets(self.redis, token.tickets_per_user)
        self.watches = Watches(
            admission,
            ring,
            self.ticker,
            clock,
            leeway_s=token.leeway_s,
            stream_idle_s=settings.upstream.stream_idle_s,
            overtime=OvertimeBounds(
                settings.limits.after_expiry_s, settings.limits.body_rate, 2 * settings.limits.body_idle_s
            ),
        )
        self.ended = EndedChannel(self.redis, self.watches)
        self.link.listen(self.ended.renew)
        self.store = StoreCheck(
            self.redis,
            settings.redis_url.get_secret_value(),
            connected=lambda: self.link.connected,
            refused=lambda: self.ended.refused,
        )
        limits = settings.limits
        self._own_bodies = BodyBounds(limits.own_body_bytes, limits.body_bytes, limits.body_rate, limits.body_total_s)
        self._any_bodies = BodyBounds(limits.body_bytes, limits.body_bytes, limits.body_rate, math.inf)
        self.origins = Origins(self.routes, settings)
        self.auth = AuthParts(
            Given(
                settings=settings,
                redis=self.redis,
                clock=clock,
                accounts=self.accounts,
                issuer=issuer,
                verifier=verifier,
                refresh_tokens=refresh_tokens,
                ring_secrets=ring.refresh_secrets,
                welcome=admission.judge_token,
                link=self.link,
                reachable=lambda: self.link.connected,
            )
        )
        authenticator = Authenticator(verifier, self.auth.cookies, self.tickets, self.origins)
        self.judge = Judge(authenticator, admission)
        self.sockets = Sockets(
            settings.websocket,
            Leases(self.redis, settings.websocket.per_user, self.ticker),
            self.watches,
            Entrance(self.judge, self.origins, self.tickets, self.services.by_route),
            self.ticker,
            clock,
        )
        self.pipeline = Pipeline(
            routes=self.routes,
            origins=self.origins,
            judge=self.judge,
            services=self.services.by_route,
            answer_here=self._answer_here,
            sockets=self.sockets,
            watches=self.watches,
            ticker=self.ticker,
            clock=clock,
        )
        self.metrics = Metrics(self._gauges())
        self.tracing = Tracing(settings.tracing, self._sampler, clock) if settings.tracing.endpoint else None
        access_log = AccessLog(clock) if settings.log.access else None
        if access_log is not None:
            self.ticker.listen(lambda _: access_log.flush())
        self.edge = Edge(
            settings.server,
            settings.limits,
            self.ticker,
            begin=self.pipeline.begin,
            observer=RequestObserver(self.metrics, access_log, self.tracing),
            bodies=self._bodies,
            oauth=problems.speaks_oauth,
            cors=self.origins.cors,
            vary=self.origins.vary,
            unread=self.origins.unread,
        )
        self.checks: dict[str, health.Check] = {
            "redis": self.store,
            "keys": self._check_keys,
            "accounts": self._check_accounts,
            "node": self._check_node,
            "proxies": self._check_proxies,
        }
        self._published = well_known.PublishedKeys(ring, settings.keys.publish_delay_s)
        self._follow_keys(verifier, issuer, refresh_tokens)
        self.rotation = self._auto_rotation(clock)
        self.app = self._application()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open what has to be opened, and close it in reverse."""
        await self.store.at_start()
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self.redis.aclose)
            stack.push_async_callback(self.auth.audit.flush)
            stack.push_async_callback(self.accounts.close)
            stack.push_async_callback(self.auth.cookies.close)
            if self.tracing is not None:
                stack.callback(self.tracing.close)
            await stack.enter_async_context(self.services.running())
            await self.link.open()
            stack.push_async_callback(self.link.close)
            await self.ended.open()
            stack.push_async_callback(self.ended.close)
            stack.push_async_callback(self.sockets.close)
            stack.push_async_callback(self.keys.close)
            if self.rotation is not None:
                stack.push_async_callback(self.rotation.close)
            self.ticker.start()
            stack.callback(self.ticker.stop)
            yield

    def drain(self) -> None:
        """Take no more requests than are under way; end what would never end by itself."""
        self.edge.draining = True
        self.watches.drain()

    def _follow_keys(self, verifier: Verifier, issuer: Issuer, refresh_tokens: RefreshTokens) -> None:
        """Give changed keys to all that hold some."""
        for use in (verifier.use, issuer.use, self._published.use, self.watches.use):
            self.keys.ring.listen(use)
        self.keys.ring.listen(lambda ring: refresh_tokens.use(ring.refresh_secrets))
        self.keys.ring.listen(lambda ring: self.auth.captchas.use(ring.refresh_secrets))
        self.keys.ring.listen(lambda ring: self.auth.cookies.use(ring.refresh_secrets))
        self.keys.links.listen(self._use_links)
        self.keys.listen_refused(self._note_refused_keys)
        self.ticker.listen(self.keys.poll)

    def _use_links(self, links: LinkKeys) -> None:
        self.accounts.use(links.outbound(self._settings.accounts.service))
        self.services.use(links)

    def _note_refused_keys(self, what: str, problem: str) -> None:
        # Each worker for itself: each has its own last good keys, and may have its own copy of the files.
        worker = f"{socket.gethostname()}:{os.getpid()}"
        self.auth.audit.record(Event.KEYS_REFUSED, group=what, reason=problem, worker=worker)

    def _auto_rotation(self, clock: Clock) -> AutoRotation | None:
        if not self._settings.keys.rotate_after_s:
            return None
        rotation = AutoRotation(self._settings, self.auth.key_lock, self.auth.audit, clock)
        self.ticker.listen(rotation.poll)
        return rotation

    def _application(self) -> FastAPI:
        app = FastAPI(title="Lockgate", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
        problems.install(app)
        self.auth.include_in(app, self.judge, self.origins, self._routes_with_state)
        app.include_router(tickets.router(self.tickets, self.judge, self.auth.cookies))
        app.include_router(forward_auth.router(self.pipeline, self._settings.limits.target_bytes))
        app.include_router(well_known.router(self._published))
        app.include_router(health.router(self.checks))
        descriptions = openapi.Descriptions(
            self.routes,
            lambda: self.keys.links.value,
            self._clock,
            NAMES[self._settings.server.session_cookie].decode("ascii"),
        )
        to_everybody = self._settings.server.openapi == "everybody"
        app.include_router(openapi.router(app, descriptions, self.judge, to_everybody=to_everybody))
        return app

    def _gauges(self) -> Gauges:
        return {
            "lockgate_connections": ("Open client connections.", lambda: len(self.edge.connections)),
            "lockgate_redis_connected": (
                "1 while admission can ask Redis; of a Cluster, any master.",
                lambda: float(self.link.connected),
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
                self.services.load,
            ),
        }

    def _routes_with_state(self) -> list[dict[str, Any]]:
        states = self.services.states()
        return [admin.route_json(route, states) for route in self.routes.routes]

    async def _check_keys(self) -> str | None:
        # The reason stands in the log: it names files, and everybody may ask.
        return "they cannot be reloaded, the last good ones are in use" if self.keys.problem else None

    async def _check_accounts(self) -> str | None:
        # No reason to be taken out of service: everybody who has a token is served, and other nodes fare no better.
        return self.accounts.trouble if self.accounts.room_for_passwords() > 0 else FULL

    async def _check_node(self) -> None:
        if self.edge.draining:
            raise LockgateError("draining")

    async def _check_proxies(self) -> str | None:
        notices, now = self.edge.heads.notices, self.ticker.now
        if notices.recent(Notice.PROXY_UNLISTED, now):
            return "a peer that is not in server.trusted_proxies says where requests come from"
        if notices.recent(Notice.ADDRESS_UNREADABLE, now):
            return "a trusted proxy gives addresses that cannot be read"
        return None

    def _answer_here(self, request: InboundRequest, client: ClientConnection) -> Handler:
        app = health.CAPABILITIES if request.path in {SERVER_WIDE, ROOT} else self.app
        # Whoever watches over this worker wants to know whether it lives, and not how many others ask it something.
        queue = None if request.path == health.ALIVE else self._others
        if request.path in TAKE_PASSWORDS:
            queue = self._passwords
        return AsgiCall(app, request, client, self.ticker, queue)

    def _bodies(self, path: str) -> BodyBounds:
        if is_own(path):
            return self._own_bodies
        route = self.routes.match(path)
        return self._any_bodies if route is None else route.bodies
