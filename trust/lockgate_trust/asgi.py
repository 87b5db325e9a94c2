"""ASGI middleware: only requests that a known service signed reach the application."""

import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any, Final, cast

from lockgate_trust.caller import Caller
from lockgate_trust.headers import CONTENT_DIGEST
from lockgate_trust.keys import LinkKeys
from lockgate_trust.profile import LEEWAY_S, MAX_DIGEST_BODY, Body, Refused, SignatureRefused
from lockgate_trust.replay import ReplayGuard
from lockgate_trust.verifying import Verified, body_refused, verify

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
OnRefusal = Callable[[SignatureRefused, Mapping[str, Any]], None]

SCOPE_KEY: Final = "lockgate.caller"

# Read from the enumeration once: Python 3.11 takes longer for that than a comparison of strings.
_DIGEST, _NONE, _STREAMED, _UNSEEN, _UNSAID = Body.DIGEST, Body.NONE, Body.STREAMED, Body.UNSEEN, Body.UNSAID

_LOGGER: Final = logging.getLogger("lockgate.trust")
_LOGGED: Final = 200
_LENGTH: Final = b"content-length"
_FRAMING: Final = frozenset({_LENGTH, b"transfer-encoding"})
_CONTENT_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
# A service cannot tell a wrong signature from a right one here, so it is not the caller's fault.
_NOT_THE_CALLERS_FAULT: Final = frozenset({Refused.REPLAY_MEMORY_FULL})


def known_caller(scope: Mapping[str, Any]) -> Caller | None:
    """The caller of this request, or None without a verified signature: for a log line around the middleware."""
    caller = scope.get(SCOPE_KEY)
    return caller if isinstance(caller, Caller) else None


def caller_of(scope: Mapping[str, Any]) -> Caller:
    """The caller of this request: for code behind the middleware.

    Raises:
        RuntimeError: the request did not pass `IdentityMiddleware`, or came on one of its open paths.
    """
    caller = known_caller(scope)
    if caller is None:
        raise RuntimeError("no caller in the scope: IdentityMiddleware has not verified this request")
    return caller


def log_refusal(refused: SignatureRefused, scope: Mapping[str, Any]) -> None:
    """Write a warning to the logger ``lockgate.trust``: the reason and the escaped path, no query, no header value."""
    _LOGGER.warning(
        "refused %s %s: %s%s",
        ascii(scope.get("method", "websocket"))[:_LOGGED],
        ascii(scope.get("path", ""))[:_LOGGED],
        refused.reason,
        f" ({refused.about})" if refused.about else "",
    )


class IdentityMiddleware:
    """Verifies the signature of each request and hands the application a `Caller`, which `caller_of` finds.

    The caller is put into the scope itself, so that an access log around the middleware finds it too.

    A request without a valid signature is answered 401 and never reaches the application; a WebSocket is refused before
    it is accepted. A covered body (at most 64 KiB) is read and checked first, then handed on whole. A body that its
    signer streamed is handed on as it comes and is not covered; one that is declared to be short has to be covered. A
    body of which the signature does not tell is refused.

    The server has to give ``raw_path`` (uvicorn, Hypercorn and Granian do), since the signature covers the bytes sent.

    Args:
        app: the application behind it.
        keys: the link keys of this service.
        clock: seconds since the epoch.
        open_paths: raw paths that need no signature (HTTP only). No caller is known there.
        on_refusal: told of each refusal, with the ASGI scope; writes to the log by default.
        replays: the memory of used signatures; its own by default.
        short_bodies_covered: refuse a body that its signer did not see. A front proxy that has only asked the gateway
            (forward-auth) holds bodies that the gateway never sees: for it, and for nothing else, this is `False`.
        leeway_s: by how many seconds the clocks of two nodes may differ: the gateways' `token.leeway_s`.
    """

    def __init__(  # noqa: PLR0913 - all but the first by name
        self,
        app: ASGIApp,
        *,
        keys: LinkKeys,
        clock: Callable[[], float] = time.time,
        open_paths: frozenset[str] = frozenset({"/healthz"}),
        on_refusal: OnRefusal = log_refusal,
        replays: ReplayGuard | None = None,
        short_bodies_covered: bool = True,
        leeway_s: float = LEEWAY_S,
    ) -> None:
        self._app = app
        self._keys = keys
        self._clock = clock
        self._open_paths = open_paths
        self._on_refusal = on_refusal
        self._leeway_s = leeway_s
        self._replays = ReplayGuard(leeway_s=leeway_s) if replays is None else replays
        self._short_bodies_covered = short_bodies_covered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection.

        Raises:
            RuntimeError: the scope is of a type that cannot be verified, or has no ``raw_path``.
        """
        # What stands there was not put there by a verified signature.
        scope.pop(SCOPE_KEY, None)
        match scope["type"]:
            case "http":
                await self._serve_http(scope, receive, send)
            case "websocket":
                await self._serve_websocket(scope, receive, send)
            case "lifespan":
                await self._app(scope, receive, send)
            case other:
                # Silence means no: what cannot be verified is not let through.
                raise RuntimeError(f"IdentityMiddleware does not know the ASGI scope type {other!r}")

    async def _serve_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._is_open(scope):
            await self._app(scope, receive, send)
            return
        outcome = self._verify_request(scope, scope["method"])
        if isinstance(outcome, Verified) and self._is_read_first(outcome.body, scope):
            body = await _read_body(receive)
            if body is None:
                return
            outcome = body_refused(outcome, body) or outcome
            receive = _replay_body(body, receive)
        if isinstance(outcome, SignatureRefused):
            self._on_refusal(outcome, scope)
            await _send_problem(send, outcome, "http.response")
            return
        scope[SCOPE_KEY] = outcome.caller
        await self._app(scope, receive, send)

    async def _serve_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The handshake is a GET (RFC 6455 section 4.1); ASGI gives no method for it.
        outcome = self._verify_request(scope, "GET")
        if isinstance(outcome, Verified) and (outcome.body is _DIGEST or outcome.body is _STREAMED):
            outcome = SignatureRefused(Refused.BODY_MISMATCH, CONTENT_DIGEST)
        if isinstance(outcome, Verified):
            scope[SCOPE_KEY] = outcome.caller
            await self._app(scope, receive, send)
            return
        self._on_refusal(outcome, scope)
        if (await receive())["type"] != "websocket.connect":
            return
        if "websocket.http.response" in (scope.get("extensions") or {}):
            await _send_problem(send, outcome, "websocket.http.response")
        else:
            # Before the handshake is accepted, this makes the server answer 403.
            await send({"type": "websocket.close", "code": 1008})

    def _must_be_empty(self, said: Body) -> bool:
        return said is _NONE or (self._short_bodies_covered and (said is _UNSEEN or said is _UNSAID))

    def _unsaid_body(self, said: Body, scope: Scope) -> SignatureRefused | None:
        """The refusal of a request whose fields tell of a body, and whose signature does not."""
        framing = [(name, value) for name, value in scope["headers"] if name.lower() in _FRAMING]
        if not framing:
            return None
        lengths = [value for name, value in framing if name.lower() == _LENGTH]
        if len(lengths) > 1 or (lengths and not _CONTENT_LENGTH.fullmatch(lengths[0])):
            return SignatureRefused(Refused.MALFORMED, "content-length")
        length = int(lengths[0]) if lengths else 0
        unsaid = said is _STREAMED and 0 < length <= MAX_DIGEST_BODY
        if self._must_be_empty(said):
            unsaid = length > 0 or len(framing) > len(lengths)
        return SignatureRefused(Refused.NOT_COVERED, CONTENT_DIGEST) if unsaid else None

    def _is_read_first(self, said: Body, scope: Scope) -> bool:
        """Whether the body has to be seen before the application may be called."""
        # What HTTP/1 frames no body for has none (RFC 9112 section 6.3), and its fields have been looked at. Later
        # versions have bodies of which no field tells.
        framed = scope.get("http_version", "1.1").startswith("1")
        return said is _DIGEST or (not framed and self._must_be_empty(said))

    def _is_open(self, scope: Scope) -> bool:
        path = scope["path"]
        return path in self._open_paths and scope.get("raw_path") == path.encode()

    def _verify_request(self, scope: Scope, method: str) -> Verified | SignatureRefused:
        raw_path = scope.get("raw_path")
        if raw_path is None:
            raise RuntimeError("the ASGI server gives no raw_path, which the signature covers")
        now = self._clock()
        outcome = verify(
            self._keys,
            method=method,
            path=raw_path.decode("latin-1"),
            query=scope["query_string"].decode("latin-1"),
            headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]],
            now=now,
            leeway_s=self._leeway_s,
        )
        if isinstance(outcome, SignatureRefused):
            return outcome
        refused = self._unsaid_body(outcome.body, scope)
        if refused is not None:
            return refused
        replay = self._replays.claim(outcome.signature, expires=outcome.expires, now=now)
        return outcome if replay is None else SignatureRefused(replay)


async def _read_body(receive: Receive) -> bytes | None:
    """The body, or its beginning once it is longer than a digest may cover; None when the client went away."""
    chunks: list[bytes] = []
    size = 0
    while size <= MAX_DIGEST_BODY:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk = cast("bytes", message.get("body", b""))
        chunks.append(chunk)
        size += len(chunk)
        if not message.get("more_body", False):
            break
    return b"".join(chunks)


def _replay_body(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that has been read already, then all that comes after."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_replayed() -> Message:
        return pending.pop() if pending else await receive()

    return receive_replayed


async def _send_problem(send: Send, refused: SignatureRefused, kind: str) -> None:
    """One problem answer (RFC 9457) that does not tell why: all that a forger could learn stays in the log."""
    if refused.reason in _NOT_THE_CALLERS_FAULT:
        status, title, code = HTTPStatus.SERVICE_UNAVAILABLE, "Too many requests at once", "overloaded"
        hint = (b"retry-after", b"1")
    else:
        status, title = HTTPStatus.UNAUTHORIZED, "A valid identity signature is required"
        code = "signature_required" if refused.reason is Refused.MISSING else "signature_invalid"
        # RFC 9110 section 15.5.2 asks for a challenge with each 401.
        hint = (b"www-authenticate", b"Signature")
    # The id of a request whose signature does not hold is anything that its sender wrote, so none is told.
    problem = {
        "type": "about:blank",
        "title": title,
        "status": status.value,
        "detail": title,
        "code": code,
        "request_id": None,
    }
    body = json.dumps(problem).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        hint,
    ]
    await send({"type": f"{kind}.start", "status": status.value, "headers": headers})
    await send({"type": f"{kind}.body", "body": body, "more_body": False})
