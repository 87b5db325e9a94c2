"""A client connection for its handlers: one response at a time, deadlines, and one end.

`edge.protocol` reads the requests off the connection. All connections of a worker share an `Edge`.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum, auto
from time import monotonic
from typing import Final, NamedTuple

from uvicorn.server import ServerState

from lockgate.edge import responses, wire
from lockgate.edge.draining import QUIET_S, WINDOW_S, BodyBounds, UnreadBody
from lockgate.edge.handler import Handler, Observer
from lockgate.edge.head import Peer, RequestHeadReader
from lockgate.edge.headers import NOTHING_HIDDEN
from lockgate.edge.request import InboundRequest
from lockgate.edge.ticker import Ticker
from lockgate.errors import Reason, Refusal
from lockgate.settings import LimitSettings, ServerSettings

NO_ROUTE: Final = "-"
CLIENT_GONE: Final = 499
"""Counted as the status of a request that its client gave up before the response; never sent."""
LINGER_S: Final = 2.0
SWITCHING_PROTOCOLS: Final = 101
NEVER: Final = float("inf")
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with a time of zero: closing sends a reset to the client (RFC 9293 section 3.10.4)."""
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_UNKNOWN: Final = Peer("", trusted=False)
_NO_METHODS: Final = (("Allow", ""),)
_CLOSE: Final = "Connection: close\r\n"
_TARGET_REFUSED: Final = (Reason.BAD_TARGET, Reason.TARGET_TOO_LONG)
"""Reasons for which a preflight is granted all the same: the page then reads the refusal of the request itself."""


class Phase(Enum):
    """The state of a connection."""

    HEAD = auto()
    BODY = auto()
    RESPONDING = auto()
    UPGRADED = auto()
    LINGERING = auto()
    CLOSED = auto()


# Micro-optimisation: CPython 3.11 takes 0.125 µs to find a member in its class and 0.009 µs to find a global. With the
# metrics in a single call this took a request's Python from 24.1 to 22.2 µs (`docs/performance.md`).
HEAD, BODY, RESPONDING, UPGRADED, LINGERING, CLOSED = Phase


class RefusedHead(NamedTuple):
    """The facts for CORS in a head that was refused.

    Attributes:
        preflight: the head is a CORS preflight. A page can read the refusal of a request, and learns nothing from a
            refused preflight.
        cors: the CORS field lines for the response.
    """

    preflight: bool
    cors: str


_NOTHING_READ: Final = RefusedHead(preflight=False, cors="")
BeginRequest = Callable[[InboundRequest, "ClientConnection"], Handler | None]


class Edge:
    """The state that the connections of a worker share.

    Args:
        server: the hosts served here, and the trusted proxies.
        limits: how much a client may send, and how slowly.
        ticker: the worker's coarse clock.
        begin_request: starts the handling of a request.
        body_bounds: returns how large and how slow the body of a request may be.
        speaks_oauth: whether the client of a request expects OAuth's error codes.
        observer: counts and logs how each request ended.
        cors_lines: returns the CORS field lines for the response to a request with an `Origin`.
        vary: the field lines for every other response.
        read_refused_head: returns the facts for CORS in a head that was refused.
        is_certified: whether the gateway has a certificate for a host.
        hidden: see `examine_fields`.
    """

    def __init__(  # noqa: PLR0913 - the seam between the edge and everything behind it
        self,
        server: ServerSettings,
        limits: LimitSettings,
        ticker: Ticker,
        *,
        begin_request: BeginRequest,
        body_bounds: Callable[[InboundRequest], BodyBounds],
        speaks_oauth: Callable[[InboundRequest], bool],
        observer: Observer,
        cors_lines: Callable[[InboundRequest], str] = lambda _: "",
        vary: str = "",
        read_refused_head: Callable[[bytes], RefusedHead] = lambda _: _NOTHING_READ,
        is_certified: Callable[[str], bool] = lambda _: False,
        hidden: frozenset[bytes] = NOTHING_HIDDEN,
    ) -> None:
        self._server = server
        self.limits = limits
        self.ticker = ticker
        self.begin_request = begin_request
        self.body_bounds = body_bounds
        self.speaks_oauth = speaks_oauth
        self.observer = observer
        self.cors_lines = cors_lines
        self.vary = vary
        self.read_refused_head = read_refused_head
        self._is_certified = is_certified
        self._hidden = hidden
        self.heads = RequestHeadReader(server, limits, is_certified, hidden=hidden)
        self.connections: set[ClientConnection] = set()
        self.peers: dict[str, int] = {}
        self.draining = False
        self._with_pending_writes: list[ClientConnection] = []
        ticker.add_listener(self._check_deadlines)
        ticker.add_listener(self.heads.notices.log_new)

    def replace_rules(  # noqa: PLR0913 - as the constructor
        self,
        server: ServerSettings,
        limits: LimitSettings,
        *,
        cors_lines: Callable[[InboundRequest], str],
        vary: str,
        read_refused_head: Callable[[bytes], RefusedHead],
        hidden: frozenset[bytes],
    ) -> None:
        """Read every head from now on by other rules; the arguments are those of the constructor."""
        self.cors_lines, self.vary, self.read_refused_head = cors_lines, vary, read_refused_head
        self._replace_reader(server, limits, hidden)

    def replace_limits(self, limits: LimitSettings) -> None:
        """Read every head from now on within other limits."""
        self._replace_reader(self._server, limits, self._hidden)

    def _replace_reader(self, server: ServerSettings, limits: LimitSettings, hidden: frozenset[bytes]) -> None:
        if (server, limits, hidden) == (self._server, self.limits, self._hidden):
            return
        self._server, self.limits, self._hidden = server, limits, hidden
        self.heads = RequestHeadReader(server, limits, self._is_certified, self.heads.notices, hidden)
        for connection in self.connections:
            connection.look_up_peer()

    def admit_connection(self, peer: Peer) -> bool:
        """Count a connection; `False` where there are too many, in all or from this peer.

        A trusted proxy stands for many clients, so only the bound for all connections applies.
        """
        count = self.peers.get(peer.address, 0)
        if len(self.connections) >= self.limits.connections:
            return False
        if count >= self.limits.connections_per_peer and not peer.trusted:
            return False
        self.peers[peer.address] = count + 1
        return True

    def release_connection(self, peer: Peer) -> None:
        """Count the end of a connection that `admit_connection` counted."""
        count = self.peers[peer.address] - 1
        if count:
            self.peers[peer.address] = count
        else:
            del self.peers[peer.address]

    def write_later(self, connection: ClientConnection) -> None:
        """Write a connection's pending bytes after all callbacks of this turn of the event loop."""
        if not self._with_pending_writes:
            asyncio.get_running_loop().call_soon(self._write_all_pending)
        self._with_pending_writes.append(connection)

    def _write_all_pending(self) -> None:
        connections, self._with_pending_writes = self._with_pending_writes, []
        for connection in connections:
            connection.write_pending()

    def _check_deadlines(self, now: float) -> None:
        for connection in [one for one in self.connections if one.deadline <= now]:
            connection.deadline_passed()


class ClientConnection(asyncio.Protocol, ABC):
    """The server's side of a client connection.

    Attributes:
        deadline: monotonic seconds at which `deadline_passed` is due; a responding handler may set this.
        keep_alive: whether the connection goes on after the current response; the response's head must say so.
        endless: the current response has no end of its own; a client that closes its sending side has left.
        route: the name of the current request's route, for metrics and log.
        unframed: the current response ends where the connection does.
        cors: the CORS field lines for the response to the current request, from the gateway or a service.
    """

    def __init__(self, edge: Edge, server_state: ServerState) -> None:
        self._edge = edge
        self._server_state = server_state
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # until connection_made
        self._peer = _UNKNOWN
        self._counted = False
        self._phase = HEAD
        self._buffer = b""
        self._reading = False
        self._handler: Handler | None = None
        self._request: InboundRequest | None = None
        self._body_bytes = 0
        self._body_ends_at = NEVER
        self._body_rate = 0.0
        self._bytes_at_check = 0
        self._rate_check_at = NEVER
        self._body_idle_at = NEVER
        self._body_asked = True
        self._unread_body: UnreadBody | None = None
        self._quiet_timer: asyncio.TimerHandle | None = None
        self._paused = False
        self._client_slow = False
        self._unsent = 0
        self._saw_eof = False
        self._response_begun = False
        self._pending = b""
        self._started = 0.0
        self.keep_alive = True
        self.endless = False
        self.unframed = False
        self.route = NO_ROUTE
        self.cors = ""
        self.deadline = NEVER

    # --- called by the handler of a request --------------------------------------------------------------------------

    def write_now(self, data: bytes) -> None:
        """Send bytes of the response."""
        self._response_begun = True
        if self._phase is not CLOSED:
            self.write_pending()
            self._transport.write(data)

    def write_batched(self, data: bytes) -> None:
        """Send a whole response, together with all others of this turn of the event loop.

        Micro-optimisation: a write between the work for two requests wakes a sleeping client, which is the dearest part
        of a write. Before and after in requests/s: 24,100 and 25,900, 21,600 and 24,200 (`docs/performance.md`).
        """
        self._response_begun = True
        if self._phase is not CLOSED:
            self._edge.write_later(self)
            self._pending += data

    def write_pending(self) -> None:
        """Send the pending bytes, before any others."""
        if self._pending:
            data, self._pending = self._pending, b""
            self._transport.write(data)

    def send_continue(self) -> None:
        """Send `100 Continue` where the client waits before sending the body (RFC 9110 section 10.1.1)."""
        request = self._request
        waits = request is not None and request.http11 and request.headers.expects_continue
        if waits and self._phase is BODY and not self._body_bytes:
            self._body_asked = True
            self.write_pending()
            self._transport.write(_CONTINUE)

    def pause_body(self) -> None:
        """Stop reading the body, or the bytes after an upgrade, until `resume_body`."""
        if self._paused:
            return
        if self._phase is BODY:
            self._pause_reading()
            self.deadline = NEVER
        elif self._phase is UPGRADED:
            self._pause_reading()

    def resume_body(self) -> None:
        """Continue to read."""
        if self._paused:
            self._resume_reading()
            if self._phase is BODY:
                self._begin_window()  # time in which the gateway does not read must not count against the client
                self._progress_deadline()

    def finish_response(self, status: int, reason: Reason | None = None) -> None:
        """End the response: go on with the next request, or close.

        Args:
            status: the status of the response.
            reason: why the request was refused; `None` for a request that was served.
        """
        self._report_response(status, reason)
        self._handler = None
        if self._phase is CLOSED:
            return
        if self._phase is BODY and self._body_asked:
            self._drain_body()
            return
        if self._phase is BODY or not self.keep_alive or self._edge.draining:
            self._close_lingering()
            return
        self._phase = HEAD
        self.deadline = self._edge.ticker.now + self._edge.limits.keep_alive_s
        if (self._buffer or self._paused or self._saw_eof) and not self._reading and not self._client_slow:
            self._read_next_request()

    def switch_protocols(self, head: bytes) -> None:
        """Send a 101 response: from here on the handler gets the client's raw bytes, until `end_upgraded`.

        Args:
            head: the whole response.
        """
        if self._phase is CLOSED:
            return  # `client_gone` is about to be called
        if self._phase is not RESPONDING:
            raise RuntimeError("only a request that was read and has no response yet can be upgraded")
        self._report_response(SWITCHING_PROTOCOLS, None)
        self._phase = UPGRADED
        self.write_now(head)
        if self._paused:
            self._resume_reading()
        if self._buffer:
            data, self._buffer = self._buffer, b""
            self._read_bytes(data)

    def end_upgraded(self) -> None:
        """End the upgraded connection: send nothing more, and discard bytes that still arrive."""
        if self._phase is UPGRADED:
            self._close_lingering()

    def refuse_request(self, refusal: Refusal) -> None:
        """Send a problem response to the current request and finish."""
        request = self._request
        if request is None or self._phase is CLOSED:
            return
        if self._response_begun:
            self.abort_response(refusal.reason)
            return
        if self._phase is BODY or self._edge.draining:
            self.keep_alive = False
        oauth, body = self._edge.speaks_oauth(request), request.method != "HEAD"
        self._write_problem(refusal, request.request_id, oauth=oauth, body=body)
        self.finish_response(refusal.reason.status, refusal.reason)

    def abort_response(self, reason: Reason) -> None:
        """Reset the connection: a response that was begun cannot be completed, and must not look complete."""
        self._handler = None
        self._report_response(reason.status, reason)
        # A response without a length ends where the connection does, so only a reset marks it as incomplete.
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._abort_transport()

    # --- called by the event loop, except for the client's bytes -----------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept a client's connection, or refuse the client where there are too many."""
        self._transport = transport  # type: ignore[assignment]  # a TCP or unix socket transport
        edge = self._edge
        name = transport.get_extra_info("peername")
        address = name[0] if isinstance(name, tuple) else "unix"
        tls = transport.get_extra_info("ssl_object")
        if tls is None:
            self._peer = edge.heads.peer_of(address)
        else:
            self._peer = edge.heads.peer_of(address, "https", tls.server_name)
        self._counted = edge.admit_connection(self._peer)
        if not self._counted:
            self.keep_alive = False
            refusal = Refusal(Reason.TOO_MANY_CONNECTIONS)
            self._write_problem(refusal, edge.heads.next_request_id(), oauth=False, body=True)
            self._close_transport()
            return
        edge.connections.add(self)
        self._server_state.connections.add(self)  # type: ignore[arg-type]  # typed for uvicorn's own protocols
        self.deadline = edge.ticker.now + edge.limits.head_s

    def look_up_peer(self) -> None:
        """Learn whether the peer is trusted, by rules that are new."""
        peer = self._peer
        self._peer = self._edge.heads.peer_of(peer.address, peer.scheme, peer.server_name)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended, from either side."""
        del exc
        self._phase = CLOSED
        self._pending = b""
        self.deadline = NEVER
        self._forget_unread_body()
        self._edge.connections.discard(self)
        self._server_state.connections.discard(self)
        if self._counted:
            self._counted = False
            self._edge.release_connection(self._peer)
        self._drop_handler()
        self._report_response(CLIENT_GONE, None)

    def pause_writing(self) -> None:
        """The client does not read fast enough."""
        self._client_slow = True
        if self._handler is not None:
            if self._phase is not UPGRADED:
                self.deadline = self._edge.ticker.now + self._edge.limits.body_idle_s
            self._handler.pause_sending()

    def resume_writing(self) -> None:
        """The client caught up."""
        self._client_slow = False
        if self._handler is not None:
            if self._phase is not UPGRADED:
                self.deadline = NEVER
            self._handler.resume_sending()
        elif self._phase is HEAD:
            self._read_next_request()

    def shutdown(self) -> None:
        """The worker stops: close now if idle, after the current response otherwise."""
        self.keep_alive = False
        if self._phase is HEAD and not self._buffer:
            self._close_transport()

    # --- deadlines ---------------------------------------------------------------------------------------------------

    def deadline_passed(self) -> None:
        """Called by the ticker when `deadline` has passed."""
        self.deadline = NEVER
        if self._phase is UPGRADED and self._handler is not None:
            self._handler.timed_out()  # the handler of an upgraded connection checks both sides
            return
        if self._unread_body is not None:
            self._check_unread_body(self._unread_body)
            return
        unsent, before = self._transport.get_write_buffer_size(), self._unsent
        self._unsent = unsent
        if unsent not in {0, before}:
            # The client reads, however slowly. A client that reads nothing between two checks is given up.
            self.deadline = self._edge.ticker.now + self._edge.limits.body_idle_s
        elif self._phase is HEAD and self._buffer and not self._client_slow:
            self._refuse_bytes(Reason.REQUEST_TIMEOUT, self._buffer)
        elif self._handler is not None and self._awaits_handler(unsent):
            self._handler.timed_out()
        elif self._phase is BODY and self._is_fast_enough():
            self._begin_window()
            self.deadline = min(self._body_ends_at, self._rate_check_at, self._body_idle_at)
        elif self._phase is BODY:
            self._drop_handler()
            self._refuse_bytes(Reason.REQUEST_TIMEOUT, b"")
        else:
            self._abort_transport()

    def _awaits_handler(self, unsent: int) -> bool:
        """Whether the handler is late, rather than the client with its body or with reading the response."""
        if self._saw_eof or unsent:
            return False
        return self._phase is RESPONDING or (self._phase is BODY and self._paused)

    def _progress_deadline(self) -> None:
        """Give the client `body_idle_s` for the next piece of the body."""
        self._body_idle_at = self._edge.ticker.now + self._edge.limits.body_idle_s
        self.deadline = min(self._body_ends_at, self._rate_check_at, self._body_idle_at)

    def _begin_window(self) -> None:
        """Start a window of `body_idle_s`; the rate of the body is checked at its end."""
        self._rate_check_at = self._edge.ticker.now + self._edge.limits.body_idle_s
        self._bytes_at_check = self._body_bytes

    def _is_fast_enough(self) -> bool:
        """Whether only the window for the rate has passed, and the rate is high enough."""
        enough = self._body_rate * self._edge.limits.body_idle_s
        on_time = self._edge.ticker.now < min(self._body_ends_at, self._body_idle_at)
        return on_time and self._body_bytes - self._bytes_at_check >= enough

    # --- reading, implemented by `edge.protocol` ---------------------------------------------------------------------

    @abstractmethod
    def _read_bytes(self, data: bytes) -> None:
        """Take bytes from the client."""

    @abstractmethod
    def _read_next_request(self) -> None:
        """Between two requests: continue to read, and parse the bytes that the client has sent ahead."""

    def _pause_reading(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        self._paused = False
        self._transport.resume_reading()

    # --- closing -----------------------------------------------------------------------------------------------------

    def _refuse_bytes(self, reason: Reason, head: bytes) -> None:
        """Send a problem response to bytes that are no acceptable request, and close.

        Args:
            reason: why the bytes are refused.
            head: the bytes that have come of a head that was not parsed.
        """
        if self._phase is CLOSED:
            return
        if self._request is not None:
            self.refuse_request(Refusal(reason))
            return
        self.keep_alive = False
        request_id = self._edge.heads.next_request_id()
        unread = self._edge.read_refused_head(head)
        self.cors = unread.cors
        if unread.preflight and reason in _TARGET_REFUSED:
            self.write_pending()
            self._transport.write(
                responses.render_no_content(f"{unread.cors}{_CLOSE}", request_id, self._edge.ticker.date)
            )
        else:
            headers = _NO_METHODS if reason is Reason.METHOD_NOT_ALLOWED else ()
            body = not wire.is_head_request(head)
            self._write_problem(Refusal(reason, headers), request_id, oauth=False, body=body)
        self._edge.observer.on_refused_bytes(self._peer.address, reason)
        self._close_lingering()

    def _write_problem(self, refusal: Refusal, request_id: str, *, oauth: bool, body: bool) -> None:
        close, date = not self.keep_alive, self._edge.ticker.date
        self.write_pending()
        self._transport.write(
            responses.render_problem(
                refusal, request_id, oauth=oauth, close=close, body=body, date=date, more=self.cors
            )
        )

    def _drain_body(self) -> None:
        """Discard the rest of the body, so that the client can read the response; then close."""
        leftover = self._build_unread_body()
        if self._saw_eof or leftover.finished:
            self._close_lingering()
            return
        self._phase = LINGERING
        self._handler = None
        self._unread_body = leftover
        self.deadline = self._edge.ticker.now + WINDOW_S
        self.write_pending()
        if self._paused:
            self._resume_reading()
        if self.unframed:
            self._close_sending_side()
        else:
            self._wait_for_quiet()

    def _discard_unread(self, leftover: UnreadBody, data: bytes) -> None:
        if not leftover.discard(data):
            self._stop_discarding(leftover)
        elif self._quiet_timer is not None:
            self._wait_for_quiet()

    def _check_unread_body(self, leftover: UnreadBody) -> None:
        next_check = leftover.check_rate(self._edge.ticker.now)
        if next_check is None:
            self._stop_discarding(leftover)
        else:
            self.deadline = next_check

    def _stop_discarding(self, leftover: UnreadBody) -> None:
        """Stop discarding at the end of the body or at its bound; the client has a moment to read the response."""
        self._forget_unread_body()
        self._close_lingering()
        if not leftover.finished and self._phase is LINGERING:
            self._pause_reading()

    def _forget_unread_body(self) -> None:
        self._unread_body = None
        if self._quiet_timer is not None:
            self._quiet_timer.cancel()
            self._quiet_timer = None

    def _wait_for_quiet(self) -> None:
        if self._quiet_timer is not None:
            self._quiet_timer.cancel()
        self._quiet_timer = asyncio.get_running_loop().call_later(QUIET_S, self._close_sending_side)

    def _close_sending_side(self) -> None:
        self._quiet_timer = None
        if self._phase is LINGERING and self._transport.can_write_eof():
            self._transport.write_eof()

    @abstractmethod
    def _build_unread_body(self) -> UnreadBody:
        """The rest of the current request's body."""

    def _close_lingering(self) -> None:
        """Close so that the client gets the response: bytes after a full close would reset the connection."""
        self._phase = LINGERING
        self._handler = None
        self._buffer = b""
        self.deadline = self._edge.ticker.now + LINGER_S
        self.write_pending()
        if self._saw_eof or not self._transport.can_write_eof():
            self._close_transport()
            return
        self._transport.write_eof()
        if self._paused:
            self._resume_reading()

    def _close_transport(self) -> None:
        self.write_pending()
        self._phase = CLOSED
        self.deadline = self._edge.ticker.now + self._edge.limits.body_idle_s
        self._transport.close()

    def _abort_transport(self) -> None:
        self.write_pending()
        self._phase = CLOSED
        self._transport.abort()

    def _drop_handler(self) -> None:
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.client_gone()

    def _report_response(self, status: int, reason: Reason | None) -> None:
        request = self._request
        if request is not None:
            self._edge.observer.on_response(request, self.route, status, monotonic() - self._started, reason)
            self._request = None
