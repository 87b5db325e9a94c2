"""Redis is killed or frozen while people log in, go on and out: nothing is lost, and every acknowledgement is true."""

from __future__ import annotations

import asyncio

import httpx
import pytest
import pytest_asyncio

from lockgate.app.worker import ADMISSION_TIMEOUT_S
from lockgate.clock import DEFAULT_LEEWAY_S
from lockgate.errors import Reason
from lockgate.settings import TokenSettings
from tests.support.attempts import ATTEMPTS, CALL, until_answered
from tests.support.people import Person, Place, refused
from tests.support.world import World

pytestmark = pytest.mark.fault

DEVICES = 4
GRACE_S = TokenSettings().refresh_grace_s


@pytest_asyncio.fixture
async def places(world: World) -> list[Place]:
    """Two nodes that are as impatient as in production."""
    return [await world.node(admission_timeout_s=ADMISSION_TIMEOUT_S) for _ in range(2)]


@pytest.mark.parametrize("what", ATTEMPTS)
async def test_what_is_tried_while_redis_is_dead_has_not_happened(world: World, places: list[Place], what: str) -> None:
    """R-150: it is tried again when Redis is back, and succeeds by itself within five seconds."""
    (first, second), alice, attempt = places, world.alice, ATTEMPTS[what]
    await alice.logs_in(on=first)
    before = await world.stored(alice)
    reached = len(world.orders.requests)
    world.store.kill()
    for place in places:
        refused(await attempt(alice, place), Reason.STORE_AWAY)
        refused(await alice.calls(on=place), Reason.STORE_AWAY)
    assert len(world.orders.requests) == reached
    await world.store.start()
    assert await world.stored(alice) == before
    assert (await until_answered(CALL, alice, first)).status_code == 200
    await world.time_passes(1)
    answer = await until_answered(attempt, alice, second)
    assert answer.status_code in (200, 204), answer.text
    assert await world.stored(alice) != before


@pytest.mark.parametrize("what", ATTEMPTS)
async def test_what_is_tried_while_redis_is_frozen_may_have_happened_and_can_be_tried_again(
    world: World, places: list[Place], what: str
) -> None:
    """R-144, R-150: Redis carries out sent commands late; a client that tries again succeeds."""
    (first, second), alice, attempt = places, world.alice, ATTEMPTS[what]
    await alice.logs_in(on=first)
    async with world.store.frozen():
        refused(await attempt(alice, first), Reason.STORE_AWAY)
        refused(await alice.calls(on=second), Reason.STORE_AWAY)
    await world.time_passes(1)
    answer = await until_answered(attempt, alice, second)
    if what in ("logout", "logout everywhere") and answer.status_code == httpx.codes.UNAUTHORIZED:
        # Carried out late: the credentials that it was asked for with are dead, which is what was wanted.
        assert await world.sessions_of(alice) == {}
        return
    assert answer.status_code in (200, 204), answer.text
    await world.sessions_of(alice)


async def test_a_redis_that_was_frozen_for_longer_than_the_grace_logs_nobody_out(
    world: World, places: list[Place]
) -> None:
    """R-144: it carries out late what was sent before, and the client that tries again is no thief for that."""
    (first, second), alice = places, world.alice
    await alice.logs_in(on=first)
    await alice.refreshes(on=first)
    async with world.store.frozen():
        refused(await alice.tries_to_refresh(on=first), Reason.STORE_AWAY)
        world.clocks_jump(GRACE_S + 2 * DEFAULT_LEEWAY_S)
    alice.takes(await until_answered(ATTEMPTS["refresh"], alice, second))
    await until_answered(CALL, alice, first)
    await alice.is_let_in(on=first)
    assert await world.sessions_of(alice) == {alice.sid: 2}


async def test_a_redis_that_dies_under_many_refreshes_logs_nobody_out(world: World, places: list[Place]) -> None:
    """R-144: each device tries again with the token it has, and is one generation on in any case."""
    people = [who for one in (world.alice, world.bob, world.ada) for who in _devices(one)]
    for number, person in enumerate(people):
        await person.logs_in(on=places[number % 2])
    refreshing = [
        asyncio.create_task(person.tries_to_refresh(on=places[number % 2])) for number, person in enumerate(people)
    ]
    await asyncio.wait(refreshing, return_when=asyncio.FIRST_COMPLETED)
    world.store.kill()
    answers = await asyncio.gather(*refreshing)
    statuses = {answer.status_code for answer in answers}
    assert httpx.codes.OK in statuses, "one was refreshed before Redis died"
    assert statuses <= {httpx.codes.OK, httpx.codes.SERVICE_UNAVAILABLE}
    await world.store.start()
    for place in places:
        await until_answered(CALL, people[0], place)
    for number, (person, answer) in enumerate(zip(people, answers, strict=True)):
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            again = await until_answered(ATTEMPTS["refresh"], person, places[number % 2 - 1])
            person.takes(again)
        else:
            person.takes(answer)
        await person.is_let_in(on=places[number % 2])
    for person in (world.alice, world.bob, world.ada):
        assert list((await world.sessions_of(person)).values()) == [1] * DEVICES


def _devices(person: Person) -> list[Person]:
    return [person, *(person.on_another_device() for _ in range(DEVICES - 1))]
