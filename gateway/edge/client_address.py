"""Who is on the other side of the connection, or behind the front proxy that is."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, NamedTuple

from gateway.edge.headers import HeaderFacts

Network = IPv4Network | IPv6Network

_SITE_BITS: Final = 64


class Origin(NamedTuple):
    """Where a request came from.

    Attributes:
        client: its address.
        scheme: `http` or `https`, as the client used it.
    """

    client: str
    scheme: str


def is_trusted(peer: str, networks: Sequence[Network]) -> bool:
    """Whether a peer's X-Forwarded-* are believed. What is not an address (a unix socket) is not."""
    address = _address(peer)
    return address is not None and any(address in network for network in networks)


def network(address: str) -> str:
    """Whom an address is counted as: itself, or the /64 of an IPv6 address, all of which one site may use (R-126)."""
    found = _address(address.partition("%")[0])
    if found is None:
        return address
    if isinstance(found, IPv4Address):
        return str(found)
    return str(IPv6Network((found, _SITE_BITS), strict=False))


def forwarded_origin(peer: str, headers: HeaderFacts, networks: Sequence[Network]) -> Origin:
    """The origin a trusted front proxy tells of.

    X-Forwarded-For is read from the right: each trusted proxy vouches for the entry before its own, and the first
    address that is not a trusted proxy's is the client. Where that is not an address, the peer is taken: a field that
    cannot be read never makes a check disappear.
    """
    protocols = headers.values(b"x-forwarded-proto")
    scheme = "https" if protocols and protocols[-1].lower() == b"https" else "http"
    hops = [hop.strip() for value in headers.values(b"x-forwarded-for") for hop in value.split(b",")]
    for hop in reversed(hops):
        address = _address(hop.decode("latin-1"))
        if address is None:
            return Origin(peer, scheme)
        if not any(address in network for network in networks):
            return Origin(str(address), scheme)
    return Origin(peer, scheme)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if not isinstance(address, IPv6Address):
        return address
    if address.scope_id is not None:
        return None  # the name of an interface there, any text at all; it means nothing here
    return address.ipv4_mapped or address
