"""A service that responds before it has read the request's body: R-202."""

from __future__ import annotations

from lockgate.upstream.health import FAILURES
from tests.support.node import Node
from tests.support.upstream import Upstream
from tests.support.wires import MIB, pool_of, request

ANSWER = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n"
UPLOAD = request("POST", f"Content-Length: {8 * MIB}\r\n")
SMUGGLED = request(path="/open/smuggled")


async def answered_early(gateway: Node, service: Upstream, answer: bytes) -> bytes:
    """What the client of an upload gets from a service that answers after the head, and leaves most unread."""
    client = await gateway.connect()
    client.write(UPLOAD + bytes(8 * MIB))
    wire = await service.connection()
    await wire.read(100)
    # That the gateway writes before it reads is otherwise a matter of luck.
    (connection,) = pool_of(gateway)._connections  # noqa: SLF001 - nothing else can hold it up
    connection.pause_response()
    await wire.send(answer)
    wire.close()
    got = await client.gone()
    client.close()
    return got


async def test_what_a_service_says_early_reaches_the_client(gateway: Node, service: Upstream) -> None:
    """R-202, RFC 9112 section 9.5: although the gateway could not write any more. It is no failure of the service."""
    for _ in range(FAILURES + 1):
        got = await answered_early(gateway, service, ANSWER)
        assert got.startswith(b"HTTP/1.1 413 ")
        assert got.endswith(b"\r\n\r\nno\n")
    assert not pool_of(gateway).breaker.is_open
    assert pool_of(gateway).load == 0
    assert service.accepted == FAILURES + 1  # none of these connections was used again


async def test_an_early_answer_that_is_cut_short_never_looks_complete(gateway: Node, service: Upstream) -> None:
    """R-202, R-191."""
    got = await answered_early(gateway, service, ANSWER[:-2])
    assert b"no\n" not in got


async def test_what_follows_the_body_of_an_early_answered_request_is_no_request(
    gateway: Node, service: Upstream
) -> None:
    """R-202, R-86."""
    client = await gateway.connect()
    client.write(UPLOAD + bytes(MIB))
    wire = await service.connection()
    await wire.read(100)
    await wire.send(ANSWER)
    assert (await client.message()).status == 413
    client.write(bytes(7 * MIB) + SMUGGLED)
    assert await client.rest() == b""
    client.close()
    assert service.accepted == 1
