"""An event stream by ticket: EventSource cannot send Authorization (R-211, R-41, R-173 for streams)."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from tests.support.node import Node
from tests.support.raw import Message
from tests.support.upstream import Upstream

EVENTS = "Accept: text/event-stream\r\n"
UNKNOWN = "A" * 43


async def ticket_of(node: Node, **claims: object) -> str:
    answer = await node.ask(f"POST /auth/tickets HTTP/1.1\r\n{node.tokens.bearer(**claims)}Content-Length: 0\r\n")
    assert answer.status == 201
    ticket: str = answer.json["ticket"]
    return ticket


async def refused(node: Node, path: str, fields: str, upstream: Upstream) -> tuple[int, str]:
    before = len(upstream.requests)
    answer = await node.get(path, fields)
    assert len(upstream.requests) == before
    return answer.status, answer.code


def lines(request: Message) -> str:
    return request.raw.decode()


@pytest.mark.parametrize(
    "accept", ["text/event-stream", "TEXT/event-stream;q=1, */*;q=0.1", "text/html,text/event-stream"]
)
@pytest.mark.parametrize("query", ["ticket={}", "a=1&ticket={}&b=%2F", "%74icket={}"])
async def test_a_ticket_opens_one_stream_and_stays_at_the_gateway(
    node: Node, upstream: Upstream, accept: str, query: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """R-173: not to the service, not into the log, and not a second time."""
    ticket, path = await ticket_of(node, sub="bob"), f"/orders/feed?{query}"
    answer = await node.get(path.format(ticket), f"Accept: {accept}\r\n")
    assert answer.status == 200
    (request,) = upstream.requests
    assert request.value("x-user-id") == "bob"
    assert ticket not in lines(request)
    assert request.values("authorization") == []
    assert request.line.split()[1] == ("/orders/feed?a=1&b=%2F" if "&" in query else "/orders/feed")
    assert await refused(node, path.format(ticket), EVENTS, upstream) == (401, "invalid_token")
    assert ticket not in capsys.readouterr().out


async def test_a_ticket_stands_for_its_token_which_is_judged_again(
    node: Node, upstream: Upstream, redis: Redis
) -> None:
    """R-173: scopes, revocation and expiry count for a stream as for any request."""
    path = f"/orders/feed?ticket={await ticket_of(node, scope='orders:write')}"
    assert await refused(node, path, EVENTS, upstream) == (403, "insufficient_scope")
    claims = node.tokens.claims()
    ticket = await ticket_of(node, **claims)
    token = node.tokens.token(**claims).encode()
    form = f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(token) + 6}\r\n"
    assert (await node.ask(f"POST /auth/revoke HTTP/1.1\r\n{form}", b"token=" + token)).status == 200
    assert await refused(node, f"/orders/feed?ticket={ticket}", EVENTS, upstream) == (401, "invalid_token")
    assert await redis.keys("*ticket:*") == []


@pytest.mark.parametrize(
    ("path", "more", "expected"),
    [
        (f"/orders/feed?ticket={UNKNOWN}", "", (401, "invalid_token")),
        ("/orders/feed?ticket=", "", (401, "invalid_token")),
        ("/maybe/feed?ticket=x", "", (401, "invalid_token")),
        ("/orders/feed?ticket=x&ticket=y", "", (400, "repeated_credentials")),
        ("/orders/feed?ticket=x&%74icket=y", "", (400, "repeated_credentials")),
        (f"/orders/feed?ticket={UNKNOWN}", "Authorization: Bearer a.b.c\r\n", (400, "repeated_credentials")),
        (f"/orders/feed?ticket={UNKNOWN}", "Authorization: Bearer\r\n", (400, "repeated_credentials")),
        (f"/orders/feed?ticket={UNKNOWN}", "Authorization: Basic YTpi\r\n", (401, "invalid_token")),
    ],
)
async def test_a_ticket_that_is_none_is_never_taken_for_nobody(
    node: Node, upstream: Upstream, path: str, more: str, expected: tuple[int, str]
) -> None:
    """R-41, R-44: nor for one of two credentials."""
    assert await refused(node, path, EVENTS + more, upstream) == expected


async def test_a_ticket_and_a_token_in_the_query_are_one_too_many(node: Node, upstream: Upstream) -> None:
    """R-42."""
    path = f"/orders/feed?access_token=a.b.c&ticket={await ticket_of(node)}"
    assert await refused(node, path, EVENTS, upstream) == (400, "repeated_credentials")


@pytest.mark.parametrize(
    "head",
    [
        "GET /maybe/x?ticket=7 HTTP/1.1\r\n",
        "GET /maybe/x?ticket=7 HTTP/1.1\r\nAccept: */*\r\n",
        "GET /maybe/x?ticket=7 HTTP/1.1\r\nAccept: application/json\r\n",
        f"HEAD /maybe/x?ticket=7 HTTP/1.1\r\n{EVENTS}",
        f"POST /maybe/x?ticket=7 HTTP/1.1\r\n{EVENTS}",
    ],
)
async def test_elsewhere_the_word_is_the_services_own(node: Node, upstream: Upstream, head: str) -> None:
    """A shop for concerts has tickets of its own."""
    assert (await node.ask(head)).status == 200
    (request,) = upstream.requests
    assert request.line.split()[1] == "/maybe/x?ticket=7"


async def test_a_public_stream_forwards_no_ticket_and_asks_nobody_about_it(node: Node, upstream: Upstream) -> None:
    assert (await node.get(f"/open/feed?ticket={UNKNOWN}", EVENTS)).status == 200
    (request,) = upstream.requests
    assert UNKNOWN not in lines(request)
