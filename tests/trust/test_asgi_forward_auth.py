"""A service behind a proxy that only asked the gateway: bodies are not covered, and everything else is."""

from typing import Any

from lockgate_trust import Body, IdentityMiddleware
from lockgate_trust.asgi import Message, Receive, Scope, Send
from tests.support.links import NOW, ORDERS_KEYS, signed_whatever


async def answered(*, short_bodies_covered: bool, path: str = "/orders", said: Body = Body.UNSEEN) -> int:
    """The status that a request with an uncovered body of five bytes gets."""
    request = signed_whatever(body=said, method="POST")
    sent: list[Message] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Message:
        return {"type": "http.request", "body": b"hello", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(name.encode(), value.encode()) for name, value in (*request.headers, ("content-length", "5"))]
    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
    }
    guard = IdentityMiddleware(app, keys=ORDERS_KEYS, clock=lambda: NOW, short_bodies_covered=short_bodies_covered)
    await guard(scope, receive, send)
    status: int = sent[0]["status"]
    return status


async def test_an_uncovered_short_body_is_refused_by_default() -> None:
    """R-59."""
    assert await answered(short_bodies_covered=True) == 401


async def test_it_is_accepted_where_the_service_says_so() -> None:
    assert await answered(short_bodies_covered=False) == 200


async def test_the_rest_stays_covered_then() -> None:
    """R-59."""
    assert await answered(short_bodies_covered=False, path="/orders/43") == 401
    assert await answered(short_bodies_covered=False, said=Body.NONE) == 401
