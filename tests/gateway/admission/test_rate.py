"""Rate limits: how they are counted, and that all nodes count together (R-126, R-129)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from lockgate.admission.rate import Window, find_period, subject
from lockgate.errors import ConfigurationError
from lockgate.identity.model import Principal
from lockgate.policy.limits import DAY_S, MONTH_S, Limit, choose_limits, parse_limit, parse_limits
from lockgate.stores.layout import UserKeys
from tests.support import node as nodes
from tests.support.admission import claims
from tests.support.clock import ManualClock
from tests.support.node import Node
from tests.support.upstream import Upstream

PER_USER = Limit("orders", 100, 60, "user")


ALICE = claims("alice").principal


def window(**changes: Any) -> Window:  # noqa: ANN401 - any field
    return Window(**{"limit": PER_USER, "key": b"k", "previous_key": b"p", "starts": 600, "ends": 660, **changes})


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("300/min per user", Limit("r", 300, 60, "user")),
        ("5/s per address", Limit("r", 5, 1, "address")),
        ("10000/h per route", Limit("r", 10000, 3600, "route")),
        ("50/h per client", Limit("r", 50, 3600, "client")),
        ("1000/day per user", Limit("r", 1000, 86_400, "user")),
        ("9/month per user with role plus", Limit("r", 9, MONTH_S, "user", "plus")),
    ],
)
def test_a_rate_is_read_as_it_is_written(text: str, limit: Limit) -> None:
    assert parse_limit(text, "r") == limit


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0/s per user",
        "5/week per user",
        "5/d per user",
        "5/s",
        "5/s per planet",
        "5/s per key",
        "-1/s per user",
        "5 / s per user",
        "5/s per user with role ",
        "5/s per user with role a b",
        "5/s per user role a",
    ],
)
def test_any_other_rate_is_a_configuration_error_that_names_the_route(text: str) -> None:
    """R-275."""
    with pytest.raises(ConfigurationError, match="route 'r'"):
        parse_limit(text, "r")


@pytest.mark.parametrize(
    ("principal", "client", "who"),
    [
        (ALICE, "192.0.2.1", "u:alice"),
        (None, "192.0.2.1", "a:192.0.2.1"),
        (None, "2001:db8:1:2:3:4:5:6", "a:2001:db8:1:2::/64"),
        (None, "2001:db8:1:2:ffff::1", "a:2001:db8:1:2::/64"),
        (None, "::ffff:192.0.2.7", "a:192.0.2.7"),
        (None, "unix", "a:unix"),
    ],
)
def test_a_request_counts_for_its_user_or_else_for_its_network(
    principal: Principal | None, client: str, who: str
) -> None:
    """R-126."""
    assert subject(PER_USER, principal, client) == who


def test_a_request_counts_for_the_client_of_its_token_or_else_for_its_network() -> None:
    """R-275: an id is never taken for one of another kind."""
    limit = PER_USER._replace(per="client")
    assert subject(limit, ALICE, "192.0.2.1") == "c:web"
    assert subject(limit, None, "192.0.2.1") == "a:192.0.2.1"
    assert subject(PER_USER, ALICE._replace(sub="web"), "192.0.2.1") == "u:web"


def test_a_limit_per_route_is_one_counter_for_everybody() -> None:
    limit = PER_USER._replace(per="route")
    assert subject(limit, ALICE, "192.0.2.1") == subject(limit, None, "192.0.2.2")


def test_a_limit_per_route_with_a_role_is_one_counter_for_the_role() -> None:
    limit = PER_USER._replace(per="route", role="plus")
    bob = ALICE._replace(sub="bob")
    assert subject(limit, ALICE, "192.0.2.1") == subject(limit, bob, "192.0.2.2")
    assert subject(limit, ALICE, "192.0.2.1") != subject(limit._replace(role=None), ALICE, "192.0.2.1")


LIMITS = ("10/min per user", "100/day per user", "50/min per address")
OF_ROLES = ("60/min per user with role plus", "30/min per user with role basic", "5/min per user with role trial")


@pytest.mark.parametrize(
    ("roles", "chosen"),
    [
        ((), LIMITS),
        (("other",), LIMITS),
        (("basic",), (OF_ROLES[1], *LIMITS[1:])),
        (("basic", "plus", "trial"), (OF_ROLES[0], *LIMITS[1:])),
        (("trial",), (OF_ROLES[2], *LIMITS[1:])),
    ],
)
def test_the_largest_limit_of_the_roles_takes_the_place_of_the_general_one(
    roles: tuple[str, ...], chosen: tuple[str, ...]
) -> None:
    """R-276: of the same unit and window; the others go on to hold."""
    general, of_roles = ([parse_limit(text, "r") for text in texts] for texts in (LIMITS, OF_ROLES))
    assert choose_limits(general, of_roles, roles) == tuple(parse_limit(text, "r") for text in chosen)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["5/min per user", "9/min per user"], "user-min"),
        (["5/min per user with role plus", "9/min per user with role plus"], "user-min"),
        (["5/min per user with role plux"], "'plux'"),
    ],
)
def test_two_rates_with_one_counter_and_an_unknown_role_end_the_start(texts: list[str], said: str) -> None:
    """R-275."""
    with pytest.raises(ConfigurationError, match=said):
        parse_limits(texts, "r", {"plus": ()})


def at(moment: str) -> float:
    return datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("window_s", "now", "starts", "ends"),
    [
        (60, at("2027-01-15 08:00:59"), at("2027-01-15 08:00:00"), at("2027-01-15 08:01:00")),
        (DAY_S, at("2027-01-15 23:59:59"), at("2027-01-15"), at("2027-01-16")),
        (DAY_S, at("2027-01-16"), at("2027-01-16"), at("2027-01-17")),
        (MONTH_S, at("2027-01-31 23:59:59"), at("2027-01-01"), at("2027-02-01")),
        (MONTH_S, at("2027-02-01"), at("2027-02-01"), at("2027-03-01")),
        (MONTH_S, at("2028-02-29 12:00:00"), at("2028-02-01"), at("2028-03-01")),
        (MONTH_S, at("2027-12-31"), at("2027-12-01"), at("2028-01-01")),
    ],
)
def test_a_day_and_a_month_are_those_of_the_calendar(window_s: int, now: float, starts: float, ends: float) -> None:
    """R-277."""
    period = find_period(window_s, now)
    assert (period.starts, period.ends) == (starts, ends)
    assert find_period(window_s, ends).number == period.number + 1


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
    assert refused.value("ratelimit-policy") == '"user-min";q=10;w=60'
    assert refused.value("ratelimit") == f'"user-min";r=0;t={refused.value("retry-after")}'
    assert len(upstream.requests) == 10


async def test_answers_tell_how_much_is_left(ten: Node) -> None:
    """R-129."""
    credentials = ten.tokens.bearer(sub="alice")
    answers = [await ten.get("/orders", credentials) for _ in range(3)]
    assert [answer.value("ratelimit-policy") for answer in answers] == ['"user-min";q=10;w=60'] * 3
    assert [answer.value("ratelimit") for answer in answers] == [f'"user-min";r={left};t=60' for left in (9, 8, 7)]


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
    policies = '"address-min";q=100;w=60, "user-min";q=3;w=60'
    assert [answer.value("ratelimit-policy") for answer in answers] == [policies] * 4
    assert answers[0].value("ratelimit") == '"address-min";r=99;t=60, "user-min";r=2;t=60'
    assert answers[3].value("ratelimit") == '"user-min";r=0;t=60'


async def test_a_counter_lives_for_two_windows(ten: Node, redis: Redis) -> None:
    """R-278."""
    await ten.get("/orders", ten.tokens.bearer(sub="alice"))
    (key,) = await redis.keys("lg:rate:*")
    assert 60_000 < await redis.pttl(key) <= 120_000


async def test_a_counter_that_redis_lost_expires_too(ten: Node, redis: Redis) -> None:
    """R-278: the worker counts on, and a key without a life would stay for ever."""
    credentials = ten.tokens.bearer(sub="alice")
    await ten.get("/orders", credentials)
    await redis.flushall()
    await ten.get("/orders", credentials)
    assert (await ten.get("/auth/me", credentials)).status == 200  # by the same link, so Redis has done the rest
    (key,) = await redis.keys("lg:rate:*")
    assert 60_000 < await redis.pttl(key) <= 120_000
    assert await redis.get(key) == b"1"


async def test_the_key_of_a_counter_keeps_its_spelling(ten: Node, redis: Redis) -> None:
    """R-278: nodes of two versions count together."""
    await ten.get("/orders", ten.tokens.bearer(sub="alice"))
    number = int(ten.clock.now() // 60)
    assert await redis.keys("lg:rate:*") == [f"lg:rate:{{orders:user:60:dTphbGljZQ}}:{number}".encode()]


async def test_a_quota_of_a_month_begins_anew_on_the_first_and_leaves_nothing_behind(
    redis: Redis, redis_url: str, upstream: Upstream, tmp_path: Path
) -> None:
    """R-277, R-278."""
    clock = ManualClock(at("2027-01-31 23:00:00"))
    async with limited(tmp_path, redis_url, upstream.url, "3/month per user", clock) as node:
        hour = {"sub": "alice", "exp": int(clock.now()) + 300}
        answers = [await node.get("/orders", node.tokens.bearer(**hour)) for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429]
        assert answers[0].value("ratelimit-policy") == f'"user-month";q=3;w={MONTH_S}'
        assert answers[0].value("ratelimit") == '"user-month";r=2;t=3600'
        assert answers[3].value("retry-after") == "3600"
        (key,) = await redis.keys("lg:rate:*")
        assert 3_600_000 < await redis.pttl(key) <= 3_660_000
        node.tick(3600)
        assert (
            (await node.get("/orders", node.tokens.bearer(sub="alice")))
            .value("ratelimit")
            .startswith('"user-month";r=2;')
        )


async def test_a_limit_of_a_role_holds_for_its_users_and_counts_with_the_general_one(
    redis: Redis, redis_url: str, upstream: Upstream, tmp_path: Path
) -> None:
    """R-276: with a new role, a user has used what was used before."""
    del redis
    rates = ["2/min per user", "4/min per user with role admin"]
    async with limited(tmp_path, redis_url, upstream.url, rates) as node:
        plain, paying = ({"sub": "alice", "roles": roles} for roles in (["customer"], ["customer", "admin"]))
        asked = [plain, plain, plain, paying, paying, paying]
        statuses = [(await node.get("/orders", node.tokens.bearer(**claims))).status for claims in asked]
        assert statuses == [200, 200, 429, 200, 200, 429]
        assert (await node.get("/orders", node.tokens.bearer(sub="bob"))).status == 200


async def test_clients_of_two_ids_have_counts_of_their_own(
    redis: Redis, redis_url: str, upstream: Upstream, tmp_path: Path
) -> None:
    """R-275."""
    del redis
    async with limited(tmp_path, redis_url, upstream.url, "1/h per client") as node:
        asked = [{"sub": "alice", "client_id": "app"}, {"sub": "bob", "client_id": "app"}, {"client_id": "other"}]
        statuses = [(await node.get("/orders", node.tokens.bearer(**claims))).status for claims in asked]
    assert statuses == [200, 429, 200]


async def test_several_limits_are_one_question_a_tick(
    redis: Redis, redis_url: str, upstream: Upstream, tmp_path: Path
) -> None:
    """R-275: a request over one of them counts for none."""
    rates = ["100/s per address", "100/min per client", "100/h per route", "2/day per user", "100/month per user"]
    async with limited(tmp_path, redis_url, upstream.url, rates) as node:
        credentials = node.tokens.bearer(sub="alice")
        statuses = [(await node.get("/orders", credentials)).status for _ in range(4)]
        assert (await node.get("/auth/me", credentials)).status == 200  # by the same link, so Redis has done the rest
    assert statuses == [200, 200, 429, 429]
    keys = await redis.keys("lg:rate:*")
    assert len(keys) == 5
    assert [await redis.get(key) for key in keys] == [b"2"] * 5
