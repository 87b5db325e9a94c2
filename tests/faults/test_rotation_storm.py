"""Nodes are killed while many families rotate at once: no half state, one live leaf in each, no user logged out."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence

import httpx
import pytest

from lockgate.errors import Reason
from tests.support.people import Person, Place, refused
from tests.support.world import World

pytestmark = [pytest.mark.fault, pytest.mark.slow]

DEVICES = 4
"""Of each of three people: so many families."""
ROTATIONS = 3
WITHIN_S = 60


class Storm:
    """Devices that rotate, each in two tabs at once, on whichever nodes there are.

    Attributes:
        over: set it to end the storm.
        rotations: so far.
        broken: requests without a response.
    """

    def __init__(self, world: World, devices: Sequence[Person]) -> None:
        self._world = world
        self._turn: Iterator[int] = itertools.count()
        self._grown = asyncio.Condition()
        self.devices = devices
        self.over = False
        self.rotations = 0
        self.broken = 0

    async def blow(self) -> None:
        """Until it is over."""
        async with asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as tasks:
            for device in self.devices:
                tasks.create_task(self._rotate(device))

    async def goes_on(self) -> None:
        """Wait until there have been some more rotations for each user."""
        enough = self.rotations + ROTATIONS * len(self.devices)
        async with asyncio.timeout(WITHIN_S), self._grown:
            await self._grown.wait_for(lambda: self.rotations >= enough)

    async def _rotate(self, device: Person) -> None:
        while not self.over:
            while not (given := [answer for answer in await self._in_two_tabs(device) if answer is not None]):
                pass  # neither was answered; the device has what it had, and tries again with it
            assert [answer.status_code for answer in given] == [200] * len(given), given[0].text
            assert len({answer.json()["refresh_token"] for answer in given}) == 1
            device.takes(given[-1])
            async with self._grown:
                self.rotations += 1
                self._grown.notify_all()

    async def _in_two_tabs(self, device: Person) -> list[httpx.Response | None]:
        return await asyncio.gather(*(self._refreshed(device, self._next_place()) for _ in range(2)))

    async def _refreshed(self, device: Person, place: Place) -> httpx.Response | None:
        try:
            answer = await device.tries_to_refresh(on=place)
        except httpx.TransportError:
            self.broken += 1
            return None
        # Something was too busy to answer in time: to be tried again, as is said.
        return None if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE else answer

    def _next_place(self) -> Place:
        return self._world.places[next(self._turn) % len(self._world.places)]


async def test_nodes_killed_in_a_storm_of_rotations_log_nobody_out_and_leave_one_leaf_a_family(
    world: World,
) -> None:
    """R-141 to R-144: each change that a dead node had begun is made or not, and either way its client can go on."""
    people = (world.alice, world.bob, world.ada)
    doomed = [await world.node(), await world.node()]
    survivor = await world.node()
    devices = [person.on_another_device() for person in people for _ in range(DEVICES)]
    for number, device in enumerate(devices):
        await device.logs_in(on=doomed[number % 2])
    storm = Storm(world, devices)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(storm.blow())
        for place in doomed:
            await storm.goes_on()
            await world.node_dies(place)
        await storm.goes_on()
        storm.over = True
    assert storm.broken > 0, "nothing was under way on the nodes that died"
    for person in people:
        families = {device.sid: len(device.past) for device in devices if device.sub == person.sub}
        assert await world.sessions_of(person) == families
    for device, age in zip(devices, itertools.cycle((2, 3, 3 * ROTATIONS)), strict=False):
        await device.is_let_in(on=survivor)
        await _has_no_other_leaf(device, age, survivor)
        assert device.sid not in await world.sessions_of(device)


async def _has_no_other_leaf(device: Person, age: int, place: Place) -> None:
    """A token that the device has used before cannot go on; trying it ends the family (R-142)."""
    thief = device.in_another_tab()
    thief.pair = device.past[-age]
    refused(await thief.tries_to_refresh(on=place), Reason.REFRESH_REUSED)
    await device.is_refused(Reason.SESSION_ENDED, on=place)
    refused(await device.tries_to_refresh(on=place), Reason.REFRESH_UNKNOWN)
