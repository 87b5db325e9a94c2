"""From the bytes of a request's head to an `InboundRequest`. One reader for all connections of a worker."""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from gateway.edge import headers, wire
from gateway.edge.client_address import Origin, forwarded_origin, is_trusted
from gateway.edge.headers import HeaderFacts
from gateway.edge.path import parse_target
from gateway.edge.request import InboundRequest
from gateway.edge.wire import END_OF_HEAD, WireError
from gateway.errors import Reason
from gateway.settings import LimitSettings, ServerSettings

MEMO_BYTES: Final = 8 * 1024 * 1024
"""What the memory of examined field blocks may take, by a rough count."""
MEMO_BLOCK_BYTES: Final = 4096
_FIELD_COST: Final = 160
"""About what one parsed field takes beyond its bytes."""
_LINE_END: Final = b"\r\n"
_AROUND_TARGET: Final = 64
"""Bytes of a request line beside its target, generously."""


class Peer(NamedTuple):
    """The other end of a connection.

    Attributes:
        address: its IP address, or `unix`.
        trusted: its X-Forwarded-* are believed.
    """

    address: str
    trusted: bool


class HeadReader:
    """Reads heads.

    Args:
        server: who may be served here, and which peers are believed.
        limits: how much a client may send.
    """

    def __init__(self, server: ServerSettings, limits: LimitSettings) -> None:
        self._limits = limits
        self._allowed_hosts = frozenset(host.lower().encode("ascii") for host in server.allowed_hosts)
        self._trusted_proxies = server.trusted_proxies
        self._memo: dict[bytes, HeaderFacts] = {}
        self._memo_bytes = 0
        self._request_prefix = os.urandom(8).hex()
        self._requests = 0

    def peer(self, address: str) -> Peer:
        """What an address means here."""
        return Peer(address, bool(self._trusted_proxies) and is_trusted(address, self._trusted_proxies))

    def next_request_id(self) -> str:
        """An id no other request has: 32 hexadecimal digits, so that it is a trace id too."""
        self._requests += 1
        return f"{self._request_prefix}{self._requests:016x}"

    def find_end(self, data: bytes) -> int:
        """Where a head ends: the index after its empty line, or 0 where the bytes are not a whole head yet.

        Raises:
            WireError: they cannot become an acceptable one.
        """
        limits = self._limits
        # One empty line before a request is overlooked (RFC 9112 section 2.2).
        start = 2 if data.startswith(_LINE_END) else 0
        end = data.find(END_OF_HEAD, start)
        if start <= end <= limits.head_bytes:
            return end + len(END_OF_HEAD)
        line_end = data.find(_LINE_END, start)
        if (line_end if line_end >= 0 else len(data)) > limits.target_bytes + _AROUND_TARGET:
            raise WireError(Reason.TARGET_TOO_LONG)
        if len(data) > limits.head_bytes:
            raise WireError(Reason.HEAD_TOO_LARGE)
        if wire.has_stray_line_end(data):
            raise WireError(Reason.MALFORMED_REQUEST)
        if line_end >= 0:
            wire.request_line(data[start:line_end])
        return 0

    def read(self, head: bytes, peer: Peer) -> InboundRequest:
        """Parse a whole head.

        Args:
            head: as `find_end` found it.
            peer: who sent it.

        Raises:
            WireError: it is not acceptable.
        """
        start = 2 if head.startswith(_LINE_END) else 0
        line_end = head.find(_LINE_END, start)
        method, target, http11 = wire.request_line(head[start:line_end])
        if len(target) > self._limits.target_bytes:
            raise WireError(Reason.TARGET_TOO_LONG)
        facts = self._examine(head[line_end + 2 : -2])
        if facts.chunked and not http11:
            raise WireError(Reason.AMBIGUOUS_FRAMING)
        path, query, authority = parse_target(target)
        host = facts.host
        if authority is not None and authority.lower() != host:
            raise WireError(Reason.BAD_HOST)  # RFC 9112 section 3.2: they have to be the same
        if self._allowed_hosts and not self._is_served(host):
            raise WireError(Reason.UNKNOWN_HOST)
        origin = forwarded_origin(peer.address, facts, self._trusted_proxies) if peer.trusted else None
        client, scheme = origin or Origin(peer.address, "http")
        return InboundRequest(
            method.decode("ascii"),
            path,
            query,
            http11,
            host,
            facts,
            client,
            scheme,
            self.next_request_id(),
            peer.trusted,
        )

    def _is_served(self, host: bytes) -> bool:
        return host in self._allowed_hosts or host.rpartition(b":")[0] in self._allowed_hosts

    def _examine(self, block: bytes) -> HeaderFacts:
        """Read field lines; what a client repeats is examined once."""
        facts = self._memo.get(block)
        if facts is None:
            facts = headers.examine(block, self._limits)
            if len(block) <= MEMO_BLOCK_BYTES:
                self._remember(block, facts)
        return facts

    def _remember(self, block: bytes, facts: HeaderFacts) -> None:
        memo = self._memo
        self._memo_bytes += _memo_cost(block, facts)
        while self._memo_bytes > MEMO_BYTES:
            oldest = next(iter(memo))
            self._memo_bytes -= _memo_cost(oldest, memo.pop(oldest))
        memo[block] = facts


def _memo_cost(block: bytes, facts: HeaderFacts) -> int:
    return 3 * len(block) + _FIELD_COST * len(facts.fields)
