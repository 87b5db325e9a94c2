"""One client connection: bytes in, requests out to whoever answers them, one answer at a time.

uvicorn makes one `EdgeProtocol` for each connection it accepts (`uvicorn.Config(http=EdgeProtocol)`). What all
connections of a worker share is the `Edge`, handed over through the lifespan state. The protocol knows HTTP and limits;
which request is answered by whom is decided by `Edge.begin`, which the composition root sets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, MutableMapping
from enum import Enum, auto
from time import monotonic
from typing import Any, Final, Protocol

from uvicorn import Config
from uvicorn.server import ServerState

from gateway.edge import answers
from gateway.edge.head import HeadReader, Peer
from gateway.edge.request import InboundRequest
from gateway.edge.ticker import Ticker
from gateway.edge.wire import ChunkedReader, LengthReader, WireError
from gateway.errors import Reason, Refusal
from gateway.settings import LimitSettings, ServerSettings

STATE_KEY: Final = "lockgate.edge"
NO_ROUTE: Final = "-"
CLIENT_GONE: Final = 499
"""Not a status that is ever sent: how a request is counted whose client did not wait for the answer."""
PIPELINE_BYTES: Final = 64 * 1024
"""What a client may send ahead while an answer is under way."""
CHUNK_OVERHEAD: Final = 64 * 1024
"""What chunk lines and trailers may take beyond the size of the body they frame."""
LINGER_S: Final = 2.0
LINGER_BYTES: Final = 1024 * 1024
HALF_CLOSED_S: Final = 2.0
"""How long an answer is still tried for a client that closed its sending side: it may be waiting, or be gone."""
SWITCHING_PROTOCOLS: Final = 101
_NEVER: Final = float("inf")
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_UNKNOWN: Final = Peer("", trusted=False)


class Observer(Protocol):
    """Is told how each request ended, to count and log it."""

    def answered(self, request: InboundRequest, route: str, status: int, seconds: float, reason: Reason | None) -> None:
        """A request was answered, or given up by its client (status 499).

        Args:
            request: the one.
            route: the name of its route.
            status: of the answer.
            seconds: from the end of its head.
            reason: why it was refused or broken off; `None` where it was not.
        """

    def not_a_request(self, client: str, reason: Reason) -> None:
        """Bytes were refused that are no request we accept."""


class Handler(Protocol):
    """Answers one request. Calls come from the client's connection, in this order: body*, body_complete."""

    def body(self, data: bytes) -> None:
        """A piece of the request's body."""

    def body_complete(self) -> None:
        """The whole body was read; called for requests without a body too."""

    def client_gone(self) -> None:
        """The client went away, or was sent away, before the answer was complete: free everything."""

    def pause_sending(self) -> None:
        """The client reads slower than it is answered: stop producing."""

    def resume_sending(self) -> None:
        """The client caught up."""

    def timed_out(self) -> None:
        """The deadline that the handler set for itself has passed."""


class _Phase(Enum):
    HEAD = auto()
    BODY = auto()
    ANSWERING = auto()
    UPGRADED = auto()
    LINGERING = auto()
    CLOSED = auto()


Begin = Callable[[InboundRequest, "EdgeProtocol"], Handler]


class Edge:
    """What the connections of one worker share.

    Args:
        server: who may be served here, and which peers are believed.
        limits: how much a client may send, and how slowly.
        ticker: the worker's coarse clock.
        begin: starts the handling of a request.
        body_limit: how large the body of a request may be.
        oauth: whether the clients of a path expect OAuth's error words.
        observer: is told how each request ended.
    """

    def __init__(  # noqa: PLR0913 - the seam between the edge and everything behind it
        self,
        server: ServerSettings,
        limits: LimitSettings,
        ticker: Ticker,
        *,
        begin: Begin,
        body_limit: Callable[[str], int],
        oauth: Callable[[str], bool],
        observer: Observer,
    ) -> None:
        self.limits = limits
        self.ticker = ticker
        self.begin = begin
        self.body_limit = body_limit
        self.oauth = oauth
        self.observer = observer
        self.heads = HeadReader(server, limits)
        self.connections: set[EdgeProtocol] = set()
        self.peers: dict[str, int] = {}
        self.draining = False
        ticker.listen(self._check_deadlines)

    def admit_connection(self, peer: Peer) -> bool:
        """Count a connection; `False` where there are too many of them, in all or from this peer.

        A trusted proxy is many clients: it is bounded by what all of them may have together.
        """
        count = self.peers.get(peer.address, 0)
        if len(self.connections) >= self.limits.connections:
            return False
        if count >= self.limits.connections_per_peer and not peer.trusted:
            return False
        self.peers[peer.address] = count + 1
        return True

    def release_connection(self, peer: Peer) -> None:
        """The connection of a peer that was counted has ended."""
        count = self.peers[peer.address] - 1
        if count:
            self.peers[peer.address] = count
        else:
            del self.peers[peer.address]

    def _check_deadlines(self, now: float) -> None:
        for connection in [one for one in self.connections if one.deadline <= now]:
            connection.deadline_passed()


class EdgeProtocol(asyncio.Protocol):
    """The server's side of one client connection.

    Attributes:
        deadline: monotonic seconds at which `deadline_passed` is due; the handler may set it while it answers.
        keep_alive: whether the connection goes on after the current answer; the answer's head has to say so.
        endless: the current answer goes on until somebody leaves; a client that sends no more has left.
        route: the name of the current request's route, for those who count.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: MutableMapping[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        del config, _loop
        edge: Edge = app_state[STATE_KEY]
        self._edge = edge
        self._server_state = server_state
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # until connection_made
        self._peer = _UNKNOWN
        self._counted = False
        self._phase = _Phase.HEAD
        self._buffer = b""
        self._consuming = False
        self._handler: Handler | None = None
        self._request: InboundRequest | None = None
        self._body: LengthReader | ChunkedReader | None = None
        self._body_limit = 0
        self._body_bytes = 0
        self._body_deadline = _NEVER
        self._paused = False
        self._behind = False
        self._unsent = 0
        self._lingered = 0
        self._saw_eof = False
        self._answered = False
        self._started = 0.0
        self.keep_alive = True
        self.endless = False
        self.route = NO_ROUTE
        self.deadline = _NEVER

    # --- what the event loop calls -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self._transport = transport  # type: ignore[assignment]  # a TCP or unix socket transport
        edge = self._edge
        address = transport.get_extra_info("peername")
        self._peer = edge.heads.peer(address[0] if isinstance(address, tuple) else "unix")
        self._counted = edge.admit_connection(self._peer)
        if not self._counted:
            self.keep_alive = False
            self._write_problem(Refusal(Reason.TOO_MANY_CONNECTIONS), edge.heads.next_request_id(), oauth=False)
            self._close()
            return
        edge.connections.add(self)
        self._server_state.connections.add(self)  # type: ignore[arg-type]  # typed for uvicorn's own protocols
        self.deadline = edge.ticker.now + edge.limits.head_s

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, by whomever."""
        del exc
        self._phase = _Phase.CLOSED
        self.deadline = _NEVER
        self._edge.connections.discard(self)
        self._server_state.connections.discard(self)
        if self._counted:
            self._counted = False
            self._edge.release_connection(self._peer)
        self._drop_handler()
        self._observe(CLIENT_GONE, None)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        self._consume(data)

    def eof_received(self) -> bool:
        """The client will send no more; it may still be waiting for its answer."""
        self._saw_eof = True
        if self._phase is _Phase.ANSWERING:
            if self.endless:
                self._abort()
                return True
            if not self._buffer:
                self.keep_alive = False
            self.deadline = min(self.deadline, self._edge.ticker.now + HALF_CLOSED_S)
            return True
        self._end_of_requests()
        return True  # it is closed from here, when everything is sent

    def pause_writing(self) -> None:
        """The client does not read fast enough."""
        self._behind = True
        if self._handler is not None:
            if self._phase is not _Phase.UPGRADED:
                self.deadline = self._edge.ticker.now + self._edge.limits.body_idle_s
            self._handler.pause_sending()

    def resume_writing(self) -> None:
        """The client caught up."""
        self._behind = False
        if self._handler is not None:
            if self._phase is not _Phase.UPGRADED:
                self.deadline = _NEVER
            self._handler.resume_sending()
        elif self._phase is _Phase.HEAD:
            self._go_on()

    def shutdown(self) -> None:
        """The worker stops: close now if idle, after the current answer otherwise."""
        self.keep_alive = False
        if self._phase is _Phase.HEAD and not self._buffer:
            self._close()

    def deadline_passed(self) -> None:
        """Called by the ticker when `deadline` has passed."""
        self.deadline = _NEVER
        if self._phase is _Phase.UPGRADED and self._handler is not None:
            self._handler.timed_out()  # it looks after both sides by itself
            return
        unsent, before = self._transport.get_write_buffer_size(), self._unsent
        self._unsent = unsent
        if unsent not in {0, before}:
            # The client reads, however slowly; it is given up when it has read nothing from one look to the next.
            self.deadline = self._edge.ticker.now + self._edge.limits.body_idle_s
        elif self._phase is _Phase.HEAD and self._buffer and not self._behind:
            self._refuse_bytes(Reason.REQUEST_TIMEOUT)
        elif self._handler is not None and self._awaits_handler(unsent):
            self._handler.timed_out()
        elif self._phase is _Phase.BODY:
            self._drop_handler()
            self._refuse_bytes(Reason.REQUEST_TIMEOUT)
        else:
            self._abort()

    def _awaits_handler(self, unsent: int) -> bool:
        """Whether it is the handler that is late, and not the client with its body or with reading the answer."""
        if self._saw_eof or unsent:
            return False
        return self._phase is _Phase.ANSWERING or (self._phase is _Phase.BODY and self._paused)

    # --- what the handler of a request calls -------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send bytes of the answer."""
        self._answered = True
        if self._phase is not _Phase.CLOSED:
            self._transport.write(data)

    def send_continue(self) -> None:
        """Ask for the body, where the client waits to be asked (RFC 9110 section 10.1.1)."""
        request = self._request
        waits = request is not None and request.http11 and request.headers.expects_continue
        if waits and self._phase is _Phase.BODY and not self._body_bytes:
            self._transport.write(_CONTINUE)

    def pause_body(self) -> None:
        """Read no more of the body, or of what came after an upgrade, for now."""
        if self._paused:
            return
        if self._phase is _Phase.BODY:
            self._pause_reading()
            self.deadline = _NEVER
        elif self._phase is _Phase.UPGRADED:
            self._pause_reading()

    def resume_body(self) -> None:
        """Read on."""
        if self._paused:
            self._resume_reading()
            if self._phase is _Phase.BODY:
                self._progress_deadline()

    def finish(self, status: int, reason: Reason | None = None) -> None:
        """The answer is complete: go on with the next request, or close.

        Args:
            status: of the answer.
            reason: why the request was refused; `None` where it was not.
        """
        self._observe(status, reason)
        self._handler = None
        if self._phase is _Phase.CLOSED:
            return
        if self._phase is _Phase.BODY or not self.keep_alive or self._edge.draining:
            self._linger()
            return
        self._phase = _Phase.HEAD
        self.deadline = self._edge.ticker.now + self._edge.limits.keep_alive_s
        if not self._consuming and not self._behind:
            self._go_on()

    def upgrade(self, head: bytes) -> None:
        """Answer 101: from here on the handler gets the client's bytes as they are, until `end_upgraded`.

        Args:
            head: the whole answer.
        """
        if self._phase is _Phase.CLOSED:
            return  # `client_gone` is about to be called
        if self._phase is not _Phase.ANSWERING:
            raise RuntimeError("only a request that was read and not answered yet can be upgraded")
        self._observe(SWITCHING_PROTOCOLS, None)
        self._phase = _Phase.UPGRADED
        self.write(head)
        if self._paused:
            self._resume_reading()
        if self._buffer:
            data, self._buffer = self._buffer, b""
            self._consume(data)

    def end_upgraded(self) -> None:
        """What was upgraded is over: nothing more will be sent, and what still comes is of no interest."""
        if self._phase is _Phase.UPGRADED:
            self._linger()

    def refuse(self, refusal: Refusal) -> None:
        """Answer the current request with a problem and finish."""
        request = self._request
        if request is None or self._phase is _Phase.CLOSED:
            return
        if self._answered:
            self.abort(refusal.reason)
            return
        if self._phase is _Phase.BODY or self._edge.draining:
            self.keep_alive = False
        self._write_problem(refusal, request.request_id, oauth=self._edge.oauth(request.path))
        self.finish(refusal.reason.status, refusal.reason)

    def abort(self, reason: Reason) -> None:
        """Break the connection off: the answer that was begun cannot be completed, and must not look complete."""
        self._handler = None
        self._observe(reason.status, reason)
        self._abort()

    # --- reading -----------------------------------------------------------------------------------------------

    def _consume(self, data: bytes) -> None:
        self._consuming = True
        try:
            while data:
                if self._phase is _Phase.HEAD and not self._behind:
                    data = self._read_head(data)
                elif self._phase is _Phase.BODY:
                    data = self._read_body(data)
                elif self._phase is _Phase.HEAD or self._phase is _Phase.ANSWERING:
                    data = self._read_ahead(data)
                elif self._phase is _Phase.UPGRADED and self._handler is not None:
                    self._handler.body(data)
                    return
                else:
                    self._discard(data)
                    return
        except WireError as error:
            self._drop_handler()
            self._refuse_bytes(error.reason)
        finally:
            self._consuming = False

    def _go_on(self) -> None:
        """Between two requests: read on, and take up what the client has sent ahead."""
        if self._paused:
            self._resume_reading()
        if self._buffer:
            data, self._buffer = self._buffer, b""
            self._consume(data)
        if self._saw_eof:
            self._end_of_requests()

    def _end_of_requests(self) -> None:
        """No more will come: what was begun will never be complete."""
        if self._phase is _Phase.HEAD and self._behind:
            return  # what was sent ahead is taken up when the client has caught up
        if self._phase is _Phase.BODY or (self._phase is _Phase.HEAD and self._buffer):
            self._drop_handler()
            self._refuse_bytes(Reason.MALFORMED_REQUEST)
        elif self._phase is not _Phase.ANSWERING:
            self._close()

    def _read_head(self, data: bytes) -> bytes:
        edge = self._edge
        end = edge.heads.find_end(data)
        if not end:
            self.deadline = min(self.deadline, edge.ticker.now + edge.limits.head_s)
            self._buffer = data
            return b""
        self._start(edge.heads.read(data[:end], self._peer))
        return data[end:]

    def _start(self, request: InboundRequest) -> None:
        edge, facts = self._edge, request.headers
        self.keep_alive = not facts.close and (request.http11 or facts.keep_alive) and not edge.draining
        self._request = request
        self._answered = False
        self.endless = False
        self.route = NO_ROUTE
        self._started = monotonic()
        self.deadline = _NEVER
        length = facts.content_length
        if not length and not facts.chunked:
            self._phase = _Phase.ANSWERING
            self._begin(request)
            if self._handler is not None:
                self._handler.body_complete()
            return
        self._phase = _Phase.BODY
        self._body_limit = edge.body_limit(request.path)
        self._body_bytes = 0
        if length is not None and length > self._body_limit:
            self.refuse(Refusal(Reason.BODY_TOO_LARGE))
            return
        self._body = ChunkedReader() if length is None else LengthReader(length)
        self._body_deadline = edge.ticker.now + edge.limits.body_total_s
        self._progress_deadline()
        self._begin(request)

    def _begin(self, request: InboundRequest) -> None:
        handler = self._edge.begin(request, self)
        if self._request is request:  # otherwise it was answered on the spot
            self._handler = handler

    def _read_body(self, data: bytes) -> bytes:
        body = self._body
        if body is None:
            raise RuntimeError("a body without a reader")
        piece, rest = body.feed(data)
        self._body_bytes += len(piece)
        if self._body_bytes > self._body_limit or body.overhead > self._body_limit + CHUNK_OVERHEAD:
            self._drop_handler()
            self.refuse(Refusal(Reason.BODY_TOO_LARGE))
            return b""
        if not self._paused:
            self._progress_deadline()
        if piece and self._handler is not None:
            self._handler.body(piece)
        if body.finished and self._phase is _Phase.BODY:
            self._phase = _Phase.ANSWERING
            self.deadline = _NEVER
            if self._handler is not None:
                self._handler.body_complete()
        return rest

    def _read_ahead(self, data: bytes) -> bytes:
        self._buffer = data
        if len(data) > PIPELINE_BYTES or self._behind:
            self._pause_reading()
        return b""

    def _discard(self, data: bytes) -> None:
        self._lingered += len(data)
        if self._lingered > LINGER_BYTES:
            self._abort()

    def _progress_deadline(self) -> None:
        self.deadline = min(self._body_deadline, self._edge.ticker.now + self._edge.limits.body_idle_s)

    def _pause_reading(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        self._paused = False
        self._transport.resume_reading()

    # --- closing -----------------------------------------------------------------------------------------------

    def _refuse_bytes(self, reason: Reason) -> None:
        """Answer bytes that are no request we accept: once, and close."""
        if self._phase is _Phase.CLOSED:
            return
        if self._request is not None:
            self.refuse(Refusal(reason))
            return
        self.keep_alive = False
        self._write_problem(Refusal(reason), self._edge.heads.next_request_id(), oauth=False)
        self._edge.observer.not_a_request(self._peer.address, reason)
        self._linger()

    def _write_problem(self, refusal: Refusal, request_id: str, *, oauth: bool) -> None:
        body = self._request is None or self._request.method != "HEAD"
        self._transport.write(
            answers.render(
                refusal, request_id, oauth=oauth, close=not self.keep_alive, body=body, date=self._edge.ticker.date
            )
        )

    def _linger(self) -> None:
        """Close without losing the answer: bytes that arrive after a close would reset the connection."""
        self._phase = _Phase.LINGERING
        self._handler = None
        self._buffer = b""
        self.deadline = self._edge.ticker.now + LINGER_S
        if self._saw_eof or not self._transport.can_write_eof():
            self._close()
            return
        self._transport.write_eof()
        if self._paused:
            self._resume_reading()

    def _close(self) -> None:
        self._phase = _Phase.CLOSED
        self.deadline = self._edge.ticker.now + self._edge.limits.body_idle_s
        self._transport.close()

    def _abort(self) -> None:
        self._phase = _Phase.CLOSED
        self._transport.abort()

    def _drop_handler(self) -> None:
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.client_gone()

    def _observe(self, status: int, reason: Reason | None) -> None:
        request = self._request
        if request is not None:
            self._edge.observer.answered(request, self.route, status, monotonic() - self._started, reason)
            self._request = None
