"""Calls from one service to another: signed, tried again only where that is harmless, and only those in the table."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from lockgate_shop.kit.errors import OutcomeUnknownError, UpstreamAwayError
from lockgate_shop.kit.http.outbound import AT_ONCE, MAX_ANSWER, Call, ServiceClient
from lockgate_shop.orders.stock import CALLS
from lockgate_shop.products.internal import LINKS
from lockgate_shop.products.internal import router as internal
from lockgate_trust import Caller, Refused, SignatureRefused, Verified, verify
from tests.support.certificate import make_certificate
from tests.support.peers import Clock, Links, closed_port
from tests.support.raw import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

ALICE = Caller(
    request_id="request-7",
    service="gateway",
    user_id="alice-id",
    roles=frozenset({"customer"}),
    scopes=frozenset({"orders:write"}),
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)
LOOK = Call("GET", "/internal/things/{thing}", idempotent=True)
TAKE = Call("POST", "/internal/takings", idempotent=False)
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
HANG_UP = b""


class Far:
    """The other end: answers each request with the next of its lines, and hangs up at an empty one."""

    def __init__(self, answers: Sequence[bytes]) -> None:
        self._answers = list(answers)
        self.heads: list[dict[str, str]] = []
        self.targets: list[str] = []
        self.serving: list[asyncio.Task[None]] = []

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.append(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
                raw = dict(line.split(": ", 1) for line in head[1:] if line)
                self.targets.append(head[0])
                self.heads.append({name.lower(): value for name, value in raw.items()})
                await reader.readexactly(int(fields.get("content-length", 0)))
                answer = self._answers.pop(0)
                if not answer:
                    break
                writer.write(answer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def calling(links: Links, clock: Clock, *answers: bytes) -> AsyncIterator[tuple[ServiceClient, Far]]:
    far = Far(answers)
    server = await asyncio.start_server(far.accept, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    client = ServiceClient("products", url, calls=(LOOK, TAKE), keys=links.of("orders"), clock=clock)
    async with server:
        try:
            yield client, far
        finally:
            await client.close()
            await asyncio.gather(*far.serving)


@pytest.mark.parametrize("trusted", [True, False])
async def test_a_service_with_tls_is_called_if_an_authority_vouches_for_its_certificate(
    links: Links, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, trusted: bool
) -> None:
    certificate = make_certificate(tmp_path / "service.pem")
    if trusted:
        monkeypatch.setattr("certifi.where", lambda: str(certificate))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    far = Far([OK])
    server = await asyncio.start_server(far.accept, "127.0.0.1", 0, ssl=context)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    client = ServiceClient("products", url, calls=(LOOK,), keys=links.of("orders"), clock=clock)
    async with server:
        if trusted:
            assert (await client.call(ALICE, LOOK, thing=uuid4())).status == 200
        else:
            with pytest.raises(UpstreamAwayError):
                await client.call(ALICE, LOOK, thing=uuid4())
        await client.close()
        await asyncio.gather(*far.serving)
    assert len(far.heads) == trusted


@pytest.mark.parametrize("ahead_s", [9, -9, 10, -10])
async def test_a_service_takes_a_call_of_another_whose_clock_is_within_the_leeway(
    links: Links, clock: Clock, ahead_s: float
) -> None:
    """R-221: signatures between services are judged like those of gateways."""
    thing = uuid4()
    async with calling(links, clock, OK) as (client, far):
        assert (await client.call(ALICE, LOOK, thing=thing)).status == 200
    outcome = verify(
        links.of("products"),
        method="GET",
        path=f"/internal/things/{thing}",
        query="",
        headers=list(far.heads[0].items()),
        now=clock.now - ahead_s,
    )
    assert isinstance(outcome, Verified)


async def test_the_user_the_request_id_and_the_trace_go_along_signed(links: Links, clock: Clock) -> None:
    """R-59, R-62: the far end can verify all of it with its own key, and only there."""
    thing = uuid4()
    async with calling(links, clock, OK) as (client, far):
        assert (await client.call(ALICE, LOOK, thing=thing)).status == 200
    assert far.targets == [f"GET /internal/things/{thing} HTTP/1.1"]
    (head,) = far.heads
    outcome = verify(
        links.of("products"),
        method="GET",
        path=f"/internal/things/{thing}",
        query="",
        headers=list(head.items()),
        now=clock.now,
    )
    assert not isinstance(outcome, SignatureRefused), outcome
    caller = outcome.caller
    assert (caller.service, caller.on_behalf, caller.user_id) == ("orders", "orders", "alice-id")
    assert (caller.request_id, caller.traceparent) == (ALICE.request_id, ALICE.traceparent)
    assert caller.scopes == ALICE.scopes
    elsewhere = verify(
        links.of("users"),
        method="GET",
        path=f"/internal/things/{thing}",
        query="",
        headers=list(head.items()),
        now=clock.now,
    )
    assert isinstance(elsewhere, SignatureRefused)
    assert elsewhere.reason is not Refused.MISSING


async def test_a_connection_that_the_far_end_closed_is_tried_again_with_a_new_signature(
    links: Links, clock: Clock
) -> None:
    async with calling(links, clock, OK, HANG_UP, OK) as (client, far):
        await client.call(ALICE, LOOK, thing=uuid4())
        assert (await client.call(ALICE, LOOK, thing=uuid4())).status == 200
    assert len(far.heads) == 3
    assert len({head["signature"] for head in far.heads}) == 3


async def test_a_call_is_tried_twice_and_no_more(links: Links, clock: Clock) -> None:
    async with calling(links, clock, HANG_UP, HANG_UP, OK) as (client, far):
        with pytest.raises(OutcomeUnknownError):
            await client.call(ALICE, LOOK, thing=uuid4())
    assert len(far.heads) == 2


async def test_what_must_not_happen_twice_is_not_tried_again(links: Links, clock: Clock) -> None:
    async with calling(links, clock, HANG_UP, OK) as (client, far):
        with pytest.raises(OutcomeUnknownError):
            await client.call(ALICE, TAKE, {"one": 1})
    assert len(far.heads) == 1


async def test_what_is_not_in_the_table_is_not_sent(links: Links, clock: Clock) -> None:
    async with calling(links, clock, OK) as (client, far):
        with pytest.raises(RuntimeError, match="may not call"):
            await client.call(ALICE, Call("DELETE", "/internal/things/{thing}", idempotent=True), thing=uuid4())
    assert far.heads == []


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (MAX_ANSWER + 1, b"1" * (MAX_ANSWER + 1)),
        b"SSH-2.0-nothing\r\n\r\n",
    ],
)
async def test_an_answer_that_says_nothing_is_no_answer(links: Links, clock: Clock, answer: bytes) -> None:
    async with calling(links, clock, answer, answer) as (client, _):
        with pytest.raises(OutcomeUnknownError):
            await client.call(ALICE, LOOK, thing=uuid4())


async def test_a_service_that_is_not_there_was_not_reached(links: Links, clock: Clock) -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    client = ServiceClient("products", url, calls=(TAKE,), keys=links.of("orders"), clock=clock)
    with pytest.raises(UpstreamAwayError):
        await client.call(ALICE, TAKE, {})
    await client.close()


class Busy(Far):
    """The other end: answers nothing before it is let go."""

    def __init__(self) -> None:
        super().__init__([OK] * 1000)
        self.let_go = asyncio.Event()
        self.asked = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.asked += 1
                await self.let_go.wait()
                writer.write(OK)
        writer.close()


@contextlib.asynccontextmanager
async def calling_busy(links: Links, clock: Clock) -> AsyncIterator[tuple[ServiceClient, Busy]]:
    far = Busy()
    server = await asyncio.start_server(far.accept, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    client = ServiceClient("products", url, calls=(LOOK,), keys=links.of("orders"), clock=clock)
    async with server:
        try:
            yield client, far
        finally:
            far.let_go.set()
            await client.close()
            await asyncio.gather(*far.serving)


async def test_so_many_calls_are_under_way_and_one_more_is_away_when_its_turn_does_not_come(
    links: Links, clock: Clock
) -> None:
    async with calling_busy(links, clock) as (client, far):
        asking = [asyncio.create_task(client.call(ALICE, LOOK, thing=uuid4())) for _ in range(AT_ONCE)]
        await until(lambda: far.asked == AT_ONCE)
        with pytest.raises(UpstreamAwayError, match="waiting"):
            await client.call(ALICE, LOOK, thing=uuid4())
        assert far.asked == AT_ONCE
        far.let_go.set()
        assert {(await one).status for one in asking} == {200}


async def test_callers_that_hang_up_make_no_room_and_take_no_connection_away(links: Links, clock: Clock) -> None:
    async with calling_busy(links, clock) as (client, far):
        for _ in range(2):
            asking = [asyncio.create_task(client.call(ALICE, LOOK, thing=uuid4())) for _ in range(2 * AT_ONCE)]
            await until(lambda: far.asked == AT_ONCE)
            for one in asking:
                one.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
            assert far.asked == AT_ONCE
        far.let_go.set()
        assert (await client.call(ALICE, LOOK, thing=uuid4())).status == 200
        assert len(far.serving) <= AT_ONCE


def test_all_that_orders_may_call_is_there_and_open_to_it() -> None:
    routes = {(method, route.path) for route in internal.routes for method in getattr(route, "methods", ())}  # type: ignore[attr-defined]
    for call in CALLS:
        assert (call.method, call.path) in routes
        path = call.path.format(reservation_id=UUID(int=0))
        assert LINKS.find_refusal(path, "orders") is None
        assert LINKS.find_refusal(path, "gateway") is not None
