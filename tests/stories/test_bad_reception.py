"""Answers get lost, tabs do not talk to each other, and tokens are stolen: which sessions end, and which do not."""

from __future__ import annotations

import asyncio

from lockgate.errors import Reason
from lockgate.observe.audit import Event
from tests.support.people import refused
from tests.support.world import World


async def test_ten_tabs_that_refresh_at_once_on_three_nodes_get_the_same_successor(world: World) -> None:
    """R-141, R-143: no user is logged out, and there is one generation more."""
    places, alice = [await world.node() for _ in range(3)], world.alice
    await alice.logs_in(on=places[0])
    tabs = [alice.in_another_tab() for _ in range(10)]
    await asyncio.gather(*(tab.refreshes(on=places[number % 3]) for number, tab in enumerate(tabs)))
    assert len({tab.pair.refresh for tab in tabs}) == 1
    assert len({tab.pair.access for tab in tabs}) == 10
    for number, tab in enumerate(tabs):
        await tab.is_let_in(on=places[(number + 1) % 3])
    assert await world.sessions_of(alice) == {alice.sid: 1}
    # The tab that goes on takes the others with it, as long as they ask for the successor of what they have.
    await asyncio.gather(*(tab.refreshes(on=places[number % 3]) for number, tab in enumerate(tabs)))
    assert await world.sessions_of(alice) == {alice.sid: 2}


async def test_a_lost_answer_is_given_again_by_another_node_until_its_token_was_used(world: World) -> None:
    """R-142, R-144: after that the old token is taken for a stolen one, and nothing of it lives on."""
    first, second, third = [await world.node() for _ in range(3)]
    alice = world.alice
    await alice.logs_in(on=first)
    await alice.refreshes(on=first)
    lost = alice.pair
    alice.answer_is_lost()
    thief = alice.in_another_tab()
    await alice.refreshes(on=second)
    assert alice.pair.refresh == lost.refresh
    assert await world.sessions_of(alice) == {alice.sid: 1}

    await alice.refreshes(on=third)
    await alice.is_let_in(on=first)
    refused(await thief.tries_to_refresh(on=first), Reason.REFRESH_REUSED)
    assert await world.sessions_of(alice) == {}
    for place in (first, second, third):
        for pair in (*alice.past, alice.pair):
            alice.pair = pair
            await alice.is_refused(Reason.SESSION_ENDED, on=place)
            refused(await alice.tries_to_refresh(on=place), Reason.REFRESH_UNKNOWN)
    said = await world.audit_says(Event.REFRESH_REUSED, alice)
    assert (said["sid"], said["reason"]) == (alice.sid, "refresh_reused")
