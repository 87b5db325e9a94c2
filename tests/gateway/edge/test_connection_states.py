"""The phases of a client connection as a table, without sockets: which may follow which, and that each step happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn import Config
from uvicorn.server import ServerState

from lockgate.edge.connection import BODY, CLOSED, HEAD, LINGERING, RESPONDING, UPGRADED, ClientConnection, Edge, Phase
from lockgate.edge.draining import BodyBounds
from lockgate.edge.handler import Handler
from lockgate.edge.protocol import STATE_KEY, EdgeProtocol
from lockgate.edge.request import InboundRequest
from lockgate.edge.ticker import Ticker
from lockgate.errors import Reason, Refusal
from lockgate.settings import LimitSettings, ServerSettings
from tests.support.clock import ManualClock
from tests.support.transports import SilentObserver, Transport

MOVES: Final[dict[Phase, set[Phase]]] = {
    HEAD: {RESPONDING, BODY, LINGERING, CLOSED},
    BODY: {RESPONDING, LINGERING, CLOSED},
    RESPONDING: {HEAD, UPGRADED, LINGERING, CLOSED},
    UPGRADED: {LINGERING, CLOSED},
    LINGERING: {CLOSED},
    CLOSED: set(),
}
"""Each phase, and those that may follow it."""

GET: Final = b"GET /a HTTP/1.1\r\nHost: shop.example\r\n\r\n"
POST: Final = b"POST /a HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 4\r\n\r\n"
OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Recorded(EdgeProtocol):
    """A connection that notes each change of its phase."""

    seen: set[tuple[Phase, Phase]]

    def __setattr__(self, name: str, value: object) -> None:
        before = self.__dict__.get("_phase")
        super().__setattr__(name, value)
        if name == "_phase" and isinstance(value, Phase) and before is not None and before is not value:
            self.__dict__.setdefault("seen", set()).add((before, value))


class Waiting:
    """A handler that does nothing by itself."""

    def __init__(self) -> None:
        self.gone = False

    def body_received(self, data: bytes) -> None:
        """Bytes of the body."""

    def body_complete(self) -> None:
        """All of it."""

    def client_gone(self) -> None:
        self.gone = True

    def pause_sending(self) -> None:
        """The client is slow."""

    def resume_sending(self) -> None:
        """It caught up."""

    def timed_out(self) -> None:
        """A deadline of the handler's own."""


class Rig:
    """One connection, and the ways in which the world can act on it."""

    def __init__(self) -> None:
        self.handlers: list[Waiting] = []
        clock = ManualClock()
        self.edge = Edge(
            ServerSettings(),
            LimitSettings(),
            Ticker(clock),
            begin_request=self._begin,
            body_bounds=lambda _: BodyBounds(1000, 1000, 0, 60),
            speaks_oauth=lambda _: False,
            observer=SilentObserver(),
        )
        self.transport = Transport()
        self.connection = Recorded(Config("not:used"), ServerState(), {STATE_KEY: self.edge})
        self.transport.protocol = self.connection
        self.connection.connection_made(self.transport)

    def _begin(self, _request: InboundRequest, _client: ClientConnection) -> Handler:
        self.handlers.append(Waiting())
        return self.handlers[-1]

    @property
    def phase(self) -> Phase:
        return self.connection._phase  # noqa: SLF001 - what this file is about

    @property
    def seen(self) -> set[tuple[Phase, Phase]]:
        found: set[tuple[Phase, Phase]] = self.connection.__dict__.get("seen", set())
        return found

    def send(self, data: bytes) -> None:
        if not self.transport.closed:
            self.connection.data_received(data)

    def respond(self) -> None:
        if self.handlers and self.phase in {BODY, RESPONDING}:
            self.connection.write_now(OK)
            self.connection.finish_response(200)

    def refuse(self) -> None:
        self.connection.refuse_request(Refusal(Reason.NO_ROUTE))

    def break_off(self) -> None:
        if self.phase in {BODY, RESPONDING}:
            self.connection.abort_response(Reason.UPSTREAM_BROKE)

    def upgrade(self) -> None:
        if self.phase is RESPONDING and self.handlers:
            self.connection.switch_protocols(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")

    def end_upgraded(self) -> None:
        self.connection.end_upgraded()

    def no_more(self) -> None:
        if not self.transport.closed:
            self.connection.eof_received()

    def too_late(self) -> None:
        self.connection.deadline_passed()

    def lose(self) -> None:
        self.transport.close()

    def stop(self) -> None:
        self.connection.shutdown()


Act = Callable[[Rig], None]
SCENARIOS: Final[dict[str, list[Act]]] = {
    "a response": [lambda rig: rig.send(GET), Rig.respond],
    "a body": [lambda rig: rig.send(POST), lambda rig: rig.send(b"full"), Rig.respond],
    "a refusal before the body": [lambda rig: rig.send(POST), Rig.refuse],
    "a body that never comes": [
        lambda rig: rig.send(POST),
        lambda rig: setattr(rig.connection, "_body_idle_at", 0.0),
        Rig.too_late,
    ],
    "no request": [lambda rig: rig.send(b"\x00\r\n\r\n")],
    "an idle connection that is too old": [Rig.too_late],
    "a client that leaves before its request": [Rig.lose],
    "a client that leaves with half a body": [lambda rig: rig.send(POST), Rig.break_off],
    "a client that leaves before the response": [lambda rig: rig.send(GET), Rig.break_off],
    "a last response": [lambda rig: rig.send(GET), Rig.stop, Rig.respond, Rig.lose],
    "an upgrade": [lambda rig: rig.send(GET), Rig.upgrade, Rig.end_upgraded],
    "an upgrade that breaks": [
        lambda rig: rig.send(GET),
        Rig.upgrade,
        lambda rig: rig.connection.connection_lost(None),
    ],
}


async def played(acts: list[Act]) -> Rig:
    """A connection after these acts, when the event loop has nothing left to do for it."""
    rig = Rig()
    for act in acts:
        act(rig)
        await asyncio.sleep(0)
    return rig


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_connection_moves_as_its_table_says(name: str) -> None:
    rig = await played(SCENARIOS[name])
    assert rig.seen
    assert all(after in MOVES[before] for before, after in rig.seen)


async def test_every_move_of_the_table_happens() -> None:
    seen = [(await played(acts)).seen for acts in SCENARIOS.values()]
    assert set().union(*seen) == {(before, after) for before, afters in MOVES.items() for after in afters}


ACTS: Final[list[Act]] = [
    *(lambda rig, data=data: rig.send(data) for data in (GET, POST, b"full", b"GET /", b"\r\n\r\n", GET * 3)),
    *(Rig.respond, Rig.refuse, Rig.break_off, Rig.upgrade, Rig.end_upgraded),
    *(Rig.no_more, Rig.too_late, Rig.lose, Rig.stop),
    lambda rig: rig.connection.pause_writing(),
    lambda rig: rig.connection.resume_writing(),
    lambda rig: rig.connection.pause_body(),
    lambda rig: rig.connection.resume_body(),
]


@given(st.lists(st.sampled_from(ACTS), max_size=14))
def test_no_order_of_events_makes_another_move(acts: list[Act]) -> None:
    rig = asyncio.run(played(acts))
    assert all(after in MOVES[before] for before, after in rig.seen)
    if rig.phase is CLOSED and rig.transport.closed:
        assert not rig.edge.peers
