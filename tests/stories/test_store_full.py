"""Redis has no room left (`noeviction`): a change that cannot be stored is refused, and earlier promises still hold."""

from __future__ import annotations

import pytest

from lockgate.errors import Reason
from lockgate.observe.audit import Event
from tests.support.attempts import ATTEMPTS
from tests.support.people import refused
from tests.support.world import World


@pytest.mark.parametrize("what", ATTEMPTS)
async def test_what_a_full_store_cannot_keep_is_503_and_not_half_done(world: World, what: str) -> None:
    """R-150: a token that could not be revoked lives, and its client was told so; with room again, all goes its way."""
    first, second = await world.node(), await world.node()
    alice, attempt = world.alice, ATTEMPTS[what]
    await alice.logs_in(on=first)
    before = await world.stored(alice)
    async with world.store.full():
        for place in (first, second):
            refused(await attempt(alice, place), Reason.STORE_AWAY)
            assert await world.stored(alice) == before
            await alice.is_let_in(on=place)
    assert await world.sessions_of(alice) == {alice.sid: 0}
    await world.time_passes(1)
    answer = await attempt(alice, second)
    assert answer.status_code in (200, 204), answer.text
    assert await world.stored(alice) != before


async def test_a_stolen_token_gets_a_thief_nothing_and_is_noticed_as_soon_as_there_is_room(world: World) -> None:
    """R-142: a session that cannot be ended is not half ended; and its access tokens are refused when it is."""
    first, second = await world.node(), await world.node()
    alice = world.alice
    await alice.logs_in(on=first)
    thief = alice.in_another_tab()
    await alice.refreshes(on=second)
    await alice.refreshes(on=first)
    async with world.store.full():
        refused(await thief.tries_to_refresh(on=second), Reason.STORE_AWAY)
        assert await world.sessions_of(alice) == {alice.sid: 2}
        await alice.is_let_in(on=second)
    refused(await thief.tries_to_refresh(on=first), Reason.REFRESH_REUSED)
    assert await world.sessions_of(alice) == {}
    for place in (first, second):
        await alice.is_refused(Reason.SESSION_ENDED, on=place)
    assert (await world.audit_says(Event.REFRESH_REUSED, alice))["sid"] == thief.sid


async def test_a_revoked_token_stays_revoked_in_a_full_store(world: World) -> None:
    """R-152: nothing is forgotten to make room."""
    place, other = await world.node(), await world.node()
    alice = world.alice
    await alice.logs_in(on=place)
    assert (await alice.tries_to_revoke(on=place)).status_code == 200
    async with world.store.full():
        await alice.is_refused(Reason.TOKEN_REVOKED, on=other)
        refused(await alice.tries_to_refresh(on=other), Reason.STORE_AWAY)
    await alice.refreshes(on=other)
    await alice.is_let_in(on=place)


async def test_a_full_store_counts_no_requests_and_still_judges_tokens(world: World) -> None:
    """Each node then counts requests against limits for itself; a revoked token is refused as ever."""
    (limited,) = [route for route in world.sections["route"] if route["name"] == "orders"]
    limited["rate"] = ["3/min per user"]
    place, alice, bob = await world.node(), world.alice, world.bob
    for person in (alice, bob):
        await person.logs_in(on=place)
    assert (await bob.tries_to_revoke(on=place)).status_code == 200
    async with world.store.full():
        for _ in range(3):
            await alice.is_let_in(on=place)
            await bob.is_refused(Reason.TOKEN_REVOKED, on=place)
        await alice.is_refused(Reason.RATE_LIMITED, on=place)
    await world.time_passes(120)
    await alice.is_let_in(on=place)
