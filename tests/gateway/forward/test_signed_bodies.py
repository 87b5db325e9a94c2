"""The gateway signs whether it forwards a body (R-59, R-223).

A signature for a request without a body carries no body into a service.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate_trust import Body, IdentityMiddleware, Refused, SignatureRefused, Verified, verify
from lockgate_trust.asgi import Receive, Scope, Send
from tests.support import node as nodes
from tests.support.node import HOST, Node
from tests.support.peers import served
from tests.support.raw import Message, Wire
from tests.support.upstream import OK, Upstream

CHUNKED = "Transfer-Encoding: chunked\r\n"
SMUGGLED = b"5\r\nhello\r\n0\r\n\r\n"
LARGE = 65 * 1024


def said_of_body(node: Node, sent: Message, method: str) -> Body:
    """What the service learns of the body from what it was sent."""
    outcome = verify(
        node.links("orders"), method=method, path="/open", query="", headers=sent.fields, now=node.clock.now()
    )
    assert isinstance(outcome, Verified), outcome
    return outcome.body


async def forwarded(gateway: Node, service: Upstream, method: str, fields: str = "", body: bytes = b"") -> Message:
    """A request as the service got it."""
    client = await gateway.connect()
    await client.send(f"{method} /open HTTP/1.1\r\n{HOST}{fields}\r\n".encode() + body)
    wire = await service.connection()
    sent = await wire.message()
    await wire.send(OK)
    assert (await client.message()).status == 200
    client.close()
    return sent


@pytest.mark.parametrize(
    ("method", "fields", "body", "said"),
    [
        ("GET", "", b"", Body.NONE),
        ("DELETE", "", b"", Body.NONE),
        ("POST", "Content-Length: 0\r\n", b"", Body.NONE),
        ("POST", CHUNKED, b"0\r\n\r\n", Body.NONE),
        ("POST", "Content-Length: 5\r\n", b"hello", Body.DIGEST),
        ("POST", CHUNKED, SMUGGLED, Body.DIGEST),
        ("PUT", f"Content-Length: {LARGE}\r\n", bytes(LARGE), Body.STREAMED),
        ("PUT", CHUNKED, b"%x\r\n%b\r\n0\r\n\r\n" % (LARGE, bytes(LARGE)), Body.STREAMED),
    ],
)
async def test_the_signature_says_what_body_is_forwarded(  # noqa: PLR0913, PLR0917 - two ends, and a request
    gateway: Node, service: Upstream, method: str, fields: str, body: bytes, said: Body
) -> None:
    """R-223."""
    sent = await forwarded(gateway, service, method, fields, body)
    assert said_of_body(gateway, sent, method) is said


@pytest.mark.parametrize("framing", [CHUNKED, "Content-Length: 5\r\n"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_what_was_signed_for_a_request_without_a_body_carries_none_into_a_service(
    gateway: Node, service: Upstream, method: str, framing: str
) -> None:
    """R-223."""
    sent = await forwarded(gateway, service, method)
    reached: list[bytes] = []
    refused: list[SignatureRefused] = []

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        reached.append((await receive()).get("body", b""))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    guarded = IdentityMiddleware(
        app, keys=gateway.links("orders"), clock=gateway.clock.now, on_refusal=lambda why, _: refused.append(why)
    )
    stolen = "".join(f"{name}: {value}\r\n" for name, value in sent.fields if name != "content-length")
    body = SMUGGLED if framing == CHUNKED else b"hello"
    async with served(guarded) as url:
        thief = await Wire.connect("127.0.0.1", int(url.rpartition(":")[2]))
        await thief.send(f"{method} /open HTTP/1.1\r\n{stolen}{framing}\r\n".encode() + body)
        assert (await thief.message()).status == 401
        thief.close()
        owner = await Wire.connect("127.0.0.1", int(url.rpartition(":")[2]))
        await owner.send(f"{method} /open HTTP/1.1\r\n{stolen}\r\n".encode())
        assert (await owner.message()).status == 200  # the attempt did not use the signature up
        owner.close()
    assert [why.reason for why in refused] == [Refused.NOT_COVERED]
    assert reached == [b""]


async def test_what_a_proxy_is_given_says_that_the_gateway_has_not_seen_the_body(
    redis_url: str, service: Upstream, tmp_path: Path
) -> None:
    settings = nodes.settings(tmp_path, redis_url, service.url, server={"trusted_proxies": ["127.0.0.0/8"]})
    async with nodes.running(settings) as node:
        asked = "X-Forwarded-Method: POST\r\nX-Forwarded-Uri: /open\r\n"
        answer = await node.ask(f"GET /auth/verify HTTP/1.1\r\n{asked}")
        assert answer.status == 200
        assert said_of_body(node, answer, "POST") is Body.UNSEEN
