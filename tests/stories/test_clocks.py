"""Nodes with clocks that differ: by as much as they may, by more, and with one clock that was set back."""

from __future__ import annotations

import pytest

from lockgate.clock import DEFAULT_LEEWAY_S
from lockgate.errors import Reason
from lockgate.settings import TokenSettings
from tests.support.people import refused
from tests.support.world import World

HALF_S = DEFAULT_LEEWAY_S / 2
"""The services stand in the middle: one node is ahead of them by so much, and one behind."""
LIFE_S = TokenSettings().access_life_s
GRACE_S = TokenSettings().refresh_grace_s


@pytest.mark.parametrize("issuer_ahead_s", [HALF_S, -HALF_S])
async def test_clocks_that_differ_by_the_leeway_cost_nobody_anything(world: World, issuer_ahead_s: float) -> None:
    """R-25: a token is good on both nodes from its first second to its last, whichever of them issued it."""
    issuing, other = await world.node(ahead_s=issuer_ahead_s), await world.node(ahead_s=-issuer_ahead_s)
    alice = world.alice
    await alice.logs_in(on=issuing)
    await alice.is_let_in(on=issuing)
    await alice.is_let_in(on=other)
    # By the clock that is ahead; the one that is behind would take it for longer.
    await world.time_passes(LIFE_S + issuer_ahead_s + HALF_S - 1)
    await alice.is_let_in(on=issuing)
    await alice.is_let_in(on=other)
    await alice.refreshes(on=other)
    alice.answer_is_lost()
    await alice.refreshes(on=issuing)
    await alice.is_let_in(on=other)
    assert await world.sessions_of(alice) == {alice.sid: 1}


@pytest.mark.parametrize("ahead_s", [9, -9])
async def test_one_node_whose_clock_is_off_by_less_than_the_leeway_costs_nobody_anything(
    world: World, ahead_s: float
) -> None:
    """R-25, R-221: services accept its signatures, other nodes its tokens, and the other way round."""
    wrong, right = await world.node(ahead_s=ahead_s), await world.node()
    alice, bob = world.alice, world.bob
    # Each login and each refresh is a signed call to the users service, which has the right clock.
    await alice.logs_in(on=wrong)
    await bob.logs_in(on=right)
    for person in (alice, bob):
        for place in (right, wrong):
            await person.is_let_in(on=place)
    await alice.refreshes(on=right)
    await bob.refreshes(on=wrong)
    for person in (alice, bob):
        for place in (wrong, right):
            await person.is_let_in(on=place)
    assert (await alice.tries_to_revoke(on=wrong)).status_code == 200
    for place in (right, wrong):
        await alice.is_refused(Reason.TOKEN_REVOKED, on=place)


async def test_a_node_whose_clock_is_further_off_is_not_believed_by_a_service(world: World) -> None:
    """R-25, R-221: its login ends in 503, because the users service refuses its signature; the others go on."""
    wrong, right = await world.node(ahead_s=DEFAULT_LEEWAY_S + 2), await world.node()
    alice = world.alice
    answer = await alice.tries_to_log_in(on=wrong)
    assert answer.status_code == 503
    assert await world.sessions_of(alice) == {}
    await alice.logs_in(on=right)


async def test_a_token_of_a_clock_that_is_further_ahead_is_not_good_yet(world: World) -> None:
    """R-24, R-25: beyond the leeway; and nothing is lost by asking too early."""
    ahead, right = await world.node(ahead_s=HALF_S), await world.node(ahead_s=-HALF_S - 1)
    alice = world.alice
    await alice.logs_in(on=ahead)
    await alice.is_refused(Reason.TOKEN_NOT_YET_VALID, on=right)
    await world.time_passes(1)
    await alice.is_let_in(on=right)


async def test_a_token_of_a_clock_that_is_behind_expires_by_everybody_elses(world: World) -> None:
    """R-24, R-25"""
    behind, ahead = await world.node(ahead_s=-HALF_S), await world.node(ahead_s=HALF_S)
    alice = world.alice
    await alice.logs_in(on=behind)
    await world.time_passes(LIFE_S)
    await alice.is_let_in(on=behind)
    await alice.is_refused(Reason.TOKEN_EXPIRED, on=ahead)
    await world.time_passes(DEFAULT_LEEWAY_S)
    await alice.is_refused(Reason.TOKEN_EXPIRED, on=behind)
    await alice.refreshes(on=ahead)
    await alice.is_let_in(on=behind)


@pytest.mark.parametrize("back_s", [DEFAULT_LEEWAY_S, LIFE_S - 60])
async def test_a_clock_that_is_set_back_brings_no_revoked_token_back_to_life(world: World, back_s: float) -> None:
    """R-152: an entry lives by the clock of Redis."""
    place, other = await world.node(), await world.node()
    alice, bob = world.alice, world.bob
    for person in (alice, bob):
        await person.logs_in(on=place)
    await world.time_passes(LIFE_S - 30)
    assert (await alice.tries_to_revoke(on=other)).status_code == 200
    place.clock_jumps(-back_s)
    await alice.is_refused(Reason.TOKEN_REVOKED, on=place)
    # As far as clocks go both tokens are as good as ever.
    assert (await place.http.get("/auth/me", headers=bob.credentials)).status_code == 200


@pytest.mark.parametrize("back_s", [DEFAULT_LEEWAY_S, 60, 3600])
async def test_a_clock_that_is_set_back_makes_no_used_refresh_token_good_again(world: World, back_s: float) -> None:
    """R-142, R-143: the grace is over, and stays over; all clocks but that of Redis are wrong here."""
    place, other = await world.node(), await world.node()
    alice = world.alice
    await alice.logs_in(on=other)
    thief = alice.in_another_tab()
    await alice.refreshes(on=other)
    await world.time_passes(GRACE_S + 1)
    world.clocks_jump(-back_s)
    refused(await thief.tries_to_refresh(on=place), Reason.REFRESH_REUSED)
    assert await world.sessions_of(alice) == {}
    for where in (place, other):
        await alice.is_refused(Reason.SESSION_ENDED, on=where)
