"""The gateway's own calls to a service: signed, sent over pooled connections, their responses collected.

A call goes its way by itself, driven by the events of its connection. A caller that is cancelled, because its client
went away, ends no call: the call goes on to its response or to the end of its time. So a client that goes away makes no
room for a further call, and leaves no connection with half a response.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from lockgate.clock import Clock
from lockgate.edge.ticker import Ticker
from lockgate.errors import LockgateError, Reason
from lockgate.settings import UpstreamSettings
from lockgate.upstream.endpoint import Endpoint
from lockgate.upstream.pool import Progress, UpstreamConnection, UpstreamPool
from lockgate.upstream.response import ResponseHead, ResponseHeadReader
from lockgate.upstream.tls import build_tls_context
from lockgate.upstream.upstream import Upstream
from lockgate_trust import LinkKey, Signer, content_digest, cover

MAX_BODY: Final = 1024 * 1024
_NO_IDENTITY: Final = cover(())


class UpstreamCall(NamedTuple):
    """What a service is asked.

    Attributes:
        method: in capitals.
        path: at the service, percent-encoded, without a query; behind the path of an upstream's address.
        request_id: of the client's request, which the call is made for.
        body: JSON; empty for none.
        repeatable: the service may get the call twice. Where a connection ends without a byte of a response, a
            repeatable call is sent once more: to another address, or to the only one where the connection was a kept
            one, which the service may have closed before the call came.
    """

    method: str
    path: str
    request_id: str
    body: bytes = b""
    repeatable: bool = True


class UpstreamResponse(NamedTuple):
    """A response, whole.

    Attributes:
        status: the status code, from 200 on.
        body: at most `MAX_BODY` bytes.
    """

    status: int
    body: bytes


class UpstreamFailedError(LockgateError):
    """There is no response to a call.

    Attributes:
        reason: `UPSTREAM_REFUSED` where no connection came about; `UPSTREAM_TIMEOUT`; `UPSTREAM_BROKE` where the
            connection ended or the response is malformed or too large; `LINK_REFUSED` where the service refuses the
            gateway's signature; `DRAINING` where the worker stops.
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.name)
        self.reason: Final = reason


class UpstreamClient:
    """Calls a service. Follows no redirect, and takes no proxy from the environment.

    Args:
        upstreams: the connections to the service.
        key: the link key to the service that is in use.
        clock: the time of signatures.
    """

    def __init__(self, upstreams: Sequence[Upstream], key: Callable[[], LinkKey], clock: Clock) -> None:
        self._upstreams = tuple(upstreams)
        self._key = key
        self._clock = clock
        self._signing_key: LinkKey | None = None
        self._under_way: set[_CallUnderWay] = set()

    async def send(
        self, call: UpstreamCall, *, timeout_s: float, on_end: Callable[[], object] | None = None
    ) -> UpstreamResponse:
        """The response to a call. Where no connection comes about, another address is tried.

        Args:
            call: what the service is asked.
            timeout_s: for all addresses together.
            on_end: called once, when the call has ended; later than this returns where the caller is cancelled.

        Raises:
            UpstreamFailedError: there is no response.
        """
        under_way = _CallUnderWay(call, self._build_request, self._pools_in_order(), self._under_way, on_end)
        under_way.start(timeout_s)
        return await under_way.outcome

    def replace_upstreams(self, upstreams: Sequence[Upstream]) -> Sequence[Upstream]:
        """Call over other connections from now on; the former ones, which may still be in use."""
        before, self._upstreams = self._upstreams, tuple(upstreams)
        return before

    async def close(self) -> None:
        """Give up the calls that are under way, and close the connections."""
        upstreams, self._upstreams = self._upstreams, ()
        for under_way in list(self._under_way):
            under_way.fail(Reason.DRAINING)
        for upstream in upstreams:
            await upstream.close()

    def _pools_in_order(self) -> Iterator[UpstreamPool]:
        """All addresses in random order, but those that failed lately last. Every address is tried before a failure."""
        pools = [pool for upstream in self._upstreams for pool in upstream.pools]
        if len(pools) <= 1:
            return iter(pools)
        shuffled = random.sample(pools, len(pools))
        return iter(sorted(shuffled, key=lambda pool: not pool.breaker.permits_request()))

    def _build_request(self, call: UpstreamCall, endpoint: Endpoint) -> bytes:
        """A request as sent, signed anew for each try: a signature is good for one use."""
        key = self._key()
        if key is not self._signing_key:
            self._signing_key, self._signer = key, Signer(key)
        digest = content_digest(call.body) if call.body else None
        path = f"{endpoint.path}{call.path}"
        signature_input, signature = self._signer.sign(
            method=call.method,
            path=path,
            query="",
            request_id=call.request_id,
            traceparent=None,
            covered=_NO_IDENTITY,
            content_digest=digest,
            now=self._clock.now(),
        )
        content = f"Content-Type: application/json\r\nContent-Length: {len(call.body)}\r\nContent-Digest: {digest}\r\n"
        head = (
            f"{call.method} {path} HTTP/1.1\r\nHost: {endpoint.host}\r\n{content if call.body else ''}"
            f"X-Request-Id: {call.request_id}\r\nSignature-Input: {signature_input}\r\nSignature: {signature}\r\n\r\n"
        )
        return head.encode("ascii") + call.body


def build_upstreams(urls: Iterable[str], settings: UpstreamSettings, ticker: Ticker, *, at_once: int) -> list[Upstream]:
    """Connections of a client's own, which no forwarded request takes.

    Args:
        urls: the upstreams of the service.
        settings: times of connections, and TLS.
        ticker: the worker's coarse clock.
        at_once: connections to an address: calls under way at a time, to which the caller keeps.

    Raises:
        ConfigurationError: a certificate file cannot be used.
    """
    own = settings.model_copy(update={"connections": at_once, "waiting": at_once})

    def build_pool(endpoint: Endpoint) -> UpstreamPool:
        return UpstreamPool(endpoint, own, ticker, ResponseHeadReader())

    return [Upstream(Endpoint.of_url(url, build_tls_context([url], own)), build_pool, ticker) for url in urls]


class _CallUnderWay:
    """A call on its way: waits for a connection, sends, collects the response. It ends once, and by itself.

    Attributes:
        outcome: the response, or why there is none. A caller that is cancelled cancels this alone.
        is_done: the call has ended.
    """

    __slots__ = (
        "_body",
        "_build",
        "_call",
        "_connection",
        "_on_end",
        "_pool",
        "_repeated",
        "_request",
        "_siblings",
        "_status",
        "_timer",
        "_untried",
        "is_done",
        "outcome",
    )

    def __init__(
        self,
        call: UpstreamCall,
        build: Callable[[UpstreamCall, Endpoint], bytes],
        pools: Iterator[UpstreamPool],
        siblings: set[_CallUnderWay],
        on_end: Callable[[], object] | None,
    ) -> None:
        self.outcome: asyncio.Future[UpstreamResponse] = asyncio.get_running_loop().create_future()
        self.is_done = False
        self._call = call
        self._build = build
        self._untried = pools
        self._siblings = siblings
        self._on_end = on_end
        self._pool: UpstreamPool | None = None
        self._connection: UpstreamConnection | None = None
        self._repeated = False

    def start(self, timeout_s: float) -> None:
        """Begin. The call ends after `timeout_s` at the latest."""
        self._siblings.add(self)
        self._timer = asyncio.get_running_loop().call_later(timeout_s, self._time_out)
        self._try_next(Reason.DRAINING)  # the reason where there is no address any more

    def fail(self, reason: Reason) -> None:
        """End without a response. A connection with a request under way cannot be used again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.cancel_request()
        elif self._pool is not None:
            self._pool.cancel_waiting(self)
        self._end(UpstreamFailedError(reason))

    # --- called by the pool ------------------------------------------------------------------------------------

    def connection_ready(self, connection: UpstreamConnection) -> None:
        """Send the request over the connection."""
        self._connection = connection
        connection.send_request(self, self._call.method, self._request, complete=True)

    def connection_failed(self, reason: Reason) -> None:
        """Try another address: this one has seen nothing of the call."""
        self._try_next(reason)

    # --- called by the service's connection --------------------------------------------------------------------

    def whole_response(self, head: ResponseHead, body: bytes) -> None:
        """The whole response has come at once."""
        self._connection = None
        self._end(UpstreamResponse(head.status, body))

    def response_begins(self, head: ResponseHead) -> None:
        """Note the status; the body follows."""
        self._status = head.status
        self._body = b""

    def response_continues(self, data: bytes) -> None:
        """Collect a piece of the body."""
        self._body += data
        if len(self._body) > MAX_BODY:
            self.fail(Reason.UPSTREAM_BROKE)

    def response_ends(self) -> None:
        """The body is complete."""
        self._connection = None
        self._end(UpstreamResponse(self._status, self._body))

    def response_failed(self, reason: Reason, progress: Progress) -> None:
        """The connection has ended. The call is sent again at most once, and only where that does no harm."""
        self._connection = None
        harmless = progress is Progress.UNSENT or (progress is not Progress.BEGUN and self._call.repeatable)
        if self._repeated or not harmless:
            self.fail(reason)
            return
        self._repeated = True
        # Only a kept connection that ended says nothing against its address.
        pool = next(self._untried, None) or (None if progress is Progress.SILENT else self._pool)
        if pool is None:
            self.fail(reason)
        else:
            self._acquire(pool, new_only=True)

    def response_pauses(self) -> None:
        """More of the response is to come."""

    def pause_request_body(self) -> None:
        """The whole request was handed over."""

    def resume_request_body(self) -> None:
        """The whole request was handed over."""

    # -----------------------------------------------------------------------------------------------------------

    def _try_next(self, reason: Reason) -> None:
        self._pool = next(self._untried, None)
        if self._pool is None:
            self.fail(reason)
        else:
            self._acquire(self._pool)

    def _acquire(self, pool: UpstreamPool, *, new_only: bool = False) -> None:
        self._pool = pool
        try:
            self._request = self._build(self._call, pool.endpoint)
        except Exception as error:  # noqa: BLE001 - told to the caller: the pool may be the one that calls this
            self._end(error)
            return
        pool.acquire(self, new_only=new_only)

    def _time_out(self) -> None:
        if self._pool is not None:
            self._pool.breaker.record_failure()
        self.fail(Reason.UPSTREAM_TIMEOUT)

    def _end(self, outcome: UpstreamResponse | Exception) -> None:
        if self.is_done:
            return  # the rest of a response that was given up
        self.is_done = True
        self._timer.cancel()
        self._siblings.discard(self)
        if not self.outcome.done():
            if isinstance(outcome, UpstreamResponse):
                self.outcome.set_result(outcome)
            else:
                self.outcome.set_exception(outcome)
        if self._on_end is not None:
            self._on_end()
