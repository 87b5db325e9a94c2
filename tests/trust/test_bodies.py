"""A body that the signer did not tell of reaches no application (R-59, R-223).

An attacker between signer and service who gives a request a body on its way carries nothing in.
"""

from __future__ import annotations

import base64
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from lockgate_trust import MAX_DIGEST_BODY, Body, IdentityMiddleware, Refused, SignatureRefused, body_refused, caller_of
from tests.support.links import (
    NOW,
    ORDERS_KEYS,
    Received,
    accepted,
    signed,
    signed_whatever,
)
from tests.support.peers import served
from tests.support.raw import Message, Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from lockgate_trust.asgi import Receive, Scope, Send

CHUNKED = b"5\r\nhello\r\n0\r\n\r\n"
EMPTY = b"0\r\n\r\n"
SAYS_NOTHING_OF_A_BODY = [Body.NONE, Body.UNSEEN]


class Service:
    """An application behind the middleware, on a real server, that remembers the bodies that reach it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.sockets = 0
        self.refusals: list[SignatureRefused] = []
        self.url = ""
        self.app = IdentityMiddleware(
            self._serve,
            keys=ORDERS_KEYS,
            clock=lambda: NOW,
            on_refusal=lambda refused, _: self.refusals.append(refused),
        )

    async def ask(self, request: Received, framing: str = "", body: bytes = b"") -> Message:
        """Send a request byte by byte as given."""
        wire = await Wire.connect("127.0.0.1", int(self.url.rpartition(":")[2]))
        query = f"?{request.query}" if request.query else ""
        fields = "".join(f"{name}: {value}\r\n" for name, value in request.headers)
        host = "" if "host" in dict(request.headers) else "Host: orders\r\n"
        end = "" if "Connection:" in framing else "Connection: close\r\n"
        head = f"{request.method} {request.path}{query} HTTP/1.1\r\n{host}{fields}{framing}{end}\r\n"
        await wire.send(head.encode() + body)
        try:
            return await wire.message()
        finally:
            wire.close()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert caller_of(scope).service == "gateway"
        if scope["type"] == "websocket":
            await receive()
            self.sockets += 1
            await send({"type": "websocket.accept"})
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


@pytest_asyncio.fixture
async def service() -> AsyncIterator[Service]:
    made = Service()
    async with served(made.app) as made.url:
        yield made


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize(
    ("framing", "body"),
    [
        ("Transfer-Encoding: chunked\r\n", CHUNKED),
        ("Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n", CHUNKED),
        ("Content-Length: 5\r\n", b"hello"),
        (f"Content-Length: {MAX_DIGEST_BODY + 1}\r\n", bytes(MAX_DIGEST_BODY + 1)),
    ],
)
async def test_a_set_signed_for_a_request_without_a_body_carries_none_in(
    service: Service, method: str, framing: str, body: bytes
) -> None:
    """R-223."""
    answer = await service.ask(signed(method=method), framing, body)
    assert answer.status == 401
    assert service.bodies == []
    assert service.refusals == [SignatureRefused(Refused.NOT_COVERED, "content-digest")]


@pytest.mark.parametrize("said", SAYS_NOTHING_OF_A_BODY)
async def test_a_set_that_does_not_tell_of_a_body_is_good_for_a_request_without_one(
    service: Service, said: Body
) -> None:
    """R-223."""
    assert (await service.ask(signed_whatever(body=said))).status == 200
    assert (await service.ask(signed_whatever(body=said, method="POST"), "Content-Length: 0\r\n")).status == 200
    assert service.bodies == [b"", b""]


async def test_a_set_for_a_proxy_carries_no_body_into_a_service_that_expects_none_of_a_proxy(service: Service) -> None:
    request = signed_whatever(body=Body.UNSEEN, method="POST")
    assert (await service.ask(request, "Transfer-Encoding: chunked\r\n", CHUNKED)).status == 401
    assert service.bodies == []


async def test_a_body_that_was_signed_as_streamed_is_handed_on(service: Service) -> None:
    """R-223."""
    long = bytes(MAX_DIGEST_BODY + 1)
    request = signed(method="POST", body=Body.STREAMED)
    assert (await service.ask(request, "Transfer-Encoding: chunked\r\n", CHUNKED)).status == 200
    request = signed(method="POST", body=long)
    assert (await service.ask(request, f"Content-Length: {len(long)}\r\n", long)).status == 200
    assert service.bodies == [b"hello", long]


async def test_a_body_that_is_declared_to_be_short_is_covered_or_refused(service: Service) -> None:
    """R-59, R-223."""
    request = signed(method="POST", body=Body.STREAMED)
    assert (await service.ask(request, "Content-Length: 5\r\n", b"hello")).status == 401
    assert service.bodies == []


async def test_what_is_said_of_the_body_cannot_be_changed_on_the_way(service: Service) -> None:
    """R-59, R-223."""
    request = signed(method="POST").altered("signature-input", lambda said: said.replace('"none-', '"streamed-'))
    assert (await service.ask(request, "Transfer-Encoding: chunked\r\n", CHUNKED)).status == 401
    assert [refused.reason for refused in service.refusals] == [Refused.BAD_SIGNATURE]
    assert service.bodies == []


async def test_the_set_of_a_streamed_upload_opens_no_socket(service: Service) -> None:
    key = base64.b64encode(os.urandom(16)).decode()
    upgrade = f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
    answer = await service.ask(signed(path="/orders/events", body=Body.STREAMED), f"{upgrade}Connection: Upgrade\r\n")
    assert answer.status == 401
    assert service.sockets == 0


async def test_the_set_of_a_handshake_carries_no_body_into_a_plain_request(service: Service) -> None:
    handshake = signed(path="/orders/events", query="")
    answer = await service.ask(handshake, "Transfer-Encoding: chunked\r\n", CHUNKED)
    assert answer.status == 401
    assert service.bodies == []


@pytest.mark.parametrize("said", SAYS_NOTHING_OF_A_BODY)
async def test_where_no_field_tells_of_a_body_it_is_looked_for(said: Body) -> None:
    """HTTP/2 frames bodies without a field (RFC 9113 section 8.1)."""
    service = Service()
    request = signed_whatever(body=said, method="POST")
    scope = {
        "type": "http",
        "http_version": "2",
        "method": "POST",
        "path": request.path,
        "raw_path": request.path.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in request.headers],
    }
    sent = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"hello", "more_body": False}

    async def send(message: object) -> None:
        sent.append(message)

    await service.app(scope, receive, send)
    assert service.bodies == []
    assert [refused.reason for refused in service.refusals] == [Refused.NOT_COVERED]
    assert len(sent) == 2


@pytest.mark.parametrize(
    ("request_", "body", "refused"),
    [
        (signed(), b"", None),
        (signed(), b"x", Refused.NOT_COVERED),
        (signed_whatever(body=Body.UNSEEN), b"x", Refused.NOT_COVERED),
        (signed(body=Body.STREAMED), b"x", None),
        (signed(body=b"x"), b"x", None),
        (signed(body=b"x"), b"y", Refused.BODY_MISMATCH),
        (signed(body=b"x"), b"", Refused.BODY_MISMATCH),
        (signed(body=b"x"), bytes(MAX_DIGEST_BODY + 1), Refused.BODY_TOO_LARGE),
    ],
)
def test_a_service_without_the_middleware_asks_the_same(
    request_: Received, body: bytes, refused: Refused | None
) -> None:
    found = body_refused(accepted(request_.verified()), body)
    assert (None if found is None else found.reason) is refused


@pytest.mark.parametrize(
    ("body", "said"),
    [(None, Body.NONE), (b"", Body.NONE), (b"x", Body.DIGEST), (bytes(MAX_DIGEST_BODY + 1), Body.STREAMED)],
)
def test_a_signature_says_of_a_body_what_there_is_to_say(body: bytes | None, said: Body) -> None:
    assert accepted(signed(body=body).verified()).body is said
    assert accepted(replace(signed(method="POST", body=body)).verified()).body is said
