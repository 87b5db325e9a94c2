"""Calls to the gateway itself begin one after the other, and leave turns of the event loop to others (R-122)."""

from __future__ import annotations

import asyncio

from gateway.edge.turns import Turns


async def turns_of(turns: Turns, count: int, gone: frozenset[int] = frozenset()) -> list[list[int]]:
    """Which of so many calls that come at once begin in which turn of the loop."""
    found: list[list[int]] = [[]]

    def start(number: int) -> bool:
        if number in gone:
            return False
        found[-1].append(number)
        return True

    for number in range(count):
        turns.begin(lambda number=number: start(number))  # type: ignore[misc]  # mypy cannot infer a default's type
    while sum(map(len, found)) < count - len(gone):
        found.append([])
        await asyncio.sleep(0)
    return found


async def test_of_many_that_come_at_once_one_begins_in_each_turn_in_order() -> None:
    assert await turns_of(Turns(), 4) == [[0], [1], [2], [3]]


async def test_a_client_that_has_gone_takes_no_turn() -> None:
    assert await turns_of(Turns(), 5, frozenset({0, 2, 3})) == [[1], [4]]


async def test_after_a_quiet_turn_the_next_call_begins_at_once() -> None:
    turns = Turns()
    await turns_of(turns, 3)
    await asyncio.sleep(0)
    assert await turns_of(turns, 1) == [[0]]
