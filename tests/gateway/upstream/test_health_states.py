"""The states of a breaker, as a table, without sockets: the state after each event, from each state."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Final

import pytest

from lockgate.edge.ticker import Ticker
from lockgate.upstream.health import EJECTED_MAX_S, FAILURES, Breaker
from tests.support.clock import ManualClock


class State(Enum):
    """What a breaker can be, as a request sees it."""

    CLOSED = auto()
    FAILING = auto()
    """Closed, and one failure away from open."""
    OPEN = auto()
    DUE = auto()
    """Open for long enough: the next request is a probe."""
    PROBING = auto()


class Event(Enum):
    """What happens to a breaker."""

    REQUEST = auto()
    SUCCESS = auto()
    FAILURE = auto()
    TIME = auto()


MOVES: Final[dict[State, dict[Event, State]]] = {
    State.CLOSED: {
        Event.REQUEST: State.CLOSED,
        Event.SUCCESS: State.CLOSED,
        Event.FAILURE: State.CLOSED,
        Event.TIME: State.CLOSED,
    },
    State.FAILING: {
        Event.REQUEST: State.FAILING,
        Event.SUCCESS: State.CLOSED,
        Event.FAILURE: State.OPEN,
        Event.TIME: State.FAILING,
    },
    State.OPEN: {
        Event.REQUEST: State.OPEN,
        Event.SUCCESS: State.CLOSED,
        Event.FAILURE: State.OPEN,
        Event.TIME: State.DUE,
    },
    State.DUE: {
        Event.REQUEST: State.PROBING,
        Event.SUCCESS: State.CLOSED,
        Event.FAILURE: State.OPEN,
        Event.TIME: State.DUE,
    },
    State.PROBING: {
        Event.REQUEST: State.PROBING,
        Event.SUCCESS: State.CLOSED,
        Event.FAILURE: State.OPEN,
        Event.TIME: State.DUE,
    },
}
"""By state and event, the next state. One failure leaves `CLOSED` as it is: `FAILURES` in a row open a breaker."""


class Rig:
    """A breaker, and the time."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.ticker = Ticker(self.clock)
        self.breaker = Breaker(self.ticker)

    def happen(self, event: Event) -> None:
        acts: dict[Event, Callable[[], object]] = {
            Event.REQUEST: self.breaker.permits_request,
            Event.SUCCESS: self.breaker.record_success,
            Event.FAILURE: self.breaker.record_failure,
            Event.TIME: self._pass_time,
        }
        acts[event]()

    def _pass_time(self) -> None:
        self.clock.advance(EJECTED_MAX_S)
        self.ticker.tick()

    def state(self) -> State:
        """The state, as it shows; the breaker is not usable afterwards, because some states show by an event only."""
        if not self.breaker.is_open:
            self.breaker.record_failure()
            return State.FAILING if self.breaker.is_open else State.CLOSED
        if self.breaker.retry_after_s() > 1:
            return State.OPEN
        return State.DUE if self.breaker.permits_request() else State.PROBING


FAILED: Final = [Event.FAILURE] * (FAILURES - 1)
WAYS: Final[dict[State, list[Event]]] = {
    State.CLOSED: [],
    State.FAILING: FAILED,
    State.OPEN: [*FAILED, Event.FAILURE],
    State.DUE: [*FAILED, Event.FAILURE, Event.TIME],
    State.PROBING: [*FAILED, Event.FAILURE, Event.TIME, Event.REQUEST],
}
"""How a new breaker comes into each state."""


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", State)
def test_a_breaker_moves_as_its_table_says(state: State, event: Event) -> None:
    rig = Rig()
    for before in WAYS[state]:
        rig.happen(before)
    rig.happen(event)
    assert rig.state() is MOVES[state][event]


@pytest.mark.parametrize("state", State)
def test_each_state_is_reached(state: State) -> None:
    rig = Rig()
    for event in WAYS[state]:
        rig.happen(event)
    assert rig.state() is state


@pytest.mark.parametrize(
    ("state", "permitted"),
    [(State.CLOSED, True), (State.FAILING, True), (State.OPEN, False), (State.DUE, True), (State.PROBING, False)],
)
def test_a_state_lets_a_request_pass_or_does_not(state: State, *, permitted: bool) -> None:
    rig = Rig()
    for event in WAYS[state]:
        rig.happen(event)
    assert rig.breaker.permits_request() is permitted
