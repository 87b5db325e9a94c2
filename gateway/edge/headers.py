"""What the header fields of a request say, and which of them a service may see.

The result depends on the bytes alone, so that equal bytes need not be examined twice: clients repeat themselves.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, NamedTuple

from gateway.edge import wire
from gateway.edge.cookies import take_out
from gateway.edge.wire import Field, WireError
from gateway.errors import Reason
from gateway.settings import LimitSettings
from trust import headers as identity

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
# Who a request came from and what was asked for originally is for the gateway to say.
_FORWARDING: Final = frozenset(
    {
        b"forwarded",
        b"via",
        b"x-real-ip",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"true-client-ip",
        b"cf-connecting-ip",
        b"fastly-client-ip",
        b"x-rewrite-url",
        b"x-http-method",
        b"x-http-method-override",
        b"x-method-override",
        b"proxy",  # CGI hands it on as HTTP_PROXY, which HTTP clients take for the address of a proxy
    }
)
# Set anew for the connection to the service.
_OWN: Final = frozenset({b"host", b"content-length", b"expect", b"authorization"})
# To name one of these in Connection is an attempt to make one of two readers not see it.
_NOT_FOR_CONNECTION: Final = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"authorization", b"cookie", b"content-type", b"expect"}
)
_HANDSHAKE: Final = b"sec-websocket-"
_LABEL: Final = rb"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST: Final = re.compile(rb"(?:" + _LABEL + rb"(?:\." + _LABEL + rb")*|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?")
_MAX_HOST_BYTES: Final = 253 + len(":65535")
_MAX_PORT: Final = 65535
# Somewhere behind us a name may become a variable's, and lose its separators or the difference between them. So names
# are compared without any.
_SEPARATORS: Final = re.compile(rb"[^0-9a-z]+")


def _bare(name: bytes) -> bytes:
    return _SEPARATORS.sub(b"", name)


# A client's copy of any of these is removed, whatever follows the name: only the gateway says who somebody is.
_RESERVED: Final = tuple(
    _bare(name.encode("ascii"))
    for name in (*identity.IDENTITY_HEADERS, identity.SIGNATURE, identity.SIGNATURE_INPUT, identity.CONTENT_DIGEST)
)
_NEVER_FORWARDED: Final = frozenset(_bare(name) for name in HOP_BY_HOP | _FORWARDING | _OWN)
# What other gateways put in front of services. Nobody signs these, but a service that was written behind one of those
# would take a client's word for it.
_FOREIGN_IDENTITY: Final = tuple(
    _bare(name)
    for name in (
        b"x-user",
        b"x-auth-user",
        b"x-auth-request",
        b"remote-user",
        b"x-remote-user",
        b"x-webauth-user",
        b"x-ssl-client",
        b"ssl-client",
        b"x-client-cert",
        b"x-envoy",
        b"x-host",
        b"x-scheme",
    )
)
_NEVER_FORWARDED_PREFIXES: Final = (*_RESERVED, *_FOREIGN_IDENTITY, b"xforwarded", b"xoriginal")


class HeaderFacts(NamedTuple):
    """What the edge needs to know of a request's fields.

    Attributes:
        fields: every field, in order, names in lower case.
        host: the one Host, in lower case.
        content_length: of the body; `None` where none was declared.
        chunked: the body is chunked.
        close: the client asked for this to be the last request of the connection.
        keep_alive: the client asked for the connection to be kept (HTTP/1.0 has to).
        expects_continue: the client waits for 100 before it sends the body.
        upgrade: the protocol the client wants to change to, in lower case.
        authorization: the values of all Authorization fields; none where the only one is empty.
        credentials: SHA-256 of the one Authorization value; empty where there is none, or more than one.
        forwardable: the field lines a service may see, each ended by CRLF; latin-1, which keeps every byte.
        origin: whose page asks; `None` where nobody says, empty where it is said more than once.
        session_cookies: names and values of the gateway's own cookies; those are not forwardable.
    """

    fields: tuple[Field, ...]
    host: str
    content_length: int | None
    chunked: bool
    close: bool
    keep_alive: bool
    expects_continue: bool
    upgrade: bytes | None
    authorization: tuple[bytes, ...]
    credentials: bytes
    forwardable: str
    origin: bytes | None = None
    session_cookies: tuple[Field, ...] = ()

    def values(self, name: bytes) -> list[bytes]:
        """The values of all fields of a name (lower case), in order."""
        return [value for field, value in self.fields if field == name]


def examine(block: bytes, limits: LimitSettings) -> HeaderFacts:
    """Read the field lines of a request.

    Args:
        block: complete lines, each ended by CRLF.
        limits: how many and how long.

    Raises:
        WireError: with the reason to refuse the request.
    """
    found = wire.fields(block, max_fields=limits.fields, max_field_bytes=limits.field_bytes)
    by_name: dict[bytes, list[bytes]] = {}
    for name, value in found:
        by_name.setdefault(name, []).append(value)
    if any(b"_" in name or b"." in name for name in by_name):
        # A service behind CGI-like rules would read X_User_Id as X-User-Id.
        raise WireError(Reason.RESERVED_SPELLING)
    if len(by_name.get(b"content-type", [])) > 1:
        raise WireError(Reason.MALFORMED_HEADER)
    options = _connection_options(by_name.get(b"connection", []))
    length = wire.content_length(by_name.get(b"content-length", []))
    chunked = wire.is_chunked(by_name.get(b"transfer-encoding", []))
    if chunked and length is not None:
        raise WireError(Reason.AMBIGUOUS_FRAMING)
    upgrade = _upgrade(by_name.get(b"upgrade", []), options)
    if upgrade is not None and (chunked or length):
        raise WireError(Reason.UPGRADE_REFUSED)
    authorization = tuple(by_name.get(b"authorization", []))
    if authorization == (b"",):
        authorization = ()  # front proxies take a field away by emptying it
    cookies, visible = _without_own_cookies(found) if b"cookie" in by_name else ((), found)
    return HeaderFacts(
        fields=tuple(found),
        host=_host(by_name.get(b"host", [])),
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
            and (upgrade is not None or not field[0].startswith(_HANDSHAKE))
        ).decode("latin-1"),
        origin=_origin(by_name[b"origin"]) if b"origin" in by_name else None,
        session_cookies=cookies,
    )


def is_forwardable(name: bytes) -> bool:
    """Whether a client's field of this name (lower case) may reach a service."""
    bare = _bare(name)
    return bare not in _NEVER_FORWARDED and not bare.startswith(_NEVER_FORWARDED_PREFIXES)


def is_reserved(name: bytes) -> bool:
    """Whether a field's name (lower case) is or begins with one that only the gateway may set, however spelled."""
    return _bare(name).startswith(_RESERVED)


def is_host(value: bytes) -> bool:
    """Whether it is a host and optional port (RFC 9110 section 7.2)."""
    match = _HOST.fullmatch(value) if len(value) <= _MAX_HOST_BYTES else None
    return match is not None and int(match[1] or 0) <= _MAX_PORT


def _without_own_cookies(found: list[Field]) -> tuple[tuple[Field, ...], list[Field]]:
    """The gateway's own cookies, and the fields as they are without them."""
    ours: list[Field] = []
    others: list[Field] = []
    for name, value in found:
        taken, left = take_out(value) if name == b"cookie" else ([], value)
        ours += taken
        if left or not taken:
            others.append((name, left))
    return tuple(ours), others


def _origin(values: list[bytes]) -> bytes:
    return values[0] if len(values) == 1 else b""


def _connection_options(values: list[bytes]) -> frozenset[bytes]:
    options = frozenset(option.strip(b" \t").lower() for value in values for option in value.split(b",")) - {b""}
    if not all(wire.is_token(option) for option in options) or not options.isdisjoint(_NOT_FOR_CONNECTION):
        raise WireError(Reason.MALFORMED_HEADER)
    return options


def _host(values: list[bytes]) -> str:
    if len(values) != 1 or not is_host(values[0]):
        raise WireError(Reason.BAD_HOST)
    return values[0].lower().decode("ascii")


def _expects_continue(values: list[bytes]) -> bool:
    if not values:
        return False
    if len(values) == 1 and values[0].lower() == b"100-continue":
        return True
    raise WireError(Reason.EXPECTATION_UNKNOWN)


def _upgrade(values: list[bytes], options: frozenset[bytes]) -> bytes | None:
    """An Upgrade that Connection does not name, or that names several protocols, is none (RFC 9110 section 7.8)."""
    if len(values) != 1 or b"upgrade" not in options:
        return None
    return values[0].lower()
