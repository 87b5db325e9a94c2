"""Parses the bytes of a request's head into an `InboundRequest`. All connections of a worker share one reader."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from lockgate.edge import headers, wire
from lockgate.edge.client_address import ForwardedReader, is_trusted
from lockgate.edge.field_memo import FieldMemo
from lockgate.edge.headers import HeaderFacts, canonical_host, is_host, without_default_port, without_port
from lockgate.edge.notices import Notice, Notices
from lockgate.edge.path import ROOT, SERVER_WIDE, parse_target
from lockgate.edge.request import InboundRequest
from lockgate.edge.trace import kept_request_id, kept_trace
from lockgate.edge.wire import END_OF_HEAD, WireError
from lockgate.errors import Reason
from lockgate.settings import LimitSettings, ServerSettings

MEMO_LINES: Final = 2048
"""The number of request lines in the memo."""
MEMO_LINE_BYTES: Final = 512
_LINE_END: Final = b"\r\n"
# The two spellings of the line with a token that clients use.
_AUTHORIZATION: Final = b"\r\nAuthorization: Bearer "
_LOWER_CASE: Final = b"\r\nauthorization: Bearer "
_BEFORE_VALUE: Final = len(b"\r\nAuthorization: ")
_BEFORE_TOKEN: Final = len(_AUTHORIZATION)
_VISIBLE: Final = bytes(range(0x21, 0x7F))
ANY_HOST: Final = frozenset({"/healthz", "/readyz", SERVER_WIDE})
"""Paths that are served for every host, because probes ask by address; `OPTIONS /` is another such probe."""
_AROUND_TARGET: Final = 64
"""Bytes of a request line beside its target, generously."""


class Peer(NamedTuple):
    """The other end of a connection.

    Attributes:
        address: its IP address, or `unix`.
        trusted: its X-Forwarded-* fields are believed.
        scheme: `https` over TLS, otherwise `http`.
        server_name: the host that it asked by SNI, in lower case; `None` without.
    """

    address: str
    trusted: bool
    scheme: str = "http"
    server_name: str | None = None


class RequestLine(NamedTuple):
    """A request line, taken apart (RFC 9112 section 3).

    Attributes:
        method: as sent.
        path: canonical.
        query: as sent; `None` where there is no question mark.
        http11: HTTP/1.1, otherwise 1.0.
        authority: the host of an absolute-form target, in canonical spelling, without a default port.
    """

    method: str
    path: str
    query: str | None
    http11: bool
    authority: str | None


class RequestHeadReader:
    """Parses heads.

    Micro-optimisation: clients repeat themselves, so parsed lines and field blocks are kept in a memo by their bytes. A
    head of known fields takes 7.1 µs instead of 22 (`docs/decisions/0002`). The memo holds each block without the value
    of its Authorization line, so it holds no token, and one block stands for all users of the same client program. It
    holds no cookie, address, request id or trace either (`edge/field_memo.py`).

    Args:
        server: the hosts served here, and the trusted proxies.
        limits: how much a client may send.
        is_certified: whether the gateway has a certificate for a host. Over TLS, no other host is served.
        notices: of a reader before this one; `None`: there was none.
        hidden: see `examine_fields`.

    Attributes:
        notices: counts the oddities that were tolerated.
    """

    def __init__(
        self,
        server: ServerSettings,
        limits: LimitSettings,
        is_certified: Callable[[str], bool] = lambda _: False,
        notices: Notices | None = None,
        hidden: frozenset[bytes] = headers.NOTHING_HIDDEN,
    ) -> None:
        self._limits = limits
        self._is_certified = is_certified
        self._hidden = hidden
        self._allowed_hosts = frozenset(server.allowed_hosts)
        self._trusted_proxies = server.trusted_proxies
        self._forwarded = ForwardedReader(server.trusted_proxies, server.forwarded_from, host=server.forwarded_host)
        self.notices = notices or Notices()
        self._lines: OrderedDict[bytes, RequestLine] = OrderedDict()
        self._memo = FieldMemo(limits.field_bytes)
        self._request_prefix = os.urandom(8).hex()
        self._requests = 0

    def peer_of(self, address: str, scheme: str = "http", server_name: str | None = None) -> Peer:
        """The peer at an address, with its trust."""
        trusted = bool(self._trusted_proxies) and is_trusted(address, self._trusted_proxies)
        return Peer(address, trusted, scheme, server_name)

    def next_request_id(self) -> str:
        """A new request id: 32 hexadecimal digits, which can be a trace id too."""
        self._requests += 1
        return f"{self._request_prefix}{self._requests:016x}"

    def find_head_end(self, data: bytes) -> int:
        """The index after a head's empty line, or 0 where the bytes are not a whole head yet.

        Raises:
            WireError: the bytes cannot become an acceptable head.
        """
        limits = self._limits
        # One empty line before a request is ignored (RFC 9112 section 2.2).
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
            wire.parse_request_line(data[start:line_end])
        return 0

    def parse_head(self, head: bytes, peer: Peer) -> InboundRequest:
        """Parse a whole head.

        Args:
            head: a whole head, delimited by `find_head_end`.
            peer: the sender.

        Raises:
            WireError: the head is not acceptable.
        """
        start = 2 if head.startswith(_LINE_END) else 0
        line_end = head.find(_LINE_END, start)
        line = self._parse_line(head[start:line_end])
        block, authorization = self._split_credentials(head, line_end)
        facts = self._memo.find_facts(block)
        if facts is None:
            facts, found = headers.examine_fields(head[line_end + 2 : -2], self._limits, self._hidden)
            # A block with several Authorization fields, or with one in another spelling, is examined each time. So is a
            # handshake: its key differs each time, and it may have a token in its protocols.
            if found == authorization and not facts.upgrade:
                self._memo.remember_facts(block, facts)
            authorization = found
        return self._build_request(line, facts, authorization, peer)

    def parse_repeated(self, data: bytes, peer: Peer) -> InboundRequest | None:
        """Parse bytes that are exactly a head, with line and field block in the memo.

        Most heads are, because a client repeats itself. A block in the memo holds no empty line, so the end of the
        head needs no search.

        Returns:
            `None` where the bytes are anything else; then `find_head_end` and `parse_head` decide.

        Raises:
            WireError: line and fields do not go together.
        """
        line_end = data.find(_LINE_END)
        line = self._lines.get(data[:line_end])
        if line is None or not data.endswith(END_OF_HEAD) or len(data) > self._limits.head_bytes:
            return None
        block, authorization = self._split_credentials(data, line_end)
        facts = self._memo.find_facts(block)
        return None if facts is None else self._build_request(line, facts, authorization, peer)

    def _build_request(
        self, line: RequestLine, facts: HeaderFacts, authorization: tuple[bytes, ...], peer: Peer
    ) -> InboundRequest:
        method, path, query, http11, authority = line
        if facts.chunked and not http11:
            raise WireError(Reason.AMBIGUOUS_FRAMING)
        if not facts.host and http11:
            raise WireError(Reason.BAD_HOST)
        if facts.dropped:
            self.notices.add_notice(Notice.FIELD_DROPPED, facts.dropped)
        own_id = self.next_request_id()
        if peer.trusted:
            return self._build_proxied_request(line, facts, authorization, peer, own_id)
        if facts.has_proxy_fields:
            self.notices.add_notice(Notice.PROXY_UNLISTED)
        scheme = peer.scheme
        if scheme == "http":
            # In nearly every request there is no authority and no list of hosts to compare Host with.
            plain = authority is None and not self._allowed_hosts
            host = facts.plain_host if plain else self._served_host(line, facts.host, scheme)
        else:
            host = self._served_host(line, facts.host, scheme)
            self._check_certified(line, host, peer)
        client = peer.address
        # Micro-optimisation: `_make` takes half the time of a call with a dozen arguments.
        return InboundRequest._make(
            (method, path, query, http11, host, facts, client, scheme, own_id, own_id, False, None, authorization, True)
        )

    def _build_proxied_request(
        self, line: RequestLine, facts: HeaderFacts, authorization: tuple[bytes, ...], peer: Peer, own_id: str
    ) -> InboundRequest:
        """The request that a trusted front proxy forwards; the proxy's fields about the client are believed."""
        origin = self._forwarded.read_origin(peer.address, facts)
        if not origin.readable:
            self.notices.add_notice(Notice.ADDRESS_UNREADABLE)
        # Target and Host must agree on the host that the proxy asked. The proxy's client may have asked another host.
        host = self._served_host(line, facts.host, origin.scheme, origin.host)
        request_id, trace = kept_request_id(facts) or own_id, kept_trace(facts)
        method, path, query, http11, _ = line
        client, scheme, _, _, stated = origin
        before = (method, path, query, http11, host, facts, client, scheme, request_id, own_id)
        return InboundRequest._make((*before, True, trace, authorization, stated))

    def _served_host(self, line: RequestLine, host: str, scheme: str, forwarded: str | None = None) -> str:
        """The host that the client asked.

        Raises:
            WireError: target and Host disagree (RFC 9112 section 3.2), or the host is not served here.
        """
        if line.authority is not None:
            if host and without_default_port(without_default_port(host, "http"), "https") != line.authority:
                raise WireError(Reason.BAD_HOST)
            host = line.authority
        if forwarded is not None:
            host = forwarded
        if ":" in host:
            host = without_default_port(host, scheme)
        if self._allowed_hosts and not _is_for_any_host(line) and not self._is_served(host):
            raise WireError(Reason.UNKNOWN_HOST)
        return host

    def _is_served(self, host: str) -> bool:
        return host in self._allowed_hosts or host.rpartition(":")[0] in self._allowed_hosts

    def _check_certified(self, line: RequestLine, host: str, peer: Peer) -> None:
        """Refuse a request over TLS for a host that its connection is not for.

        A trusted proxy is not checked: its SNI is its own, and its Host is its client's.

        Raises:
            WireError: there is no certificate for the host, or the client asked another one by SNI (RFC 9110 section
                15.5.20).
        """
        if line.path in ANY_HOST:
            return
        name = without_port(host)
        if not self._is_certified(name) or (peer.server_name is not None and name != peer.server_name):
            raise WireError(Reason.UNKNOWN_HOST)

    def _parse_line(self, line: bytes) -> RequestLine:
        found = self._lines.get(line)
        if found is None:
            method, target, http11 = wire.parse_request_line(line)
            if len(target) > self._limits.target_bytes:
                raise WireError(Reason.TARGET_TOO_LONG)
            path, query, authority = parse_target(target, method)
            asked_host = None if authority is None else _parse_authority(authority)
            found = RequestLine(method.decode("ascii"), path, query, http11, asked_host)
            if len(line) <= MEMO_LINE_BYTES:
                if len(self._lines) >= MEMO_LINES:
                    self._lines.popitem(last=False)
                self._lines[line] = found
        return found

    def _split_credentials(self, head: bytes, line_end: int) -> tuple[bytes, tuple[bytes, ...]]:
        """Cut the value out of the Authorization line with a token.

        Args:
            head: the head, from its request line on.
            line_end: the end of its request line.

        Returns:
            The block without the value, from the end of the request line on, and the value. The block as it is, and
            none, without such a line, or where the line is in any other spelling. The value alone is not in the memo,
            so it is examined here: visible characters and one space, within the bound for a line.
        """
        at = head.find(_AUTHORIZATION, line_end)
        if at < 0:
            at = head.find(_LOWER_CASE, line_end)
        if at >= 0:
            start, token = at + _BEFORE_VALUE, at + _BEFORE_TOKEN
            end = head.find(b"\r", token)
            value = head[start:end]
            if token < end <= at + 2 + self._limits.field_bytes and value.translate(None, _VISIBLE) == b" ":
                return head[line_end:start] + head[end:-2], (value,)
        return head[line_end:-2], ()


def _is_for_any_host(line: RequestLine) -> bool:
    return line.path in ANY_HOST or (line.path == ROOT and line.method == "OPTIONS")


def _parse_authority(authority: bytes) -> str:
    if not is_host(authority):
        raise WireError(Reason.BAD_HOST)
    return without_default_port(without_default_port(canonical_host(authority), "http"), "https")
