"""Live events: two nodes of the orders service on real sockets, and one Redis."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from lockgate_shop.kit.data.events import KEPT, MAX_OF_USER, Feed
from lockgate_shop.orders.app import create_app as create_orders
from tests.support.peers import NO_AUTHORITY, NOBODY, Clock, Links, Peer, Who, closed_port, opened, problem, served
from tests.support.shop_calls import ALICE, BOB, added, placed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI
    from websockets.asyncio.client import ClientConnection

    from lockgate_shop.orders.settings import OrdersSettings

PATH = "/orders/events"
WITHIN_S = 20


@dataclass(frozen=True)
class Node:
    """One node of the orders service behind a real server."""

    app: FastAPI
    peer: Peer
    port: int

    @contextlib.asynccontextmanager
    async def stream(
        self, who: Who = ALICE, *, after: str | None = None, query: str = ""
    ) -> AsyncIterator[AsyncIterator[str]]:
        """The lines of the user's server-sent events; open once this is entered."""
        headers = {"accept": "text/event-stream", **({"last-event-id": after} if after else {})}
        signed = self.peer.signed("GET", PATH, query=query, who=who)
        url = f"{PATH}?{query}" if query else PATH
        async with (
            asyncio.timeout(WITHIN_S),
            self.peer.http.stream("GET", url, headers={**headers, **signed}) as answer,
        ):
            assert answer.status_code == 200, await answer.aread()
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = answer.aiter_lines()
            assert await anext(lines) == ": hello"
            yield lines

    @contextlib.asynccontextmanager
    async def socket(self, who: Who = ALICE, *, query: str = "") -> AsyncIterator[ClientConnection]:
        target = f"{PATH}?{query}" if query else PATH
        signed = self.peer.signed("GET", PATH, query=query, who=who)
        async with (
            asyncio.timeout(WITHIN_S),
            connect(f"ws://127.0.0.1:{self.port}{target}", additional_headers=signed, proxy=None) as socket,
        ):
            yield socket


@contextlib.asynccontextmanager
async def node(settings: OrdersSettings, links: Links, clock: Clock) -> AsyncIterator[Node]:
    app = create_orders(settings, links.of("orders"), clock)
    async with (
        app.router.lifespan_context(app),
        served(app) as url,
        httpx.AsyncClient(base_url=url, trust_env=False, verify=NO_AUTHORITY, timeout=WITHIN_S) as http,
    ):
        yield Node(app, Peer(http, links, "gateway", "orders", clock), int(url.rpartition(":")[2]))
        feed: Feed = app.state.feed
        feed.end_connections()


@pytest.fixture
async def here(orders_settings: OrdersSettings, links: Links, clock: Clock) -> AsyncIterator[Node]:
    async with node(orders_settings, links, clock) as running:
        yield running


@pytest.fixture
async def there(orders_settings: OrdersSettings, links: Links, clock: Clock) -> AsyncIterator[Node]:
    async with node(orders_settings, links, clock) as running:
        yield running


async def event(lines: AsyncIterator[str]) -> dict[str, Any]:
    """The next event of a stream; signs of life are skipped."""
    fields: dict[str, str] = {}
    async for line in lines:
        name, _, value = line.partition(": ")
        if name:
            fields[name] = value
        elif fields:
            return {"id": fields["id"], "event": fields["event"], "data": json.loads(fields["data"])}
    raise AssertionError("the stream has ended")


async def message(socket: ClientConnection) -> dict[str, Any]:
    members: dict[str, Any] = json.loads(await socket.recv())
    return members


async def cancel(node: Node, order: dict[str, Any], who: Who = ALICE) -> None:
    assert (await node.peer.call("POST", f"/orders/{order['id']}/cancel", who=who)).status_code == 200


async def test_a_change_on_one_node_reaches_streams_and_sockets_on_the_other(
    here: Node, there: Node, products: Peer
) -> None:
    kettle = await added(products, stock=9)
    async with here.stream() as stream, here.socket() as socket:
        order = await placed(there.peer, (kettle, 1))
        await cancel(there, order)
        told = [await event(stream) for _ in range(2)]
        assert [await message(socket) for _ in range(2)] == told
    assert [(each["event"], each["data"]["status"]) for each in told] == [("order", "placed"), ("order", "cancelled")]
    assert {each["data"]["order_id"] for each in told} == {order["id"]}


async def test_nobody_hears_of_somebody_elses_orders(here: Node, there: Node, products: Peer) -> None:
    kettle = await added(products, stock=9)
    async with here.socket(BOB) as bobs, here.stream(BOB) as stream:
        await placed(there.peer, (kettle, 1), who=ALICE)
        order = await placed(there.peer, (kettle, 1), who=BOB)
        assert (await message(bobs))["data"]["order_id"] == order["id"]
        assert (await event(stream))["data"]["order_id"] == order["id"]


async def test_who_comes_back_hears_what_was_missed_once_and_in_order(here: Node, there: Node, products: Peer) -> None:
    kettle = await added(products, stock=9)
    async with here.stream() as stream:
        await placed(here.peer, (kettle, 1))
        last = (await event(stream))["id"]
    missed = [(await placed(here.peer, (kettle, 1)))["id"] for _ in range(3)]
    async with there.stream(after=last) as stream, there.socket(query=f"last_event_id={last}") as socket:
        missed.append((await placed(here.peer, (kettle, 1)))["id"])
        assert [(await event(stream))["data"]["order_id"] for _ in missed] == missed
        assert [(await message(socket))["data"]["order_id"] for _ in missed] == missed


async def test_the_header_of_a_browser_that_comes_back_wins_over_its_first_address(here: Node, products: Peer) -> None:
    kettle = await added(products, stock=9)
    async with here.stream(after="0-0") as stream:
        first, second = [await placed(here.peer, (kettle, 1)) for _ in range(2)]
        ids = [(await event(stream))["id"] for _ in range(2)]
    async with here.stream(after=ids[0], query="last_event_id=0-0") as stream:
        assert (await event(stream))["data"]["order_id"] == second["id"]
    async with here.stream(query="last_event_id=0-0") as stream:
        assert (await event(stream))["data"]["order_id"] == first["id"]


async def test_who_was_away_for_too_long_is_told_to_look(here: Node) -> None:
    feed: Feed = here.app.state.feed
    await feed.publish_event("alice-id", "{}")
    async with here.stream(after="0-0") as stream:
        first = (await event(stream))["id"]
    for _ in range(KEPT + 1):
        await feed.publish_event("alice-id", "{}")
    async with here.stream(after=first) as stream:
        told = await event(stream)
        assert (told["event"], told["data"]) == ("reset", {})
        await feed.publish_event("alice-id", '{"n":1}')
        assert (await event(stream))["data"] == {"n": 1}
    async with here.stream(after=told["id"]) as stream:
        assert (await event(stream))["event"] == "order"


async def test_a_stream_that_is_gone_is_not_taken_for_a_quiet_one(here: Node, redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        await here.app.state.feed.publish_event("alice-id", "{}")
        await redis.flushall()
    async with here.stream(after="1700000000000-0") as stream:
        assert (await event(stream))["event"] == "reset"


async def test_a_quiet_stream_gives_signs_of_life(here: Node) -> None:
    async with here.stream() as stream:
        said = [await anext(stream) for _ in range(4)]
    assert said == ["", ": still here", "", ": still here"]


@pytest.mark.parametrize("last", ["x", "1", "-", "1-", "1-2-3", "(1-1", "1-1%00", "9" * 20 + "-0"])
async def test_an_event_id_that_was_never_given_out_is_refused(here: Node, last: str) -> None:
    query = f"last_event_id={last}"
    answer = await here.peer.call("GET", PATH, who=ALICE, query=query)
    assert (answer.status_code, problem(answer)["code"]) == (400, "invalid_event_id")
    with pytest.raises(InvalidStatus) as refused:
        async with here.socket(query=query):
            pass
    assert refused.value.response.status_code == 400


async def test_a_handshake_without_a_user_or_a_signature_is_refused_before_it_is_a_socket(here: Node) -> None:
    """R-170."""
    with pytest.raises(InvalidStatus) as refused:
        async with here.socket(NOBODY):
            pass
    assert refused.value.response.status_code == 401
    assert json.loads(refused.value.response.body)["code"] == "credentials_required"
    with pytest.raises(InvalidStatus) as unsigned:
        async with connect(f"ws://127.0.0.1:{here.port}{PATH}", additional_headers={"x-user-id": "alice"}, proxy=None):
            pass
    assert unsigned.value.response.status_code == 401
    assert (await here.peer.call("GET", PATH)).status_code == 401


async def test_an_internal_caller_has_no_business_here(here: Node, links: Links, clock: Clock) -> None:
    products = Peer(here.peer.http, links, "products", "orders", clock)
    with pytest.raises(InvalidStatus) as refused:
        async with Node(here.app, products, here.port).socket():
            pass
    assert refused.value.response.status_code == 403


async def test_other_media_types_are_not_to_be_had(here: Node) -> None:
    answer = await here.peer.call("GET", PATH, who=ALICE, headers={"accept": "application/json"})
    assert (answer.status_code, problem(answer)["code"]) == (406, "not_acceptable")


async def test_a_client_that_talks_is_hung_up_on(here: Node) -> None:
    """R-174: a client has nothing to say here, so nothing of it is kept."""
    async with here.socket() as socket:
        await socket.send("hello")
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 1003
    async with here.socket() as socket:
        await socket.send(b"x" * (17 * 1024 * 1024))
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code in {1003, 1009}


async def test_one_user_has_a_limited_number_of_connections_and_leaving_makes_room(here: Node) -> None:
    """R-174."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(MAX_OF_USER):
            await stack.enter_async_context(here.stream())
        answer = await here.peer.call("GET", PATH, who=ALICE)
        assert (answer.status_code, problem(answer)["code"]) == (429, "too_many_streams")
        with pytest.raises(InvalidStatus) as refused:
            async with here.socket():
                pass
        assert refused.value.response.status_code == 429
        async with here.stream(BOB):
            pass
    async with asyncio.timeout(WITHIN_S):
        while (status := await first_status(here)) == 429:
            pass
    assert status == 200


async def test_connections_that_come_at_the_same_moment_are_counted_one_by_one(here: Node) -> None:
    """R-174: between finding room and taking it nobody else gets in."""
    async with contextlib.AsyncExitStack() as stack:
        attempts = [stack.enter_async_context(here.socket()) for _ in range(3 * MAX_OF_USER)]
        outcomes = await asyncio.gather(*attempts, return_exceptions=True)
        refused = [one for one in outcomes if isinstance(one, BaseException)]
        assert all(isinstance(one, InvalidStatus) and one.response.status_code == 429 for one in refused)
        assert len(outcomes) - len(refused) == MAX_OF_USER


async def test_streams_that_were_closed_count_no_more(
    orders_settings: OrdersSettings, links: Links, clock: Clock
) -> None:
    """R-108: at once, not at the next sign of life."""
    silent = orders_settings.model_copy(update={"beat_s": 60})
    async with node(silent, links, clock) as running:
        for _ in range(3 * MAX_OF_USER):
            async with running.stream():
                pass


async def test_one_socket_too_many_is_denied_and_nothing_is_reported_as_a_fault(
    here: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """R-176."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(MAX_OF_USER):
            await stack.enter_async_context(here.socket())
        with pytest.raises(InvalidStatus) as refused:
            async with here.socket():
                pass
    answer = refused.value.response
    assert (answer.status_code, answer.headers["content-type"]) == (429, "application/problem+json")
    assert json.loads(answer.body)["code"] == "too_many_streams"
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_head_of_the_stream_is_answered_and_takes_no_place(here: Node) -> None:
    """R-76: an answer without end has a head, and HEAD is over with it."""
    for _ in range(MAX_OF_USER + 1):
        answer = await here.peer.call("HEAD", PATH, who=ALICE)
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-type"].startswith("text/event-stream")
    async with here.stream():
        pass


async def first_status(node: Node) -> int:
    signed = node.peer.signed("GET", PATH, who=ALICE)
    async with node.peer.http.stream("GET", PATH, headers=signed) as answer:
        return answer.status_code


async def test_a_node_that_stops_ends_what_would_go_on_for_ever(here: Node) -> None:
    async with here.stream() as stream, here.socket() as socket:
        here.app.state.feed.end_connections()
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 1001
        async for line in stream:
            assert line in {"", ": still here"}


async def test_a_node_that_cannot_hear_the_others_tells_a_little_later_and_nothing_is_lost(
    here: Node, there: Node, products: Peer, redis_url: str
) -> None:
    kettle = await added(products, stock=9)
    async with here.stream() as stream, Redis.from_url(redis_url) as redis:
        first = await placed(there.peer, (kettle, 1))
        assert (await event(stream))["data"]["order_id"] == first["id"]
        assert await redis.client_kill_filter(_type="pubsub") >= 1
        second = await placed(there.peer, (kettle, 1))
        assert (await event(stream))["data"]["order_id"] == second["id"]


async def test_without_redis_there_is_no_stream(orders_settings: OrdersSettings, links: Links, clock: Clock) -> None:
    away = orders_settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{closed_port()}"})
    async with opened(create_orders(away, links.of("orders"), clock)) as http:
        answer = await Peer(http, links, "gateway", "orders", clock).call("GET", PATH, who=ALICE)
        assert (answer.status_code, problem(answer)["code"]) == (503, "store_unavailable")
