import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from lockgate_trust import (
    MAX_DIGEST_BODY,
    Caller,
    IdentityMiddleware,
    Refused,
    ReplayGuard,
    SignatureRefused,
    caller_of,
)
from lockgate_trust.asgi import ASGIApp, Message, Receive, Scope, Send
from lockgate_trust.headers import CONTENT_DIGEST, REQUEST_ID
from tests.support.links import NOW, ORDERS_KEYS, REQUEST, Received, signed
from tests.support.trust_world import World


@pytest.fixture
def world() -> World:
    return World()


async def test_a_signed_request_reaches_the_application_with_its_caller(world: World) -> None:
    answer = await world.send(signed())
    assert (answer.status_code, answer.text) == (200, "served")
    [caller] = world.app.callers
    assert caller is not None
    assert (caller.user_id, caller.service, caller.request_id) == ("alice", "gateway", REQUEST)
    assert world.refusals == []


async def test_the_raw_path_is_what_is_verified(world: World) -> None:
    assert (await world.send(signed(path="/orders/a%2Fb"))).status_code == 200
    answer = await world.send(replace(signed(path="/orders/a%2Fb"), path="/orders/a/b"))
    assert answer.status_code == 401
    assert world.reason is Refused.BAD_SIGNATURE


async def test_r62_an_unsigned_request_is_answered_401_and_reaches_nobody(world: World) -> None:
    answer = await world.send(Received("GET", "/orders", "", (("x-user-id", "root"),)))
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["www-authenticate"] == "Signature"
    assert answer.json() == {
        "type": "about:blank",
        "title": "A valid identity signature is required",
        "status": 401,
        "detail": "A valid identity signature is required",
        "code": "signature_required",
        "request_id": None,
    }
    world.assert_untouched()
    assert world.refusals == [SignatureRefused(Refused.MISSING, "signature-input")]


async def test_the_answer_is_the_same_for_every_kind_of_wrong_signature(world: World) -> None:
    wrong = [
        replace(signed(), path="/other"),
        signed().plus("x-caller", "users"),
        signed().plus("x_user_id", "root"),
        signed(now=NOW - 60),
        signed().altered("signature", lambda _: "nonsense"),
    ]
    answers = [await world.send(request) for request in wrong]
    assert {(answer.status_code, answer.text) for answer in answers} == {(401, answers[0].text)}
    assert answers[0].json()["code"] == "signature_invalid"
    assert len({refused.reason for refused in world.refusals}) == 5
    world.assert_untouched()


async def test_r59_a_replayed_request_is_refused(world: World) -> None:
    request = signed()
    assert (await world.send(request)).status_code == 200
    assert (await world.send(request)).status_code == 401
    assert world.reason is Refused.REPLAYED
    assert len(world.app.callers) == 1


async def test_a_refused_request_does_not_use_its_signature_up(world: World) -> None:
    request = signed()
    assert (await world.send(replace(request, path="/other"))).status_code == 401
    assert (await world.send(request)).status_code == 200


async def test_a_full_replay_memory_is_answered_503() -> None:
    world = World(ReplayGuard(capacity=1))
    assert (await world.send(signed())).status_code == 200
    answer = await world.send(signed())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert world.reason is Refused.REPLAY_MEMORY_FULL


async def test_a_covered_body_is_checked_and_handed_on_whole(world: World) -> None:
    body = bytes(range(256)) * 256
    assert len(body) == MAX_DIGEST_BODY
    assert (await world.send(signed(method="POST", body=body), body)).status_code == 200
    assert world.app.bodies == [body]


async def test_a_covered_body_that_comes_in_pieces_is_handed_on_whole(world: World) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"", b"one ", b"two ", b"", b"three"):
            yield piece

    assert (await world.send(signed(method="POST", body=b"one two three"), pieces())).status_code == 200
    assert world.app.bodies == [b"one two three"]


async def test_r59_another_body_is_refused_before_the_application_sees_any_of_it(world: World) -> None:
    answer = await world.send(signed(method="POST", body=b'{"amount": 1}'), b'{"amount": 9}')
    assert (answer.status_code, world.reason) == (401, Refused.BODY_MISMATCH)
    world.assert_untouched()


async def test_a_covered_body_that_got_lost_is_refused(world: World) -> None:
    answer = await world.send(signed(method="POST", body=b"{}"))
    assert (answer.status_code, world.reason) == (401, Refused.BODY_MISMATCH)
    world.assert_untouched()


async def test_r59_a_short_body_that_is_not_covered_is_refused(world: World) -> None:
    answer = await world.send(signed(method="POST"), b"x")
    assert (answer.status_code, world.reason) == (401, Refused.NOT_COVERED)
    world.assert_untouched()


async def test_a_digest_added_after_signing_is_refused(world: World) -> None:
    covered = signed(method="POST", body=b"x")
    request = signed(method="POST").plus(CONTENT_DIGEST, covered.value(CONTENT_DIGEST))
    assert (await world.send(request, b"x")).status_code == 401
    assert world.reason is Refused.NOT_COVERED


async def test_a_long_body_is_streamed_uncovered(world: World) -> None:
    body = bytes(MAX_DIGEST_BODY + 1)
    assert (await world.send(signed(method="POST", body=body), body)).status_code == 200
    assert world.app.bodies == [body]


async def test_a_long_body_under_a_digest_is_not_read_to_its_end(world: World) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield bytes(16 * 1024)

    answer = await world.send(signed(method="POST", body=b"short"), endless())
    assert (answer.status_code, world.reason, read) == (401, Refused.BODY_TOO_LARGE, 5)
    world.assert_untouched()


@pytest.mark.parametrize("length", ["-1", "1e3", "", "9" * 19])
async def test_an_impossible_content_length_is_refused(world: World, length: str) -> None:
    answer = await world.send(signed(method="POST"), content_length=length)
    assert (answer.status_code, world.reason) == (401, Refused.MALFORMED)


async def test_two_content_lengths_are_refused(world: World) -> None:
    request = signed(method="POST").plus("content-length", "0").plus("content-length", "0")
    assert (await world.send(request)).status_code == 401
    assert world.reason is Refused.MALFORMED


async def test_an_open_path_is_served_without_a_signature_and_without_a_caller(world: World) -> None:
    assert (await world.send(Received("GET", "/healthz", "", (("x-user-id", "root"),)))).status_code == 200
    assert world.app.callers == [None]


@pytest.mark.parametrize("path", ["/healthz/", "/healthz/x", "/%68ealthz", "/Healthz", "//healthz", "/healthz;x"])
async def test_a_path_that_resembles_an_open_one_is_not_open(world: World, path: str) -> None:
    assert (await world.send(Received("GET", path, "", ()))).status_code == 401
    world.assert_untouched()


async def test_head_is_refused_like_get(world: World) -> None:
    assert (await world.send(Received("HEAD", "/orders", "", ()))).status_code == 401


def http_scope(**changes: Any) -> Scope:  # noqa: ANN401 - the values of a scope are of any type
    request = signed()
    return {
        "type": "http",
        "method": request.method,
        "path": request.path,
        "raw_path": request.path.encode(),
        "query_string": request.query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in request.headers],
    } | changes


async def nothing() -> Message:
    raise AssertionError("nothing is to be received")


async def nowhere(message: Message) -> None:
    raise AssertionError(f"nothing is to be sent: {message}")


def middleware(app: ASGIApp) -> IdentityMiddleware:
    return IdentityMiddleware(app, keys=ORDERS_KEYS, clock=lambda: NOW)


async def test_a_caller_that_somebody_else_put_into_the_scope_does_not_survive() -> None:
    forged = Caller(request_id="r", service="gateway", user_id="root")
    world = World()
    scope = http_scope(path="/healthz", raw_path=b"/healthz", **{"lockgate.caller": forged})

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_: Message) -> None:
        return

    await world.middleware(scope, receive, send)
    assert world.app.callers == [None]


async def test_the_caller_is_visible_to_what_stands_around_the_middleware() -> None:
    scope = http_scope()

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        return

    await middleware(app)(scope, nothing, nowhere)
    assert caller_of(scope).user_id == "alice"


async def test_a_client_that_leaves_while_its_body_is_read_reaches_nobody() -> None:
    request = signed(method="POST", body=b"{}")
    scope = http_scope(method="POST", headers=[(name.encode(), value.encode()) for name, value in request.headers])
    messages: list[Message] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return messages.pop(0)

    world = World()
    await world.middleware(scope, receive, nowhere)
    world.assert_untouched()


async def test_after_the_body_the_application_hears_of_a_client_that_leaves() -> None:
    request = signed(method="POST", body=b"{}")
    scope = http_scope(method="POST", headers=[(name.encode(), value.encode()) for name, value in request.headers])
    messages: list[Message] = [{"type": "http.request", "body": b"{}"}, {"type": "http.disconnect"}]
    heard: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0)

    async def app(_: Scope, receive: Receive, __: Send) -> None:
        heard.extend([await receive(), await receive()])

    await middleware(app)(scope, receive, nowhere)
    assert heard == [{"type": "http.request", "body": b"{}", "more_body": False}, {"type": "http.disconnect"}]


async def test_headers_that_are_no_ascii_are_refused_and_not_a_fault(world: World) -> None:
    scope = http_scope(headers=[(b"x-user-id\xff", b"\xff\xfe"), (b"x-request-id", b"\xff")], raw_path=b"/\xff")
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await world.middleware(scope, nothing, send)
    assert sent[0]["status"] == 401
    world.assert_untouched()


async def test_lifespan_passes_through(world: World) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await world.middleware({"type": "lifespan"}, nothing, send)
    assert sent == [{"type": "lifespan.startup.complete"}]


async def test_a_scope_of_an_unknown_type_does_not_pass(world: World) -> None:
    with pytest.raises(RuntimeError, match="'webtransport'"):
        await world.middleware({"type": "webtransport"}, nothing, nowhere)
    world.assert_untouched()


async def test_a_server_without_raw_path_is_a_fault(world: World) -> None:
    with pytest.raises(RuntimeError, match="raw_path"):
        await world.middleware(http_scope(raw_path=None), nothing, nowhere)
    world.assert_untouched()


def test_asking_for_the_caller_without_the_middleware_is_our_bug() -> None:
    with pytest.raises(RuntimeError, match="has not verified"):
        caller_of({"type": "http"})


async def test_a_refusal_is_logged_with_its_reason_and_nothing_secret(caplog: pytest.LogCaptureFixture) -> None:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise AssertionError("the application is not to be reached")

    async def send(_: Message) -> None:
        return

    scope = http_scope(path="/orders\n2026 forged line", query_string=b"token=secret")
    with caplog.at_level(logging.WARNING, logger="lockgate.trust"):
        await middleware(app)(scope, nothing, send)
    [record] = caplog.records
    message = record.getMessage()
    assert "bad_signature" in message
    assert "\n" not in message
    assert "secret" not in message
    assert REQUEST_ID not in message
    assert "alice" not in message
