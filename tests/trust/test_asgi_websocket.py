import pytest

from lockgate_trust import Caller, IdentityMiddleware, caller_of
from lockgate_trust.asgi import Message, Receive, Scope, Send
from tests.support.links import NOW, ORDERS_KEYS, Received, signed


class Socket:
    """The server's side of one handshake."""

    def __init__(self, request: Received, *, answers: bool = True) -> None:
        self.scope: Scope = {
            "type": "websocket",
            "path": request.path,
            "raw_path": request.path.encode(),
            "query_string": request.query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in request.headers],
            "extensions": {"websocket.http.response": {}} if answers else None,
        }
        self.incoming: list[Message] = [{"type": "websocket.connect"}]
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        return self.incoming.pop(0)

    async def send(self, message: Message) -> None:
        self.sent.append(message)


class Events:
    """An application that accepts each socket it sees."""

    def __init__(self) -> None:
        self.callers: list[Caller] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.callers.append(caller_of(scope))
        assert await receive() == {"type": "websocket.connect"}
        await send({"type": "websocket.accept"})


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def middleware(events: Events) -> IdentityMiddleware:
    return IdentityMiddleware(events, keys=ORDERS_KEYS, clock=lambda: NOW)


async def test_a_signed_handshake_is_the_applications_to_accept(events: Events, middleware: IdentityMiddleware) -> None:
    socket = Socket(signed(path="/orders/events"))
    await middleware(socket.scope, socket.receive, socket.send)
    assert [caller.user_id for caller in events.callers] == ["alice"]
    assert socket.sent == [{"type": "websocket.accept"}]


async def test_r170_an_unsigned_handshake_is_answered_401_before_it_is_accepted(
    events: Events, middleware: IdentityMiddleware
) -> None:
    socket = Socket(Received("GET", "/orders/events", "", ()))
    await middleware(socket.scope, socket.receive, socket.send)
    start, body = socket.sent
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 401)
    assert body["type"] == "websocket.http.response.body"
    assert b"signature_required" in body["body"]
    assert events.callers == []


async def test_a_server_that_cannot_answer_is_told_to_close(events: Events, middleware: IdentityMiddleware) -> None:
    socket = Socket(Received("GET", "/orders/events", "", ()), answers=False)
    await middleware(socket.scope, socket.receive, socket.send)
    assert socket.sent == [{"type": "websocket.close", "code": 1008}]
    assert events.callers == []


async def test_a_client_that_has_left_already_is_told_nothing(middleware: IdentityMiddleware) -> None:
    socket = Socket(Received("GET", "/orders/events", "", ()))
    socket.incoming = [{"type": "websocket.disconnect", "code": 1006}]
    await middleware(socket.scope, socket.receive, socket.send)
    assert socket.sent == []


async def test_a_handshake_signed_as_another_method_is_refused(events: Events, middleware: IdentityMiddleware) -> None:
    socket = Socket(signed(method="POST", path="/orders/events"))
    await middleware(socket.scope, socket.receive, socket.send)
    assert socket.sent[0]["status"] == 401
    assert events.callers == []


async def test_a_handshake_with_a_body_is_refused(events: Events, middleware: IdentityMiddleware) -> None:
    socket = Socket(signed(path="/orders/events", body=b"x"))
    await middleware(socket.scope, socket.receive, socket.send)
    assert socket.sent[0]["status"] == 401
    assert events.callers == []


async def test_r59_a_replayed_handshake_is_refused(events: Events, middleware: IdentityMiddleware) -> None:
    request = signed(path="/orders/events")
    for socket in (Socket(request), replayed := Socket(request)):
        await middleware(socket.scope, socket.receive, socket.send)
    assert replayed.sent[0]["status"] == 401
    assert len(events.callers) == 1


async def test_an_open_path_is_open_for_http_only(events: Events, middleware: IdentityMiddleware) -> None:
    socket = Socket(Received("GET", "/healthz", "", ()))
    await middleware(socket.scope, socket.receive, socket.send)
    assert socket.sent[0]["status"] == 401
    assert events.callers == []
