"""A client that waits before it sends a body gets `100 Continue` when the body is needed, and not before: R-92."""

from __future__ import annotations

import json

import pytest

from tests.support.node import Node
from tests.support.raw import Message, Wire, until
from tests.support.rules import HOST, refused
from tests.support.upstream import Upstream

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
POST = b"POST /open HTTP/1.1\r\n" + HOST
PASSWORD = json.dumps({"current_password": "a", "new_password": "b"}).encode()


async def test_a_client_that_waits_is_asked_for_the_body_once_it_is_let_in(node: Node, upstream: Upstream) -> None:
    """R-92."""
    client = await node.connect()
    head = f"POST /orders HTTP/1.1\r\n{node.tokens.bearer()}Expect: 100-Continue\r\nContent-Length: 2\r\n"
    await client.send(head.encode() + HOST + b"\r\n")
    assert (await client.message()).head == b"HTTP/1.1 100 Continue\r\n\r\n"
    await client.send(b"hi")
    assert (await client.message()).status == 200
    client.close()
    assert upstream.requests[0].body == b"hi"
    assert upstream.requests[0].values("expect") == []


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/orders", "", 401),
        ("/orders", "Authorization: Bearer a.b.c\r\n", 401),
        ("/nowhere", "", 404),
        ("/open", "Content-Length: 99999999\r\n", 413),
    ],
)
async def test_a_client_that_waits_and_is_refused_is_never_asked(
    node: Node, upstream: Upstream, path: str, fields: str, status: int
) -> None:
    """R-92: exactly one answer, and no 100 before it."""
    fields += "" if "Length" in fields else "Content-Length: 2\r\n"
    client = await node.connect()
    await client.send(f"POST {path} HTTP/1.1\r\n{fields}Expect: 100-continue\r\n".encode() + HOST + b"\r\n")
    answer = await client.message()
    assert answer.status == status
    assert answer.value("connection") == "close"
    assert await client.rest() == b""
    client.close()
    assert upstream.requests == []


@pytest.mark.parametrize("value", ["200-ok", "100-continue, x", "", "100-continue;q=1"])
async def test_another_expectation_is_refused(node: Node, upstream: Upstream, value: str) -> None:
    """R-92."""
    raw = POST + f"Expect: {value}\r\nContent-Length: 2\r\n\r\n".encode()
    await refused(node, upstream, raw, 417)


async def test_a_client_of_http_1_0_is_not_asked(node: Node) -> None:
    """R-92: it would take 100 for its answer."""
    raw = b"POST /open HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n" + HOST + b"\r\nhi"
    client = await node.connect()
    await client.send(raw)
    assert (await client.message()).status == 200
    client.close()


# --- the gateway's own calls -----------------------------------------------------------------------------------------


async def waiting(node: Node, path: str, fields: str, length: int) -> Wire:
    """A client that has sent everything but the body."""
    client = await node.connect()
    head = f"POST {path} HTTP/1.1\r\n{fields}Expect: 100-continue\r\nContent-Length: {length}\r\n"
    await client.send(head.encode() + HOST + b"\r\n")
    return client


async def the_last_answer(client: Wire) -> Message:
    """The answer after which nothing more comes."""
    answer = await client.message()
    assert answer.value("connection") == "close"
    assert await client.rest() == b""
    client.close()
    return answer


JSON = "Content-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/auth/password", JSON, 401),
        ("/auth/password", f"{JSON}Authorization: Bearer a.b.c\r\n", 401),
        ("/admin/tokens/revoke", JSON, 401),
        ("/auth/login", "Content-Type: text/plain\r\n", 415),
        ("/auth/login", f"{JSON}Content-Encoding: gzip\r\n", 415),
        ("/auth/nothing", JSON, 404),
        ("/auth/me", JSON, 405),
        ("/auth/logout", "", 401),
    ],
)
async def test_a_call_that_is_refused_by_its_head_is_not_asked_for_its_body(
    node: Node, path: str, fields: str, status: int
) -> None:
    """R-92: credentials are judged before 100, and one answer is the only one."""
    client = await waiting(node, path, fields, 2)
    assert (await the_last_answer(client)).status == status


async def test_a_call_that_somebody_may_make_is_asked_for_its_body(node: Node) -> None:
    """R-92: the same client, let in; the body is judged when it is there."""
    client = await waiting(node, "/auth/password", JSON + node.tokens.bearer(), len(PASSWORD))
    assert (await client.message()).head == CONTINUE
    await client.send(b"{" * len(PASSWORD))
    answer = await client.message()
    assert (answer.status, answer.code) == (400, "unreadable_body")
    await client.send(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (await client.message()).status == 200
    client.close()


async def test_a_body_that_was_not_waited_for_is_not_taken_for_a_request(node: Node) -> None:
    """R-88, R-92: the client sent it without being asked; the refusal is all it gets."""
    smuggled = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
    client = await waiting(node, "/auth/password", JSON, len(smuggled) + 1)
    await client.send(smuggled)
    assert (await the_last_answer(client)).status == 401


async def test_a_body_that_comes_unasked_is_taken_and_not_asked_for(node: Node) -> None:
    """R-92: 100 would be one answer too many (RFC 9110 section 10.1.1)."""
    client = await node.connect()
    fields = f"{JSON}{node.tokens.bearer()}Expect: 100-continue\r\nContent-Length: 2\r\n"
    await client.send(f"POST /auth/password HTTP/1.1\r\n{fields}".encode() + HOST + b"\r\n{}")
    answer = await client.message()
    assert (answer.status, answer.code) == (400, "invalid_fields")
    client.close()


async def test_a_client_that_goes_while_it_waits_leaves_nothing(node: Node) -> None:
    """R-108."""
    client = await waiting(node, "/auth/password", JSON + node.tokens.bearer(), 100)
    assert (await client.message()).head == CONTINUE
    client.reset()
    await until(lambda: not node.worker.edge.connections)
    assert node.worker.edge.peers == {}
