"""The same address means the same to the gateway, to the services and to their queue. R-214."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from lockgate import errors as gateway_errors
from lockgate.stores import address as gateways
from lockgate.stores.redis import connect as gateways_connect
from lockgate_shop.kit.data import redis_address as services
from lockgate_shop.kit.data.cache import Cache
from lockgate_shop.kit.data.events import Feed
from lockgate_shop.kit.data.jobs import Queue
from lockgate_shop.kit.data.redis import connect, store_errors
from lockgate_shop.kit.errors import ConfigurationError, StoreUnavailableError
from lockgate_shop.kit.problem import Problem
from lockgate_shop.orders.carts import Carts
from tests.services.test_redis_groups import WITHIN_S, do_one_job
from tests.support.redis_server import running, users_of_guide

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.process

AWKWARD: Final = "p@s:s/w?o#r%d +ü"
CODED: Final = "p%40s%3As%2Fw%3Fo%23r%25d%20+%C3%BC"
USERS: Final = {name: " ".join(users_of_guide(name)[0]) for name in ("orders", "products")}
"""What docs/guides/redis.md says that the services need."""

MEANT: Final[dict[str, tuple[Any, ...]]] = {
    "redis://h": ((("h", 6379),), "", 0, {}, None),
    "redis://h:1/2": ((("h", 1),), "", 2, {}, None),
    "redis://h:1?db=3": ((("h", 1),), "", 3, {}, None),
    "redis://": ((("localhost", 6379),), "", 0, {}, None),
    "redis://:7/": ((("localhost", 7),), "", 0, {}, None),
    "redis://[::1]:7": ((("::1", 7),), "", 0, {}, None),
    f"redis://:{CODED}@h": ((("h", 6379),), "", 0, {"password": AWKWARD}, None),
    f"redis://{CODED}:{CODED}@h": ((("h", 6379),), "", 0, {"username": AWKWARD, "password": AWKWARD}, None),
    "redis://u@h": ((("h", 6379),), "", 0, {"username": "u"}, None),
    "redis://:p@q@h": ((("h", 6379),), "", 0, {"password": "p@q"}, None),
    "redis://u:a:b@h": ((("h", 6379),), "", 0, {"username": "u", "password": "a:b"}, None),
    "rediss://h?ssl_cert_reqs=none&ssl_check_hostname=false": (
        (("h", 6379),),
        "",
        0,
        {},
        {"ssl_cert_reqs": "none", "ssl_check_hostname": False},
    ),
    "unix:///a%20b?db=4": ((), "/a b", 4, {}, None),
    f"unix://u:{CODED}@/a": ((), "/a", 0, {"username": "u", "password": AWKWARD}, None),
    f"redis+sentinel://:{CODED}@a,[::1]:2/m/3": ((("a", 26379), ("::1", 2)), "m", 3, {"password": AWKWARD}, None),
    "rediss+sentinel://a/m?sentinel_username=u&sentinel_password=s%2B": ((("a", 26379),), "m", 0, {}, {}),
    f"redis+cluster://u:{CODED}@a,b:2": (
        (("a", 6379), ("b", 2)),
        "",
        0,
        {"username": "u", "password": AWKWARD},
        None,
    ),
    "rediss+cluster://a/0?ssl_cert_reqs=optional": ((("a", 6379),), "", 0, {}, {"ssl_cert_reqs": "optional"}),
}
REFUSED: Final = (
    "",
    "hunter2",
    "http://h",
    "redis://:hunter2#x@h",
    "redis://:hunter2/x@h",
    "redis://:hunter2?x@h",
    "redis://h:0",
    "redis://h:70000",
    "redis://h/hunter2",
    "redis://h/1?db=2",
    "redis://h/0/1",
    "redis://h#hunter2",
    "redis://h?hunter2=1",
    "redis://h?ssl_cert_reqs=none",
    "redis://h,i",
    "unix://hunter2",
    "unix://h/hunter2",
    "unix+cluster://h",
    "redis+other://h",
    "redis+sentinel://h",
    "redis+sentinel://h/m/hunter2",
    "redis+cluster://h/1",
    "redis+cluster://h?sentinel_password=hunter2",
)


def of_gateway(url: str) -> tuple[Any, ...]:
    """What the gateway reads."""
    found = gateways.read(url)
    if isinstance(found, gateways.Group):
        return found.hosts, found.service, found.db, found.login, found.tls
    return ((found.host, found.port),) if found.host else (), found.path, found.db, found.login, found.tls


def of_service(url: str) -> tuple[Any, ...]:
    """What a service reads."""
    found = services.read(url)
    return found.hosts, found.path or found.master or "", found.db, found.login, found.tls


@pytest.mark.parametrize("url", MEANT)
def test_an_address_means_the_same_to_the_gateway_and_to_a_service(url: str) -> None:
    """R-214."""
    assert of_gateway(url) == MEANT[url]
    assert of_service(url) == MEANT[url]


@pytest.mark.parametrize("url", REFUSED)
def test_what_one_of_them_refuses_the_other_refuses_and_neither_shows_it(url: str) -> None:
    """R-214: a '#' in a password, say, would silently have led to another host."""
    with pytest.raises(gateway_errors.ConfigurationError, match="redis_url") as first:
        gateways_connect(url)
    with pytest.raises(ConfigurationError, match="the Redis URL") as second:
        connect(url)
    assert "hunter2" not in f"{first.value} {second.value}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server on which each service has a user with no more than it needs."""
    quoted = "".join(f"\\x{byte:02x}" for byte in AWKWARD.encode())
    users = [f'user {name} on ">{quoted}" {rule}' for name, rule in USERS.items()]
    with running(tmp_path_factory.mktemp("servers") / "one", *users) as server:
        yield server.place


def address(user: str, place: str) -> str:
    """As somebody would write it into the environment."""
    return f"redis://{user}:{CODED}@{place}"


@pytest.mark.process
async def test_carts_events_and_jobs_need_no_more_than_the_guide_says(place: str) -> None:
    """R-214: with a password that has to be percent-coded, also in the queue."""
    url = address("orders", place)
    client = connect(url)
    carts, feed = Carts(client), Feed(client, "orders", beat_s=WITHIN_S)
    await carts.change("ann", lambda cart: cart.changed({UUID(int=7): 2}))
    assert dict((await carts.read("ann")).items) == {UUID(int=7): 2}
    async with asyncio.timeout(WITHIN_S), feed.follow("ann", "0-0") as events:
        assert not isinstance(events, Problem)
        await feed.publish("ann", "first")
        assert (event := await anext(events)) is not None
        assert event.data == "first"
    await feed.close()
    await client.aclose()
    await do_one_job(url, "orders")


@pytest.mark.process
async def test_a_cache_needs_no_more_than_the_guide_says(place: str) -> None:
    """R-214."""
    cache, key = Cache("product", address("products", place), clock=lambda: 0.0), uuid4()
    loaded: list[UUID] = []

    async def load() -> bytes:
        loaded.append(key)
        return key.bytes

    assert await cache.read(key, load) == await cache.read(key, load) == key.bytes
    assert loaded == [key]
    await cache.invalidate([key])
    await cache.read(key, load)
    assert loaded == [key, key]
    await cache.close()


@pytest.mark.process
async def test_a_user_of_one_service_reaches_nothing_of_another(place: str) -> None:
    """R-214: what the guide says is not more than is needed either."""
    client = connect(address("products", place))
    with pytest.raises(StoreUnavailableError, match="may not"):
        await Carts(client).read("ann")
    await client.aclose()
    with pytest.raises(StoreUnavailableError):
        await Queue(address("products", place), "orders").put("job", uuid4())


@pytest.mark.process
async def test_a_wrong_password_is_said_by_a_service_too(place: str) -> None:
    """R-214."""
    client: Any = connect(f"redis://orders:hunter2@{place}")
    assert isinstance(client, Redis)
    with pytest.raises(StoreUnavailableError, match="user name or password") as caught, store_errors():
        await client.ping()
    assert "hunter2" not in str(caught.value)
    await client.aclose()
