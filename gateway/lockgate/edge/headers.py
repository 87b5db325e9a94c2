"""What the header fields of a request say, and which of them a service may see.

The result depends on the bytes alone, so that equal bytes need not be examined twice: clients repeat themselves.

A service believes the fields in which gateways name a user, so these are taken from every request. Names are reserved
exactly, or as families with their separator. A name is reserved where it equals a name of ours or of another gateway
with all separators left out, or begins with a family (`x-forwarded-`, `x-auth-request-`, `x-envoy-`, …) with its
separator, whatever character that is. So `X-UserId` and `x~user~id` are taken away, and `X-User-Agent` (gRPC-Web),
`X-User-Locale` and `X-Hostname` pass. A prefix without a separator would take these three, too, and pages could not
send them. It is not needed: a server that folds names (CGI, WSGI, PHP, Apache) keeps the letters, so that two names
with different letters never become one. A property over names shows it for each kind of folding.

A field with `_` or `.` in its name is dropped and counted, and the request goes on: a refusal would hit every request
behind a proxy that adds `api_key`. In responses only the gateway's names and the families count: `X-Username` may be a
service's word to its client. A service that reads an identity from a field of its own invention (`X-My-User`) must
not, because no list can know it; the service reads the signed fields. Names of well-known gateways are added to the
list here.
"""

from __future__ import annotations

import hashlib
import re
from ipaddress import IPv6Address
from typing import Final, NamedTuple, get_args

from lockgate.edge import wire
from lockgate.edge.cookies import split_own_cookies
from lockgate.edge.wire import Field, WireError
from lockgate.errors import Reason
from lockgate.settings import AddressField, LimitSettings
from lockgate_trust import headers as identity

# RFC 9110 section 7.6.1, and what belongs to one connection only.
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
# The origin of a request, its first target and its method are for the gateway to say.
_FORWARDING: Final = frozenset(
    {
        b"forwarded",
        b"via",
        *(name.encode("ascii") for name in get_args(AddressField)),
        b"client-ip",  # CGI hands it on as HTTP_CLIENT_IP, which PHP programs believe
        b"forwarded-for",
        b"proxy-client-ip",
        b"wl-proxy-client-ip",
        b"cf-connecting-ipv6",
        b"x-azure-socketip",
        b"x-originating-ip",
        b"x-remote-ip",
        b"x-remote-addr",
        b"remote-addr",
        b"front-end-https",
        b"x-host",
        b"x-scheme",
        b"x-url-scheme",
        b"x-rewrite-url",
        b"x-http-method",
        b"x-http-method-override",
        b"x-method-override",
        b"proxy",  # CGI hands it on as HTTP_PROXY, which HTTP clients take for the address of a proxy
    }
)
# A trace that a client began ends at the edge, and so does what belongs to it (W3C Trace Context, W3C Baggage).
_TRACE: Final = frozenset({b"tracestate", b"baggage"})
# Set anew for the connection to the service.
_SET_FOR_UPSTREAM: Final = frozenset({b"host", b"content-length", b"expect", b"authorization"})
# To name one of these in Connection is an attempt to make one of two readers not see it.
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

_SEPARATORS: Final = re.compile(rb"[^0-9a-z]+")


def _without_separators(name: bytes) -> bytes:
    """A name (lower case) without separators: a reader behind the gateway may lose them, or the kind of them."""
    return _SEPARATORS.sub(b"", name)


def _with_hyphens(name: bytes) -> bytes:
    """A name (lower case) with one hyphen for each run of separators, and none at its ends."""
    return _SEPARATORS.sub(b"-", name).strip(b"-")


# A client's copy of any of these is removed, in every spelling: identity comes from the gateway alone.
_RESERVED: Final = frozenset(
    _without_separators(name.encode("ascii"))
    for name in (*identity.IDENTITY_HEADERS, identity.SIGNATURE, identity.SIGNATURE_INPUT, identity.CONTENT_DIGEST)
)
# The names in which other gateways hand identities to services. A service that was written behind one of those would
# believe a client that sends one.
_FOREIGN_IDENTITY: Final = frozenset(
    {
        b"x-user",
        b"x-user-name",
        b"x-user-email",
        b"x-user-groups",
        b"x-username",
        b"x-email",
        b"x-groups",
        b"x-auth-user",
        b"x-authenticated-user",
        b"x-authenticated-userid",
        b"x-authenticated-groups",
        b"x-remote-user",
        b"remote-name",
        b"remote-email",
        b"remote-groups",
        b"x-client-cert",
        b"client-cert",
        b"client-cert-chain",
        b"x-consumer-id",
        b"x-consumer-custom-id",
        b"x-consumer-username",
        b"x-credential-identifier",
        b"x-anonymous-consumer",
        b"x-jwt-assertion",
        b"x-pomerium-jwt-assertion",
        b"x-goog-iap-jwt-assertion",
        b"x-goog-authenticated-user-email",
        b"x-goog-authenticated-user-id",
        b"x-amzn-oidc-data",
        b"x-amzn-oidc-identity",
        b"x-amzn-oidc-accesstoken",
        b"x-ms-client-principal",
        b"x-ms-client-principal-id",
        b"x-ms-client-principal-name",
        b"cf-access-authenticated-user-email",
        b"cf-access-jwt-assertion",
        b"x-ssl-cert",
    }
)
# SessionStore whose members nobody can list: whatever begins with one of these, its separator included.
_FAMILIES: Final = (
    b"x-auth-request-",
    b"x-forwarded-",
    b"x-original-",
    b"x-ssl-client-",
    b"ssl-client-",
    b"x-envoy-",
    b"x-webauth-",
    b"remote-user",
)
_NEVER_FORWARDED: Final = frozenset(
    {_without_separators(name) for name in HOP_BY_HOP | _FORWARDING | _TRACE | _SET_FOR_UPSTREAM | _FOREIGN_IDENTITY}
    | {
        _without_separators(name)
        for name in (*_FAMILIES, b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto")
    }
    | _RESERVED
)
_FORWARDED_BY_PROXY: Final = frozenset({b"forwarded", b"x-forwarded-host", b"x-forwarded-proto"}) | frozenset(
    name.encode("ascii") for name in get_args(AddressField)
)


class HeaderFacts(NamedTuple):
    """What the edge needs to know of a request's fields.

    Attributes:
        fields: every field, in order, names in lower case.
        host: of the one Host field, as `canonical_host` has it; empty where there is no such field.
        content_length: of the body; `None` where none was declared.
        chunked: the body is chunked.
        close: the client asked for this to be the last request of the connection.
        keep_alive: the client asked for the connection to be kept (HTTP/1.0 has to).
        expects_continue: the client waits for 100 before it sends the body.
        upgrade: the client wants to change to the WebSocket protocol. Any other protocol is no upgrade: an HTTP server
            may ignore the field (RFC 9110 section 7.8).
        authorization: the values of all Authorization fields; none where the only one is empty.
        credentials: SHA-256 of the one Authorization value; empty where there is none, or more than one.
        forwardable: the field lines a service may see, each ended by CRLF; latin-1, which keeps every byte.
        origin: whose page asks; `None` where nobody says, empty where it is said more than once.
        session_cookies: names and values of the gateway's own cookies; those are not forwardable.
        dropped: how many fields were dropped for an underscore or a dot in their names.
        plain_host: the host as one of http: without that scheme's own port.
        has_proxy_fields: there is a field in which a proxy says where the request came from.
    """

    fields: tuple[Field, ...]
    host: str
    content_length: int | None
    chunked: bool
    close: bool
    keep_alive: bool
    expects_continue: bool
    upgrade: bool
    authorization: tuple[bytes, ...]
    credentials: bytes
    forwardable: str
    origin: bytes | None = None
    session_cookies: tuple[Field, ...] = ()
    dropped: int = 0
    has_proxy_fields: bool = False
    plain_host: str = ""

    def values_of(self, name: bytes) -> list[bytes]:
        """The values of all fields of a name (lower case), in order."""
        return [value for field, value in self.fields if field == name]


def examine_fields(block: bytes, limits: LimitSettings) -> HeaderFacts:
    """Read the field lines of a request.

    Args:
        block: complete lines, each ended by CRLF.
        limits: how many and how long.

    Raises:
        WireError: with the reason to refuse the request.
    """
    everything = wire.split_field_lines(block, max_fields=limits.fields, max_field_bytes=limits.field_bytes)
    # A service behind CGI-like rules would read X_User_Id as X-User-Id, so such a field goes nowhere.
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
    return HeaderFacts(
        fields=tuple(found),
        host=host,
        content_length=length,
        chunked=chunked,
        close=b"close" in options,
        keep_alive=b"keep-alive" in options,
        expects_continue=_expects_continue(by_name.get(b"expect", [])),
        upgrade=upgrade,
        authorization=authorization,
        credentials=hashlib.sha256(authorization[0]).digest() if len(authorization) == 1 else b"",
        forwardable=b"".join(
            b"%b: %b\r\n" % field
            for field in visible
            if field[0] not in options
            and is_forwardable(field[0])
            # Part of an upgrade, and of nothing else; a client may have put a token there.
            and (upgrade or not field[0].startswith(_WEBSOCKET_PREFIX))
        ).decode("latin-1"),
        origin=_single_origin(by_name[b"origin"]) if b"origin" in by_name else None,
        session_cookies=cookies,
        dropped=len(everything) - len(found),
        has_proxy_fields=not _FORWARDED_BY_PROXY.isdisjoint(by_name),
        plain_host=without_default_port(host, "http"),
    )


def is_forwardable(name: bytes) -> bool:
    """Whether a client's field of this name (lower case) may reach a service."""
    return (
        b"_" not in name
        and b"." not in name
        and _without_separators(name) not in _NEVER_FORWARDED
        and not _with_hyphens(name).startswith(_FAMILIES)
    )


def is_reserved(name: bytes) -> bool:
    """Whether a field's name (lower case) is one that only the gateway may set, however spelled."""
    return _without_separators(name) in _RESERVED


def is_for_services(name: bytes) -> bool:
    """Whether a field's name (lower case), however spelled, is one in which gateways tell services of a client."""
    return is_reserved(name) or _with_hyphens(name).startswith(_FAMILIES)


def canonical_host(value: bytes) -> str:
    """The one spelling of a host and optional port: lower case, without a final dot or an empty port (RFC 5952).

    Args:
        value: for which `is_host` holds.
    """
    match = _OPTIONAL_PORT.fullmatch(value.lower().decode("ascii"))
    if match is None:
        raise ValueError("not a host")
    name = match["name"].removesuffix(".")
    if name.startswith("["):
        name = f"[{IPv6Address(name[1:-1])}]"
    return f"{name}:{match['port']}" if match["port"] else name


def without_default_port(host: str, scheme: str) -> str:
    """A canonical host without the port that a scheme has anyway (RFC 3986 section 6.2.3)."""
    return host.removesuffix(f":{_DEFAULT_PORTS[scheme]}")


def is_host(value: bytes) -> bool:
    """Whether it is a host and optional port (RFC 9110 section 7.2)."""
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
    """The gateway's own cookies, and the fields as they are without them."""
    ours: list[Field] = []
    others: list[Field] = []
    for name, value in found:
        taken, left = split_own_cookies(value) if name == b"cookie" else ([], value)
        ours += taken
        if left or not taken:
            others.append((name, left))
    return tuple(ours), others


def _single_origin(values: list[bytes]) -> bytes:
    return values[0] if len(values) == 1 else b""


def _connection_options(values: list[bytes]) -> frozenset[bytes]:
    options = frozenset(option.strip(b" \t").lower() for value in values for option in value.split(b",")) - {b""}
    if not all(wire.is_token(option) for option in options) or not options.isdisjoint(_NOT_FOR_CONNECTION):
        raise WireError(Reason.MALFORMED_HEADER)
    return options


def _parse_host(values: list[bytes]) -> str:
    """The host of the one field; HTTP/1.0 may come without it (RFC 9112 section 3.2)."""
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
    """Whether a WebSocket is asked for. What Connection does not name, or names several protocols, is no upgrade."""
    return len(values) == 1 and values[0].lower() == WEBSOCKET and b"upgrade" in options
