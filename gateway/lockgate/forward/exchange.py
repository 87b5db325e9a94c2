"""A forwarded request: from the client's connection to a service's and back, driven by events on both.

    reading      the request's body is being collected, and the pipeline has not decided yet
    connecting   the request was admitted; it waits for a connection to the service
    sending      the head is sent; the rest of a large body follows as it comes
    responding   the response is being relayed
    done         the response is complete, or a problem was sent, or the connection was reset

`_MOVES` is the only table of the states that may follow each other. A late callback finds the state changed.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from lockgate.admission.gate import Admitted, Verdict
from lockgate.admission.open_tokens import Opening, OpenToken, OpenTokens
from lockgate.admission.overtime import Overtime
from lockgate.clock import Clock
from lockgate.edge.connection import ClientConnection
from lockgate.edge.request import InboundRequest
from lockgate.edge.ticker import Ticker
from lockgate.errors import Reason, Refusal
from lockgate.forward.outbound import BUFFERED_BODY
from lockgate.forward.service import Service
from lockgate.upstream.pool import Progress, UpstreamConnection, UpstreamPool
from lockgate.upstream.response import ResponseHead, map_addresses

ANONYMOUS: Final = Admitted(None, "")
ORIGIN_GRANTED: Final = "Access-Control-Allow-Origin:"
LONG_S: Final = 1.0
"""Seconds after which a response is watched, and ends when its token is revoked."""
_LAST_CHUNK: Final = b"0\r\n\r\n"


class State(Enum):
    """The state of an exchange."""

    # Micro-optimisation: `Enum` hashes its members' names, in Python, and `_MOVES` is asked four times a request.
    __hash__ = object.__hash__

    READING = auto()
    CONNECTING = auto()
    SENDING = auto()
    RESPONDING = auto()
    DONE = auto()


# Micro-optimisation: CPython 3.11 takes 0.125 µs to find a member in its class and 0.009 µs to find a global. States of
# exchanges and connections are looked up some 24 times a request (`docs/performance.md`).
READING, CONNECTING, SENDING, RESPONDING, DONE = State

_MOVES: Final[dict[State, tuple[State, ...]]] = {
    READING: (CONNECTING, DONE),
    CONNECTING: (SENDING, DONE),
    SENDING: (RESPONDING, CONNECTING, DONE),
    RESPONDING: (DONE,),
    DONE: (),
}


class Exchange:
    """Carries a request to a service and its response back.

    Args:
        request: the client's request.
        client: the client's connection.
        service: the service of the route.
        timeout_s: how long the service may be silent.
        ticker: the worker's coarse clock, for deadlines.
        clock: the exact time, for signatures.
        open_tokens: ends responses that outlive their token.
    """

    __slots__ = (
        "_admitted",
        "_body",
        "_body_read",
        "_buffered",
        "_client",
        "_clock",
        "_connection",
        "_event_stream",
        "_is_admitted",
        "_open_tokens",
        "_overtime",
        "_pool",
        "_relay_chunked",
        "_request",
        "_responding_since",
        "_retried",
        "_service",
        "_sized",
        "_state",
        "_status",
        "_streaming",
        "_ticker",
        "_timeout_s",
        "_unsent_head",
        "_watch",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - by position: a call with seven names costs 0.2 µs more
        self,
        request: InboundRequest,
        client: ClientConnection,
        service: Service,
        timeout_s: float,
        ticker: Ticker,
        clock: Clock,
        open_tokens: OpenTokens,
    ) -> None:
        self._request = request
        self._client = client
        self._ticker = ticker
        self._clock = clock
        self._state = READING
        self._is_admitted = False
        self._admitted = ANONYMOUS
        self._service = service
        self._timeout_s = timeout_s
        self._pool: UpstreamPool | None = None
        self._connection: UpstreamConnection | None = None
        self._body: list[bytes] = []
        self._buffered = 0
        self._body_read = not request.has_body
        self._streaming = False
        self._retried = False
        self._unsent_head: bytes | None = None
        self._relay_chunked = False
        self._status = 0
        self._responding_since = 0.0
        self._event_stream = False
        self._open_tokens = open_tokens
        self._watch: OpenToken | None = None
        self._sized = False
        self._overtime: Overtime | None = None

    @property
    def is_done(self) -> bool:
        """The exchange has ended."""
        return self._state is DONE

    # --- called by the pipeline --------------------------------------------------------------------------------

    def refuse_request(self, refusal: Refusal) -> None:
        """Respond with a problem."""
        if self._state is not DONE:
            self._move_to(DONE)
            self._release_connection()
            self._client.refuse_request(refusal)

    def take_verdict(self, verdict: Verdict) -> None:
        """Refuse the request; or send it to the service, as soon as its body is at hand or too large to wait for."""
        if isinstance(verdict, Refusal):
            self.refuse_request(verdict)
            return
        if self._state is DONE:
            return
        self._is_admitted = True
        self._admitted = verdict
        if not self._body_read:
            self._client.send_continue()
        self._send_when_ready()

    # --- called by the client's connection ---------------------------------------------------------------------

    def body_received(self, data: bytes) -> None:
        """A piece of the request's body was read."""
        if self._streaming and self._connection is not None:
            self._connection.send_body(self._frame_body(data))
            return
        self._body.append(data)
        self._buffered += len(data)
        if self._buffered > BUFFERED_BODY:
            self._client.pause_body()
            self._send_when_ready()

    def body_complete(self) -> None:
        """The whole body was read."""
        self._body_read = True
        if self._streaming and self._connection is not None:
            if self._request.headers.chunked:
                self._connection.send_body(_LAST_CHUNK)
            self._connection.complete_request()
            self._await_service()
        elif self._is_admitted:
            self._send_when_ready()

    def client_gone(self) -> None:
        """The client went away."""
        if self._state is not DONE:
            self._move_to(DONE)
            self._release_connection()

    def pause_sending(self) -> None:
        """The client reads more slowly than the service sends."""
        if self._connection is not None:
            self._connection.pause_response()

    def resume_sending(self) -> None:
        """The client caught up."""
        if self._connection is not None:
            self._connection.resume_response()
            self._await_service()

    def timed_out(self) -> None:
        """The service was silent for too long."""
        if self._pool is not None:
            self._pool.breaker.record_failure()
        self._fail_exchange(Reason.UPSTREAM_TIMEOUT)

    # --- called by the pool ------------------------------------------------------------------------------------

    def connection_ready(self, connection: UpstreamConnection) -> None:
        """Send the request over the connection."""
        service, pool = self._service, self._pool
        if pool is None:
            raise RuntimeError("a connection for an exchange that acquired none")
        self._move_to(SENDING)
        self._connection = connection
        request = self._request
        # More of the body than a digest covers may have arrived before the connection; then the digest is left out.
        whole = b"".join(self._body) if self._body_read and self._buffered <= BUFFERED_BODY else None
        head = service.requests.build_head(
            request,
            self._admitted.identity,
            host=service.host_for(request, pool),
            body=whole,
            forward_authorization=service.forward_authorization,
            now=self._clock.now(),
        )
        if whole is not None:
            connection.send_request(self, request.method, head + whole if whole else head, complete=True)
        else:
            self._streaming = True
            pieces = [head, *map(self._frame_body, self._body)]
            self._body.clear()
            if self._body_read and request.headers.chunked:
                pieces.append(_LAST_CHUNK)
            connection.send_request(self, request.method, b"".join(pieces), complete=self._body_read)
            self._client.resume_body()
        if self._body_read and not self._retried:  # both tries have the time of one
            self._await_service()

    def connection_failed(self, reason: Reason) -> None:
        """Try another address, which any request may: no byte was handed over. Without one, refuse the request."""
        if reason is Reason.UPSTREAM_BUSY or not self._try_again(Progress.UNSENT, reason):
            self._fail_exchange(reason)

    # --- called by the service's connection --------------------------------------------------------------------

    def response_begins(self, head: ResponseHead) -> None:
        """Build the head of the client's response, to be sent together with the first piece of the body."""
        self._move_to(RESPONDING)
        self._status = head.status
        client, request = self._client, self._request
        if not self._body_read:
            client.keep_alive = False  # the rest of the body would be parsed as the next request
        framing = head.length_line
        if not framing and head.has_body(request.method):
            self._relay_chunked = request.http11
            client.unframed = not request.http11
            if request.http11:
                framing = b"Transfer-Encoding: chunked\r\n"
            else:
                client.keep_alive = False
        if not client.keep_alive:
            framing += b"Connection: close\r\n"
        elif not request.http11:
            framing += b"Connection: keep-alive\r\n"
        self._unsent_head = self._head_for_client(head, framing)
        self._responding_since = self._ticker.now
        self._sized = head.content_length is not None
        if head.event_stream:
            self._event_stream = client.endless = True
            self._timeout_s = self._open_tokens.stream_idle_s
            self._watch_over()

    def response_continues(self, data: bytes) -> None:
        """Relay a piece of the body."""
        if self._relay_chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if self._unsent_head is not None:
            data, self._unsent_head = self._unsent_head + data, None
        elif self._watch is None:
            if self._ticker.now - self._responding_since >= LONG_S:
                self._watch_over()
        elif self._overtime is not None:
            self._overtime.sent += len(data)
        self._await_service()
        self._client.write_now(data)

    def response_pauses(self) -> None:
        """Send the head alone where no body came along: the first event of a stream may come much later."""
        if self._unsent_head is not None:
            head, self._unsent_head = self._unsent_head, None
            self._await_service()
            self._client.write_now(head)

    def response_ends(self) -> None:
        """End the client's response."""
        self._connection = None
        self._move_to(DONE)
        tail = _LAST_CHUNK if self._relay_chunked else b""
        if self._unsent_head is not None:
            tail, self._unsent_head = self._unsent_head + tail, None
        if tail:
            self._client.write_now(tail)
        self._client.finish_response(self._status)

    def whole_response(self, head: ResponseHead, body: bytes) -> None:
        """Relay a response that came in a single piece.

        Micro-optimisation: a single call instead of three, without state between them. Together with the memo of
        heads and the states as globals this took a request's Python from 29.0 to 24.1 µs (`docs/performance.md`).
        """
        client = self._client
        if head.event_stream or not (self._body_read and client.keep_alive and self._request.http11):
            self.response_begins(head)
            if body:
                self.response_continues(body)
            self.response_ends()
            return
        self._connection = None
        self._move_to(DONE)
        client.write_batched(self._head_for_client(head, head.length_line) + body)
        client.finish_response(head.status)

    def response_failed(self, reason: Reason, progress: Progress) -> None:
        """The service broke off. The request is sent again at most once, and only where that does no harm."""
        self._connection = None
        if self._state is DONE or not self._try_again(progress, reason):
            self._fail_exchange(reason)

    def pause_request_body(self) -> None:
        """The service reads more slowly than the client sends."""
        if not self._body_read:
            self._client.pause_body()
            self._await_service()

    def resume_request_body(self) -> None:
        """The service caught up."""
        self._client.resume_body()

    # --- long responses ----------------------------------------------------------------------------------------

    def _watch_over(self) -> None:
        """End the response with its token, and an event stream also with the node.

        A plain response was requested with a good token. Where the response has an end of its own, it may finish after
        the token has merely expired.
        """
        if self._event_stream or self._admitted.claims is not None:
            if not self._event_stream and (self._sized or self._service.finish_unsized):
                self._overtime = self._open_tokens.overtime()
            route, opening = self._service.route, None
            if self._event_stream and route is not None:
                opening = Opening(self._request, route)
            self._watch = self._open_tokens.watch(self._admitted.claims, self._token_ended, self._overtime, opening)

    def _token_ended(self, refusal: Refusal) -> None:
        """The token is no longer good, or the node stops. An event stream may end in order after any event."""
        if self._state is DONE or (refusal.reason is Reason.DRAINING and not self._event_stream):
            return
        if self._event_stream and self._relay_chunked:
            head, self._unsent_head = self._unsent_head or b"", None
            self._move_to(DONE)
            self._release_connection()
            self._client.keep_alive = False
            self._client.write_now(head + _LAST_CHUNK)
            self._client.finish_response(self._status, refusal.reason)
        else:
            self._move_to(DONE)
            self._release_connection()
            self._client.abort_response(refusal.reason)

    # -----------------------------------------------------------------------------------------------------------

    def _send_when_ready(self) -> None:
        if self._state is not READING or not self._is_admitted:
            return
        if self._body_read or self._buffered > BUFFERED_BODY or self._declared_large():
            pool = self._service.choose_pool(self._request)
            if isinstance(pool, Refusal):
                self.refuse_request(pool)
                return
            self._move_to(CONNECTING)
            if not self._body_read:
                self._client.pause_body()
            self._pool = pool
            pool.acquire(self)
            if self._state is CONNECTING:
                self._await_service()

    def _try_again(self, progress: Progress, reason: Reason) -> bool:
        """Whether the request is tried a second time: at another address, or over a new connection to the only one.

        Only a kept connection that ended says nothing against its address.
        """
        tried, service = self._pool, self._service
        if self._retried or tried is None or not self._may_repeat(progress):
            return False
        other = service.choose_another(self._request, tried)
        if other is None:
            if self._state is not SENDING or progress is Progress.SILENT:
                return False
            other = tried
        if not service.retries.permit_retry(tried.endpoint.url, reason):
            return False
        self._retried = True
        if self._state is SENDING:
            self._move_to(CONNECTING)
        self._pool = other
        other.acquire(self, new_only=progress is not Progress.UNSENT or other is tried)
        return True

    def _may_repeat(self, progress: Progress) -> bool:
        """Whether the request is still at hand, and sending it does no harm where the service has seen it already."""
        if self._streaming or progress is Progress.BEGUN:
            return False
        return progress is Progress.UNSENT or self._service.spread.may_repeat(self._request)

    def _declared_large(self) -> bool:
        length = self._request.headers.content_length
        return length is not None and length > BUFFERED_BODY

    def _head_for_client(self, head: ResponseHead, framing: bytes) -> bytes:
        addresses = self._service.addresses
        if addresses is not None:
            head = map_addresses(head, addresses)
        own = f"X-Request-Id: {self._request.request_id}\r\n{self._admitted.limits}{self._client.cors}"
        if head.exposed and ORIGIN_GRANTED in own:
            own += head.exposed  # browsers join this field with the gateway's list
        if not head.dated:
            own = f"{own}Date: {self._ticker.date}\r\n"
        rules = self._service.response_rules
        lines = head.lines if rules is None else rules.change_head(head.lines)
        return b"%b%b%b\r\n" % (lines, own.encode("ascii"), framing)

    def _frame_body(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data) if self._request.headers.chunked else data

    def _await_service(self) -> None:
        """Give the service `timeout_s` from now for its next step."""
        self._client.deadline = self._ticker.now + self._timeout_s

    def _fail_exchange(self, reason: Reason) -> None:
        if self._state is DONE:
            return
        begun = self._state is RESPONDING and self._unsent_head is None
        if self._retried and self._state is not RESPONDING:
            self._service.retries.note_failure()
        self._move_to(DONE)
        self._release_connection()
        if begun:
            self._client.abort_response(reason)  # a truncated response must not look complete
        else:
            self._client.refuse_request(Refusal(reason))

    def _release_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.cancel_request()
        elif self._pool is not None:
            self._pool.cancel_waiting(self)

    def _move_to(self, state: State) -> None:
        if state not in _MOVES[self._state]:
            raise RuntimeError(f"an exchange cannot go from {self._state.name} to {state.name}")
        self._state = state
        if state is DONE and self._watch is not None:
            self._watch.cancel()
