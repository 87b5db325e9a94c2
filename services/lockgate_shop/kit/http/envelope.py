"""The layer right behind the signature: each request gets one response and one log line, and no fault of ours leaks."""

from __future__ import annotations

import time
import traceback
from typing import TYPE_CHECKING, Final

import structlog
from starlette.websockets import WebSocket

from lockgate_common.problem import NO_STORE
from lockgate_shop.kit.errors import BusyError, OutboundError, StoreUnavailableError
from lockgate_shop.kit.http.problems import RETRY_AFTER_S, RefusedError, problem_response
from lockgate_shop.kit.problem import BUSY, INTERNAL, STORE_AWAY, UPSTREAM_AWAY
from lockgate_trust import known_caller

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = structlog.get_logger("service")

_FRAMES: Final = 8
_NO_STORE: Final = [(name.lower().encode(), value.encode()) for name, value in NO_STORE.items()]
_SWITCHING: Final = 101
_FAILED: Final = 1011
"""The close code of a server that failed, RFC 6455 section 7.4.1."""


class Envelope:
    """ASGI middleware around everything but the check of the signature, which tells it the caller.

    Translates, once, refusals and faults that were raised below it into problem responses. Responses say
    `no-store` unless an endpoint sets `cache-control`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, with exactly one response."""
        if scope["type"] == "websocket":
            await self._serve_websocket(scope, receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = _Sent(send)
        started = time.perf_counter()
        try:
            await self._app(scope, receive, sent)
        except Exception as error:  # noqa: BLE001 - the last line of defence
            answer = _fault_response(scope, error)
            if sent.status is None:
                await answer(scope, receive, sent)
        if scope["path"] not in {"/healthz", "/readyz"}:
            _log_request(scope, sent.status, time.perf_counter() - started)

    async def _serve_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket. A refused handshake gets a problem response."""
        handshake = _Handshake(send)
        started = time.perf_counter()
        try:
            await self._app(scope, receive, handshake)
        except Exception as error:  # noqa: BLE001 - the last line of defence
            answer = _fault_response(scope, error)
            if handshake.is_open:
                await send({"type": "websocket.close", "code": _FAILED})
            elif not handshake.is_over:
                await WebSocket(scope, receive, handshake).send_denial_response(answer)
        _log_socket(scope, handshake.status, time.perf_counter() - started)


class _Handshake:
    """Records whether a WebSocket was opened, refused or closed."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status: int | None = None
        self.is_over = False

    @property
    def is_open(self) -> bool:
        return self.status == _SWITCHING and not self.is_over

    async def __call__(self, message: Message) -> None:
        match message["type"]:
            case "websocket.accept":
                self.status = _SWITCHING
            case "websocket.http.response.start":
                self.status = message["status"]
                self.is_over = True
            case "websocket.close":
                self.is_over = True
        await self._send(message)


class _Sent:
    """Records the status of a response, and adds `no-store` where an endpoint did not decide."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if not any(name == b"cache-control" for name, _ in message["headers"]):
                message["headers"] = [*message["headers"], *_NO_STORE]
        await self._send(message)


def _fault_response(scope: Scope, error: Exception) -> Response:
    request_id = request_id_of(scope)
    later = {"Retry-After": str(RETRY_AFTER_S)}
    if isinstance(error, RefusedError):
        return refusal_response(scope, error)
    if isinstance(error, StoreUnavailableError):
        log.error("store_unavailable", request_id=request_id, fault=str(error))
        return problem_response(STORE_AWAY, request_id=request_id, headers=later)
    if isinstance(error, BusyError):
        log.warning("busy", request_id=request_id, fault=str(error))
        return problem_response(BUSY, request_id=request_id, headers=later)
    if isinstance(error, OutboundError):
        log.error("upstream_unavailable", request_id=request_id, fault=str(error))
        return problem_response(UPSTREAM_AWAY, request_id=request_id, headers=later)
    log.error("internal_error", request_id=request_id, fault=type(error).__name__, where=_fault_frames(error))
    return problem_response(INTERNAL, request_id=request_id)


def _fault_frames(error: BaseException) -> list[str]:
    """The frames of a fault, innermost last. Without its text, which may hold what the client sent."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-_FRAMES:]]


def refusal_response(scope: Scope, error: RefusedError) -> Response:
    """The response to a refusal."""
    request_id = request_id_of(scope)
    if error.note:
        log.info("refused", request_id=request_id, code=error.problem.code, note=error.note)
    return problem_response(error.problem, request_id=request_id, headers=error.headers, members=error.members)


def request_id_of(scope: Scope) -> str | None:
    """The request's number as the signed caller told it; None for an open path or an unsigned request."""
    caller = known_caller(scope)
    return caller.request_id if caller else None


def _log_socket(scope: Scope, status: int | None, seconds: float) -> None:
    caller = known_caller(scope)
    log.info(
        "socket",
        route=getattr(scope.get("route"), "path", None),
        status=status,
        ms=round(seconds * 1000, 1),
        request_id=caller.request_id if caller else None,
        link=caller.service if caller else None,
        trace=caller.traceparent if caller else None,
    )


def _log_request(scope: Scope, status: int | None, seconds: float) -> None:
    caller = known_caller(scope)
    route = scope.get("route")
    log.info(
        "request",
        method=scope["method"],
        route=getattr(route, "path", None),
        status=status,
        ms=round(seconds * 1000, 1),
        request_id=caller.request_id if caller else None,
        link=caller.service if caller else None,
        trace=caller.traceparent if caller else None,
    )
