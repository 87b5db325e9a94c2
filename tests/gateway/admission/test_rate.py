"""Rate limits: how they are counted, and that all nodes count together (R-126, R-129)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from lockgate.admission.rate import Window, subject
from lockgate.errors import ConfigurationError
from lockgate.policy.limits import Limit, parse_limit
from lockgate.stores.layout import UserKeys
from tests.support import node as nodes
from tests.support.clock import ManualClock
from tests.support.node import Node
from tests.support.upstream import Upstream

PER_USER = Limit("orders", 100, 60, "user")


def window(**changes: Any) -> Window:  # noqa: ANN401 - any field
    return Window(**{"limit": PER_USER, "key": b"k", "previous_key": b"p", "index": 10, **changes})


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("300/min per user", Limit("r", 300, 60, "user")),
        ("5/s per address", Limit("r", 5, 1, "address")),
        ("10000/h per route", Limit("r", 10000, 3600, "route")),
    ],
)
def test_a_rate_is_read_as_it_is_written(text: str, limit: Limit) -> None:
    assert parse_limit(text, "r") == limit


@pytest.mark.parametrize(
    "text", ["", "0/s per user", "5/day per user", "5/s", "5/s per planet", "-1/s per user", "5 / s per user"]
)
def test_any_other_rate_is_a_configuration_error_that_names_the_route(text: str) -> None:
    with pytest.raises(ConfigurationError, match="route 'r'"):
        parse_limit(text, "r")


@pytest.mark.parametrize(
    ("sub", "client", "who"),
    [
        ("alice", "192.0.2.1", "u:alice"),
        (None, "192.0.2.1", "a:192.0.2.1"),
        (None, "2001:db8:1:2:3:4:5:6", "a:2001:db8:1:2::/64"),
        (None, "2001:db8:1:2:ffff::1", "a:2001:db8:1:2::/64"),
        (None, "::ffff:192.0.2.7", "a:192.0.2.7"),
        (None, "unix", "a:unix"),
    ],
)
def test_a_request_counts_for_its_user_or_else_for_its_network(sub: str | None, client: str, who: str) -> None:
    """R-126."""
    assert subject(PER_USER, sub, client) == who


def test_a_limit_per_route_is_one_counter_for_everybody() -> None:
    limit = PER_USER._replace(per="route")
    assert subject(limit, "alice", "192.0.2.1") == subject(limit, None, "192.0.2.2")


@pytest.mark.parametrize(
    ("previous", "count", "seconds_in", "remaining"),
    [
        (0, 100, 0, 0),
        (0, 101, 0, None),
        (100, 1, 0, None),
        (100, 50, 30, 0),
        (100, 51, 30, None),
        (100, 100, 60, 0),
        (80, 40, 15, 0),
    ],
)
def test_the_previous_window_counts_as_far_as_it_overlaps(
    previous: int, count: int, seconds_in: float, remaining: int | None
) -> None:
    left = window(previous=previous).left(count, 600 + seconds_in)
    assert left < 0 if remaining is None else left == remaining


def test_a_clock_that_was_set_back_does_not_make_the_previous_window_count_more_than_once() -> None:
    assert window(previous=50).left(50, 600 - 30) == 0


def routes(upstream: str, rate: str | list[str], auth: str = "optional") -> list[dict[str, Any]]:
    return [
        {"name": "orders", "prefix": "/orders", "upstreams": [upstream], "auth": auth, "methods": ["GET"], "rate": rate}
    ]


@contextlib.asynccontextmanager
async def limited(
    folder: Path, redis_url: str, upstream: str, rate: str | list[str], clock: ManualClock | None = None
) -> AsyncIterator[Node]:
    configured = nodes.settings(folder, redis_url, upstream, route=routes(upstream, rate))
    async with nodes.running(configured, clock) as node:
        yield node


@pytest_asyncio.fixture
async def ten(redis: Redis, redis_url: str, upstream: Upstream, tmp_path: Path) -> AsyncIterator[Node]:
    """A gateway with ten requests a minute for each user."""
    del redis
    async with limited(tmp_path, redis_url, upstream.url, "10/min per user") as node:
        yield node


async def test_one_request_too_many_is_429_and_reaches_nobody(ten: Node, upstream: Upstream) -> None:
    """R-129."""
    credentials = ten.tokens.bearer(sub="alice")
    statuses = [(await ten.get("/orders", credentials)).status for _ in range(10)]
    refused = await ten.get("/orders", credentials)
    assert statuses == [200] * 10
    assert (refused.status, refused.code) == (429, "rate_limited")
    assert int(refused.value("retry-after")) >= 1
    assert refused.value("ratelimit-remaining") == "0"
    assert len(upstream.requests) == 10


async def test_answers_tell_how_much_is_left(ten: Node) -> None:
    """R-129."""
    credentials = ten.tokens.bearer(sub="alice")
    answers = [await ten.get("/orders", credentials) for _ in range(3)]
    assert [answer.value("ratelimit-limit") for answer in answers] == ["10"] * 3
    assert [answer.value("ratelimit-remaining") for answer in answers] == ["9", "8", "7"]


async def test_two_tokens_of_one_user_share_a_limit_and_two_users_do_not(ten: Node) -> None:
    for _ in range(5):
        await ten.get("/orders", ten.tokens.bearer(sub="alice"))
        await ten.get("/orders", ten.tokens.bearer(sub="alice"))
    assert (await ten.get("/orders", ten.tokens.bearer(sub="alice"))).status == 429
    assert (await ten.get("/orders", ten.tokens.bearer(sub="bob"))).status == 200


async def test_who_has_no_token_counts_by_address(ten: Node) -> None:
    statuses = [(await ten.get("/orders")).status for _ in range(11)]
    assert statuses == [200] * 10 + [429]


async def test_requests_that_were_refused_do_not_count(ten: Node) -> None:
    """A client that keeps asking is let in again once a window has passed."""
    credentials = ten.tokens.bearer(sub="alice", exp=int(ten.clock.now()) + 300)
    for _ in range(30):
        await ten.get("/orders", credentials)
    ten.tick(119)  # into the last second of the next window: what was let through hardly overlaps any more
    statuses = [(await ten.get("/orders", credentials)).status for _ in range(9)]
    assert statuses == [200] * 9


async def test_a_revoked_token_is_401_also_where_the_limit_is_reached(ten: Node, redis: Redis) -> None:
    credentials = ten.tokens.bearer(sub="alice", jti="gone")
    for _ in range(10):
        await ten.get("/orders", credentials)
    await redis.set(UserKeys.of("alice").jti("gone"), "1")
    assert (await ten.get("/orders", credentials)).status == 401


async def test_all_nodes_count_together(redis: Redis, redis_url: str, upstream: Upstream, tmp_path: Path) -> None:
    """R-129: 100 requests at once at two nodes, with a limit of 40: exactly 40 pass."""
    del redis
    clock = ManualClock()
    async with (
        limited(tmp_path, redis_url, upstream.url, "40/min per user", clock) as one,
        limited(tmp_path, redis_url, upstream.url, "40/min per user", clock) as other,
    ):
        credentials = one.tokens.bearer(sub="alice")
        answers = await asyncio.gather(*(node.get("/orders", credentials) for node in [one, other] * 50))
    statuses = [answer.status for answer in answers]
    assert statuses.count(200) == 40
    assert statuses.count(429) == 60


async def test_the_tightest_of_several_limits_holds(
    redis: Redis, redis_url: str, upstream: Upstream, tmp_path: Path
) -> None:
    del redis
    rates = ["100/min per address", "3/min per user"]
    async with limited(tmp_path, redis_url, upstream.url, rates) as node:
        credentials = node.tokens.bearer(sub="alice")
        answers = [await node.get("/orders", credentials) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert answers[0].value("ratelimit-limit") == "3"


async def test_a_counter_lives_for_two_windows(ten: Node, redis: Redis) -> None:
    await ten.get("/orders", ten.tokens.bearer(sub="alice"))
    (key,) = await redis.keys("lg:rate:*")
    assert 60_000 < await redis.pttl(key) <= 120_000
