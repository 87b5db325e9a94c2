"""Live events through the whole stack: a gateway node in front, and another one that the change comes in by."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from lockgate_shop.kit.data.events import MAX_OF_USER
from lockgate_shop.products.demo import product_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.stack import Stack

pytestmark = pytest.mark.stack

PEN = str(product_id("Fountain pen, steel nib"))
BODY = {"items": [{"product_id": PEN, "quantity": 1}]}
WITHIN_S = 30


@contextlib.asynccontextmanager
async def logged_in(stack: Stack, username: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=stack.url, trust_env=False, timeout=WITHIN_S) as http:
        answer = await http.post("/auth/login", json={"username": username, "password": "correct-horse-battery"})
        assert answer.status_code == 200, answer.text
        http.headers["authorization"] = f"Bearer {answer.json()['access_token']}"
        yield http


async def order(http: httpx.AsyncClient) -> str:
    answer = await http.post("/orders", json=BODY)
    assert answer.status_code == 201, answer.text
    order_id: str = answer.json()["id"]
    assert (await http.post(f"/orders/{order_id}/cancel")).status_code == 200
    return order_id


async def told(lines: AsyncIterator[str]) -> dict[str, Any]:
    async for line in lines:
        if line.startswith("data: "):
            members: dict[str, Any] = json.loads(line.removeprefix("data: "))
            return members
    raise AssertionError("the stream has ended")


async def test_a_change_reaches_its_owner_as_server_sent_events_through_the_gateway(stack: Stack) -> None:
    """R-107: the response is streamed, not collected first."""
    async with (
        asyncio.timeout(WITHIN_S),
        logged_in(stack, "alice") as http,
        http.stream("GET", "/orders/events", headers={"accept": "text/event-stream"}) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.aiter_lines()
        assert await anext(lines) == ": hello"
        order_id = await order(http)
        changes = [await told(lines) for _ in range(2)]
    assert [(change["order_id"], change["status"]) for change in changes] == [
        (order_id, "placed"),
        (order_id, "cancelled"),
    ]


@pytest.mark.slow
async def test_a_quiet_stream_outlives_what_the_gateway_waits_for_an_answer(stack: Stack) -> None:
    async with (
        asyncio.timeout(2 * WITHIN_S),
        logged_in(stack, "alice") as http,
        http.stream("GET", "/orders/events") as answer,
    ):
        lines = answer.aiter_lines()
        beats = 0
        while beats < 3:  # 15 s, with a time-out of 10 s on the route
            beats += (await anext(lines)) == ": still here"
        order_id = await order(http)
        assert (await told(lines))["order_id"] == order_id


async def test_a_change_reaches_its_owner_over_a_websocket_through_the_gateway(stack: Stack) -> None:
    """R-170, R-172: the handshake is authenticated like any request, and the socket ends with the session."""
    address = f"{stack.url.replace('http', 'ws', 1)}/orders/events"
    async with asyncio.timeout(WITHIN_S), logged_in(stack, "bob") as http:
        with pytest.raises(InvalidStatus) as refused:
            async with connect(address, proxy=None):
                pass
        assert refused.value.response.status_code == 401
        bearer = {"authorization": http.headers["authorization"]}
        async with connect(address, additional_headers=bearer, proxy=None) as socket:
            order_id = await order(http)
            changes = [json.loads(await socket.recv()) for _ in range(2)]
            assert [change["data"]["order_id"] for change in changes] == [order_id] * 2
            assert [change["data"]["status"] for change in changes] == ["placed", "cancelled"]
            assert (await http.post("/auth/logout")).status_code == 204
            await socket.wait_closed()
            assert socket.close_code == 4403, "the token was revoked"


async def test_a_page_that_is_loaded_again_and_again_gets_its_stream_each_time(stack: Stack) -> None:
    """R-108: closed streams no longer count."""
    async with asyncio.timeout(WITHIN_S), logged_in(stack, "bob") as http:
        for _ in range(3 * MAX_OF_USER):
            async with http.stream("GET", "/orders/events") as answer:
                assert answer.status_code == 200


async def test_one_socket_too_many_is_told_so_through_the_gateway(stack: Stack) -> None:
    """R-176."""
    address = f"{stack.url.replace('http', 'ws', 1)}/orders/events"
    async with asyncio.timeout(WITHIN_S), logged_in(stack, "bob") as http, contextlib.AsyncExitStack() as sockets:
        bearer = {"authorization": http.headers["authorization"]}
        for _ in range(MAX_OF_USER):
            await sockets.enter_async_context(connect(address, additional_headers=bearer, proxy=None))
        with pytest.raises(InvalidStatus) as refused:
            async with connect(address, additional_headers=bearer, proxy=None):
                pass
    assert refused.value.response.status_code == 429
    assert json.loads(refused.value.response.body)["code"] == "too_many_streams"


async def test_head_is_answered_through_the_gateway(stack: Stack) -> None:
    """R-76."""
    async with asyncio.timeout(WITHIN_S), logged_in(stack, "bob") as http:
        for path in ("/users/me", "/orders", f"/products/{PEN}"):
            answer = await http.head(path)
            assert (answer.status_code, answer.content) == (200, b""), path
