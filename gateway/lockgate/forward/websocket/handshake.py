"""Checks the opening handshake of a WebSocket (RFC 6455 section 4) as far as its bytes alone allow.

The handshake goes on to the service with the client's own key, so the service's response is the client's response. Two
parts of the handshake are for the gateway only and are removed: a token among the subprotocols, and a ticket in the
query. The gateway offers no extensions, because bounding the size of a compressed message means inflating the message.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Final, NamedTuple

from lockgate.edge import wire
from lockgate.edge.headers import NOTHING_HIDDEN, WEBSOCKET
from lockgate.edge.request import InboundRequest
from lockgate.edge.wire import Field, WireError
from lockgate.errors import Reason, Refusal
from lockgate.identity.bearer import bearer
from lockgate.identity.ticket import without_tickets
from lockgate.policy.field_rules import FieldRules
from lockgate.policy.route import Route
from lockgate.upstream.response import MAX_FIELDS, MAX_HEAD_BYTES, parse_response_head

NEUTRAL_PROTOCOL: Final = b"lockgate"
"""Offered beside a token by a client without a subprotocol, because browsers require the server's choice."""
TOKEN_PROTOCOL: Final = b"lockgate.bearer."

_VERSION: Final = b"13"
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")
_KEY_SUFFIX: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_NOT_FORWARDED: Final = ("sec-websocket-protocol:", "sec-websocket-extensions:")
_SWITCHING: Final = 101


class Handshake(NamedTuple):
    """A client's checked handshake.

    Attributes:
        request: as the service may see it: without ticket and token, with the fields of an upgrade.
        key: the Sec-WebSocket-Key.
        protocols: the subprotocols that the client offers to the service.
        neutral: the client also offers the subprotocol that the gateway itself may choose.
        token: from the subprotocols.
        ticket: from the query.
    """

    request: InboundRequest
    key: bytes
    protocols: tuple[bytes, ...]
    neutral: bool
    token: bytes | None
    ticket: str | None

    @property
    def carries_token(self) -> bool:
        """Whether a token or ticket came in a way that pages have."""
        return self.token is not None or self.ticket is not None


class Declined(NamedTuple):
    """The service responded, but did not accept."""

    status: int


def parse_handshake(request: InboundRequest, route: Route) -> Handshake | Refusal:
    """Check a handshake, and remove its token and ticket. `Origins` checks the page's origin separately.

    Args:
        request: a request with `Upgrade: websocket`.
        route: the route of the request's path.
    """
    refusal = _find_fault(request, route)
    if refusal is not None:
        return refusal
    try:
        offered = _parse_protocols(request.headers.values_of(b"sec-websocket-protocol"))
    except WireError as error:
        return Refusal(error.reason)
    tokens = [one.removeprefix(TOKEN_PROTOCOL) for one in offered if one.startswith(TOKEN_PROTOCOL)]
    query, tickets = without_tickets(request.query)
    if len(tokens) + len(tickets) + (bearer(request.authorization) is not None) > 1:
        return Refusal(Reason.REPEATED_CREDENTIALS)
    protocols = tuple(one for one in offered if one != NEUTRAL_PROTOCOL and not one.startswith(TOKEN_PROTOCOL))
    return Handshake(
        request=_build_upstream_request(request, query, protocols),
        key=request.headers.values_of(b"sec-websocket-key")[0],
        protocols=protocols,
        neutral=NEUTRAL_PROTOCOL in offered,
        token=tokens[0] if tokens else None,
        ticket=tickets[0] if tickets else None,
    )


def parse_upgrade_response(
    head: bytes, handshake: Handshake, rules: FieldRules | None = None, hidden: frozenset[bytes] = NOTHING_HIDDEN
) -> bytes | Declined:
    """Parse the service's response strictly.

    Args:
        head: the response's head, including its empty line.
        handshake: the handshake that the service got.
        rules: change the fields of the client's response.
        hidden: names of fields that the client must not see.

    Returns:
        The lines of the client's response, each ended by CRLF, without the empty line; or `Declined`.

    Raises:
        WireError: no acceptable response, or a mismatch with the handshake.
    """
    response = parse_response_head(head, hidden=hidden)
    if response.status != _SWITCHING:
        return Declined(response.status)
    _, _, block = head[:-2].partition(b"\r\n")
    found = wire.split_field_lines(block, max_fields=MAX_FIELDS, max_field_bytes=MAX_HEAD_BYTES)
    options = [
        option.strip(b" \t").lower() for value in _values_of(found, b"connection") for option in value.split(b",")
    ]
    chosen = _values_of(found, b"sec-websocket-protocol")
    if (
        [value.lower() for value in _values_of(found, b"upgrade")] != [WEBSOCKET]
        or b"upgrade" not in options
        or _values_of(found, b"sec-websocket-accept") != [_accept_value(handshake.key)]
        or _values_of(found, b"sec-websocket-extensions")
        # A 101 has no body (RFC 9110 section 8.6, RFC 9112 section 6.1): frames follow.
        or response.content_length is not None
        or response.chunked
        or len(chosen) > 1
        or not set(chosen) <= set(handshake.protocols)
    ):
        raise WireError(Reason.UPSTREAM_BROKE)
    neutral = b"sec-websocket-protocol: %b\r\n" % NEUTRAL_PROTOCOL if handshake.neutral and not chosen else b""
    lines = response.lines if rules is None else rules.change_head(response.lines)
    return b"%b%bUpgrade: websocket\r\nConnection: Upgrade\r\n" % (lines, neutral)


def _find_fault(request: InboundRequest, route: Route) -> Refusal | None:
    """Why a handshake is refused, by RFC 6455 section 4.2.1. A body on an upgrade is refused too (R-91)."""
    facts = request.headers
    if request.method != "GET":
        return Refusal(Reason.METHOD_NOT_ALLOWED, headers=(("Allow", "GET"),))
    if request.path not in route.sockets or not request.http11 or request.has_body:
        return Refusal(Reason.UPGRADE_REFUSED)
    if facts.values_of(b"sec-websocket-version") != [_VERSION]:
        return Refusal(Reason.SOCKET_VERSION, headers=(("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket")))
    keys = facts.values_of(b"sec-websocket-key")
    if len(keys) != 1 or _KEY.fullmatch(keys[0]) is None:
        return Refusal(Reason.UPGRADE_REFUSED)
    return None


def is_handshake(request: InboundRequest) -> bool:
    """Whether a request is a handshake, also after a front proxy has removed the hop-by-hop Upgrade and Connection.

    Browsers send the key with each handshake, and no page can prevent that.
    """
    return request.headers.upgrade or bool(request.headers.values_of(b"sec-websocket-key"))


def _parse_protocols(values: list[bytes]) -> tuple[bytes, ...]:
    if not values:
        return ()
    offered = tuple(one.strip(b" \t") for value in values for one in value.split(b","))
    if not all(wire.is_token(one) for one in offered) or len(set(offered)) != len(offered):
        raise WireError(Reason.MALFORMED_HEADER)
    return offered


def _build_upstream_request(request: InboundRequest, query: str | None, protocols: tuple[bytes, ...]) -> InboundRequest:
    facts = request.headers
    kept = [line for line in facts.forwardable.split("\r\n") if line and not line.startswith(_NOT_FORWARDED)]
    if protocols:
        kept.append(f"Sec-WebSocket-Protocol: {b', '.join(protocols).decode('latin-1')}")
    kept += ["Upgrade: websocket", "Connection: Upgrade"]
    forwardable = "".join(line + "\r\n" for line in kept)
    return request._replace(query=query, headers=facts._replace(forwardable=forwardable))


def _accept_value(key: bytes) -> bytes:
    return base64.b64encode(hashlib.sha1(key + _KEY_SUFFIX, usedforsecurity=False).digest())


def _values_of(found: list[Field], name: bytes) -> list[bytes]:
    return [value for field, value in found if field == name]
