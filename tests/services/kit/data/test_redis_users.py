"""The users that the guide gives to the services reach what the services need, and nothing else. R-214."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from lockgate_shop.kit.data.cache import Cache
from lockgate_shop.kit.data.events import Feed
from lockgate_shop.kit.data.jobs import Queue
from lockgate_shop.kit.data.redis import connect_redis, store_errors
from lockgate_shop.kit.errors import StoreUnavailableError
from lockgate_shop.kit.problem import Problem
from lockgate_shop.orders.carts import Carts
from tests.support.certificate import make_certificate
from tests.support.job_calls import WITHIN_S, do_one_job
from tests.support.redis_server import running, users_of_guide

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.process

AWKWARD: Final = "p@s:s/w?o#r%d +ü"
CODED: Final = "p%40s%3As%2Fw%3Fo%23r%25d%20+%C3%BC"
USERS: Final = {name: " ".join(users_of_guide(name)[0]) for name in ("orders", "products")}
"""What docs/guides/redis.md says that the services need."""


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
    client = connect_redis(url)
    carts, feed = Carts(client), Feed(client, "orders", beat_s=WITHIN_S)
    await carts.change_cart("ann", lambda cart: cart.with_quantities({UUID(int=7): 2}))
    assert dict((await carts.read_cart("ann")).items) == {UUID(int=7): 2}
    async with asyncio.timeout(WITHIN_S), feed.follow_user("ann", "0-0") as events:
        assert not isinstance(events, Problem)
        await feed.publish_event("ann", "first")
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

    assert await cache.read_value(key, load) == await cache.read_value(key, load) == key.bytes
    assert loaded == [key]
    await cache.invalidate([key])
    await cache.read_value(key, load)
    assert loaded == [key, key]
    await cache.close()


@pytest.mark.process
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("unclosed_streams")
async def test_a_queue_trusts_the_certificates_that_every_client_trusts(tmp_path: Path) -> None:
    """R-214: signed by what the address names, and for the host in the address."""
    certificate = make_certificate(tmp_path / "certificate.pem")
    with running(tmp_path / "tls", certificate=certificate) as server:
        address = f"rediss://{server.tls_place}?ssl_ca_certs={certificate}"
        await do_one_job(address)
        for wrong in (f"rediss://{server.tls_place}", address.replace("127.0.0.1", "localhost")):
            with pytest.raises(StoreUnavailableError):
                await Queue(wrong, "orders").put_job("job", uuid4())


@pytest.mark.process
async def test_a_user_of_one_service_reaches_nothing_of_another(place: str) -> None:
    """R-214: what the guide says is not more than is needed either."""
    client = connect_redis(address("products", place))
    with pytest.raises(StoreUnavailableError, match="may not"):
        await Carts(client).read_cart("ann")
    await client.aclose()
    with pytest.raises(StoreUnavailableError):
        await Queue(address("products", place), "orders").put_job("job", uuid4())


@pytest.mark.process
async def test_a_wrong_password_is_said_by_a_service_too(place: str) -> None:
    """R-214."""
    client: Any = connect_redis(f"redis://orders:hunter2@{place}")
    assert isinstance(client, Redis)
    with pytest.raises(StoreUnavailableError, match="user name or password") as caught, store_errors():
        await client.ping()
    assert "hunter2" not in str(caught.value)
    await client.aclose()
