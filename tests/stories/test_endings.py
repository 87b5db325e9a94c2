"""Each way to end a session ends it on every node at once, and ends nothing else."""

from __future__ import annotations

import asyncio

from lockgate.errors import Reason
from lockgate.observe.audit import Event
from tests.support.people import refused
from tests.support.sockets import closed
from tests.support.world import World

LOGINS = 4
"""More at once would look like guessing."""


async def test_who_logs_in_again_in_the_second_of_a_logout_everywhere_is_in(world: World) -> None:
    """R-153: a token from before the logout is refused, one from after it is accepted, and the clock has not moved."""
    first, second = await world.node(), await world.node()
    phone, laptop, again = world.alice, world.alice.on_another_device(), world.alice.on_another_device()
    await world.bob.logs_in(on=first)
    await phone.logs_in(on=first)
    await laptop.logs_in(on=second)
    assert (await laptop.tries_to_log_out_everywhere(on=second)).status_code == 204
    await again.logs_in(on=first)
    assert await world.sessions_of(phone) == {again.sid: 0}
    for place in (first, second):
        for device in (phone, laptop):
            await device.is_refused(Reason.EPOCH_RAISED, on=place)
            refused(await device.tries_to_refresh(on=place), Reason.REFRESH_UNKNOWN)
        await again.is_let_in(on=place)
        await world.bob.is_let_in(on=place)
    await again.refreshes(on=second)
    assert await world.sessions_of(phone) == {again.sid: 1}


async def test_logins_that_race_a_logout_everywhere_live_or_die_as_a_whole(world: World) -> None:
    """R-153: of each login, access and refresh token are both good or both dead, whichever came first."""
    places = [await world.node(), await world.node()]
    alice, devices = world.alice, [world.alice.on_another_device() for _ in range(LOGINS)]
    await alice.logs_in(on=places[0])
    async with asyncio.TaskGroup() as tasks:
        for number, device in enumerate(devices):
            tasks.create_task(device.logs_in(on=places[number % 2]))
        ending = tasks.create_task(alice.tries_to_log_out_everywhere(on=places[1]))
    assert ending.result().status_code == 204
    living = await world.sessions_of(alice)
    assert alice.sid not in living
    for number, device in enumerate(devices):
        place = places[number % 2 - 1]
        if device.sid in living:
            await device.is_let_in(on=place)
            await device.refreshes(on=place)
        else:
            await device.is_refused(Reason.EPOCH_RAISED, on=place)
            refused(await device.tries_to_refresh(on=place), Reason.REFRESH_UNKNOWN)


async def test_a_device_too_many_ends_the_oldest_one_with_its_socket_on_every_node(world: World) -> None:
    """R-172, R-224: at once, and no other device of the user, and no other user."""
    world.sections["token"] = {"sessions_per_user": 2}
    first, second = await world.node(), await world.node()
    oldest, kept, latest, bob = world.alice, world.alice.on_another_device(), world.alice.on_another_device(), world.bob
    await bob.logs_in(on=first)
    for device in (oldest, kept):
        await device.logs_in(on=first)
        await world.time_passes(1)
    async with oldest.opens_socket(on=second) as ended, kept.opens_socket(on=second) as open_still:
        await latest.logs_in(on=first)
        for place in (first, second):
            await oldest.is_refused(Reason.SESSION_ENDED, on=place)
            refused(await oldest.tries_to_refresh(on=place), Reason.REFRESH_UNKNOWN)
            for person in (kept, latest, bob):
                await person.is_let_in(on=place)
        assert await closed(ended) == (4403, "token revoked")
        await (await open_still.ping())
    assert await world.sessions_of(oldest) == {kept.sid: 0, latest.sid: 0}
    assert (await world.audit_says(Event.SESSION_ENDED, oldest))["reason"] == "too_many"


async def test_who_was_fired_is_out_with_the_next_request_on_every_node_and_their_sockets_close(world: World) -> None:
    """R-147, R-172: and they cannot come back, while other users' sockets stay open."""
    first, second = await world.node(), await world.node()
    alice, bob, ada = world.alice, world.bob, world.ada
    for person in (alice, bob, ada):
        await person.logs_in(on=first)
    async with (
        alice.opens_socket(on=first) as here,
        alice.opens_socket(on=second) as there,
        bob.opens_socket(on=second) as foreign,
    ):
        await ada.blocks(alice, on=first)
        for place in (first, second):
            await alice.is_refused(Reason.EPOCH_RAISED, on=place)
            refused(await alice.tries_to_refresh(on=place), Reason.ACCOUNT_CLOSED)
            refused(await alice.tries_to_log_in(on=place), Reason.LOGIN_REFUSED)
            await bob.is_let_in(on=place)
        assert await closed(here) == (4403, "token revoked")
        assert await closed(there) == (4403, "token revoked")
        await (await foreign.ping())
    assert await world.sessions_of(alice) == {}
    assert (await world.audit_says(Event.USER_BLOCKED, alice))["actor"] == ada.sub


async def test_a_new_password_ends_the_sessions_on_all_other_devices(world: World) -> None:
    """R-147: on every node, with their sockets; the device that changed it goes on."""
    first, second = await world.node(), await world.node()
    phone, laptop = world.alice, world.alice.on_another_device()
    await phone.logs_in(on=first)
    await laptop.logs_in(on=second)
    async with laptop.opens_socket(on=second) as theirs, phone.opens_socket(on=second) as mine:
        await world.time_passes(1)
        await phone.changes_password("a-better-password", on=first)
        assert await closed(theirs) == (4403, "token revoked")
        await (await mine.ping())
    assert await world.sessions_of(phone) == {phone.sid: 0}
    for place in (first, second):
        await laptop.is_refused(Reason.SESSION_ENDED, on=place)
        refused(await laptop.tries_to_refresh(on=place), Reason.REFRESH_UNKNOWN)
        refused(await laptop.tries_to_log_in(on=place), Reason.LOGIN_REFUSED)
        await phone.is_let_in(on=place)
        await phone.refreshes(on=place)
    laptop.password = phone.password
    await laptop.logs_in(on=second)
    assert set(await world.sessions_of(phone)) == {phone.sid, laptop.sid}
