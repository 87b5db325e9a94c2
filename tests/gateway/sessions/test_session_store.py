"""R-140 to R-155 as far as a session's family goes: rotation, reuse, the ends of its life. On a real Redis."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from lockgate.sessions.refresh_token import RefreshClaim, RefreshTokens
from lockgate.sessions.session_store import MAX_REPEATS, Outcome
from lockgate.settings import TokenSettings
from lockgate.stores.layout import ENDED_CHANNEL, UserKeys, ended_life_ms
from lockgate_common.redis.client import RedisClient
from tests.support.clock import ManualClock
from tests.support.raw import WITHIN_S
from tests.support.session_node import CLIENT, Node, Pair, paired
from tests.support.store import time_passes_at


async def _stored(redis: RedisClient, pair: Pair) -> dict[Any, Any]:
    found: dict[Any, Any] = await redis.hgetall(UserKeys.of(pair.session.sub).session(pair.session.sid))
    return found


async def _is_over(node: Node, pair: Pair) -> bool:
    """Nothing of a session works or is left."""
    keys = UserKeys.of(pair.session.sub)
    assert not await node.welcome(pair.access)
    assert await node.redis.exists(keys.session(pair.session.sid)) == 0
    assert await node.redis.zscore(keys.sessions, pair.session.sid) is None
    return await node.refresh(pair.refresh) is Outcome.UNKNOWN


async def test_a_refresh_hands_out_the_next_generation(node: Node) -> None:
    """R-141"""
    first = await node.login("alice")
    assert first.session.generation == 0
    second = paired(await node.refresh(first.refresh))
    assert second.session.generation == 1
    assert second.session.sid == first.session.sid
    assert second.refresh != first.refresh
    assert await node.welcome(first.access)
    assert await node.welcome(second.access)


async def test_redis_holds_no_usable_token(node: Node) -> None:
    """R-140: what is stored says which generation is current, and nothing that could be presented."""
    pair = await node.login("alice")
    stored = repr(await _stored(node.redis, pair))
    assert pair.refresh not in stored
    assert pair.access not in stored
    assert pair.refresh.removeprefix("lgr_")[40:60] not in stored  # a piece of the MAC


async def test_fifty_simultaneous_uses_make_one_new_generation(redis: RedisClient, node: Node) -> None:
    """R-141, R-143: twenty more may have asked at once."""
    first = await node.login("alice")
    racers = await asyncio.gather(*(node.refresh(first.refresh) for _ in range(MAX_REPEATS + 1)))
    assert {paired(outcome).refresh for outcome in racers} == {paired(racers[0]).refresh}
    assert {paired(outcome).session.generation for outcome in racers} == {1}
    assert (await _stored(redis, first))[b"generation"] == b"1"


async def test_of_more_simultaneous_uses_than_are_allowed_none_makes_a_second_branch(
    redis: RedisClient, node: Node
) -> None:
    """R-143: a bounded count. A repeat beyond it gets nothing, and ends nothing."""
    first = await node.login("alice")
    outcomes = await asyncio.gather(*(node.refresh(first.refresh) for _ in range(50)))
    given = [outcome for outcome in outcomes if isinstance(outcome, Pair)]
    assert len({pair.refresh for pair in given}) == 1
    assert len(given) == MAX_REPEATS + 1
    assert {outcome for outcome in outcomes if isinstance(outcome, Outcome)} == {Outcome.TOO_MANY_REPEATS}
    before = await _stored(redis, first)
    assert await node.refresh(first.refresh) is Outcome.TOO_MANY_REPEATS
    assert await _stored(redis, first) == before
    for pair in given:
        assert await node.welcome(pair.access)
    paired(await node.refresh(given[0].refresh))


async def test_the_predecessor_after_the_grace_is_reuse_however_many_have_asked(
    redis: RedisClient, node: Node, token: TokenSettings
) -> None:
    """R-142: a crowd is no way to go on with an old token."""
    first = await node.login("alice")
    for _ in range(MAX_REPEATS + 2):
        await node.refresh(first.refresh)
    await time_passes_at(redis, token.refresh_grace_s + 0.001)
    assert await node.refresh(first.refresh) is Outcome.REUSED
    assert await _stored(redis, first) == {}


async def test_a_lost_answer_is_given_again_within_the_grace(
    redis: RedisClient, node: Node, clock: ManualClock, token: TokenSettings
) -> None:
    """R-143, R-144: by the clock of Redis, not the node's."""
    first = await node.login("alice")
    lost = paired(await node.refresh(first.refresh))
    clock.advance(3600)
    await time_passes_at(redis, token.refresh_grace_s / 2)
    again = paired(await node.refresh(first.refresh))
    assert again.refresh == lost.refresh
    assert await node.welcome(again.access)
    assert isinstance(await node.refresh(again.refresh), Pair)


async def test_the_predecessor_after_the_grace_ends_the_session(
    redis: RedisClient, node: Node, clock: ManualClock, token: TokenSettings
) -> None:
    """R-142: also where the node's clock was set back."""
    first = await node.login("alice")
    second = paired(await node.refresh(first.refresh))
    assert await node.welcome(second.access)
    clock.advance(-token.leeway_s)
    await time_passes_at(redis, token.refresh_grace_s + 0.001)
    assert await node.refresh(first.refresh) is Outcome.REUSED
    assert await _is_over(node, second)


async def test_the_predecessor_of_a_used_successor_ends_the_session(node: Node) -> None:
    """R-142, R-143: the grandparent, also in the same second."""
    first = await node.login("alice")
    second = paired(await node.refresh(first.refresh))
    third = paired(await node.refresh(second.refresh))
    assert await node.refresh(first.refresh) is Outcome.REUSED
    for pair in (first, second, third):
        assert await _is_over(node, pair)


async def test_without_a_grace_every_second_use_is_reuse(
    redis: RedisClient, tmp_path: Path, clock: ManualClock
) -> None:
    """R-143: the window is optional."""
    node = Node(redis, tmp_path / "keys", clock, TokenSettings(refresh_grace_s=0))
    first = await node.login("alice")
    paired(await node.refresh(first.refresh))
    assert await node.refresh(first.refresh) is Outcome.REUSED
    assert await _stored(redis, first) == {}


async def test_another_users_and_another_session_are_untouched_by_a_reuse(node: Node) -> None:
    first, neighbour, stranger = await node.login("alice"), await node.login("alice"), await node.login("bob")
    paired(await node.refresh(paired(await node.refresh(first.refresh)).refresh))
    assert await node.refresh(first.refresh) is Outcome.REUSED
    for pair in (neighbour, stranger):
        assert await node.welcome(pair.access)
        paired(await node.refresh(pair.refresh))


async def test_a_session_that_idles_too_long_is_over(redis: RedisClient, node: Node, token: TokenSettings) -> None:
    """R-146"""
    pair = await node.login("alice")
    await time_passes_at(redis, token.refresh_idle_s - WITHIN_S)
    pair = paired(await node.refresh(pair.refresh))
    await time_passes_at(redis, token.refresh_idle_s)
    assert await node.refresh(pair.refresh) is Outcome.EXPIRED
    assert await node.refresh(pair.refresh) is Outcome.UNKNOWN


async def test_no_refresh_carries_a_session_beyond_its_absolute_end(
    redis: RedisClient, node: Node, token: TokenSettings
) -> None:
    """R-146: and its key in Redis lives no longer than that."""
    pair = await node.login("alice")
    left_s, step_s = float(token.refresh_absolute_s), token.refresh_idle_s - WITHIN_S
    while left_s > step_s:
        left_s -= step_s
        await time_passes_at(redis, step_s)
        pair = paired(await node.refresh(pair.refresh))
        assert left_s - WITHIN_S < pair.session.ends - pair.session.read_at <= left_s
        assert await redis.pttl(UserKeys.of("alice").session(pair.session.sid)) <= left_s * 1000
    await time_passes_at(redis, left_s)
    assert await node.refresh(pair.refresh) is Outcome.EXPIRED


async def test_every_key_lives_as_long_as_the_layout_says(
    redis: RedisClient, node: Node, token: TokenSettings, clock: ManualClock
) -> None:
    """R-152: and there is no key but those."""
    # This node's clock is not that of Redis. What it has issued is good for as long as its own clock says.
    ahead_ms = max(0, clock.now() - time.time()) * 1000
    pair = await node.login("alice")
    keys = UserKeys.of("alice")
    await node.revoke(pair.access)
    await node.session_store.end("alice", "0" * 32)
    await node.session_store.end_all("bob")
    access_ms = (token.access_life_s + 3 * token.leeway_s) * 1000
    lives: dict[str, float] = {
        keys.session(pair.session.sid): token.refresh_idle_s * 1000,
        keys.sessions: token.refresh_absolute_s * 1000,
        keys.ended("0" * 32): access_ms,
        UserKeys.of("bob").epoch: -1,
    }
    jti: Any
    (jti,) = [key async for key in redis.scan_iter(f"{keys.tag}:jti:*".replace("{", "\\{").replace("}", "\\}"))]
    lives[jti.decode()] = access_ms + ahead_ms
    found: list[Any] = [key async for key in redis.scan_iter()]
    assert {key.decode() for key in found} == set(lives)
    for key, life_ms in lives.items():
        left = await redis.pttl(key)
        assert left == -1 if life_ms == -1 else life_ms - 5000 < left <= life_ms, key
    await redis.pexpire(keys.session(pair.session.sid), 5000)
    paired(await node.refresh(pair.refresh))
    assert await redis.pttl(keys.session(pair.session.sid)) > token.refresh_idle_s * 1000 - 5000


async def test_an_ended_marker_outlives_the_youngest_access_token_on_every_node(
    redis: RedisClient, tmp_path: Path, clock: ManualClock, token: TokenSettings
) -> None:
    """R-25, R-152: issued by a node that runs ahead, presented to one that runs behind."""
    ahead = Node(redis, tmp_path / "keys", ManualClock(clock.now() + token.leeway_s), token)
    slow = ManualClock(clock.now() - token.leeway_s)
    behind = Node(redis, tmp_path / "keys", slow, token)
    await behind.link.open()
    pair = await ahead.login("alice")
    marked_at = slow.now()
    slow.advance(token.access_life_s + 3 * token.leeway_s - 0.001)
    assert await behind.welcome(pair.access)
    slow.advance(0.001)
    assert not await behind.welcome(pair.access)
    assert slow.now() - marked_at <= ended_life_ms(token.access_life_s, token.leeway_s) / 1000
    await behind.link.close()


async def test_the_mac_of_another_secret_is_no_refresh_token(node: Node) -> None:
    """R-140: an attacker that knows session, user and generation can neither refresh nor end the session."""
    pair = await node.login("alice")
    forged = RefreshTokens(lambda: [b"x" * 32]).make(RefreshClaim("alice", pair.session.sid, 0))
    assert await node.refresh(forged) is None
    old = RefreshTokens(lambda: [b"x" * 32]).make(RefreshClaim("alice", pair.session.sid, 7))
    assert await node.refresh(old) is None
    assert await node.welcome(pair.access)
    paired(await node.refresh(pair.refresh))


async def test_a_foreign_client_changes_nothing(redis: RedisClient, node: Node) -> None:
    """R-148"""
    pair = await node.login("alice")
    before = await _stored(redis, pair)
    claim = RefreshClaim("alice", pair.session.sid, 0)
    assert (
        await node.session_store.rotate(claim, client_id=CLIENT.upper(), address="", agent="") is Outcome.OTHER_CLIENT
    )
    assert await _stored(redis, pair) == before
    paired(await node.refresh(pair.refresh))


async def test_a_logout_ends_this_session_and_its_access_tokens_at_once(node: Node) -> None:
    first, second = await node.login("alice"), await node.login("alice")
    newer = paired(await node.refresh(first.refresh))
    await node.session_store.end("alice", first.session.sid)
    for pair in (first, newer):
        assert await _is_over(node, pair)
    assert await node.welcome(second.access)
    paired(await node.refresh(second.refresh))


async def test_a_logout_everywhere_ends_all_of_a_user_also_what_began_in_the_same_second(node: Node) -> None:
    """R-153"""
    before = [await node.login("alice") for _ in range(3)]
    stranger = await node.login("bob")
    await node.session_store.end_all("alice")
    after = await node.login("alice")
    for pair in before:
        assert not await node.welcome(pair.access)
        assert await node.refresh(pair.refresh) is Outcome.UNKNOWN
    for pair in (after, stranger):
        assert await node.welcome(pair.access)
        paired(await node.refresh(pair.refresh))


async def test_a_session_that_the_index_does_not_know_ends_with_the_others(redis: RedisClient, node: Node) -> None:
    """R-153: begun in the very moment of the logout, or lost from the index: the epoch tells."""
    pair = await node.login("alice")
    await redis.delete(UserKeys.of("alice").sessions)
    await node.session_store.end_all("alice")
    assert await _stored(redis, pair) != {}
    assert await node.refresh(pair.refresh) is Outcome.UNKNOWN
    assert await _stored(redis, pair) == {}


async def test_logins_and_a_logout_everywhere_at_once_leave_no_session_of_before(node: Node) -> None:
    """R-153: whichever came first, access and refresh token of a pair live or die together."""
    pairs, *_ = await asyncio.gather(
        asyncio.gather(*(node.login("alice") for _ in range(20))), node.session_store.end_all("alice")
    )
    for pair in pairs:
        assert await node.welcome(pair.access) == isinstance(await node.refresh(pair.refresh), Pair)


async def test_what_a_client_has_begun_ends_wherever_it_is(node: Node) -> None:
    """Of any user, so on any master of a Cluster; more than one round trip looks at."""
    others = [await node.login(f"user-{number}") for number in range(0, 600, 50)]
    its = [await node.login(f"user-{number}", "reports") for number in range(600)]
    await node.session_store.end_made_by("reports")
    for pair in its:
        assert not await node.welcome(pair.access)
        assert await node.refresh(pair.refresh, "reports") is Outcome.UNKNOWN
    for pair in others:
        assert await node.welcome(pair.access)
        paired(await node.refresh(pair.refresh))


async def test_a_revoked_token_is_refused_and_its_session_goes_on(node: Node) -> None:
    """R-149, R-155"""
    first = await node.login("alice")
    await node.revoke(first.access)
    assert not await node.welcome(first.access)
    assert await node.welcome(paired(await node.refresh(first.refresh)).access)


async def test_whatever_ends_is_published(redis: RedisClient, node: Node) -> None:
    """Sockets close and caches drop by this."""
    async with redis.pubsub() as ears:
        await ears.subscribe(ENDED_CHANNEL)
        await ears.get_message(timeout=5)
        revoked, reused, ended = await node.login("alice"), await node.login("alice"), await node.login("alice")
        await node.revoke(revoked.access)
        paired(await node.refresh(paired(await node.refresh(reused.refresh)).refresh))
        assert await node.refresh(reused.refresh) is Outcome.REUSED
        await node.session_store.end("alice", ended.session.sid)
        await node.session_store.end_all("alice")
        heard = []
        while (message := await ears.get_message(ignore_subscribe_messages=True, timeout=5)) is not None:
            heard.append(message["data"].decode())
            if heard[-1] == "sub:alice":
                break
    assert heard[0].startswith("jti:")
    assert heard[1:3] == [f"sid:{reused.session.sid}", f"sid:{ended.session.sid}"]
    assert heard[-1] == "sub:alice"


async def test_a_rotation_that_a_fail_over_lost_is_caught_up_with(node: Node, redis: RedisClient) -> None:
    """R-144: Redis replicates asynchronously; a token newer than what is stored is ours all the same, by its MAC."""
    first = await node.login("alice")
    keys = UserKeys.of("alice")
    before: Any = await redis.dump(keys.session(first.session.sid))
    second = paired(await node.refresh(first.refresh))
    await redis.restore(keys.session(first.session.sid), 0, before, replace=True)
    third = paired(await node.refresh(second.refresh))
    assert third.session.generation == 2
    assert await node.refresh(first.refresh) is Outcome.REUSED


@pytest.mark.parametrize("sub", ["алиса", "a{b}c", "x" * 256, "a:session:b", " "])
async def test_a_user_of_any_name_has_sessions(node: Node, sub: str) -> None:
    pair = await node.login(sub)
    again = paired(await node.refresh(pair.refresh))
    assert again.session.sub == sub
    await node.session_store.end_all(sub)
    assert await _is_over(node, again)
