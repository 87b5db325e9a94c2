"""The part of the composition root that stands behind `/auth` and `/admin`; `gateway.app` has the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import FastAPI
from redis.asyncio import Redis

from gateway.clock import Clock
from gateway.endpoints import admin, auth, captcha, metadata, oauth, sessions
from gateway.identity.issuer import Issuer
from gateway.identity.verifier import Verifier
from gateway.observe.audit import Audit
from gateway.pipeline import Pipeline
from gateway.sessions.accounts import Accounts
from gateway.sessions.captcha import Captchas
from gateway.sessions.clients import Clients
from gateway.sessions.families import Families
from gateway.sessions.grants import Grants, StillWelcome
from gateway.sessions.guard import PasswordGuard
from gateway.sessions.operators import Operators
from gateway.sessions.refresh_token import RefreshTokens
from gateway.sessions.self_service import SelfService
from gateway.sessions.service import Sessions
from gateway.sessions.throttle import Allowance, Throttle
from gateway.settings import Settings
from gateway.stores.trail import AuditTrail


@dataclass(frozen=True, slots=True)
class Given:
    """What these parts are built on."""

    settings: Settings
    redis: Redis
    clock: Clock
    accounts: Accounts
    issuer: Issuer
    verifier: Verifier
    refresh_tokens: RefreshTokens
    captcha_keys: Sequence[bytes]
    welcome: StillWelcome


class AuthParts:
    """Everything that logs in, goes on, ends, and is asked about it.

    Args:
        given: what it is built on.
    """

    def __init__(self, given: Given) -> None:
        settings, redis, clock = given.settings, given.redis, given.clock
        token, accounts = settings.token, given.accounts
        self._settings = settings
        self.trail = AuditTrail(redis, settings.audit.length)
        self.audit = Audit(self.trail, clock)
        self.captchas = Captchas(redis, given.captcha_keys)
        self._drawing = Allowance(redis, clock, name="captcha", limit=captcha.ALLOWANCE, window_s=captcha.ALLOWANCE_S)
        families = Families(redis, token, clock)
        clients = Clients(redis, clock)
        guard = PasswordGuard(Throttle(redis, settings.login, clock), self.captchas)
        self.sessions = Sessions(
            accounts=accounts,
            families=families,
            refresh_tokens=given.refresh_tokens,
            issuer=given.issuer,
            verifier=given.verifier,
            token=token,
            scopes_of=settings.roles,
            guard=guard,
            audit=self.audit,
        )
        self._own = SelfService(redis=redis, families=families, accounts=accounts, guard=guard, audit=self.audit)
        self._grants = Grants(
            redis=redis,
            clients=clients,
            families=families,
            refresh_tokens=given.refresh_tokens,
            issuer=given.issuer,
            verifier=given.verifier,
            welcome=given.welcome,
            token=token,
            audit=self.audit,
        )
        self._operators = Operators(
            redis=redis,
            accounts=accounts,
            families=families,
            clients=clients,
            audit=self.audit,
            clock=clock,
            access_life_s=token.access_life_s,
        )

    def include_in(self, app: FastAPI, pipeline: Pipeline, routes: admin.Routes) -> None:
        """Add the calls to an application."""
        scopes = self._settings.scopes
        app.include_router(auth.router(self.sessions, self._grants, pipeline))
        app.include_router(captcha.router(self.captchas, self._drawing))
        app.include_router(sessions.router(self._own, pipeline))
        app.include_router(oauth.router(self._grants, self.sessions))
        app.include_router(metadata.router(self._settings.token.issuer, scopes))
        app.include_router(admin.router(self._operators, self.trail, pipeline, scopes=scopes, routes=routes))
