"""The rules for every request that is refused at the wire, asserted in one place."""

from __future__ import annotations

from lockgate_trust import IDENTITY_HEADERS
from tests.support.node import Node
from tests.support.raw import Message
from tests.support.upstream import Upstream

HOST = b"Host: shop.example\r\n"


async def refused(node: Node, upstream: Upstream, raw: bytes, status: int, code: str | None = None) -> Message:
    """The bytes get exactly one response and the connection ends; nothing reaches a service; the worker serves on.

    R-80 to R-86, and the rules for every error (R-128, R-186).
    """
    client = await node.connect()
    await client.send(raw)
    answer = await client.message()
    assert answer.status == status, answer.raw
    assert code is None or answer.code == code
    assert await client.rest() == b"", "more than one answer"
    client.close()
    assert answer.value("connection") == "close"
    assert answer.value("content-type") == "application/problem+json"
    assert answer.value("cache-control") == "no-store"
    assert answer.json["request_id"] == answer.value("x-request-id")
    assert upstream.requests == []
    assert upstream.accepted == 0
    assert (await node.get("/open")).status == 200
    return answer


async def served(node: Node, upstream: Upstream, raw: bytes) -> Message:
    """Check that the bytes are one served request; the request as the service got it."""
    client = await node.connect()
    await client.send(raw)
    assert (await client.message()).status == 200
    client.close()
    (request,) = upstream.requests
    return request


RESERVED = (*IDENTITY_HEADERS, "signature", "signature-input", "content-digest")


# Ways to write a name that some reader behind the gateway may take for the reserved one.
SPELLINGS = {
    "as it is": lambda name: name,
    "upper case": str.upper,
    "mixed case": str.title,
    "doubled dashes": lambda name: name.replace("-", "--"),
    "leading dash": lambda name: f"-{name}",
    "no dashes": lambda name: name.replace("-", ""),
    "trailing dash": lambda name: f"{name}-",
    "underscores": lambda name: name.replace("-", "_"),
    "dots": lambda name: name.replace("-", "."),
    "one underscore": lambda name: name.replace("-", "_", 1),
    "other separators": lambda name: name.replace("-", "+"),
    "other separators, mixed": lambda name: name.replace("-", "~'-"),
}
