"""The states of an exchange, without sockets: each step of its table happens, and no other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn import Config
from uvicorn.server import ServerState

from lockgate.admission.gate import Admission, Admitted
from lockgate.admission.open_tokens import OpenTokens
from lockgate.clock import Clock
from lockgate.edge.connection import ClientConnection, Edge
from lockgate.edge.draining import BodyBounds
from lockgate.edge.handler import Handler
from lockgate.edge.protocol import STATE_KEY, EdgeProtocol
from lockgate.edge.request import InboundRequest
from lockgate.edge.ticker import Ticker
from lockgate.errors import Reason, Refusal
from lockgate.forward.exchange import _MOVES, Exchange, State
from lockgate.forward.outbound import OutboundRequests
from lockgate.forward.retries import Retries
from lockgate.forward.service import Service
from lockgate.keys.current import Current
from lockgate.keys.keyring import KeyRing
from lockgate.observe.tracing import NOTHING_SAMPLED
from lockgate.policy.rules import Rules
from lockgate.policy.spread import Spread
from lockgate.settings import LimitSettings, ServerSettings, Settings
from lockgate_trust import LinkKeys
from tests.support.clock import ManualClock
from tests.support.links import GATEWAY_TO_ORDERS
from tests.support.memory_pool import memory_pool, upstream_of
from tests.support.transports import SilentObserver, Transport, settled

GET: Final = b"GET /orders HTTP/1.1\r\nHost: shop.example\r\n\r\n"
POST: Final = b"POST /orders HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 4\r\n\r\n"
LARGE: Final = b"POST /orders HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 500000\r\n\r\n"
EMPTY: Final = b"HTTP/1.1 204 No Content\r\n\r\n"
WHOLE: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HALF: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok"


class SilentLink:
    """A link to a Redis that never replies: what stays open is asked about, and nothing comes of it."""

    def ask(self, commands: object, callback: object) -> None:
        """Asked."""


class Rig:
    """A client's connection, an exchange, and a pool, all in memory.

    Attributes:
        posted: how many requests by POST the client began.
    """

    def __init__(self) -> None:
        clock = ManualClock()
        self.ticker = Ticker(clock)
        self.pool, self.network = memory_pool(self.ticker)
        links = Current(LinkKeys.from_keys("gateway", [GATEWAY_TO_ORDERS]))
        requests = OutboundRequests(links, "orders", NOTHING_SAMPLED)
        self.service = Service(
            [upstream_of(self.pool, self.ticker)],
            requests,
            Retries("orders", self.ticker),
            Spread(),
            forward_authorization=False,
        )
        self.open_tokens = OpenTokens(
            Admission(SilentLink(), clock),
            Current(KeyRing(active=None, verifying={}, refresh_secrets=())),  # type: ignore[arg-type]  # signs nothing
            Current(Rules.from_settings(Settings())),
            self.ticker,
            clock,
            leeway_s=10,
            stream_idle_s=60,
        )
        self.clock: Clock = clock
        self.exchange: Exchange | None = None
        self.state = State.READING
        self.seen: set[tuple[State, State]] = set()
        self.posted = 0
        edge = Edge(
            ServerSettings(),
            LimitSettings(),
            self.ticker,
            begin_request=self._begin,
            body_bounds=lambda _: BodyBounds(1_000_000, 1_000_000, 0, 60),
            speaks_oauth=lambda _: False,
            observer=SilentObserver(),
        )
        self.client = Transport()
        self.connection = EdgeProtocol(Config("not:used"), ServerState(), {STATE_KEY: edge})
        self.client.protocol = self.connection
        self.connection.connection_made(self.client)

    def _begin(self, request: InboundRequest, client: ClientConnection) -> Handler:
        self.exchange = Exchange(request, client, self.service, 10, self.ticker, self.clock, self.open_tokens)
        self.state = State.READING
        return self.exchange

    def look(self) -> None:
        """Note the move that the exchange made since the last look."""
        if self.exchange is not None:
            before, self.state = self.state, self.exchange._state  # noqa: SLF001 - what this file is about
            if self.state is not before:
                self.seen.add((before, self.state))

    def send(self, data: bytes) -> None:
        if not self.client.closed:
            self.posted += data.startswith(b"POST ")
            self.connection.data_received(data)

    def let_in(self) -> None:
        if self.exchange is not None:
            self.exchange.take_verdict(Admitted(None, ""))

    def refuse(self) -> None:
        if self.exchange is not None:
            self.exchange.take_verdict(Refusal(Reason.NO_CREDENTIALS))

    def respond(self, data: bytes) -> None:
        for transport in self.network.opened[-1:]:
            if not transport.closed and transport.protocol is not None:
                transport.protocol.data_received(data)

    def break_off(self) -> None:
        for transport in self.network.opened[-1:]:
            if not transport.closed and transport.protocol is not None:
                transport.protocol.eof_received()

    def too_late(self) -> None:
        if self.exchange is not None:
            self.exchange.timed_out()

    def leave(self) -> None:
        self.client.close()

    def serve_one_before(self) -> None:
        """A request is answered, so that the pool keeps a connection."""
        self.send(GET)
        self.let_in()


MOVES: Final = {(before, after) for before, afters in _MOVES.items() for after in afters}
WAYS: Final = MOVES | {(before, after) for before, over in MOVES for again, after in MOVES if again is over}
"""What lies between two looks: a move, or two of them. A move that is not in the table raises by itself."""


Act = Callable[[Rig], None]
SCENARIOS: Final[dict[str, list[Act]]] = {
    "a whole response": [lambda rig: rig.send(GET), Rig.let_in, lambda rig: rig.respond(WHOLE)],
    "a response in pieces": [
        lambda rig: rig.send(GET),
        Rig.let_in,
        lambda rig: rig.respond(HALF),
        lambda rig: rig.respond(b"ok"),
    ],
    "a refusal": [lambda rig: rig.send(GET), Rig.refuse],
    "a client that leaves while the gateway connects": [lambda rig: rig.send(GET), Rig.let_in, Rig.leave],
    "a service that does not respond": [lambda rig: rig.send(GET), Rig.let_in, Rig.too_late],
    "a kept connection that turns out to be closed": [
        Rig.serve_one_before,
        lambda rig: rig.respond(EMPTY),
        lambda rig: rig.send(GET),
        Rig.let_in,
        Rig.break_off,
        lambda rig: rig.respond(WHOLE),
    ],
}
IN_ONE_TURN: Final[list[Act]] = [lambda rig: rig.send(GET), Rig.let_in, Rig.too_late]
"""Without a turn of the event loop between them, so that there is no connection yet."""


async def played(acts: list[Act], *, in_one_turn: bool = False) -> Rig:
    """The rig after these acts."""
    rig = Rig()
    for act in acts:
        act(rig)
        rig.look()
        if not in_one_turn:
            await settled()
            rig.look()
    await settled()
    rig.look()
    return rig


@pytest.mark.parametrize("name", SCENARIOS)
async def test_an_exchange_ends_as_its_table_says(name: str) -> None:
    rig = await played(SCENARIOS[name])
    assert rig.exchange is not None
    assert rig.exchange.is_done
    assert rig.seen <= WAYS


async def test_every_move_of_the_table_happens() -> None:
    rigs = [await played(acts) for acts in SCENARIOS.values()]
    rigs.append(await played(IN_ONE_TURN, in_one_turn=True))
    assert set().union(*(rig.seen for rig in rigs)) >= MOVES


async def test_a_kept_connection_that_ends_before_a_byte_was_written_leaves_any_method_to_another_one() -> None:
    """R-192: the one case in which a kept connection proves that the service has not seen the request."""
    rig = await played([Rig.serve_one_before, lambda rig: rig.respond(EMPTY)])
    (first,) = rig.network.opened
    for act in (lambda rig: rig.send(POST + b"full"), Rig.let_in, Rig.break_off):
        act(rig)
    await settled()
    second = rig.network.opened[-1]
    assert second is not first
    assert posts(rig) == 1
    assert second.written.endswith(b"full")
    rig.respond(WHOLE)
    await settled()
    assert rig.client.written.endswith(b"\r\n\r\nok")


async def test_a_kept_connection_that_is_closing_when_it_is_written_to_leaves_any_method_to_another_one() -> None:
    """R-192: its end is known to the transport, and is told in a later turn."""
    rig = await played([Rig.serve_one_before, lambda rig: rig.respond(EMPTY)])
    (first,) = rig.network.opened
    for act in (lambda rig: rig.send(POST + b"full"), Rig.let_in):
        act(rig)
    first.close()
    await settled()
    assert posts(rig) == 1
    assert rig.network.opened[-1].written.endswith(b"full")
    assert rig.pool._unwritten == []  # noqa: SLF001 - nothing is kept of a connection that has ended


async def test_a_kept_connection_that_ends_after_that_leaves_it_to_none() -> None:
    """R-192: the service may have closed before, or may have done what it was asked."""
    rig = await played([Rig.serve_one_before, lambda rig: rig.respond(EMPTY)])
    for act in (lambda rig: rig.send(POST + b"full"), Rig.let_in):
        act(rig)
    await settled()
    rig.break_off()
    await settled()
    assert len(rig.network.opened) == 1
    assert posts(rig) == 1
    assert rig.client.written.rpartition(b"HTTP/1.1 ")[2].startswith(b"502")


def posts(rig: Rig) -> int:
    """How many requests by POST were written to the service."""
    return sum(transport.written.count(b"POST /orders HTTP/1.1\r\n") for transport in rig.network.opened)


ACTS: Final[list[Act]] = [
    *(lambda rig, data=data: rig.send(data) for data in (GET, POST, LARGE, b"full", b"x" * 70_000)),
    *(lambda rig, data=data: rig.respond(data) for data in (WHOLE, HALF, EMPTY, b"ok", b"no HTTP\r\n\r\n")),
    *(Rig.let_in, Rig.refuse, Rig.break_off, Rig.too_late, Rig.leave),
    lambda rig: rig.connection.pause_writing(),
    lambda rig: rig.connection.resume_writing(),
]


@given(st.lists(st.sampled_from(ACTS), max_size=12), st.booleans())
def test_no_order_of_events_makes_another_move(acts: list[Act], in_one_turn: bool) -> None:  # noqa: FBT001 - drawn
    """R-192: or writes a POST a second time."""
    rig = asyncio.run(played(acts, in_one_turn=in_one_turn))
    assert rig.seen <= WAYS
    assert posts(rig) <= rig.posted
    if rig.exchange is not None and rig.exchange.is_done:
        assert rig.pool.load == 0
