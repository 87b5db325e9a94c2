"""The frozen settings object. Only `load_settings` reads the environment and a configuration file.

Precedence, highest first: environment (`LOCKGATE_` and `__` between levels, for example `LOCKGATE_TOKEN__ISSUER`;
`REDIS_URL` is also known by its plain name; see `lockgate.environment`), the TOML file, the defaults below.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeAlias, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from lockgate import environment
from lockgate.clock import DEFAULT_LEEWAY_S, MAX_LEEWAY_S
from lockgate.cpus import count_usable_cpus
from lockgate.errors import ConfigurationError
from lockgate.route_settings import RouteSettings
from lockgate.setting_values import (
    KIB,
    MAX_PORT,
    HostName,
    Networks,
    Origins,
    Section,
    ShortName,
    Upstreams,
    is_loopback,
)

AddressField: TypeAlias = Literal[
    "x-forwarded-for",
    "forwarded",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "x-azure-clientip",
    "x-envoy-external-address",
]
"""Fields in which proxies and load balancers give the client's address."""
DEFAULT_FILE = Path("lockgate.toml")
_ISSUER: Final = r"^https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?$"
"""A URL without query and fragment (RFC 8414 section 2); http is for trying out only."""
MAX_WORKERS: Final = 64


def _count_workers(given: object, validate: ValidatorFunctionWrapHandler) -> int:
    try:
        return min(count_usable_cpus(), MAX_WORKERS) if given == "auto" else int(validate(given))
    except ValidationError as error:
        raise ValueError(f'a number from 1 to {MAX_WORKERS}, or "auto": one for each usable CPU') from error


def _lower_case(text: object) -> object:
    return text.lower() if isinstance(text, str) else text


class ServerSettings(Section):
    """Where the gateway listens, and for which hosts, proxies and pages."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=MAX_PORT)] = 8080
    workers: Annotated[int, Field(ge=1, le=MAX_WORKERS), WrapValidator(_count_workers)] = 1
    """How many processes serve; `auto`: one for each CPU that the gateway may use (`cpus`)."""
    allowed_hosts: tuple[HostName, ...] = ()
    """Host names served here, without port; empty: every valid host."""
    own_host: HostName | None = None
    """The only host of the gateway's own calls (`/auth`, `/admin`, `/.well-known`, …); their paths on other hosts then
    belong to routes. Without it, every host has them. Probes that ask by address reach the health calls either way."""
    redirect_http: bool = False
    """Redirect each request that a client sent by plain http to https, on the same host where that host is configured.
    Needs `trusted_proxies`, which say what the client used."""
    public_url: Annotated[str, Field(pattern=_ISSUER, max_length=256)] | None = None
    """The address that clients use, for absolute addresses in responses; `token.issuer` where not given. No address is
    ever built from `Host` or from a proxy's fields."""
    trusted_proxies: Networks = ()
    """Front proxies; their X-Forwarded-* fields are believed. None by default."""
    forwarded_from: Annotated[AddressField, BeforeValidator(_lower_case)] = "x-forwarded-for"
    """The one field in which a trusted proxy gives the client's address; the other fields of this kind are dropped."""
    forwarded_host: bool = False
    """Whether a trusted proxy's `X-Forwarded-Host` is the host that the client asked; off, the field is dropped."""
    allowed_origins: Origins = ()
    """Origins of the pages that may read responses, use a session cookie and open WebSockets, unless a route has a list
    of its own. None by default."""
    session_cookie: Literal["off", "secure", "localhost"] = "off"
    """Whether a login may give a browser a cookie instead of tokens. `localhost`: a cookie that browsers accept over
    plain HTTP, for a gateway that only its own machine reaches."""
    openapi: Literal["admin", "everybody"] = "admin"
    """The readers of the description of all calls, `/openapi.json`: administrators, or every client."""
    drain_s: Annotated[float, Field(gt=0)] = 20
    """How long a stopping node waits for requests in flight."""

    @model_validator(mode="after")
    def _plain_cookies_stay_on_this_machine(self) -> Self:
        if self.session_cookie == "localhost" and (not is_loopback(self.host) or self.trusted_proxies):
            raise ValueError('session_cookie = "localhost" needs a loopback host and no trusted_proxies; use "secure"')
        return self

    @model_validator(mode="after")
    def _http_is_told_from_https(self) -> Self:
        if self.redirect_http and not self.trusted_proxies:
            raise ValueError("redirect_http needs trusted_proxies: without a proxy every request comes by http")
        return self


class LimitSettings(Section):
    """How much one client may send, and how slowly (bytes, seconds)."""

    head_bytes: int = 32 * KIB
    field_bytes: int = 16 * KIB
    fields: int = 100
    target_bytes: int = 8 * KIB
    body_bytes: int = 10 * KIB * KIB
    own_body_bytes: int = 16 * KIB
    """For calls answered by the gateway itself, such as a login."""
    head_s: float = 10
    body_idle_s: float = 30
    body_rate: Annotated[int, Field(ge=1)] = 500
    """Bytes per second, in each `body_idle_s`: a slower request body is given up."""
    body_total_s: float = 30
    """How long the body of one of the gateway's own calls may take in all; a forwarded body has a lowest rate."""
    after_expiry_s: Annotated[float, Field(ge=0, le=900)] = 900
    """How long a response with a `Content-Length` may go on after its token has merely run out, at `body_rate` or
    faster. A token that is revoked, a session that ends and a key that is removed cut it off all the same."""
    keep_alive_s: float = 15
    connections: int = 10_000
    connections_per_peer: int = 1_000
    """Each worker counts these two for itself."""


class TokenSettings(Section):
    """The claims of access tokens, and the lifetimes of tokens and sessions (seconds)."""

    issuer: Annotated[str, Field(pattern=_ISSUER, max_length=256)] = "http://127.0.0.1:8080"
    audience: Annotated[str, Field(min_length=1, max_length=256)] = "lockgate"
    client_id: Annotated[str, Field(min_length=1, max_length=256)] = "lockgate-login"
    """The client of a login with a password where the request names none."""
    access_life_s: Annotated[int, Field(ge=30, le=3600)] = 300
    leeway_s: Annotated[int, Field(ge=0, le=MAX_LEEWAY_S)] = DEFAULT_LEEWAY_S
    refresh_idle_s: Annotated[int, Field(ge=60)] = 14 * 86_400
    refresh_absolute_s: Annotated[int, Field(ge=60)] = 30 * 86_400
    refresh_grace_s: Annotated[int, Field(ge=0, le=30)] = 10
    """How long a client may repeat a refresh after a lost response, by the clock of Redis; 0: not at all."""
    sessions_per_user: Annotated[int, Field(ge=1, le=10_000)] = 100
    """A login beyond that ends the user's oldest session."""
    tickets_per_user: Annotated[int, Field(ge=1, le=10_000)] = 100
    """How many tickets a user may have in the 30 seconds for which a ticket is valid."""
    signature_cache: Annotated[int, Field(ge=0)] = 10_000
    """How many verified signatures a worker remembers."""

    @model_validator(mode="after")
    def _idle_within_absolute(self) -> Self:
        if self.refresh_idle_s > self.refresh_absolute_s:
            raise ValueError("refresh_idle_s is longer than refresh_absolute_s")
        return self


class UpstreamSettings(Section):
    """Connections from the gateway to services (seconds, counts)."""

    connect_s: float = 2
    idle_s: float = 30
    """How long an idle connection to a service is kept; must be below the service's own keep-alive time-out."""
    connections: Annotated[int, Field(ge=1)] = 256
    """Connections to one upstream address from one worker."""
    waiting: Annotated[int, Field(ge=0)] = 1024
    """Requests that may wait for a connection; a further request gets 503."""
    ca_file: Path | None = None
    """The authorities for the certificates of https services; the system's where not given."""
    cert_file: Path | None = None
    """The gateway's own certificate (chain and key in one PEM file), for services with mTLS."""
    stream_idle_s: Annotated[float, Field(gt=0)] = 120
    """How long an event stream may be silent; other responses have their route's `timeout_s`."""


class SocketSettings(Section):
    """How much one WebSocket may cost (bytes, seconds, counts)."""

    message_bytes: Annotated[int, Field(ge=1)] = KIB * KIB
    """A larger message, whole or in fragments, closes the socket with 1009."""
    ping_s: Annotated[float, Field(gt=0)] = 20
    """Seconds between pings; an end that sends no byte between two pings counts as dead."""
    per_user: Annotated[int, Field(ge=1)] = 32
    """Open sockets of one user, on all nodes together."""


class CertificateSettings(Section):
    """A certificate of the gateway's own, by two PEM files, which may be one."""

    chain: Path
    """The certificate, and after it those between it and its root."""
    key: Path
    """The private key, without a passphrase, readable by the gateway's account only."""


class TlsSettings(Section):
    """TLS for clients at `server.port`. Off without a certificate."""

    certificates: tuple[CertificateSettings, ...] = ()
    """The client's SNI selects one; a client without SNI gets the first. Changed files are taken within two seconds."""
    min_version: Literal["1.2", "1.3"] = "1.2"
    client_ca_file: Path | None = None
    """Authorities for the certificates of clients: with this, a client without such a certificate is refused."""
    redirect_port: Annotated[int, Field(ge=0, le=MAX_PORT)] | None = None
    """A second port, for plain HTTP, that redirects to `https`."""

    @model_validator(mode="after")
    def _nothing_without_a_certificate(self) -> Self:
        if not self.certificates and self.model_dump(exclude_defaults=True):
            raise ValueError("tls has no certificates, so its other settings would do nothing")
        return self


class AccountSettings(Section):
    """The service that checks passwords."""

    service: ShortName = "users"
    timeout_s: float = 5


class AdminSettings(Section):
    """The clients that may call `/admin` and `/console`, by address, beside the role that these calls ask for."""

    allow_addresses: Networks = ()
    """The networks of the clients that may; empty for all. Other clients get 403."""
    deny_addresses: Networks = ()
    """The networks of the clients that may not, even where `allow_addresses` has them."""


class OperationsSettings(Section):
    """The listener for operators: metrics and health. Off without a port."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=MAX_PORT)] | None = None
    """The port of the first worker; each further worker listens on the next port, because each has its own counts."""


class LogSettings(Section):
    """The logs that are written."""

    access: bool = True
    """A JSON line on standard output for each request."""


class LoginSettings(Section):
    """The number of password attempts in one window before a captcha is required, and the number of refreshes."""

    window_s: Annotated[int, Field(ge=60, le=86_400)] = 900
    account_attempts: Annotated[int, Field(ge=1)] = 5
    """Failures at one account, from all addresses together, before each further attempt needs a captcha."""
    address_attempts: Annotated[int, Field(ge=1)] = 20
    """Failures from one address, at all accounts together, before each further attempt needs a captcha."""
    all_attempts: Annotated[int, Field(ge=1)] = 2000
    """Failures from all addresses at all accounts together, before each further attempt needs a captcha."""
    address_limit: Annotated[int, Field(ge=1)] = 100
    """Attempts from one address before a client there must wait or solve a captcha."""
    refresh_limit: Annotated[int, Field(ge=1)] = 1200
    """Refreshes, and tokens for clients, that one address gets in a minute: as many as 6,000 users behind one address
    need with tokens of five minutes."""


class AuditSettings(Section):
    """The audit trail."""

    length: Annotated[int, Field(ge=1000)] = 100_000
    """About how many events Redis keeps; the log has all events."""


class StoreSettings(Section):
    """The confirmation that a write to Redis needs."""

    wait_replicas: Annotated[int, Field(ge=0, le=5)] = 0
    """How many replicas must confirm a change to a session, or its end, before the response is 200; with fewer
    confirmations the response is 503. With 0 a master that dies may take its last changes with it."""


class TracingSettings(Section):
    """The collector of spans. Off without an endpoint."""

    endpoint: str | None = None
    """An OTLP/HTTP collector, for example `http://127.0.0.1:4318/v1/traces`."""
    share: Annotated[float, Field(ge=0, le=1)] = 0.01
    """The share of requests that are recorded."""
    timeout_s: Annotated[float, Field(gt=0)] = 10


class KeySettings(Section):
    """Where the key ring lies, and how its keys follow one another."""

    directory: Path = Path("keys")
    publish_delay_s: Annotated[int, Field(ge=3, le=86_400)] = 300
    """How long a new key is only published before it signs: by then every node, service and reader of the key set has
    the key. Clients may cache the key set for a shorter time only."""
    rotate_after_s: Annotated[int, Field(ge=0)] = 0
    """The age at which the gateway itself replaces signing keys and refresh secrets; 0: by command only."""


class Settings(Section):
    """All settings, as a frozen value."""

    server: ServerSettings = ServerSettings()
    limits: LimitSettings = LimitSettings()
    token: TokenSettings = TokenSettings()
    tls: TlsSettings = TlsSettings()
    upstream: UpstreamSettings = UpstreamSettings()
    websocket: SocketSettings = SocketSettings()
    accounts: AccountSettings = AccountSettings()
    admin: AdminSettings = AdminSettings()
    login: LoginSettings = LoginSettings()
    audit: AuditSettings = AuditSettings()
    store: StoreSettings = StoreSettings()
    keys: KeySettings = KeySettings()
    operations: OperationsSettings = OperationsSettings()
    log: LogSettings = LogSettings()
    tracing: TracingSettings = TracingSettings()
    redis_url: SecretStr | None = None
    roles: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """The scopes that each role grants."""
    route: tuple[RouteSettings, ...] = ()
    upstreams: dict[str, Upstreams] = Field(default_factory=dict)
    """Addresses by service, in place of those in its routes: the same file then serves a laptop and a cluster."""

    def upstream_urls(self, service: str) -> tuple[str, ...]:
        """Base URLs of a service's upstreams, in configured order; empty for an unknown service."""
        if service in self.upstreams:
            return self.upstreams[service]
        return tuple(
            dict.fromkeys(url for route in self.route if route.service_name == service for url in route.upstreams)
        )

    def upstreams_of(self, route: RouteSettings) -> tuple[str, ...]:
        """Base URLs of a route's upstreams: its service's where configured, otherwise the route's own.

        Empty for a route without a service.
        """
        return self.upstreams.get(route.service_name, route.upstreams) if route.upstreams else ()

    @property
    def public_url(self) -> str:
        """The address that clients use, without a slash at its end."""
        return (self.server.public_url or self.token.issuer).rstrip("/")

    @property
    def grantable_scopes(self) -> frozenset[str]:
        """Every scope that can be granted."""
        return frozenset(scope for scopes in self.roles.values() for scope in scopes)

    @property
    def identity_header_names(self) -> frozenset[str]:
        """Every name that a route chose for the user."""
        chosen = (route.identity_headers for route in self.route)
        return frozenset(name for headers in chosen if headers is not None for name in headers.names().values())

    @property
    def called_services(self) -> tuple[str, ...]:
        """Every service that the gateway calls, each of which needs a link key."""
        names = (route.service_name for route in self.route if route.upstreams)
        return tuple(dict.fromkeys([self.accounts.service, *names]))


def read_file(file: Path | None = None) -> str:
    """The text of a configuration file; `None` for `lockgate.toml` in the working folder.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    path = file or DEFAULT_FILE
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        hint = "name yours with --config, or begin with a copy of the one that comes with Lockgate"
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror}); {hint}") from error
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not valid TOML: {error}") from error


def load_settings(
    file: Path | None = None, environ: Mapping[str, str] | None = None, *, text: str | None = None
) -> Settings:
    """Read the configuration.

    Args:
        file: a TOML file; `None` for `lockgate.toml` in the working folder.
        environ: the variables; `None` for those of this process.
        text: what the file has held when it was read; `None`: the file is read here.

    Raises:
        ConfigurationError: the file is missing or not TOML, or values are not acceptable. A line for each names the
            setting or the variable, the fault and the correction, and never a value, which may be a secret.
    """
    path = file or DEFAULT_FILE
    try:
        content = tomllib.loads(read_file(path) if text is None else text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: not valid TOML: {error}") from error
    from_environment = environment.read_environment(os.environ if environ is None else environ, Settings, content)
    problems = from_environment.problems
    told = _merge_tables(content, from_environment.content)
    try:
        settings = Settings(**told)
    except ValidationError as error:
        problems += _describe_faults(error, path, told, from_environment)
        raise ConfigurationError(*problems) from error
    if settings.tls.redirect_port is not None and not settings.public_url.startswith("https://"):
        wrong = "server.public_url, or else token.issuer, must begin with https:// for redirects to it"
        problems.append(f"{_name_place(path, ('tls', 'redirect_port'), from_environment)}: {wrong}")
    for service in sorted(settings.upstreams.keys() - set(settings.called_services)):
        wrong = f"no route leads to a service {service}; {environment.suggest_name(service, settings.called_services)}"
        problems.append(f"{_name_place(path, ('upstreams', service), from_environment)}: {wrong}")
    if problems:
        raise ConfigurationError(*problems)
    return settings


def _merge_tables(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two configurations merged; a setting in both has the second's value."""
    merged = dict(below)
    for name, value in above.items():
        under = below.get(name)
        both = isinstance(value, Mapping) and isinstance(under, Mapping)
        merged[name] = _merge_tables(under, value) if both else value  # type: ignore[arg-type]  # as `both` says
    return merged


def _name_place(path: Path, place: tuple[str, ...], from_environment: environment.ReadEnvironment) -> str:
    """The name of the variable that set a place, or the file and the place there."""
    return from_environment.variable_for(place) or f"{path}: {'.'.join(place)}"


def _route_called(content: Mapping[str, Any], index: int) -> str:
    """A route for an error's text: by its name, or counted from one."""
    name = content["route"][index].get("name") if isinstance(content["route"][index], Mapping) else None
    return f"route {name!r}" if isinstance(name, str) else f"route number {index + 1}"


def describe_fault(error: Mapping[str, Any]) -> str:
    """The text of one of Pydantic's errors, without the name of its kind."""
    return str(error["msg"]).removeprefix("Value error, ")


def _describe_faults(
    error: ValidationError, path: Path, told: Mapping[str, Any], from_environment: environment.ReadEnvironment
) -> list[str]:
    """A line for each wrong setting, with its place and what would be right."""
    lines = []
    errors: list[Any] = error.errors(include_input=False, include_url=False)
    unknown = [tuple(map(str, one["loc"])) for one in errors if one["type"] == "extra_forbidden"]
    misspelt = {(*place[:-1], environment.find_near(place[-1], _settings_beside(place))) for place in unknown}
    for one in errors:
        place = tuple(map(str, one["loc"]))
        if one["type"] == "missing" and place in misspelt:
            continue
        wrong = _unknown_setting(place) if one["type"] == "extra_forbidden" else describe_fault(one)
        if place[0] == "route" and len(place) > 1:
            wrong = f"{_route_called(told, int(place[1]))}: {wrong}"
        lines.append(f"{_name_place(path, place, from_environment)}: {wrong}")
    return list(dict.fromkeys(lines))


def _unknown_setting(place: tuple[str, ...]) -> str:
    """The text of the error for an unknown setting."""
    return f"there is no such setting; {environment.suggest_name(place[-1], _settings_beside(place))}"


def _settings_beside(place: tuple[str, ...]) -> list[str]:
    """The settings of the table that a place is in."""
    known: Any = Settings
    for part in place[:-1]:
        if not part.isdecimal():
            known = RouteSettings if part == "route" else _table_of(known.model_fields[part].annotation)
    return list(known.model_fields)


def _table_of(kind: Any) -> Any:  # noqa: ANN401 - the type of a setting
    """The class of a table, also of one that may be missing."""
    return next((one for one in get_args(kind) if isinstance(one, type) and issubclass(one, BaseModel)), kind)
