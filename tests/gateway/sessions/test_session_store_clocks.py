"""Nodes with wrong clocks, and a Redis with the right time: an end holds as long as any node takes a token (R-221)."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lockgate.errors import Refusal
from lockgate.identity.bearer import format_gate
from lockgate.identity.model import VerifiedClaims
from lockgate.settings import TokenSettings
from lockgate.stores.layout import UserKeys
from lockgate_common.redis.client import RedisClient
from tests.support.clock import ManualClock
from tests.support.raw import WITHIN_S
from tests.support.session_node import Node, Pair, paired

DAY_S = 86_400
OFF = (9, -9)
WRONG = (*OFF, 3600, -3600, 400 * DAY_S, -400 * DAY_S)
At = Callable[[float], Node]


@pytest.fixture
def store_url(redis_url: str) -> str:
    """One server: what nodes think of the time is the same to a Cluster."""
    return redis_url


@pytest.fixture
def at(redis: RedisClient, tmp_path: Path, token: TokenSettings) -> At:
    """Makes a node with a clock that differs from that of Redis by so many seconds."""
    return lambda off_s: Node(redis, tmp_path / "keys", ManualClock(time.time() + off_s), token)


def claims_of(node: Node, pair: Pair) -> VerifiedClaims:
    unverified = format_gate(pair.access.encode())
    assert not isinstance(unverified, Refusal)
    claims = node.verifier.read(unverified)
    assert isinstance(claims, VerifiedClaims)
    return claims


async def remembered_s(redis: RedisClient, key: str) -> float:
    """How much longer Redis remembers something."""
    left_ms = await redis.pttl(key)
    assert left_ms > 0, f"{key} is not there"
    return float(left_ms) / 1000


def good_for_s(node: Node, claims: VerifiedClaims) -> float:
    """How much longer a node could take a token, by its own clock."""
    return claims.exp + node.token.leeway_s - node.clock.now()


@pytest.mark.parametrize("verifier_s", OFF)
@pytest.mark.parametrize("issuer_s", OFF)
@pytest.mark.parametrize("revoker_s", WRONG)
async def test_a_revoked_token_is_remembered_for_as_long_as_any_node_takes_it(
    redis: RedisClient, at: At, *, issuer_s: float, revoker_s: float, verifier_s: float
) -> None:
    """R-221: by any clock of the node that revokes it."""
    pair = await at(issuer_s).login("alice")
    claims = claims_of(at(verifier_s), pair)
    await at(revoker_s).revoke(pair.access)
    left = await remembered_s(redis, UserKeys.of("alice").jti(claims.principal.jti))
    assert left >= good_for_s(at(verifier_s), claims)


@pytest.mark.parametrize("verifier_s", OFF)
@pytest.mark.parametrize("issuer_s", OFF)
@pytest.mark.parametrize("ender_s", WRONG)
async def test_the_end_of_a_session_is_remembered_for_as_long_as_any_node_takes_its_tokens(
    redis: RedisClient, at: At, *, issuer_s: float, ender_s: float, verifier_s: float
) -> None:
    """R-221"""
    first = await at(-issuer_s).login("alice")
    pair = paired(await at(issuer_s).refresh(first.refresh))
    assert await at(ender_s).session_store.end("alice", pair.session.sid)
    left = await remembered_s(redis, UserKeys.of("alice").ended(pair.session.sid))
    for one in (first, pair):
        assert left >= good_for_s(at(verifier_s), claims_of(at(verifier_s), one))


@pytest.mark.parametrize("issuer_s", [3600, 400 * DAY_S])
async def test_tokens_that_begin_to_hold_later_never_do_once_their_session_has_ended(
    redis: RedisClient, at: At, issuer_s: float
) -> None:
    """R-221: a node far ahead issues tokens of the future; neither end nor revocation is forgotten before."""
    pair = await at(issuer_s).login("alice")
    right = at(0)
    claims = claims_of(right, pair)
    await right.revoke(pair.access)
    await right.session_store.end("alice", pair.session.sid)
    for key in (UserKeys.of("alice").jti(claims.principal.jti), UserKeys.of("alice").ended(pair.session.sid)):
        assert await remembered_s(redis, key) >= good_for_s(right, claims)
    # A second end, for tokens that may be any time ahead, makes the first one no shorter.
    await right.session_store.end("alice", pair.session.sid)
    assert await remembered_s(redis, UserKeys.of("alice").ended(pair.session.sid)) >= good_for_s(right, claims)


@pytest.mark.parametrize("issuer_s", [-3600, -400 * DAY_S])
async def test_a_token_of_a_node_that_is_far_behind_is_remembered_while_that_node_takes_it(
    redis: RedisClient, at: At, issuer_s: float
) -> None:
    """R-221: by every other clock it was dead when it was issued."""
    behind = at(issuer_s)
    pair = await behind.login("alice")
    claims = claims_of(behind, pair)
    await at(0).revoke(pair.access)
    assert await remembered_s(redis, UserKeys.of("alice").jti(claims.principal.jti)) >= good_for_s(behind, claims)


@pytest.mark.parametrize("off_s", WRONG)
async def test_no_node_ends_or_stretches_a_session_by_its_own_clock(
    redis: RedisClient, at: At, token: TokenSettings, off_s: float
) -> None:
    """R-146, R-221: a refresh there is one like any other, and a login there leaves the others alone."""
    right, wrong = at(0), at(off_s)
    pair, neighbour = await right.login("alice"), await right.login("alice")
    again = paired(await wrong.refresh(pair.refresh))
    begun = await wrong.login("alice")
    for one in (again, begun):
        assert token.refresh_idle_s - WITHIN_S < one.session.expires - one.session.read_at <= token.refresh_idle_s
        assert abs(one.session.read_at - time.time()) < WITHIN_S
    for one in (again, begun, neighbour):
        paired(await right.refresh(one.refresh))
    assert await redis.zcard(UserKeys.of("alice").sessions) == 3
