"""Compiles one `[[route]]` of the configuration, and refuses what no request could use."""

from __future__ import annotations

import math
import re
from typing import Final
from urllib.parse import quote, urlsplit

from lockgate.edge.draining import BodyBounds
from lockgate.edge.path import ENCODED_SLASH, ROOT, canonical_path
from lockgate.edge.wire import WireError
from lockgate.errors import ConfigurationError
from lockgate.policy.addresses import build_rule
from lockgate.policy.authorize import Demand
from lockgate.policy.conditions import compile_conditions
from lockgate.policy.field_rules import compile_request_rules, compile_response_rules
from lockgate.policy.identity_fields import compile_identity_fields
from lockgate.policy.limits import parse_limits
from lockgate.policy.own_paths import UNROUTED, is_below, is_below_any
from lockgate.policy.replies import Redirect, RouteReply, fix_response
from lockgate.policy.rewrite import Rewrite, compile_rewrite
from lockgate.policy.route import KNOWN_METHODS, SAFE_METHODS, Route
from lockgate.policy.spread import EVEN, compile_spread
from lockgate.route_settings import RouteSettings
from lockgate.settings import LimitSettings, Settings

ANY_METHOD: Final = "*"
_WRITTEN_PLAIN: Final = re.compile(r"(?:[^\x00-\x7f]| )+")
_FOR_SERVICES: Final = frozenset(
    {
        "service",
        "auth",
        "scopes",
        "roles",
        "amr",
        "max_auth_age_s",
        "email_verified",
        "owner",
        "rate",
        "weights",
        "pin",
        "retry",
        "public_write",
        "timeout_s",
        "health",
        "body_rate",
        "finish_unsized",
        "preserve_host",
        "strip_prefix",
        "replace_prefix",
        "forward_authorization",
        "websocket",
        "request_headers",
        "response_headers",
        "identity_headers",
    }
)
"""Settings that mean nothing on a route that the gateway answers itself."""


def compile_route(entry: RouteSettings, settings: Settings, granted: frozenset[str]) -> Route:
    """Compile a route.

    Args:
        entry: as configured.
        settings: the rest of the configuration.
        granted: the scopes that roles grant.

    Raises:
        ConfigurationError: no request could use the route as it is; the text names the route.
    """
    place = f"route {entry.name!r}"
    prefix = _parse_path(entry.prefix, f"{place}: the prefix").rstrip("/")
    if is_below_any(prefix, UNROUTED):
        raise ConfigurationError(f"{place}: {prefix} is never routed")
    unknown = set(entry.methods) - KNOWN_METHODS
    if unknown or not entry.methods:
        raise ConfigurationError(f"{place}: methods must be among {', '.join(sorted(KNOWN_METHODS))}")
    reply = _compile_reply(entry, prefix, settings)
    return Route(
        name=entry.name,
        prefix=prefix or ROOT,
        service="" if reply else entry.service_name,
        upstreams=settings.upstreams_of(entry),
        auth="public" if reply else entry.auth,
        demands=_free_demands(entry) if reply else _compile_demands(entry, prefix, settings, granted),
        allow=", ".join(sorted(entry.methods)),
        timeout_s=entry.timeout_s,
        health=entry.health,
        body_bounds=_body_bounds(entry, settings.limits),
        forward_authorization=entry.forward_authorization,
        hosts=entry.hosts,
        addresses=build_rule(entry.allow_addresses, entry.deny_addresses),
        reply=reply,
        sockets=_socket_paths(entry, prefix),
        origins=_allowed_origins(entry, settings),
        encoded_slashes=entry.encoded_slashes,
        exposed=entry.expose_headers,
        preflight_age_s=entry.preflight_age_s,
        preserve_host=entry.preserve_host,
        finish_unsized=entry.finish_unsized,
        spread=EVEN if reply else compile_spread(entry, settings.upstreams_of(entry)),
        request_rules=compile_request_rules(entry, settings),
        response_rules=compile_response_rules(entry, settings),
        identity_fields=compile_identity_fields(entry),
        rewrite=_compile_rewrite(entry, prefix, settings),
    )


def _compile_demands(
    entry: RouteSettings, prefix: str, settings: Settings, granted: frozenset[str]
) -> dict[str, Demand]:
    """The demand of each method of a route to a service."""
    place = f"route {entry.name!r}"
    stray = set(entry.scopes) - set(entry.methods) - {ANY_METHOD}
    if stray:
        raise ConfigurationError(f"{place}: scopes for {min(stray)}, which is not among its methods")
    ungranted = {scope for scopes in entry.scopes.values() for scope in scopes} - granted
    if ungranted:
        raise ConfigurationError(f"{place}: no role grants the scope {min(ungranted)!r}")
    if entry.auth == "public" and entry.scopes:
        raise ConfigurationError(f"{place}: a public route cannot ask for scopes")
    required = {
        method: frozenset(entry.scopes.get(method, entry.scopes.get(ANY_METHOD, ()))) for method in entry.methods
    }
    for_anybody = {method for method, scopes in required.items() if not scopes and entry.auth != "required"}
    if not for_anybody <= SAFE_METHODS and not entry.public_write:
        raise ConfigurationError(f"{place}: unsafe methods that need no identity need public_write = true")
    limits = parse_limits(entry.rate, entry.name, settings.roles)
    general = tuple(limit for limit in limits if limit.role is None)
    of_roles = tuple(limit for limit in limits if limit.role is not None)
    conditions = compile_conditions(entry, prefix, settings)
    return {method: Demand(entry.auth, scopes, general, conditions, of_roles) for method, scopes in required.items()}


def _free_demands(entry: RouteSettings) -> dict[str, Demand]:
    """The demands of a route that the gateway itself answers: none."""
    return {method: Demand("public", frozenset(), ()) for method in entry.methods}


def _compile_reply(entry: RouteSettings, prefix: str, settings: Settings) -> RouteReply | None:
    """What the gateway itself responds on a route; `None` for a route to a service."""
    if entry.upstreams:
        return None
    meaningless = entry.model_fields_set & _FOR_SERVICES
    if meaningless:
        raise ConfigurationError(
            f"route {entry.name!r}: {min(meaningless)} means nothing on a route without a service; remove it"
        )
    if entry.respond is not None:
        return fix_response(entry.respond.status, entry.respond.body, entry.respond.headers)
    if entry.redirect is None:
        raise ConfigurationError(f"route {entry.name!r}: it needs upstreams, redirect or respond")
    to, keep_path = entry.redirect.to, entry.redirect.keep_path
    if to.startswith(ROOT):
        # A front proxy removes this path from requests, so a client has to get it back.
        to = urlsplit(settings.public_url).path.rstrip("/") + to
    return Redirect(to.rstrip("/") if keep_path else to, entry.redirect.status, prefix, keep_path)


def _compile_rewrite(entry: RouteSettings, prefix: str, settings: Settings) -> Rewrite | None:
    """The rewrite of a route; its paths are not those of the gateway's own calls to a service."""
    replacement = entry.replace_prefix
    if replacement is not None:
        replacement = _parse_path(replacement, f"route {entry.name!r}: replace_prefix").rstrip("/")
    rewrite = compile_rewrite(entry, prefix, replacement, settings.upstreams_of(entry))
    if rewrite is not None and (is_below_any(rewrite.target, UNROUTED) or is_below_any(rewrite.place, UNROUTED)):
        raise ConfigurationError(f"route {entry.name!r}: its service would get {rewrite.target}, which is never routed")
    return rewrite


def _parse_path(text: str, place: str) -> str:
    """A configured path in its canonical spelling; blanks and characters beyond ASCII may be written plain.

    Raises:
        ConfigurationError: no request could have this path.
    """
    try:
        path = canonical_path(_WRITTEN_PLAIN.sub(lambda found: quote(found[0]), text).encode("ascii"))
    except (WireError, UnicodeEncodeError) as error:
        raise ConfigurationError(
            f"{place} {text!r} is no path: it begins with one slash and has no dot segments, backslashes, '?' or '#'"
        ) from error
    if "//" in text or ENCODED_SLASH in path:
        raise ConfigurationError(f"{place} {text!r} has an empty segment or a coded slash, which no route can have")
    return path


def _body_bounds(entry: RouteSettings, limits: LimitSettings) -> BodyBounds:
    size = limits.body_bytes if entry.body_bytes is None else entry.body_bytes
    rate = limits.body_rate if entry.body_rate is None else entry.body_rate
    return BodyBounds(size, size, rate, math.inf)


def _socket_paths(entry: RouteSettings, prefix: str) -> frozenset[str]:
    paths = frozenset(_parse_path(path, f"route {entry.name!r}: the path of a WebSocket") for path in entry.websocket)
    for path in paths:
        if path.endswith("/") or not is_below(path, prefix):
            raise ConfigurationError(f"route {entry.name!r}: {path!r} is not a path below {prefix or ROOT}")
    if entry.websocket and "GET" not in entry.methods:
        raise ConfigurationError(f"route {entry.name!r}: a WebSocket is opened with GET, not among its methods")
    return paths


def _allowed_origins(entry: RouteSettings, settings: Settings) -> frozenset[bytes]:
    origins = settings.server.allowed_origins if entry.allowed_origins is None else entry.allowed_origins
    return frozenset(origin.encode("ascii") for origin in origins)
