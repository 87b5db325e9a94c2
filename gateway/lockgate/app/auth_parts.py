"""The part of the composition root that stands behind `/auth` and `/admin`; `lockgate.app.worker` has the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from fastapi import Depends, FastAPI

from lockgate.accounts.captcha import Captchas
from lockgate.accounts.clients import Clients
from lockgate.accounts.password_guard import PasswordGuard
from lockgate.accounts.throttle import REFRESH_WINDOW_S, Allowance, Throttle
from lockgate.accounts.users import Accounts
from lockgate.admission.gate import Link
from lockgate.clock import Clock
from lockgate.endpoints import admin, auth, captcha, login, metadata, oauth, sessions
from lockgate.endpoints.asking import store_of
from lockgate.endpoints.browser import Browser
from lockgate.identity.issuer import Issuer
from lockgate.identity.verifier import Verifier
from lockgate.judge import Judge
from lockgate.keys.administration import KeyDesk
from lockgate.observe.audit import Audit
from lockgate.policy.origins import Origins
from lockgate.sessions.access import AccessTokens
from lockgate.sessions.administration import Operators
from lockgate.sessions.cookie_sessions import CookieSessions
from lockgate.sessions.lifecycle import Sessions
from lockgate.sessions.oauth_clients import Grants, StillWelcome
from lockgate.sessions.refresh_token import RefreshTokens
from lockgate.sessions.self_service import SelfService
from lockgate.sessions.session_store import Families
from lockgate.settings import Settings
from lockgate.stores.layout import KEYS_LOCK, KEYS_LOCK_MS
from lockgate.stores.lock import try_lock
from lockgate.stores.trail import AuditTrail
from lockgate_common.redis.client import RedisClient


@dataclass(frozen=True, slots=True)
class Given:
    """What these parts are built on."""

    settings: Settings
    redis: RedisClient
    clock: Clock
    accounts: Accounts
    issuer: Issuer
    verifier: Verifier
    refresh_tokens: RefreshTokens
    ring_secrets: Sequence[bytes]
    welcome: StillWelcome
    link: Link
    reachable: Callable[[], bool]


class AuthParts:
    """Everything that logs in, goes on, ends, and is asked about it.

    Args:
        given: what it is built on.
    """

    def __init__(self, given: Given) -> None:
        settings, redis, clock = given.settings, given.redis, given.clock
        token, accounts = settings.token, given.accounts
        self._settings = settings
        self._reachable = given.reachable
        self.trail = AuditTrail(redis, settings.audit.length)
        self.audit = Audit(self.trail, clock)
        self.key_lock = partial(try_lock, redis, KEYS_LOCK, KEYS_LOCK_MS)
        self._key_desk = KeyDesk(settings, self.key_lock, self.audit, clock)
        self.captchas = Captchas(redis, given.ring_secrets)
        self._drawing = Allowance(redis, name="captcha", limit=captcha.ALLOWANCE, window_s=captcha.ALLOWANCE_S)
        self._refreshing, self._revoking = (
            Allowance(redis, name=name, limit=settings.login.refresh_limit, window_s=REFRESH_WINDOW_S)
            for name in ("refresh", "revoke")
        )
        families = Families(redis, token, clock, settings.store.wait_replicas)
        clients = Clients(redis, clock, settings.store.wait_replicas)
        guard = PasswordGuard(Throttle(redis, settings.login), self.captchas, accounts.with_password)
        access = AccessTokens(given.issuer, settings.roles)
        self.cookies = CookieSessions(
            mode=settings.server.session_cookie,
            link=given.link,
            families=families,
            accounts=accounts,
            access=access,
            verifier=given.verifier,
            keys=given.ring_secrets,
            clock=clock,
            audit=self.audit,
        )
        self.sessions = Sessions(
            accounts=accounts,
            clients=clients,
            families=families,
            refresh_tokens=given.refresh_tokens,
            access=access,
            cookies=self.cookies,
            verifier=given.verifier,
            token=token,
            guard=guard,
            audit=self.audit,
        )
        self._own = SelfService(redis=redis, families=families, accounts=accounts, guard=guard, audit=self.audit)
        self._grants = Grants(
            redis=redis,
            accounts=accounts,
            access=access,
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
            token=token,
        )

    def include_in(self, app: FastAPI, judge: Judge, origins: Origins, routes: admin.Routes) -> None:
        """Add the calls to an application."""
        scopes = self._settings.scopes
        desk = admin.Desk(self._operators, self._key_desk, self.trail, routes, scopes)
        browser = Browser(self.cookies, origins)
        needs_store = [Depends(store_of(self._reachable))]
        for router in (
            login.router(self.sessions, self._grants, browser, self._refreshing),
            auth.router(self.sessions, self._grants, judge, browser, self._revoking),
            captcha.router(self.captchas, self._drawing),
            sessions.router(self._own, judge),
            oauth.router(self._grants, self.sessions, self._refreshing),
            admin.router(desk, judge),
        ):
            app.include_router(router, dependencies=needs_store)
        app.include_router(metadata.router(self._settings.token.issuer, self._settings.public_url, scopes))
