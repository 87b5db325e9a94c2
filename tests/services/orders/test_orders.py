from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from lockgate_shop.orders.app import create_app as create_orders
from lockgate_shop.orders.models import INITIAL, NEXT, Status
from tests.support.peers import Peer, closed_port, opened, problem
from tests.support.shop_calls import ADMIN, ALICE, BOB, added, basket, orders_of, placed, stock_of

if TYPE_CHECKING:
    from lockgate_shop.orders.settings import OrdersSettings
    from tests.support.peers import Clock, Links


async def test_an_order_takes_the_stock_and_keeps_the_price_of_the_moment(orders: Peer, products: Peer) -> None:
    kettle = await added(products, stock=3)
    cup = await added(products, name="Cup", price={"amount": 450, "currency": "EUR"}, stock=9)
    order = await placed(orders, (cup, 4), (kettle, 1))
    assert order["status"] == "placed"
    assert order["total"] == {"amount": 4 * 450 + 2500, "currency": "EUR"}
    assert [line["name"] for line in order["items"]] == ["Cup", "Kettle"]
    assert (await stock_of(products, kettle), await stock_of(products, cup)) == (2, 5)
    price = {"price": {"amount": 9999, "currency": "EUR"}}
    await products.call("PATCH", f"/products/{kettle['id']}", price, who=ADMIN)
    assert (await orders.call("GET", f"/orders/{order['id']}", who=ALICE)).json() == order


async def test_an_order_is_its_owners_alone(orders: Peer, products: Peer) -> None:
    order = await placed(orders, (await added(products), 1))
    answer = await orders.call("GET", f"/orders/{order['id']}", who=BOB)
    assert (answer.status_code, problem(answer)["code"]) == (404, "not_found")
    assert await orders_of(orders, BOB) == {"items": [], "next": None}
    assert (await orders_of(orders, ALICE))["items"] == [order]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/orders"), ("GET", f"/orders/{UUID(int=7)}"), ("POST", "/orders")]
)
async def test_orders_need_a_user(orders: Peer, products: Peer, method: str, path: str) -> None:
    kettle = await added(products)
    answer = await orders.call(method, path, basket((kettle, 1)) if method == "POST" else None)
    assert (answer.status_code, problem(answer)["code"]) == (401, "credentials_required")
    assert await stock_of(products, kettle) == 3


async def test_too_little_stock_refuses_the_whole_order(orders: Peer, products: Peer) -> None:
    kettle, cup = await added(products, stock=3), await added(products, name="Cup", stock=1)
    answer = await orders.call("POST", "/orders", basket((kettle, 1), (cup, 2)), who=ALICE)
    assert (answer.status_code, problem(answer)["code"]) == (409, "out_of_stock")
    assert (await orders_of(orders, ALICE))["items"] == []
    assert (await stock_of(products, kettle), await stock_of(products, cup)) == (3, 1)


async def test_two_currencies_make_no_order(orders: Peer, products: Peer) -> None:
    kettle = await added(products)
    cup = await added(products, name="Cup", price={"amount": 450, "currency": "USD"})
    answer = await orders.call("POST", "/orders", basket((kettle, 1), (cup, 1)), who=ALICE)
    assert (answer.status_code, problem(answer)["code"]) == (409, "mixed_currencies")


@pytest.mark.parametrize("quantities", [[], [0], [-1], [1001], ["1"], [1.5], [1, 1], [1] * 51])
async def test_a_basket_that_makes_no_sense_is_refused(orders: Peer, products: Peer, quantities: list[object]) -> None:
    kettle = await added(products)
    items = [{"product_id": kettle["id"], "quantity": quantity} for quantity in quantities]
    answer = await orders.call("POST", "/orders", {"items": items}, who=ALICE)
    assert (answer.status_code, problem(answer)["code"]) == (400, "invalid_fields")
    assert await stock_of(products, kettle) == 3


async def test_history_comes_newest_first_in_pages(orders: Peer, products: Peer, clock: Clock) -> None:
    kettle = await added(products, stock=9)
    numbers = []
    for turn in range(5):
        clock.now += turn % 2  # some at the same moment
        numbers.append((await placed(orders, (kettle, 1)))["id"])
    seen: list[dict[str, Any]] = []
    query = "limit=2"
    while True:
        page = await orders_of(orders, ALICE, query)
        seen += page["items"]
        if page["next"] is None:
            break
        query = f"limit=2&after={page['next']}"
    assert sorted(order["id"] for order in seen) == sorted(numbers)
    assert [order["placed_at"] for order in seen] == sorted((order["placed_at"] for order in seen), reverse=True)


@pytest.mark.parametrize("cursor", ["x", "WyJhIiwiYiJd", "WyIyMDMwLTAxLTAxVDAwOjAwOjAwIiwiYSJd"])
async def test_a_cursor_that_was_never_given_out_is_refused(orders: Peer, cursor: str) -> None:
    answer = await orders.call("GET", "/orders", who=ALICE, query=f"after={cursor}")
    assert (answer.status_code, problem(answer)["code"]) == (400, "invalid_cursor")


async def test_parallel_orders_over_sockets_never_oversell(orders: Peer, products: Peer) -> None:
    kettle = await added(products, stock=10)
    answers = await asyncio.gather(*(orders.call("POST", "/orders", basket((kettle, 1)), who=ALICE) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [201] * 10 + [409] * 10
    assert await stock_of(products, kettle) == 0
    assert len((await orders_of(orders, ALICE, "limit=100"))["items"]) == 10


async def test_while_products_is_away_nothing_is_stored(
    orders_settings: OrdersSettings, links: Links, clock: Clock
) -> None:
    settings = orders_settings.model_copy(update={"products_url": f"http://127.0.0.1:{closed_port()}"})
    async with opened(create_orders(settings, links.of("orders"), clock)) as http:
        orders = Peer(http, links, "gateway", "orders", clock)
        answer = await orders.call("POST", "/orders", basket(({"id": str(uuid4())}, 1)), who=ALICE)
        assert (answer.status_code, problem(answer)["code"]) == (503, "upstream_unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        assert await orders_of(orders, ALICE) == {"items": [], "next": None}


async def test_an_order_that_cannot_be_stored_gives_the_stock_back(
    orders_settings: OrdersSettings, products: Peer, links: Links, clock: Clock
) -> None:
    kettle = await added(products, stock=3)
    app = create_orders(orders_settings, links.of("orders"), clock)
    async with opened(app) as http:
        async with app.state.database.write_session() as session:
            await (await session.connection()).exec_driver_sql("DROP TABLE order_lines")
        orders = Peer(http, links, "gateway", "orders", clock)
        answer = await orders.call("POST", "/orders", basket((kettle, 2)), who=ALICE)
        assert answer.status_code in {500, 503}
        assert "order_lines" not in answer.text
    assert await stock_of(products, kettle) == 3


def test_every_state_is_in_the_table_and_an_order_begins_in_one() -> None:
    assert set(NEXT) == set(Status)
    assert INITIAL in Status
    assert all(following <= set(Status) for following in NEXT.values())
