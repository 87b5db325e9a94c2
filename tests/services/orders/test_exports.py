from __future__ import annotations

import csv
import gc
import io
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
import pytest
from redis.asyncio import Redis

from lockgate_shop.kit.errors import StoreUnavailableError
from lockgate_shop.orders.app import create_app as create_orders
from lockgate_shop.orders.exports import (
    COLUMNS,
    KEPT_FOR,
    LOST_AFTER,
    MAX_ATTEMPTS,
    MOST_UNFINISHED,
    Exports,
)
from tests.support.peers import NO_AUTHORITY, Peer, Who, closed_port, opened, problem
from tests.support.shop_calls import ALICE, BOB, added, placed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI

    from lockgate_shop.orders.settings import OrdersSettings
    from tests.support.peers import Clock, Links
    from tests.support.s3 import Bucket

PATH = "/orders/exports"


@pytest.fixture
async def app(orders_settings: OrdersSettings, bucket: Bucket, links: Links, clock: Clock) -> AsyncIterator[FastAPI]:
    """The orders service with a place for files. No worker runs: the tests do its work."""
    settings = orders_settings.model_copy(update=dict(bucket.settings))
    app = create_orders(settings, links.of("orders"), clock)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def shop(app: FastAPI, links: Links, clock: Clock) -> AsyncIterator[Peer]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://svc") as http:
        yield Peer(http, links, "gateway", "orders", clock)


async def asked(shop: Peer, who: Who = ALICE) -> dict[str, Any]:
    answer = await shop.call("POST", PATH, who=who)
    assert answer.status_code == 202, answer.text
    members: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"{PATH}/{members['id']}"
    return members


async def looked_up(shop: Peer, export: dict[str, Any], who: Who = ALICE) -> dict[str, Any]:
    answer = await shop.call("GET", f"{PATH}/{export['id']}", who=who)
    assert answer.status_code == 200, answer.text
    members: dict[str, Any] = answer.json()
    return members


async def make(app: FastAPI, export: dict[str, Any]) -> None:
    exports: Exports = app.state.exports
    await exports.make_export(UUID(export["id"]))


async def fetched(download: dict[str, Any]) -> list[dict[str, str]]:
    async with httpx.AsyncClient(trust_env=False, verify=NO_AUTHORITY) as anybody:
        answer = await anybody.get(download["url"])
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


async def test_an_export_holds_every_order_once_and_is_fetched_without_credentials(
    app: FastAPI, shop: Peer, products: Peer
) -> None:
    kettle, cup = await added(products, stock=9), await added(products, name='Cup, "blue", naïve', stock=9)
    orders = [await placed(shop, (kettle, 1), (cup, 2)), await placed(shop, (cup, 1))]
    await placed(shop, (cup, 1), who=BOB)
    export = await asked(shop)
    assert (export["status"], export["done"], export["total"], export["download"]) == ("queued", 0, 2, None)
    await make(app, export)
    done = await looked_up(shop, export)
    assert (done["status"], done["done"], done["total"]) == ("done", 2, 2)
    rows = await fetched(done["download"])
    assert [*rows[0]] == list(COLUMNS)
    assert sorted((row["order_id"], row["name"], row["quantity"], row["unit_price_minor"]) for row in rows) == sorted(
        (order["id"], line["name"], str(line["quantity"]), str(line["unit_price"]["amount"]))
        for order in orders
        for line in order["items"]
    )


async def test_an_export_of_more_than_a_page_is_complete(app: FastAPI, shop: Peer, products: Peer) -> None:
    kettle = await added(products, stock=500)
    ids = [(await placed(shop, (kettle, 1)))["id"] for _ in range(101)]
    export = await asked(shop)
    await make(app, export)
    rows = await fetched((await looked_up(shop, export))["download"])
    assert sorted(row["order_id"] for row in rows) == sorted(ids)


async def test_a_name_that_looks_like_a_formula_is_not_one_in_the_file(
    app: FastAPI, shop: Peer, products: Peer
) -> None:
    trap = await added(products, name='=HYPERLINK("http://evil")', stock=1)
    await placed(shop, (trap, 1))
    export = await asked(shop)
    await make(app, export)
    (row,) = await fetched((await looked_up(shop, export))["download"])
    assert row["name"] == '\'=HYPERLINK("http://evil")'


async def test_an_export_is_its_owners_alone(shop: Peer) -> None:
    export = await asked(shop)
    for who, export_id in ((BOB, export["id"]), (ALICE, uuid4())):
        answer = await shop.call("GET", f"{PATH}/{export_id}", who=who)
        assert (answer.status_code, problem(answer)["code"]) == (404, "not_found")
    assert (await shop.call("POST", PATH)).status_code == 401


async def test_a_job_that_is_done_twice_is_done_once(app: FastAPI, shop: Peer, clock: Clock) -> None:
    export = await asked(shop)
    await make(app, export)
    done = await looked_up(shop, export)
    clock.now += 60
    await make(app, export)
    again = await looked_up(shop, export)
    assert again["finished_at"] == done["finished_at"]


async def test_a_user_waits_for_exports_asked_for_before(shop: Peer) -> None:
    for _ in range(MOST_UNFINISHED):
        await asked(shop)
    answer = await shop.call("POST", PATH, who=ALICE)
    assert (answer.status_code, problem(answer)["code"]) == (429, "too_many_exports")
    await asked(shop, BOB)


async def test_an_export_that_fails_each_time_has_failed_in_the_end(
    orders_settings: OrdersSettings, links: Links, clock: Clock
) -> None:
    away = {"s3_endpoint": f"http://127.0.0.1:{closed_port()}", "s3_bucket": "files"}
    keys = {"s3_access_key": "key", "s3_secret_key": "secret"}
    app = create_orders(orders_settings.model_copy(update={**away, **keys}), links.of("orders"), clock)
    async with opened(app) as http:
        shop = Peer(http, links, "gateway", "orders", clock)
        export = await asked(shop)
        for _ in range(MAX_ATTEMPTS):
            with pytest.raises(StoreUnavailableError):
                await make(app, export)
            assert (await looked_up(shop, export))["status"] == "running"
        await make(app, export)
        assert (await looked_up(shop, export))["status"] == "failed"


async def test_an_export_that_the_queue_forgot_is_put_into_it_again(
    app: FastAPI, shop: Peer, clock: Clock, redis_url: str
) -> None:
    exports: Exports = app.state.exports
    job = UUID((await asked(shop))["id"]).hex
    async with Redis.from_url(redis_url, decode_responses=True) as redis:

        async def queued() -> bool:
            keys = await redis.keys("*")
            assert all("{orders}" in key for key in keys), "a Cluster would refuse to touch them together"
            return any(job in key for key in keys)

        assert await queued()
        await redis.flushdb()
        await exports.sweep_exports()
        assert not await queued(), "it was heard of a moment ago"
        clock.now += LOST_AFTER.total_seconds() + 1
        await exports.sweep_exports()
        assert await queued()


# coredis leaves what a connection that never was would have used to the garbage collector.
@pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning")
async def test_while_the_queue_is_away_an_export_is_taken_and_waits(
    orders_settings: OrdersSettings, links: Links, clock: Clock
) -> None:
    away = orders_settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{closed_port()}"})
    async with opened(create_orders(away, links.of("orders"), clock)) as http:
        shop = Peer(http, links, "gateway", "orders", clock)
        export = await asked(shop)
        assert (await looked_up(shop, export))["status"] == "queued"
    gc.collect()


async def test_old_exports_are_forgotten(app: FastAPI, shop: Peer, clock: Clock) -> None:
    exports: Exports = app.state.exports
    export = await asked(shop)
    await make(app, export)
    clock.now += KEPT_FOR.total_seconds() + 1
    await exports.sweep_exports()
    assert (await shop.call("GET", f"{PATH}/{export['id']}", who=ALICE)).status_code == 404
