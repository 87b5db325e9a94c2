"""Finds the address of the client, connected directly or behind front proxies."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, NamedTuple

from lockgate.edge.headers import HeaderFacts, canonical_host, is_host

Network = IPv4Network | IPv6Network

_SITE_BITS: Final = 64
_REMEMBERED: Final = 4096
"""Addresses of which the network is remembered; some 200 bytes each."""
_FORWARDED: Final = b"forwarded"
_FOR, _PROTO = b"for", b"proto"
_HTTPS: Final = frozenset({b"https", b"wss"})
"""Some proxies name the protocol of a WebSocket handshake after the socket."""
# Possessive quantifiers: a client writes the first elements, and parsing them must take linear time.
_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_QUOTED: Final = rb'"(?:[^"\\]|\\.)*+"'
_QUOTES_CLOSED: Final = re.compile(rb'(?:[^"]|' + _QUOTED + rb")*+")
_ELEMENT: Final = re.compile(rb'(?:[^",]|' + _QUOTED + rb")++")
_PARAMETER: Final = re.compile(rb"(" + _TOKEN + rb")=(" + _TOKEN + rb"|" + _QUOTED + rb")")
_PAIRS: Final = re.compile(_PARAMETER.pattern + rb"(?:[ \t]*+;[ \t]*+(?:" + _PARAMETER.pattern + rb")?+)*+", re.DOTALL)
_QUOTED_PAIR: Final = re.compile(rb"\\(.)")
_ZONE: Final = r"(?:%[0-9A-Za-z._~-]{1,32})?"
_NODE: Final = re.compile(
    rf"\[(?P<bracketed>[0-9A-Fa-f:.]+){_ZONE}\](?::[0-9]{{1,5}})?|(?P<v4>[0-9.]+)(?::[0-9]{{1,5}})?"
    rf"|(?P<v6>[0-9A-Fa-f:.]+){_ZONE}"
)


_ReadHop = Callable[[bytes], dict[bytes, bytes]]


class RequestOrigin(NamedTuple):
    """The client's side of a request.

    Attributes:
        client: the client's address.
        scheme: `http` or `https`, between client and first proxy.
        host: the host that the client asked, in canonical spelling; `None` where the Host field counts.
        readable: the client's address could be read; otherwise `client` is the peer's address.
        stated: a proxy stated the client's address, readably; without that, `client` allows nothing.
    """

    client: str
    scheme: str
    host: str | None = None
    readable: bool = True
    stated: bool = True


def is_trusted(peer: str, networks: Sequence[Network]) -> bool:
    """Whether a peer's X-Forwarded-* fields are believed; never for a peer without an address (a unix socket)."""
    address = parse_address(peer)
    return address is not None and any(address in network for network in networks)


@lru_cache(maxsize=_REMEMBERED)
def counted_network(address: str) -> str:
    """The network that an address counts for: an IPv4 address itself, or the /64 of an IPv6 site (R-126).

    Micro-optimisation: a login asks twice for the same address, a refresh once. To parse an IPv6 address takes
    22 µs, to remember it 0.1 (`docs/performance.md`).
    """
    found = parse_address(address.partition("%")[0])
    if found is None:
        return address
    if isinstance(found, IPv4Address):
        return str(found)
    return str(IPv6Network((found, _SITE_BITS), strict=False))


class ForwardedReader:
    """Reads the fields in which trusted front proxies describe a request's client (RFC 7239, and the older fields).

    Args:
        networks: the addresses of trusted proxies.
        field: the name of the only field that carries the client's address, in lower case.
        host: whether a trusted proxy's `X-Forwarded-Host` is believed.
    """

    def __init__(self, networks: Sequence[Network], field: str, *, host: bool) -> None:
        self._networks = networks
        self._field = field.encode("ascii")
        self._host = host

    def read_origin(self, peer: str, headers: HeaderFacts) -> RequestOrigin:
        """The origin of a request from a trusted peer.

        The hops are read from the right: each trusted proxy states the entry before its own, and the first address that
        is not a trusted proxy's is the client. Where all addresses are trusted, the client is a machine of the trusted
        networks: the first entry is the client. Where an entry cannot be read as an address, the peer counts as the
        client, so an unreadable field never makes a check disappear.
        """
        values = headers.values_of(self._field)
        read_hop: _ReadHop = _element_parameters if self._field == _FORWARDED else _only_address
        hops = _forwarded_elements(values) if self._field == _FORWARDED else _list_members(values)
        client, at, readable = self._find_client(peer, hops, read_hop)
        if self._field == _FORWARDED:
            # The element that names the client also states the scheme between the client and the first proxy.
            protocol = read_hop(hops[-1 if at is None else at]).get(_PROTO, b"") if hops else b""
        else:
            protocols = _list_members(headers.values_of(b"x-forwarded-proto"))
            same_length = at is not None and len(protocols) == len(hops)
            protocol = protocols[at if same_length and at is not None else -1] if protocols else b""
        host = self._forwarded_host(headers)
        return RequestOrigin(client, "https" if protocol.lower() in _HTTPS else "http", host, readable, at is not None)

    def _find_client(self, peer: str, hops: Sequence[bytes], read_hop: _ReadHop) -> tuple[str, int | None, bool]:
        """The client's address, the index of its hop, and whether every hop that was read is an address.

        Reading stops at the client: the client itself wrote the hops before its own.
        """
        client: IPv4Address | IPv6Address | None = None
        for at in range(len(hops) - 1, -1, -1):
            client = _node_address(read_hop(hops[at]).get(_FOR, b""))
            if client is None:
                return peer, None, False
            if not any(client in network for network in self._networks):
                return str(client), at, True
        return (peer, None, True) if client is None else (str(client), 0, True)

    def _forwarded_host(self, headers: HeaderFacts) -> str | None:
        if not self._host:
            return None
        hosts = _list_members(headers.values_of(b"x-forwarded-host"))
        return canonical_host(hosts[-1]) if hosts and is_host(hosts[-1]) else None


def _list_members(values: Sequence[bytes]) -> list[bytes]:
    """The members of a list field, empty ones left out (RFC 9110 section 5.6.1)."""
    return [member for value in values for entry in value.split(b",") if (member := entry.strip(b" \t"))]


def _forwarded_elements(values: Sequence[bytes]) -> list[bytes]:
    """The elements of Forwarded (RFC 7239 section 4), empty ones left out."""
    found: list[bytes] = []
    for value in values:
        # Attack: a client leaves a quote open so that the element a proxy appends becomes part of the client's element.
        elements = _ELEMENT.findall(value) if _QUOTES_CLOSED.fullmatch(value) else value.split(b",")
        found += filter(None, (one.strip(b" \t") for one in elements))
    return found


def _element_parameters(element: bytes) -> dict[bytes, bytes]:
    """The parameters of an element by lower-case name; empty for an unreadable element."""
    names = _PARAMETER.findall(element) if _PAIRS.fullmatch(element) else []
    parameters = {name.lower(): _without_quotes(content) for name, content in names}
    return parameters if len(parameters) == len(names) else {}


def _only_address(hop: bytes) -> dict[bytes, bytes]:
    return {_FOR: hop}


def _without_quotes(value: bytes) -> bytes:
    return _QUOTED_PAIR.sub(rb"\1", value[1:-1]) if value.startswith(b'"') else value


def _node_address(node: bytes) -> IPv4Address | IPv6Address | None:
    """The address of a node, with or without brackets, quotes and port, in the spellings of load balancers."""
    match = _NODE.fullmatch(node.strip(b'"').decode("latin-1"))
    return None if match is None else parse_address(match["bracketed"] or match["v4"] or match["v6"])


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """An address, an IPv4 one where it is mapped to IPv6; `None` for a text that is none, such as `unix`."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if not isinstance(address, IPv6Address):
        return address
    # The zone of a link-local address names an interface on the sender's machine and means nothing here.
    return address.ipv4_mapped or (address if address.scope_id is None else IPv6Address(int(address)))
