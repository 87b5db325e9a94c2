"""The facts in a request's header fields, and which fields an upstream may see.

The result depends on the bytes alone. Clients repeat themselves, so a caller examines equal bytes once.

A service believes the fields in which gateways name a user, so the edge removes these fields from every request. Names
are reserved exactly, or as families with their separator. A name is reserved where it equals a name of this gateway or
of another one with all separators left out, or begins with a family (`x-forwarded-`, `x-auth-request-`, `x-envoy-`, …)
and any separator. So `X-UserId` and `x~user~id` are removed, and `X-User-Agent` (gRPC-Web), `X-User-Locale` and
`X-Hostname` pass. A prefix without a separator would remove these three too, and pages could not send them. Such a
prefix is not needed: a server that folds names (CGI, WSGI, PHP, Apache) keeps the letters, so two names with different
letters never become equal. A property test shows this for each kind of folding.

A field with `_` or `.` in its name is dropped and counted, and the request goes on: a refusal would hit every request
behind a proxy that adds `api_key`. In responses only the gateway's names and the families count, because `X-Username`
may be a service's message to its client. A service must not read an identity from a field of its own invention
(`X-My-User`), because no list can contain that name. The service reads the signed fields, or fields whose names its
route lists (`identity_headers`): the edge drops those names on every route. Names of well-known gateways are added to
the tables here.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import Final, NamedTuple, get_args

from lockgate.edge import wire
from lockgate.edge.cookies import split_own_cookies
from lockgate.edge.wire import Field, WireError
from lockgate.errors import Reason
from lockgate.settings import AddressField, LimitSettings
from lockgate_trust import headers as identity

# Rule: RFC 9110 section 7.6.1 says that these describe one connection and are never forwarded. A forwarded
# `Transfer-Encoding`, `TE` or `Trailer` could also contradict the framing that the gateway writes (request smuggling),
# and `HTTP2-Settings` with `Upgrade` could open an h2c tunnel past the gateway (obsolete since RFC 9113).
# `Proxy-Connection` is not in the RFC; old clients send it as `Connection`.
HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authorization",
        b"proxy-authenticate",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    }
)
# Attack: a client claims an address, host, scheme, target or method that the service then believes (a wrong address in
# rate limits and logs, an admin path behind a rewrite, a DELETE inside a POST). Only the gateway states these.
_FORWARDING: Final = frozenset(
    {
        b"forwarded",  # RFC 7239
        b"via",  # RFC 9110 section 7.6.3: the hops before the gateway, which a client can invent
        *(name.encode("ascii") for name in get_args(AddressField)),  # the client's address, as CDNs and proxies say it
        b"client-ip",  # CGI hands it on as HTTP_CLIENT_IP, which PHP programs believe
        b"forwarded-for",
        b"proxy-client-ip",  # WebLogic's plug-in, read by many Java helpers
        b"wl-proxy-client-ip",
        b"cf-connecting-ipv6",  # Cloudflare
        b"x-azure-socketip",  # Azure Front Door
        b"x-originating-ip",
        b"x-remote-ip",
        b"x-remote-addr",
        b"remote-addr",  # equals the CGI variable REMOTE_ADDR where a server folds names
        b"front-end-https",  # Microsoft's proxies: the service believes that the client used TLS
        b"x-host",
        b"x-scheme",
        b"x-url-scheme",
        b"x-rewrite-url",  # IIS and PHP frameworks route by it instead of by the judged target
        b"x-http-method",  # three names of a method override: the service would run another method than was judged
        b"x-http-method-override",
        b"x-method-override",
        b"proxy",  # httpoxy: CGI hands it on as HTTP_PROXY, which HTTP clients take for the address of a proxy
    }
)
# Rule: a trace that an untrusted client began ends at the edge, with its state and baggage (W3C Trace Context,
# W3C Baggage). Attack: a client joins or fills the operator's traces.
_TRACE: Final = frozenset({b"tracestate", b"baggage"})
# Rule: the gateway writes these anew for the upstream connection. Attacks: a second Host or length (smuggling), and a
# token that a service could reuse (`authorization` is forwarded only where the route says so).
_SET_FOR_UPSTREAM: Final = frozenset({b"host", b"content-length", b"expect", b"authorization"})
# Attack: a client names one of these in `Connection`, so that the next hop removes it as hop-by-hop and two readers see
# different requests (RFC 9110 section 7.6.1 forbids it for fields that are meant for all recipients).
_NOT_FOR_CONNECTION: Final = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"authorization", b"cookie", b"content-type", b"expect"}
)
WEBSOCKET: Final = b"websocket"
_WEBSOCKET_PREFIX: Final = b"sec-websocket-"
_HOST_LABEL: Final = rb"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST: Final = re.compile(
    rb"(?:" + _HOST_LABEL + rb"(?:\." + _HOST_LABEL + rb")*\.?|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{0,5}))?"
)
_MAX_HOST_BYTES: Final = 253 + len(":65535")
_MAX_PORT: Final = 65535
_OPTIONAL_PORT: Final = re.compile(r"(?P<name>[^:\[\]]+|\[[^\]]*\])\.?(?::(?P<port>[0-9]*))?")
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}

NOTHING_HIDDEN: Final[frozenset[bytes]] = frozenset()
"""Where no route names a user in fields of its choice."""
_SEPARATORS: Final = re.compile(rb"[^0-9a-z]+")


def fold_name(name: bytes) -> bytes:
    """A name (lower case) without separators: a reader behind the gateway may drop or replace separators."""
    return _SEPARATORS.sub(b"", name)


def _with_hyphens(name: bytes) -> bytes:
    """A name (lower case) with a hyphen for each run of separators, and none at its ends."""
    return _SEPARATORS.sub(b"-", name).strip(b"-")


# Attack: a client sends the gateway's own identity or signature fields. Only the gateway sets these, in any spelling.
_RESERVED: Final = frozenset(
    fold_name(name.encode("ascii"))
    for name in (*identity.IDENTITY_HEADERS, identity.SIGNATURE, identity.SIGNATURE_INPUT, identity.CONTENT_DIGEST)
)
# Attack: a service that was written behind another gateway still believes that gateway's identity field, so a client
# could name itself. Each name is documented by the product beside it.
_FOREIGN_IDENTITY: Final = frozenset(
    {
        # Common names of forward authentication, of no one product.
        b"x-user",
        b"x-user-name",
        b"x-user-email",
        b"x-user-groups",
        b"x-username",
        b"x-email",
        b"x-groups",
        b"x-auth-user",
        b"x-authenticated-user",
        b"x-authenticated-userid",  # Kong, OAuth 2 plug-in
        b"x-authenticated-groups",  # Kong, ACL plug-in
        b"x-remote-user",
        # Authelia, beside the family `remote-user`.
        b"remote-name",
        b"remote-email",
        b"remote-groups",
        # Client certificates: RFC 9440, and the name that proxies used before.
        b"x-client-cert",
        b"client-cert",
        b"client-cert-chain",
        # Kong.
        b"x-consumer-id",
        b"x-consumer-custom-id",
        b"x-consumer-username",
        b"x-credential-identifier",
        b"x-anonymous-consumer",
        # Signed assertions: WSO2, Pomerium, Google IAP.
        b"x-jwt-assertion",
        b"x-pomerium-jwt-assertion",
        b"x-goog-iap-jwt-assertion",
        b"x-goog-authenticated-user-email",
        b"x-goog-authenticated-user-id",
        # AWS Application Load Balancer.
        b"x-amzn-oidc-data",
        b"x-amzn-oidc-identity",
        b"x-amzn-oidc-accesstoken",
        # Azure App Service.
        b"x-ms-client-principal",
        b"x-ms-client-principal-id",
        b"x-ms-client-principal-name",
        # Cloudflare Access.
        b"cf-access-authenticated-user-email",
        b"cf-access-jwt-assertion",
        b"x-ssl-cert",  # the whole client certificate, in nginx examples
    }
)
# Attack: as above, for products that derive field names from claims or certificate fields, so no list of their names is
# complete. Every name that begins with one of these is reserved, with the separator included.
_FAMILIES: Final = (
    b"x-auth-request-",  # oauth2-proxy
    b"x-forwarded-",  # addresses and hosts; oauth2-proxy and Traefik also put user, email and groups here
    b"x-original-",  # target and method, by which a service may route instead of by the judged ones
    b"x-ssl-client-",  # client certificates in nginx and HAProxy examples
    b"ssl-client-",  # client certificates in Apache and the nginx ingress
    b"x-envoy-",  # Envoy and Istio: addresses, retries, time-outs, original path
    b"x-webauth-",  # Grafana's auth proxy
    b"x-authentik-",  # authentik's outpost
    b"x-authelia-",  # names of Authelia's users in its examples
    b"x-pomerium-",  # Pomerium: claims and a signed assertion
    b"tailscale-",  # Tailscale Serve: login, name, picture
    b"remote-user",  # CGI's REMOTE_USER where a server folds names; Authelia
)
_STATED: Final = frozenset({b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"})
# The union that `is_forwardable` asks. The bare family names are in it because a family needs its separator.
_NEVER_FORWARDED: Final = frozenset(
    {fold_name(name) for name in HOP_BY_HOP | _FORWARDING | _TRACE | _SET_FOR_UPSTREAM | _FOREIGN_IDENTITY}
    | {fold_name(name) for name in (*_FAMILIES, *_STATED)}
    | _RESERVED
)
# What no setting of a route may fill: a second reader would take another request from these than the gateway did.
_NOT_FOR_SETTINGS: Final = frozenset(
    fold_name(name) for name in HOP_BY_HOP | _FORWARDING | _TRACE | _SET_FOR_UPSTREAM | _STATED | {b"cookie"}
)
# A peer outside `server.trusted_proxies` that sends one of these may be a proxy that the operator forgot to list.
_FORWARDED_BY_PROXY: Final = frozenset({b"forwarded", b"x-forwarded-host", b"x-forwarded-proto"}) | frozenset(
    name.encode("ascii") for name in get_args(AddressField)
)


class HeaderFacts(NamedTuple):
    """The facts that the edge needs from a request's fields, without its credentials.

    Attributes:
        fields: every field but Authorization, in order, names in lower case.
        host: the value of the Host field in canonical spelling; empty without that field.
        content_length: the declared length of the body; `None` where the client declared none.
        chunked: the body is chunked.
        close: the client asked for this to be the last request of the connection.
        keep_alive: the client asked to keep the connection (an HTTP/1.0 client must ask).
        expects_continue: the client waits for 100 before sending the body.
        upgrade: the client wants to change to the WebSocket protocol. Any other protocol is no upgrade: an HTTP server
            may ignore the field (RFC 9110 section 7.8).
        forwardable: the field lines an upstream may see, each ended by CRLF; latin-1, which keeps every byte.
        origin: the origin of the page that sent the request; `None` without the field, empty for a repeated field.
        session_cookies: names and values of the gateway's own cookies, which are not forwardable.
        dropped: how many fields were dropped for an underscore or a dot in their names.
        plain_host: the host without the default port of `http`.
        has_proxy_fields: a field states the client's address, host or scheme, as proxies do.
    """

    fields: tuple[Field, ...]
    host: str
    content_length: int | None
    chunked: bool
    close: bool
    keep_alive: bool
    expects_continue: bool
    upgrade: bool
    forwardable: str
    origin: bytes | None = None
    session_cookies: tuple[Field, ...] = ()
    dropped: int = 0
    has_proxy_fields: bool = False
    plain_host: str = ""

    def values_of(self, name: bytes) -> list[bytes]:
        """The values of all fields of a name (lower case) other than Authorization, in order."""
        return [value for field, value in self.fields if field == name]


def examine_fields(
    block: bytes, limits: LimitSettings, hidden: frozenset[bytes] = NOTHING_HIDDEN
) -> tuple[HeaderFacts, tuple[bytes, ...]]:
    """Read the field lines of a request.

    Args:
        block: complete lines, each ended by CRLF.
        limits: bound the number and the length of the fields.
        hidden: names, as `fold_name` makes them, in which routes name a user to their services.

    Returns:
        The facts; and the values of all Authorization fields, none where a single field is empty.

    Raises:
        WireError: the fields are not acceptable; its reason refuses the request.
    """
    everything = wire.split_field_lines(block, max_fields=limits.fields, max_field_bytes=limits.field_bytes)
    # A service behind CGI-like rules would read X_User_Id as X-User-Id, so such a field is dropped.
    found = [field for field in everything if b"_" not in field[0] and b"." not in field[0]]
    by_name: dict[bytes, list[bytes]] = {}
    for name, value in found:
        by_name.setdefault(name, []).append(value)
    if len(by_name.get(b"content-type", [])) > 1:
        raise WireError(Reason.MALFORMED_HEADER)
    options = _connection_options(by_name.get(b"connection", []))
    length = wire.parse_content_length(by_name.get(b"content-length", []))
    chunked = wire.is_chunked(by_name.get(b"transfer-encoding", []))
    if chunked and length is not None:
        raise WireError(Reason.AMBIGUOUS_FRAMING)
    upgrade = _asks_for_websocket(by_name.get(b"upgrade", []), options)
    if upgrade and (chunked or length):
        raise WireError(Reason.UPGRADE_REFUSED)
    authorization = tuple(by_name.get(b"authorization", []))
    if authorization == (b"",):
        authorization = ()  # front proxies take a field away by emptying it
    host = _parse_host(by_name.get(b"host", []))
    cookies, visible = _without_own_cookies(found) if b"cookie" in by_name else ((), found)
    facts = HeaderFacts(
        fields=tuple(field for field in found if field[0] != b"authorization"),
        host=host,
        content_length=length,
        chunked=chunked,
        close=b"close" in options,
        keep_alive=b"keep-alive" in options,
        expects_continue=_expects_continue(by_name.get(b"expect", [])),
        upgrade=upgrade,
        forwardable=b"".join(
            b"%b: %b\r\n" % field
            for field in visible
            if field[0] not in options
            and is_forwardable(field[0])
            and not (hidden and fold_name(field[0]) in hidden)
            # These fields belong to an upgrade only, and a client may have put a token there.
            and (upgrade or not field[0].startswith(_WEBSOCKET_PREFIX))
        ).decode("latin-1"),
        origin=_single_origin(by_name[b"origin"]) if b"origin" in by_name else None,
        session_cookies=cookies,
        dropped=len(everything) - len(found),
        has_proxy_fields=not _FORWARDED_BY_PROXY.isdisjoint(by_name),
        plain_host=without_default_port(host, "http"),
    )
    return facts, authorization


def is_forwardable(name: bytes) -> bool:
    """Whether a client's field of this name (lower case) may reach a service."""
    return (
        b"_" not in name
        and b"." not in name
        and fold_name(name) not in _NEVER_FORWARDED
        and not _with_hyphens(name).startswith(_FAMILIES)
    )


def is_reserved(name: bytes) -> bool:
    """Whether only the gateway may set a field of this name (lower case), in any spelling."""
    return fold_name(name) in _RESERVED


def is_written_by_gateway(name: bytes) -> bool:
    """Whether the gateway itself writes, reads or removes a request field of this name (lower case), identity aside."""
    return is_reserved(name) or fold_name(name) in _NOT_FOR_SETTINGS


def is_for_services(name: bytes) -> bool:
    """Whether gateways describe a client to services in a field of this name (lower case), in any spelling."""
    return is_reserved(name) or _with_hyphens(name).startswith(_FAMILIES)


def canonical_host(value: bytes) -> str:
    """The one spelling of a host and optional port: lower case, without a final dot or an empty port (RFC 5952).

    Args:
        value: a value for which `is_host` holds.
    """
    match = _OPTIONAL_PORT.fullmatch(value.lower().decode("ascii"))
    if match is None:
        raise ValueError("not a host")
    name = match["name"].removesuffix(".")
    if name.startswith("["):
        name = f"[{IPv6Address(name[1:-1])}]"
    return f"{name}:{match['port']}" if match["port"] else name


def without_default_port(host: str, scheme: str) -> str:
    """A canonical host without the default port of a scheme (RFC 3986 section 6.2.3)."""
    return host.removesuffix(f":{_DEFAULT_PORTS[scheme]}")


def without_port(host: str) -> str:
    """A canonical host without its port."""
    name, colon, port = host.rpartition(":")
    return name if colon and not port.endswith("]") else host


def is_host(value: bytes) -> bool:
    """Whether a value is a host with an optional port (RFC 9110 section 7.2)."""
    match = _HOST.fullmatch(value) if len(value) <= _MAX_HOST_BYTES else None
    if match is None or int(match[1] or 0) > _MAX_PORT:
        return False
    return not value.startswith(b"[") or _is_ipv6(value[1 : value.index(b"]")])


def _is_ipv6(address: bytes) -> bool:
    try:
        IPv6Address(address.decode("ascii"))
    except ValueError:
        return False
    return True


def _without_own_cookies(found: list[Field]) -> tuple[tuple[Field, ...], list[Field]]:
    """The gateway's own cookies, and the fields without these cookies."""
    own: list[Field] = []
    others: list[Field] = []
    for name, value in found:
        own_here, left = split_own_cookies(value) if name == b"cookie" else ([], value)
        own += own_here
        if left or not own_here:
            others.append((name, left))
    return tuple(own), others


def _single_origin(values: list[bytes]) -> bytes:
    return values[0] if len(values) == 1 else b""


def _connection_options(values: list[bytes]) -> frozenset[bytes]:
    options = frozenset(option.strip(b" \t").lower() for value in values for option in value.split(b",")) - {b""}
    if not all(wire.is_token(option) for option in options) or not options.isdisjoint(_NOT_FOR_CONNECTION):
        raise WireError(Reason.MALFORMED_HEADER)
    return options


def _parse_host(values: list[bytes]) -> str:
    """The canonical host of the single Host field; HTTP/1.0 may omit the field (RFC 9112 section 3.2)."""
    if not values:
        return ""
    if len(values) != 1 or not is_host(values[0]):
        raise WireError(Reason.BAD_HOST)
    return canonical_host(values[0])


def _expects_continue(values: list[bytes]) -> bool:
    if not values:
        return False
    if len(values) == 1 and values[0].lower() == b"100-continue":
        return True
    raise WireError(Reason.EXPECTATION_UNKNOWN)


def _asks_for_websocket(values: list[bytes], options: frozenset[bytes]) -> bool:
    """Whether the client asks for a WebSocket: Upgrade names that protocol alone, and Connection names Upgrade."""
    return len(values) == 1 and values[0].lower() == WEBSOCKET and b"upgrade" in options
