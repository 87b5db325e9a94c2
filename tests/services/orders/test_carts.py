from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from lockgate_shop.kit.problem import Problem
from lockgate_shop.orders.app import create_app as create_orders
from lockgate_shop.orders.carts import LIFE_S, MAX_LINES, MAX_QUANTITY, Cart
from tests.support.peers import Peer, Who, closed_port, opened, problem
from tests.support.shop_calls import ALICE, BOB, added

if TYPE_CHECKING:
    import httpx

    from lockgate_shop.orders.settings import OrdersSettings
    from tests.support.peers import Clock, Links

LAMP, CUP, PEN = (str(UUID(int=number)) for number in (1, 2, 3))


def listed(**quantities: int) -> dict[str, Any]:
    ids = {"lamp": LAMP, "cup": CUP, "pen": PEN}
    return {"items": [{"product_id": ids[name], "quantity": quantity} for name, quantity in quantities.items()]}


async def cart_of(orders: Peer, who: Who = ALICE) -> dict[str, Any]:
    answer = await orders.call("GET", "/orders/cart", who=who)
    assert answer.status_code == 200, answer.text
    members: dict[str, Any] = answer.json()
    return members


async def put(orders: Peer, body: object, *, headers: dict[str, str] | None = None) -> httpx.Response:
    return await orders.call("PUT", "/orders/cart", body, who=ALICE, headers=headers)


async def test_a_cart_begins_empty_and_holds_what_was_put_in_in_that_order(orders: Peer) -> None:
    assert await cart_of(orders) == {"items": []}
    answer = await put(orders, listed(pen=2, cup=1))
    assert (answer.status_code, answer.json()) == (200, listed(pen=2, cup=1))
    assert await cart_of(orders) == listed(pen=2, cup=1)


async def test_a_cart_filled_on_one_node_is_there_on_every_other(
    orders: Peer, orders_settings: OrdersSettings, links: Links, clock: Clock
) -> None:
    await put(orders, listed(lamp=1))
    async with opened(create_orders(orders_settings, links.of("orders"), clock)) as http:
        other = Peer(http, links, "gateway", "orders", clock)
        assert await cart_of(other) == listed(lamp=1)
        await other.call("PATCH", "/orders/cart", listed(cup=2), who=ALICE)
    assert await cart_of(orders) == listed(lamp=1, cup=2)


async def test_a_cart_is_its_owners_alone(orders: Peer) -> None:
    await put(orders, listed(lamp=1))
    assert await cart_of(orders, BOB) == {"items": []}
    nobody = await orders.call("GET", "/orders/cart")
    assert (nobody.status_code, problem(nobody)["code"]) == (401, "credentials_required")


async def test_a_user_id_with_braces_cannot_reach_into_another_cart(orders: Peer) -> None:
    await put(orders, listed(lamp=1))
    for name in ("{alice-id}", "alice-id}:cart", "alice-id%7D", "*"):
        assert await cart_of(orders, Who(name)) == {"items": []}


async def test_a_change_sets_some_quantities_and_takes_out_what_becomes_none(orders: Peer) -> None:
    await put(orders, listed(lamp=1, cup=2))
    answer = await orders.call("PATCH", "/orders/cart", listed(lamp=0, pen=3), who=ALICE)
    assert answer.json() == listed(cup=2, pen=3)


async def test_an_emptied_cart_is_empty(orders: Peer) -> None:
    await put(orders, listed(lamp=1))
    assert (await orders.call("DELETE", "/orders/cart", who=ALICE)).status_code == 204
    assert await cart_of(orders) == {"items": []}


async def test_changes_of_different_products_at_once_are_all_kept(orders: Peer) -> None:
    ids = [str(uuid4()) for _ in range(20)]
    answers = await asyncio.gather(
        *(
            orders.call("PATCH", "/orders/cart", {"items": [{"product_id": each, "quantity": 1}]}, who=ALICE)
            for each in ids
        )
    )
    assert {answer.status_code for answer in answers} == {200}
    assert {item["product_id"] for item in (await cart_of(orders))["items"]} == set(ids)


async def test_a_cart_that_changed_since_it_was_read_is_not_written_over(orders: Peer) -> None:
    tag = (await put(orders, listed(lamp=1))).headers["etag"]
    await put(orders, listed(cup=1))
    late = await put(orders, listed(pen=1), headers={"if-match": tag})
    assert (late.status_code, problem(late)["code"]) == (412, "cart_changed")
    assert await cart_of(orders) == listed(cup=1)
    fresh = (await orders.call("GET", "/orders/cart", who=ALICE)).headers["etag"]
    assert (await put(orders, listed(pen=1), headers={"if-match": fresh})).json() == listed(pen=1)


async def test_a_guests_cart_is_added_once_however_often_it_is_merged(orders: Peer) -> None:
    await put(orders, listed(lamp=1))
    merge = {"merge_id": str(uuid4()), **listed(lamp=2, cup=1)}
    answers = await asyncio.gather(*(orders.call("POST", "/orders/cart/merge", merge, who=ALICE) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert await cart_of(orders) == listed(lamp=3, cup=1)
    # Also after everything was taken out again: a late retry does not fill it.
    await orders.call("DELETE", "/orders/cart", who=ALICE)
    await orders.call("POST", "/orders/cart/merge", merge, who=ALICE)
    assert await cart_of(orders) == {"items": []}


async def test_a_merge_that_does_not_fit_changes_nothing_and_may_be_tried_again(orders: Peer) -> None:
    full = {"items": [{"product_id": str(uuid4()), "quantity": 1} for _ in range(MAX_LINES)]}
    assert (await put(orders, full)).status_code == 200
    merge = {"merge_id": str(uuid4()), **listed(lamp=1)}
    answer = await orders.call("POST", "/orders/cart/merge", merge, who=ALICE)
    assert (answer.status_code, problem(answer)["code"]) == (409, "cart_full")
    assert await cart_of(orders) == full
    await put(orders, listed(cup=1))
    await orders.call("POST", "/orders/cart/merge", merge, who=ALICE)
    assert await cart_of(orders) == listed(cup=1, lamp=1)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"items": None},
        {"items": [{"product_id": LAMP, "quantity": 0}]},
        {"items": [{"product_id": LAMP, "quantity": MAX_QUANTITY + 1}]},
        {"items": [{"product_id": LAMP, "quantity": "1"}]},
        {"items": [{"product_id": "lamp", "quantity": 1}]},
        {"items": [{"product_id": LAMP, "quantity": 1}] * 2},
        {"items": [{"product_id": LAMP, "quantity": 1, "price": 0}]},
        {"items": [], "user_id": "bob-id"},
        {"items": [{"product_id": str(UUID(int=n)), "quantity": 1} for n in range(MAX_LINES + 1)]},
    ],
)
async def test_a_cart_that_makes_no_sense_is_refused_and_changes_nothing(orders: Peer, body: object) -> None:
    """R-105: what was not declared, and what is out of bounds."""
    await put(orders, listed(lamp=1))
    answer = await put(orders, body)
    assert (answer.status_code, problem(answer)["code"]) == (400, "invalid_fields")
    assert await cart_of(orders) == listed(lamp=1)


async def test_a_cart_lives_30_days_from_its_last_change(orders: Peer, redis_url: str) -> None:
    await put(orders, listed(lamp=1))
    async with Redis.from_url(redis_url) as redis:
        (key,) = await redis.keys("orders:*:cart")
        await redis.expire(key, 60)
        await put(orders, listed(lamp=2))
        assert LIFE_S - 60 < await redis.ttl(key) <= LIFE_S == 30 * 24 * 3600


async def test_a_quote_tells_todays_prices_and_takes_nothing(orders: Peer, products: Peer) -> None:
    kettle = await added(products, stock=3)
    await put(orders, {"items": [{"product_id": kettle["id"], "quantity": 2}]})
    quote = (await orders.call("GET", "/orders/cart/quote", who=ALICE)).json()
    assert quote["total"] == {"amount": 5000, "currency": "EUR"}
    assert [(line["name"], line["available"]) for line in quote["items"]] == [("Kettle", True)]
    await put(orders, {"items": [{"product_id": kettle["id"], "quantity": 4}]})
    assert (await orders.call("GET", "/orders/cart/quote", who=ALICE)).json()["total"] is None
    await put(orders, {"items": []})
    assert (await orders.call("GET", "/orders/cart/quote", who=ALICE)).json() == {"items": [], "total": None}


async def test_while_redis_is_away_carts_are_away_and_orders_are_not(
    orders_settings: OrdersSettings, products: Peer, links: Links, clock: Clock
) -> None:
    kettle = await added(products, stock=3)
    away = orders_settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{closed_port()}"})
    async with opened(create_orders(away, links.of("orders"), clock)) as http:
        orders = Peer(http, links, "gateway", "orders", clock)
        answer = await orders.call("GET", "/orders/cart", who=ALICE)
        assert (answer.status_code, problem(answer)["code"]) == (503, "store_unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        bought = {"items": [{"product_id": kettle["id"], "quantity": 1}]}
        assert (await orders.call("POST", "/orders", bought, who=ALICE)).status_code == 201


quantities = st.dictionaries(st.uuids(), st.integers(1, MAX_QUANTITY), max_size=30)


@given(held=quantities, guest=quantities, merge_id=st.uuids())
def test_merging_twice_is_merging_once(held: dict[UUID, int], guest: dict[UUID, int], merge_id: UUID) -> None:
    once = Cart(held).with_merged(merge_id, guest)
    if isinstance(once, Problem):
        assert len({*held, *guest}) > MAX_LINES
        return
    assert once.with_merged(merge_id, guest) == once
    assert all(1 <= quantity <= MAX_QUANTITY for quantity in once.items.values())
    assert set(once.items) == {*held, *guest}


@given(held=quantities, bought=quantities, order_id=st.uuids())
def test_what_was_bought_leaves_the_cart_once(held: dict[UUID, int], bought: dict[UUID, int], order_id: UUID) -> None:
    rest = Cart(held).without_bought(order_id, bought)
    assert isinstance(rest, Cart)
    assert rest.without_bought(order_id, bought) == rest
    assert rest.items == {p: q - bought.get(p, 0) for p, q in held.items() if q > bought.get(p, 0)}
