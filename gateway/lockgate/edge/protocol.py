"""A client connection: bytes in, requests out to their handlers, one response at a time.

uvicorn makes an `EdgeProtocol` for each accepted connection (`uvicorn.Config(http=EdgeProtocol)`). All connections
of a worker share one `Edge`, handed over through the lifespan state. The protocol knows HTTP and limits.
`Edge.begin_request`, which the composition root sets, chooses the handler of a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from time import monotonic
from typing import Any, Final

from uvicorn import Config
from uvicorn.server import ServerState

from lockgate.edge.connection import BODY, HEAD, NEVER, NO_ROUTE, RESPONDING, UPGRADED, ClientConnection, Edge
from lockgate.edge.draining import CHUNK_OVERHEAD, BodyBounds, UnreadBody
from lockgate.edge.request import InboundRequest
from lockgate.edge.wire import ChunkedReader, LengthReader, WireError
from lockgate.errors import Reason, Refusal

STATE_KEY: Final = "lockgate.edge"
PIPELINE_BYTES: Final = 64 * 1024
"""Bytes that a client may send ahead during a response."""
LINGER_BYTES: Final = 1024 * 1024
"""Bytes that may follow a refused request before the connection is reset."""
NO_BODY: Final = BodyBounds(0, 0, 0, 0)
VARY_BY_COOKIE: Final = "Vary: Cookie\r\n"
"""Shared caches do not store responses to requests with Authorization (RFC 9111 section 3.5); a cookie needs `Vary`."""
HALF_CLOSED_S: Final = 2.0
"""How long a response is still tried for a client that closed its sending side: the client may be waiting or gone."""


class EdgeProtocol(ClientConnection):
    """Reads requests off a connection and hands them to handlers."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: MutableMapping[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        del config, _loop
        edge: Edge = app_state[STATE_KEY]
        super().__init__(edge, server_state)
        self._body: LengthReader | ChunkedReader | None = None
        self._bounds = NO_BODY
        self._lingered = 0

    # --- called by the event loop ------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        self._read_bytes(data)

    def eof_received(self) -> bool:
        """The client closed its sending side, and may still wait for its response.

        Returns:
            Whether the connection stays until everything is sent. Over TLS it ends: a client that has said that it
            closes reads no more, and the event loop cannot send to it.
        """
        stays = self._peer.scheme == "http"
        self._saw_eof = True
        if self._phase is RESPONDING:
            if self.endless:
                self._abort_transport()
                return stays
            if not self._buffer:
                self.keep_alive = False
            self.deadline = min(self.deadline, self._edge.ticker.now + HALF_CLOSED_S)
            return stays
        self._end_of_requests()
        return stays

    # --- reading -----------------------------------------------------------------------------------------------------

    def _read_bytes(self, data: bytes) -> None:
        self._reading = True
        try:
            while data:
                if self._phase is HEAD and not self._client_slow:
                    data = self._read_head(data)
                elif self._phase is BODY:
                    data = self._read_body(data)
                elif self._phase is HEAD or self._phase is RESPONDING:
                    data = self._read_ahead(data)
                elif self._phase is UPGRADED and self._handler is not None:
                    self._handler.body_received(data)
                    return
                else:
                    self._discard_bytes(data)
                    return
        except WireError as error:
            self._body = None  # the framing is lost, so the end of the body is unknown
            self._drop_handler()
            self._refuse_bytes(error.reason, data)
        finally:
            self._reading = False

    def _read_next_request(self) -> None:
        """Between two requests: continue to read, and parse the bytes that the client has sent ahead."""
        if self._paused:
            self._resume_reading()
        if self._buffer:
            data, self._buffer = self._buffer, b""
            self._read_bytes(data)
        if self._saw_eof:
            self._end_of_requests()

    def _end_of_requests(self) -> None:
        """The client sends no more, so a request that was begun stays incomplete."""
        if self._phase is HEAD and self._client_slow:
            return  # requests that were sent ahead are parsed when the client has caught up
        if self._phase is BODY or (self._phase is HEAD and self._buffer):
            self._drop_handler()
            self._refuse_bytes(Reason.MALFORMED_REQUEST, self._buffer)
        elif self._phase is not RESPONDING:
            self._close_transport()

    def _read_head(self, data: bytes) -> bytes:
        edge = self._edge
        request = edge.heads.parse_repeated(data, self._peer)
        if request is not None:
            self._start_request(request)
            return b""
        end = edge.heads.find_head_end(data)
        if not end:
            self.deadline = min(self.deadline, edge.ticker.now + edge.limits.head_s)
            self._buffer = data
            return b""
        self._start_request(edge.heads.parse_head(data[:end], self._peer))
        return data[end:]

    def _start_request(self, request: InboundRequest) -> None:
        edge, facts = self._edge, request.headers
        self.keep_alive = not facts.close and (request.http11 or facts.keep_alive) and not edge.draining
        self._request = request
        self._response_begun = False
        self.endless = False
        self.route = NO_ROUTE
        self.cors = edge.vary if facts.origin is None else edge.cors_lines(request)
        if facts.session_cookies:
            self.cors += VARY_BY_COOKIE
        self._started = monotonic()
        self.deadline = NEVER
        length = facts.content_length
        if not length and not facts.chunked:
            self._phase = RESPONDING
            handler = edge.begin_request(request, self)
            if handler is not None and self._is_current(request):  # otherwise the response was written at once
                self._handler = handler
                handler.body_complete()
            return
        self._phase = BODY
        bounds = self._bounds = edge.body_bounds(request)
        self._body_bytes = 0
        self._body_asked = not (facts.expects_continue and request.http11)
        self._body = ChunkedReader(bounds.size) if length is None else LengthReader(length)
        if length is not None and length > bounds.size:
            self.refuse_request(Refusal(Reason.BODY_TOO_LARGE))
            return
        self._body_rate = bounds.rate
        self._body_ends_at = edge.ticker.now + bounds.total_s
        self._begin_window()
        self._progress_deadline()
        handler = edge.begin_request(request, self)
        if handler is not None and self._is_current(request):
            self._handler = handler

    def _is_current(self, request: InboundRequest) -> bool:
        """Whether the request still waits for its response.

        In a method of its own, because mypy takes an attribute for what was assigned to it until the method ends, also
        across calls that assign `None`. Compiled code checks that assumption and raises.
        """
        return self._request is request

    def _read_body(self, data: bytes) -> bytes:
        body = self._body
        if body is None:
            raise RuntimeError("a body without a reader")
        piece, rest = body.feed(data)
        self._body_bytes += len(piece)
        if body.overhead > self._bounds.size + CHUNK_OVERHEAD:
            self._drop_handler()
            self.refuse_request(Refusal(Reason.BODY_TOO_LARGE))
            return b""
        if not self._paused:
            self._progress_deadline()
        if piece and self._handler is not None:
            self._handler.body_received(piece)
        if body.finished and self._phase is BODY:
            self._phase = RESPONDING
            self.deadline = NEVER
            if self._handler is not None:
                self._handler.body_complete()
        return rest

    def _read_ahead(self, data: bytes) -> bytes:
        self._buffer = data
        if len(data) > PIPELINE_BYTES or self._client_slow:
            self._pause_reading()
        return b""

    def _build_unread_body(self) -> UnreadBody:
        return UnreadBody(self._body, self._bounds.discarded, self._edge.ticker.now)

    def _discard_bytes(self, data: bytes) -> None:
        if self._unread_body is not None:
            self._discard_unread(self._unread_body, data)
            return
        self._lingered += len(data)
        if self._lingered > LINGER_BYTES:
            self._abort_transport()
