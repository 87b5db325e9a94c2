"""The phases of a client connection as a table, without sockets: which may follow which, and that each step happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

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

GET: Final = b"GET /a HTTP/1.1\r\nHost: shop.example\r\nOrigin: https://shop.example\r\n\r\n"
POST: Final = b"POST /a HTTP/1.1\r\nHost: shop.example\r\nOrigin: https://shop.example\r\nContent-Length: 4\r\n\r\n"
OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Waiting:
    """A handler that does nothing by itself, but for a look at the connection."""

    def __init__(self, look: Callable[[], None]) -> None:
        self._look = look

    def body_received(self, _data: bytes) -> None:
        self._look()

    def body_complete(self) -> None:
        self._look()

    def client_gone(self) -> None:
        self._look()

    def pause_sending(self) -> None:
        self._look()

    def resume_sending(self) -> None:
        self._look()

    def timed_out(self) -> None:
        self._look()


class Watched(Transport):
    """A transport by which each write and each end is a look at the connection, too."""

    def __init__(self, look: Callable[[], None]) -> None:
        super().__init__()
        self._look = look

    def write(self, data: Any) -> None:  # noqa: ANN401 - as its base class
        self._look()
        super().write(data)

    def write_eof(self) -> None:
        self._look()

    def close(self) -> None:
        self._look()
        super().close()


class Rig:
    """One connection, and the ways in which the world can act on it."""

    def __init__(self) -> None:
        self.handlers: list[Waiting] = []
        self.seen: set[tuple[Phase, Phase]] = set()
        self.last = HEAD
        clock = ManualClock()
        self.edge = Edge(
            ServerSettings(),
            LimitSettings(),
            Ticker(clock),
            begin_request=self._begin,
            body_bounds=lambda _: BodyBounds(1000, 1000, 0, 60),
            speaks_oauth=lambda _: False,
            observer=SilentObserver(),
            cors_lines=self._read_cors_lines,
        )
        self.transport = Watched(self.look)
        self.connection = EdgeProtocol(Config("not:used"), ServerState(), {STATE_KEY: self.edge})
        self.transport.protocol = self.connection
        self.connection.connection_made(self.transport)

    def _begin(self, _request: InboundRequest, _client: ClientConnection) -> Handler:
        self.look()
        self.handlers.append(Waiting(self.look))
        return self.handlers[-1]

    def _read_cors_lines(self, _request: InboundRequest) -> str:
        self.look()
        return ""

    def look(self) -> None:
        """Note the move that the connection made since the last look; everything that it calls is one."""
        before, self.last = self.last, self.phase
        if self.last is not before:
            self.seen.add((before, self.last))

    @property
    def phase(self) -> Phase:
        return self.connection._phase  # noqa: SLF001 - what this file is about

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
        rig.look()
        await asyncio.sleep(0)
        rig.look()
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
