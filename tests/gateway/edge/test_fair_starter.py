"""Calls to the gateway itself begin one after the other, and leave turns of the event loop to others (R-122)."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from lockgate.edge.fair_starter import FairStarter, Start, StartQueue


class Begun:
    """What has begun in which turn of the loop."""

    def __init__(self) -> None:
        self.turns: list[list[str]] = [[]]

    def come(self, queue: StartQueue, *names: str) -> list[Start]:
        """These come at once."""
        starts = [partial(self._start, name) for name in names]
        for start in starts:
            assert queue.add_start(start)
        return list(starts)

    async def after(self, turns: int) -> list[list[str]]:
        """What began until so many turns later."""
        for _ in range(turns):
            self.turns.append([])
            await asyncio.sleep(0)
        return self.turns

    def _start(self, name: str) -> None:
        self.turns[-1].append(name)


@pytest.fixture
def begun() -> Begun:
    return Begun()


async def test_of_many_that_come_at_once_one_begins_in_each_turn_in_order(begun: Begun) -> None:
    begun.come(FairStarter().add_queue(), "a", "b", "c", "d")
    assert await begun.after(4) == [["a"], ["b"], ["c"], ["d"], []]


async def test_a_client_that_has_gone_takes_no_turn(begun: Begun) -> None:
    queue = FairStarter().add_queue()
    starts = begun.come(queue, "a", "b", "c", "d", "e")
    for number in (0, 2, 3):
        queue.remove_start(starts[number])
    assert await begun.after(2) == [["a"], ["b"], ["e"]]


async def test_after_a_quiet_turn_the_next_call_begins_at_once(begun: Begun) -> None:
    queue = FairStarter().add_queue()
    begun.come(queue, "a")
    await begun.after(1)
    begun.come(queue, "b")
    assert begun.turns == [["a"], ["b"]]


async def test_a_long_queue_costs_another_one_every_second_turn_and_no_more(begun: Begun) -> None:
    turns = FairStarter()
    logins, others = turns.add_queue(), turns.add_queue()
    begun.come(logins, *"abcdef")
    await begun.after(1)
    begun.come(others, "1", "2", "3")
    assert await begun.after(7) == [["a"], ["b"], ["1"], ["c"], ["2"], ["d"], ["3"], ["e"], ["f"]]


async def test_a_queue_has_room_for_so_many_and_those_who_leave_make_some(begun: Begun) -> None:
    turns = FairStarter()
    queue, other = turns.add_queue(capacity=lambda: 2), turns.add_queue()
    _, waits, _ = begun.come(queue, "a", "b", "c")
    late = partial(begun.turns[0].append, "late")
    assert not queue.add_start(late)
    begun.come(other, "1")
    queue.remove_start(waits)
    begun.come(queue, "d")
    assert await begun.after(4) == [["a"], ["1"], ["c"], ["d"], []]
