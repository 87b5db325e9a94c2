"""What the tests of forwarding share: requests as bytes, and answers taken apart."""

from __future__ import annotations

from lockgate.upstream.pool import UpstreamPool
from tests.support.node import HOST, Node
from tests.support.raw import Message
from tests.support.upstream import Upstream

MIB = 1024 * 1024


def request(method: str = "GET", fields: str = "", *, version: str = "1.1", path: str = "/open") -> bytes:
    return f"{method} {path} HTTP/{version}\r\n{HOST}{fields}\r\n".encode()


def pool_of(node: Node) -> UpstreamPool:
    ((pool,),) = [upstream.pools for upstream in node.worker.path.services.upstreams.values()]
    return pool


async def answered(gateway: Node, service: Upstream, raw: bytes, *, method: str = "GET", version: str = "1.1") -> bytes:
    """Everything a client gets for an answer of these bytes, after which the service closes."""
    client = await gateway.connect()
    await client.send(request(method, "Connection: close\r\n", version=version))
    wire = await service.connection()
    await wire.message()
    await wire.send(raw)
    wire.close()
    got = await client.gone()
    client.close()
    return got


def taken_apart(raw: bytes, *, body: bool = True) -> Message:
    head, _, rest = raw.partition(b"\r\n\r\n")
    message = Message(head + b"\r\n\r\n", rest, raw)
    assert body or rest == b""
    return message
