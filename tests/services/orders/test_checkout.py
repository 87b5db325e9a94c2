from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from lockgate_shop.kit.clock import utc_now
from lockgate_shop.kit.http.idempotency import KEY_IN_FLIGHT, MAX_KEY, read_key
from lockgate_shop.kit.problem import Problem
from lockgate_shop.orders.app import create_app as create_orders
from lockgate_shop.orders.checkout import KEY_LIFE, LEASE, Purchase
from lockgate_shop.orders.checkout_store import CheckoutStore
from lockgate_shop.orders.models import Checkout, Order, Release
from tests.support.peers import Clock, Links, Peer, Who, caller, closed_port, opened, problem
from tests.support.shop_calls import ALICE, BOB, added, basket, orders_of, placed, reserve, stock_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx
    from fastapi import FastAPI

    from lockgate_shop.orders.checkout import Checkouts
    from lockgate_shop.orders.settings import OrdersSettings


@asynccontextmanager
async def node(
    settings: OrdersSettings, links: Links, clock: Clock, **changed: object
) -> AsyncIterator[tuple[FastAPI, Peer]]:
    """One more node of the orders service."""
    app = create_orders(settings.model_copy(update=changed), links.of("orders"), clock)
    async with opened(app) as http:
        yield app, Peer(http, links, "gateway", "orders", clock)


@pytest.fixture
async def orders_app(orders_settings: OrdersSettings, links: Links, clock: Clock) -> AsyncIterator[FastAPI]:
    async with node(orders_settings, links, clock) as (app, _):
        yield app


@pytest.fixture
async def lonely(orders_settings: OrdersSettings, links: Links, clock: Clock) -> AsyncIterator[Peer]:
    """A node that cannot reach products."""
    async with node(orders_settings, links, clock, products_url=f"http://127.0.0.1:{closed_port()}") as (_, peer):
        yield peer


async def buy(orders: Peer, body: object, key: str, who: Who = ALICE) -> httpx.Response:
    return await orders.call("POST", "/orders", body, who=who, headers={"idempotency-key": f'"{key}"'})


async def count(app: FastAPI, table: type[Order | Checkout | Release]) -> int:
    async with app.state.database.read_session() as session:
        return int((await session.execute(select(func.count()).select_from(table))).scalar_one())


async def test_the_same_request_with_the_same_key_has_the_same_answer_and_buys_once(
    orders: Peer, products: Peer
) -> None:
    kettle = await added(products, stock=3)
    first = await buy(orders, basket((kettle, 1)), "k")
    again = await buy(orders, basket((kettle, 1)), "k")
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert await stock_of(products, kettle) == 2
    assert len((await orders_of(orders, ALICE))["items"]) == 1


async def test_20_requests_at_once_with_one_key_on_two_nodes_buy_once(
    orders: Peer, products: Peer, orders_settings: OrdersSettings, links: Links, clock: Clock
) -> None:
    kettle = await added(products, stock=30)
    async with node(orders_settings, links, clock) as (_, other):
        answers = await asyncio.gather(*(buy((orders, other)[n % 2], basket((kettle, 1)), "k") for n in range(20)))
        late = await buy(other, basket((kettle, 1)), "k")
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert {problem(answer)["code"] for answer in answers if answer.status_code == 409} <= {"idempotency_key_in_flight"}
    assert {answer.text for answer in answers if answer.status_code == 201} == {late.text}
    assert await stock_of(products, kettle) == 29
    assert [order["id"] for order in (await orders_of(orders, ALICE))["items"]] == [late.json()["id"]]


async def test_a_key_is_not_good_for_another_request(orders: Peer, products: Peer) -> None:
    kettle = await added(products, stock=3)
    await buy(orders, basket((kettle, 1)), "k")
    answer = await buy(orders, basket((kettle, 2)), "k")
    assert (answer.status_code, problem(answer)["code"]) == (422, "idempotency_key_reused")
    assert await stock_of(products, kettle) == 2
    assert len((await orders_of(orders, ALICE))["items"]) == 1


async def test_keys_of_different_users_have_nothing_to_do_with_each_other(orders: Peer, products: Peer) -> None:
    kettle = await added(products, stock=3)
    mine, hers = [await buy(orders, basket((kettle, 1)), "k", who) for who in (ALICE, BOB)]
    assert mine.json()["id"] != hers.json()["id"]
    assert await stock_of(products, kettle) == 1


async def test_without_a_key_each_request_is_a_purchase(orders: Peer, products: Peer) -> None:
    kettle = await added(products, stock=3)
    first, second = [await placed(orders, (kettle, 1)) for _ in range(2)]
    assert first["id"] != second["id"]
    assert await stock_of(products, kettle) == 1


async def test_a_refusal_is_remembered_as_well(orders: Peer, products: Peer) -> None:
    kettle = await added(products, stock=0)
    first = await buy(orders, basket((kettle, 1)), "k")
    other = await added(products, name="Cup", stock=1)
    again = await buy(orders, basket((kettle, 1)), "k")
    assert problem(first)["code"] == problem(again)["code"] == "out_of_stock"
    assert (await buy(orders, basket((other, 1)), "another")).status_code == 201


async def test_a_key_whose_request_came_to_nothing_may_be_used_again(
    orders: Peer, products: Peer, lonely: Peer, orders_app: FastAPI
) -> None:
    kettle = await added(products, stock=3)
    answer = await buy(lonely, basket((kettle, 1)), "k")
    assert (answer.status_code, problem(answer)["code"]) == (503, "upstream_unavailable")
    assert (await count(orders_app, Checkout), await count(orders_app, Order)) == (0, 0)
    assert (await buy(orders, basket((kettle, 1)), "k")).status_code == 201
    assert await stock_of(products, kettle) == 2


async def test_an_answer_that_is_repeated_later_is_still_that_of_the_first_time(orders: Peer, products: Peer) -> None:
    kettle = await added(products, stock=3)
    first = await buy(orders, basket((kettle, 1)), "k")
    await orders.call("POST", f"/orders/{first.json()['id']}/cancel", who=ALICE)
    assert (await buy(orders, basket((kettle, 1)), "k")).json() == first.json()
    assert await stock_of(products, kettle) == 3


@pytest.mark.parametrize("value", ['""', "two words", '"open', "a,b", "(k)", f'"{"k" * (MAX_KEY + 1)}"', "1;a=2"])
async def test_a_key_that_cannot_be_used_is_refused(orders: Peer, products: Peer, value: str) -> None:
    kettle = await added(products, stock=3)
    answer = await orders.call("POST", "/orders", basket((kettle, 1)), who=ALICE, headers={"idempotency-key": value})
    assert (answer.status_code, problem(answer)["code"]) == (400, "invalid_idempotency_key")
    assert await stock_of(products, kettle) == 3


def test_a_key_reads_the_same_with_and_without_quotes() -> None:
    assert read_key("8e03978e-40d5-43dd") == read_key('"8e03978e-40d5-43dd"') == "8e03978e-40d5-43dd"
    assert read_key(r'"a\"b\\c"') == 'a"b\\c'


@given(st.text(max_size=300))
def test_any_field_value_is_a_usable_key_or_none(value: str) -> None:
    key = read_key(value)
    assert key is None or (0 < len(key) <= MAX_KEY and key.isprintable() and key.isascii())


# What a process that was killed leaves behind; a real one is killed in tests/faults.


async def left_behind(app: FastAPI, clock: Clock, key: str = "k") -> UUID:
    """A checkout that was begun and not ended, as of now."""
    checkout = Checkout(
        order_id=uuid4(),
        user_id=str(ALICE.user_id),
        idempotency_key=key,
        fingerprint="f",
        started_at=utc_now(clock),
        outcome=None,
    )
    assert await CheckoutStore(app.state.database).begin_checkout(checkout) is None
    return checkout.order_id


def purchase(kettle: dict[str, Any]) -> Purchase:
    return Purchase(user_id=str(ALICE.user_id), items={UUID(kettle["id"]): 1}, fingerprint="f", key="k")


async def test_while_a_request_is_under_way_its_key_is_not_served_twice(
    orders_app: FastAPI, orders: Peer, products: Peer, clock: Clock
) -> None:
    kettle = await added(products, stock=3)
    await left_behind(orders_app, clock)
    checkouts: Checkouts = orders_app.state.checkouts
    outcome = await checkouts.place_order(caller(ALICE), purchase(kettle))
    assert isinstance(outcome, Problem)
    assert outcome is KEY_IN_FLIGHT
    assert await stock_of(products, kettle) == 3
    assert (await orders_of(orders, ALICE))["items"] == []


async def test_a_request_that_was_left_behind_can_be_repeated_after_a_while(
    orders_app: FastAPI, products: Peer, buyer: Peer, clock: Clock
) -> None:
    kettle = await added(products, stock=3)
    order_id = await left_behind(orders_app, clock)
    await reserve(buyer, str(order_id), (kettle, 1))
    clock.now += LEASE.total_seconds() + 1
    checkouts: Checkouts = orders_app.state.checkouts
    order = await checkouts.place_order(caller(ALICE), purchase(kettle))
    assert isinstance(order, Order)
    assert order.id != order_id
    assert await stock_of(products, kettle) == 2
    assert (await count(orders_app, Release), await count(orders_app, Order)) == (0, 1)


async def test_a_sweep_gives_back_what_never_became_an_order_and_nothing_else(
    orders_app: FastAPI, orders: Peer, products: Peer, buyer: Peer, clock: Clock
) -> None:
    kettle = await added(products, stock=9)
    order = await placed(orders, (kettle, 2))
    await reserve(buyer, str(await left_behind(orders_app, clock, "old")), (kettle, 3))
    clock.now += LEASE.total_seconds() + 1
    await reserve(buyer, str(await left_behind(orders_app, clock, "young")), (kettle, 1))
    checkouts: Checkouts = orders_app.state.checkouts
    await asyncio.gather(*(checkouts.sweep_checkouts() for _ in range(4)))
    assert await stock_of(products, kettle) == 9 - 2 - 1
    assert [found["id"] for found in (await orders_of(orders, ALICE))["items"]] == [order["id"]]
    assert await count(orders_app, Release) == 0


async def test_a_checkout_that_was_taken_back_meanwhile_stores_no_order(orders_app: FastAPI, clock: Clock) -> None:
    store = CheckoutStore(orders_app.state.database)
    order_id = await left_behind(orders_app, clock)
    assert await store.take_back(order_id, utc_now(clock))
    late = Order(
        id=order_id,
        user_id="alice-id",
        status="placed",
        currency="EUR",
        total_minor=1,
        placed_at=utc_now(clock),
        lines=[],
    )
    assert not await store.place_order(late)
    assert await count(orders_app, Order) == 0
    assert not await store.take_back(order_id, utc_now(clock))


async def test_a_key_is_forgotten_after_a_week(orders_app: FastAPI, orders: Peer, products: Peer, clock: Clock) -> None:
    kettle = await added(products, stock=3)
    first = await buy(orders, basket((kettle, 1)), "k")
    clock.now += KEY_LIFE.total_seconds() - 1
    await orders_app.state.checkouts.sweep_checkouts()
    assert (await buy(orders, basket((kettle, 1)), "k")).json() == first.json()
    clock.now += 2
    await orders_app.state.checkouts.sweep_checkouts()
    assert (await buy(orders, basket((kettle, 1)), "k")).json()["id"] != first.json()["id"]


# Buying what is in the cart.

FROM_CART = {"from_cart": True}


async def test_the_cart_can_be_bought_and_is_empty_then(orders: Peer, products: Peer) -> None:
    kettle, cup = await added(products, stock=3), await added(products, name="Cup", stock=3)
    await orders.call("PUT", "/orders/cart", basket((kettle, 2), (cup, 1)), who=ALICE)
    first = await buy(orders, FROM_CART, "k")
    assert first.status_code == 201, first.text
    assert [(line["name"], line["quantity"]) for line in first.json()["items"]] == [("Kettle", 2), ("Cup", 1)]
    assert (await orders.call("GET", "/orders/cart", who=ALICE)).json() == {"items": []}
    # What is put in after that is not taken out by the same request once more.
    await orders.call("PUT", "/orders/cart", basket((kettle, 1)), who=ALICE)
    assert (await buy(orders, FROM_CART, "k")).json() == first.json()
    assert (await orders.call("GET", "/orders/cart", who=ALICE)).json() == basket((kettle, 1))
    assert await stock_of(products, kettle) == 1


async def test_an_empty_cart_buys_nothing(orders: Peer) -> None:
    answer = await buy(orders, FROM_CART, "k")
    assert (answer.status_code, problem(answer)["code"]) == (409, "cart_empty")
    assert (await orders_of(orders, ALICE))["items"] == []


async def test_a_cart_that_cannot_be_bought_stays_as_it_is(orders: Peer, products: Peer) -> None:
    kettle = await added(products, stock=1)
    await orders.call("PUT", "/orders/cart", basket((kettle, 2)), who=ALICE)
    assert problem(await buy(orders, FROM_CART, "k"))["code"] == "out_of_stock"
    assert (await orders.call("GET", "/orders/cart", who=ALICE)).json() == basket((kettle, 2))


@pytest.mark.parametrize("body", [{}, {"from_cart": False}, {"from_cart": True, "items": []}, {"items": None}])
async def test_what_to_buy_is_said_in_one_way(orders: Peer, body: dict[str, Any]) -> None:
    answer = await orders.call("POST", "/orders", body, who=ALICE)
    assert (answer.status_code, problem(answer)["code"]) == (400, "invalid_fields")


# Cancelling.


async def test_a_cancelled_order_gives_its_stock_back_once(orders: Peer, products: Peer) -> None:
    kettle = await added(products, stock=3)
    order = await placed(orders, (kettle, 2))
    path = f"/orders/{order['id']}/cancel"
    answers = await asyncio.gather(*(orders.call("POST", path, who=ALICE) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["status"] for answer in answers} == {"cancelled"}
    assert await stock_of(products, kettle) == 3
    assert (await orders_of(orders, ALICE))["items"][0]["status"] == "cancelled"


async def test_somebody_elses_order_cannot_be_cancelled(orders: Peer, products: Peer) -> None:
    kettle = await added(products, stock=3)
    order = await placed(orders, (kettle, 2))
    for who, order_id in ((BOB, order["id"]), (ALICE, uuid4())):
        answer = await orders.call("POST", f"/orders/{order_id}/cancel", who=who)
        assert (answer.status_code, problem(answer)["code"]) == (404, "not_found")
    assert await stock_of(products, kettle) == 1
    assert (await orders_of(orders, ALICE))["items"] == [order]


async def test_an_order_is_cancelled_while_products_is_away_and_the_stock_follows(
    orders: Peer, orders_app: FastAPI, products: Peer, lonely: Peer
) -> None:
    kettle = await added(products, stock=3)
    order = await placed(orders, (kettle, 2))
    answer = await lonely.call("POST", f"/orders/{order['id']}/cancel", who=ALICE)
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert await stock_of(products, kettle) == 1
    await orders_app.state.checkouts.sweep_checkouts()
    await orders_app.state.checkouts.sweep_checkouts()
    assert await stock_of(products, kettle) == 3
    assert await count(orders_app, Release) == 0
