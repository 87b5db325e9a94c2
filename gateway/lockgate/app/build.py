"""What a worker is made of: four functions, each of which makes one part out of those before it. Nothing opens here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from lockgate.accounts.captcha import Captchas
from lockgate.accounts.clients import Clients
from lockgate.accounts.password_guard import PasswordGuard
from lockgate.accounts.throttle import REFRESH_WINDOW_S, CostBucket, Throttle
from lockgate.accounts.users import AT_ONCE, Accounts
from lockgate.admission.gate import Admission
from lockgate.admission.open_tokens import OpenTokens, RevocationListener
from lockgate.admission.overtime import OvertimeBounds
from lockgate.app.prerequisites import NO_REDIS
from lockgate.clock import Clock
from lockgate.edge.ticker import Ticker
from lockgate.endpoints import captcha
from lockgate.errors import ConfigurationError
from lockgate.forward.services import Services
from lockgate.forward.websocket.entry import Entrance
from lockgate.forward.websocket.leases import Leases
from lockgate.forward.websocket.socket import Sockets
from lockgate.identity.issuer import Issuer
from lockgate.identity.marks import SharedMarks
from lockgate.identity.verifier import AccessTokenRules, Verifier
from lockgate.judge import Judge
from lockgate.keys.administration import KeyAdministration, TryLock
from lockgate.keys.reload import LiveKeys, live_keys
from lockgate.observe.access_log import AccessLog
from lockgate.observe.audit import Audit
from lockgate.observe.metrics import CountRetries, Gauges, Metrics
from lockgate.observe.observer import RequestObserver
from lockgate.observe.tracing import NOTHING_SAMPLED, Sampler, Tracing
from lockgate.policy.rules import LiveRules, Rules
from lockgate.sessions.access import AccessTokens
from lockgate.sessions.administration import Administration
from lockgate.sessions.authenticator import Authenticator
from lockgate.sessions.cookie_sessions import CookieSessions
from lockgate.sessions.lifecycle import Sessions
from lockgate.sessions.oauth_clients import Grants
from lockgate.sessions.parts import SessionParts, TokenParts
from lockgate.sessions.refresh_token import RefreshTokens
from lockgate.sessions.self_service import SelfService
from lockgate.sessions.session_store import SessionStore
from lockgate.sessions.tickets import Tickets
from lockgate.settings import LimitSettings, Settings
from lockgate.stores.command_link import CommandLink, command_link
from lockgate.stores.layout import KEYS_LOCK, KEYS_LOCK_MS, admission_keys
from lockgate.stores.links import StoreLink, link_to
from lockgate.stores.lock import try_lock
from lockgate.stores.redis import connect
from lockgate.stores.trail import AuditTrail
from lockgate.upstream.client import UpstreamClient, build_upstreams
from lockgate.upstream.upstream import Upstream
from lockgate_common.redis.client import RedisClient


@dataclass(frozen=True, slots=True)
class Foundation:
    """Configuration, keys, stores and tables, on which everything else stands.

    Attributes:
        marks: of verified signatures, shared by the workers of the node.
        link: admission's connection to Redis.
        calls: the connection of the gateway's own calls; `None` where `redis`, which serves the rest, serves them all.
        admission: asks Redis about tokens and rate limits.
        settings: those of the start; `rules` has those that a reload exchanges.
    """

    settings: Settings
    clock: Clock
    ticker: Ticker
    keys: LiveKeys
    marks: SharedMarks
    redis: RedisClient
    link: StoreLink
    calls: CommandLink | None
    admission: Admission
    rules: LiveRules
    sampler: Sampler

    def secrets(self) -> Sequence[bytes]:
        """The secrets of refresh tokens, cookies and captchas that are in use."""
        return self.keys.ring.value.refresh_secrets


def build_foundation(settings: Settings, clock: Clock, admission_timeout_s: float, marks: SharedMarks) -> Foundation:
    """Read keys and tables, and make the connections to Redis.

    Raises:
        ConfigurationError: something is missing or wrong.
    """
    if settings.redis_url is None:
        raise ConfigurationError(NO_REDIS)
    redis = connect(settings.redis_url.get_secret_value())
    link = link_to(redis, admission_timeout_s)
    rules = LiveRules(Rules.from_settings(settings))
    return Foundation(
        settings=settings,
        clock=clock,
        ticker=Ticker(clock),
        keys=live_keys(settings, clock, lambda: rules.value.settings.called_services),
        marks=marks,
        redis=redis,
        link=link,
        calls=command_link(redis),
        admission=Admission(link, clock),
        rules=rules,
        sampler=Sampler(settings.tracing.share) if settings.tracing.endpoint else NOTHING_SAMPLED,
    )


@dataclass(frozen=True, slots=True)
class Auth:
    """Logging in, going on with a session, ending it, and what administrators do.

    Attributes:
        account_calls: what `accounts` calls the users service with.
        key_lock: held while keys are changed.
        drawing, refreshing, revoking: how often an address may have a captcha drawn, refresh and revoke.
    """

    verifier: Verifier
    accounts: Accounts
    account_calls: UpstreamClient
    audit: Audit
    trail: AuditTrail
    captchas: Captchas
    cookies: CookieSessions
    tickets: Tickets
    sessions: Sessions
    own: SelfService
    grants: Grants
    administration: Administration
    key_administration: KeyAdministration
    key_lock: TryLock
    drawing: CostBucket
    refreshing: CostBucket
    revoking: CostBucket


def build_auth(base: Foundation) -> Auth:
    """Make what stands behind `/auth` and `/admin`."""
    settings, redis, clock, token = base.settings, base.redis, base.clock, base.settings.token
    account_calls = _build_accounts(base)
    captchas, accounts, trail = (
        Captchas(redis, base.secrets),
        Accounts(account_calls, timeout_s=settings.accounts.timeout_s),
        AuditTrail(redis, settings.audit.length, base.calls),
    )
    tokens = _build_tokens(base)
    parts = SessionParts(
        redis=redis,
        session_store=SessionStore(redis, token, clock, settings.store.wait_replicas, base.calls),
        accounts=accounts,
        clients=Clients(redis, clock, settings.store.wait_replicas, base.calls),
        audit=Audit(trail, clock),
        token=token,
    )
    guard = PasswordGuard(Throttle(redis, settings.login, base.calls), captchas, accounts.with_password)
    cookies = CookieSessions(
        parts, tokens, mode=settings.server.session_cookie, link=base.link, keys=base.secrets, clock=clock
    )
    per_address = partial(
        CostBucket, redis, limit=settings.login.refresh_limit, window_s=REFRESH_WINDOW_S, link=base.calls
    )
    key_lock = partial(try_lock, redis, KEYS_LOCK, KEYS_LOCK_MS)
    return Auth(
        verifier=tokens.verifier,
        accounts=accounts,
        account_calls=account_calls,
        audit=parts.audit,
        trail=trail,
        captchas=captchas,
        cookies=cookies,
        tickets=Tickets(redis, token.tickets_per_user),
        sessions=Sessions(parts, tokens, cookies=cookies, guard=guard),
        own=SelfService(parts, guard=guard),
        grants=Grants(parts, tokens, welcome=base.admission.judge_token),
        administration=Administration(parts),
        key_administration=KeyAdministration(settings, key_lock, parts.audit, clock),
        key_lock=key_lock,
        drawing=CostBucket(redis, name="captcha", limit=captcha.ALLOWANCE, window_s=captcha.ALLOWANCE_S),
        refreshing=per_address(name="refresh"),
        revoking=per_address(name="revoke"),
    )


@dataclass(frozen=True, slots=True)
class DataPath:
    """What forwarded requests, WebSockets and streams pass.

    Attributes:
        open_tokens: what is open, and the tokens it lives by; `revocations` hears what ends them.
    """

    judge: Judge
    services: Services
    open_tokens: OpenTokens
    revocations: RevocationListener
    sockets: Sockets


def build_data_path(base: Foundation, auth: Auth) -> DataPath:
    """Make what stands between the edge and the services."""
    settings, ticker, clock = base.settings, base.ticker, base.clock
    services = Services(
        base.rules.value.routes,
        settings.upstream,
        base.keys.links,
        ticker,
        base.sampler,
        prefix=urlsplit(settings.server.public_url or "").path.rstrip("/"),
    )
    open_tokens = OpenTokens(
        base.admission,
        base.keys.ring,
        base.rules,
        ticker,
        clock,
        leeway_s=settings.token.leeway_s,
        stream_idle_s=settings.upstream.stream_idle_s,
        overtime=overtime_bounds(settings.limits),
    )
    authenticator = Authenticator(auth.verifier, auth.cookies, auth.tickets, base.rules, base.keys)
    judge = Judge(authenticator, base.admission, base.clock)
    sockets = Sockets(
        settings.websocket,
        Leases(base.redis, settings.websocket.per_user, ticker, base.calls),
        open_tokens,
        Entrance(judge, auth.tickets),
        ticker,
        clock,
    )
    return DataPath(judge, services, open_tokens, RevocationListener(base.redis, open_tokens), sockets)


def overtime_bounds(limits: LimitSettings) -> OvertimeBounds:
    """How long a response may outlive its token."""
    return OvertimeBounds(limits.after_expiry_s, limits.body_rate, 2 * limits.body_idle_s)


@dataclass(frozen=True, slots=True)
class Observability:
    """Metrics, access log and spans."""

    metrics: Metrics
    tracing: Tracing | None
    observer: RequestObserver


def build_observability(base: Foundation, gauges: Gauges, count_retries: CountRetries) -> Observability:
    """Make what requests are counted and written down by."""
    settings = base.settings
    metrics = Metrics(gauges, count_retries)
    tracing = Tracing(settings.tracing, base.sampler, base.clock) if settings.tracing.endpoint else None
    access_log = AccessLog(base.clock) if settings.log.access else None
    if access_log is not None:
        base.ticker.add_listener(lambda _: access_log.flush())
    return Observability(metrics, tracing, RequestObserver(metrics, access_log, tracing))


def _build_tokens(base: Foundation) -> TokenParts:
    ring, clock, token = base.keys.ring, base.clock, base.settings.token
    issuer = Issuer(ring, issuer=token.issuer, audience=token.audience, life_s=token.access_life_s, clock=clock)
    verifier = Verifier(
        ring,
        AccessTokenRules(token.issuer, token.audience, token.leeway_s, token.access_life_s),
        clock,
        marks=base.marks,
        cache_size=token.signature_cache,
        keys_of=admission_keys,
        on_unknown_key=base.keys.hurry,
    )
    return TokenParts(AccessTokens(issuer, base.rules), issuer, RefreshTokens(base.secrets), verifier)


def build_account_upstreams(settings: Settings, ticker: Ticker) -> list[Upstream]:
    """The connections to the users service, which no forwarded request takes.

    Raises:
        ConfigurationError: a certificate file cannot be used.
    """
    urls = settings.upstream_urls(settings.accounts.service)
    return build_upstreams(urls, settings.upstream, ticker, at_once=AT_ONCE)


def _build_accounts(base: Foundation) -> UpstreamClient:
    settings, service = base.settings, base.settings.accounts.service
    upstreams = build_account_upstreams(settings, base.ticker)
    return UpstreamClient(upstreams, lambda: base.keys.links.value.outbound(service), base.clock)
