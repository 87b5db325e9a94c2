from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.support.peers import Peer, Who, problem
from tests.support.shop_calls import ADMIN, KETTLE, USER, added, reserve, stock_of

if TYPE_CHECKING:
    from tests.support.peers import Clock, Links


async def test_a_reservation_takes_stock_and_tells_the_price(products: Peer, buyer: Peer) -> None:
    product = await added(products, stock=3)
    reservation = str(uuid4())
    answer = await reserve(buyer, reservation, (product, 2))
    assert answer.status_code == 201
    line = {"product_id": product["id"], "name": "Kettle", "quantity": 2, "unit_price": KETTLE["price"]}
    assert answer.json() == {"reservation_id": reservation, "items": [line]}
    assert await stock_of(products, product) == 1


async def test_50_parallel_buyers_of_the_last_10_get_10(products: Peer, buyer: Peer) -> None:
    product = await added(products, stock=10)
    answers = await asyncio.gather(*(reserve(buyer, str(uuid4()), (product, 1)) for _ in range(50)))
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(201), statuses.count(409)) == (10, 40)
    assert await stock_of(products, product) == 0


async def test_parallel_buyers_of_two_products_in_either_order_take_all_or_nothing(products: Peer, buyer: Peer) -> None:
    one, two = await added(products, name="one", stock=6), await added(products, name="two", stock=4)
    answers = await asyncio.gather(
        *(
            reserve(buyer, str(uuid4()), *((pair, 1) for pair in ((one, two), (two, one))[turn % 2]))
            for turn in range(20)
        )
    )
    assert [answer.status_code for answer in answers].count(201) == 4
    assert (await stock_of(products, one), await stock_of(products, two)) == (2, 0)


async def test_the_same_reservation_asked_for_20_times_at_once_takes_once(products: Peer, buyer: Peer) -> None:
    product = await added(products, stock=1)
    reservation = str(uuid4())
    answers = await asyncio.gather(*(reserve(buyer, reservation, (product, 1)) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert len({answer.text for answer in answers}) == 1
    assert await stock_of(products, product) == 0


async def test_a_repeated_reservation_keeps_the_price_of_the_first_time(products: Peer, buyer: Peer) -> None:
    product = await added(products)
    reservation = str(uuid4())
    first = await reserve(buyer, reservation, (product, 1))
    change = {"price": {"amount": 1, "currency": "EUR"}}
    await products.call("PATCH", f"/products/{product['id']}", change, who=ADMIN)
    assert (await reserve(buyer, reservation, (product, 1))).json() == first.json()


async def test_an_id_reserves_one_thing_only(products: Peer, buyer: Peer) -> None:
    product = await added(products, stock=3)
    reservation = str(uuid4())
    await reserve(buyer, reservation, (product, 1))
    answer = await reserve(buyer, reservation, (product, 2))
    assert (answer.status_code, problem(answer)["code"]) == (409, "reservation_differs")
    assert await stock_of(products, product) == 2


async def test_what_is_short_takes_nothing_of_the_rest(products: Peer, buyer: Peer) -> None:
    plenty, short = await added(products, name="plenty", stock=9), await added(products, name="short", stock=1)
    reservation = str(uuid4())
    answer = await reserve(buyer, reservation, (plenty, 1), (short, 2))
    assert (answer.status_code, problem(answer)["code"]) == (409, "out_of_stock")
    assert await stock_of(products, plenty) == 9
    # Nothing was left behind under its id either.
    assert (await reserve(buyer, reservation, (plenty, 1))).status_code == 201


async def test_an_unknown_or_withdrawn_product_cannot_be_reserved(products: Peer, buyer: Peer) -> None:
    withdrawn = await added(products)
    await products.call("DELETE", f"/products/{withdrawn['id']}", who=ADMIN)
    for product in (withdrawn, {"id": str(uuid4())}):
        answer = await reserve(buyer, str(uuid4()), (product, 1))
        assert problem(answer)["code"] == "out_of_stock"


async def test_one_reservation_has_one_currency(products: Peer, buyer: Peer) -> None:
    euros = await added(products, name="euros")
    dollars = await added(products, name="dollars", price={"amount": 1, "currency": "USD"})
    answer = await reserve(buyer, str(uuid4()), (euros, 1), (dollars, 1))
    assert problem(answer)["code"] == "mixed_currencies"
    assert await stock_of(products, euros) == 3


async def test_releasing_gives_back_once(products: Peer, buyer: Peer) -> None:
    product = await added(products, stock=5)
    reservation = str(uuid4())
    await reserve(buyer, reservation, (product, 3))
    path = f"/internal/reservations/{reservation}"
    answers = await asyncio.gather(*(buyer.call("DELETE", path, who=USER) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {204}
    assert await stock_of(products, product) == 5


async def test_a_reservation_that_arrives_after_its_release_takes_nothing(products: Peer, buyer: Peer) -> None:
    product = await added(products, stock=5)
    reservation = str(uuid4())
    assert (await buyer.call("DELETE", f"/internal/reservations/{reservation}", who=USER)).status_code == 204
    answer = await reserve(buyer, reservation, (product, 3))
    assert problem(answer)["code"] == "reservation_differs"
    assert await stock_of(products, product) == 5


async def test_reserving_and_releasing_at_once_never_loses_stock(products: Peer, buyer: Peer) -> None:
    product = await added(products, stock=10)
    reservations = [str(uuid4()) for _ in range(15)]
    await asyncio.gather(
        *(reserve(buyer, reservation, (product, 1)) for reservation in reservations),
        *(buyer.call("DELETE", f"/internal/reservations/{reservation}", who=USER) for reservation in reservations),
    )
    assert await stock_of(products, product) == 10


async def test_a_quote_tells_price_and_availability_and_takes_nothing(products: Peer, buyer: Peer) -> None:
    product, missing = await added(products, stock=3), str(uuid4())
    items = [{"product_id": missing, "quantity": 1}, {"product_id": product["id"], "quantity": 4}]
    answer = await buyer.call("POST", "/internal/quotes", {"items": items}, who=USER)
    absent, scarce = answer.json()["items"]
    assert absent == {"product_id": missing, "quantity": 1, "available": False, "name": None, "unit_price": None}
    assert (scarce["available"], scarce["unit_price"]) == (False, KETTLE["price"])
    assert await stock_of(products, product) == 3


@pytest.mark.parametrize("quantities", [[], [0], [-1], [1001], ["1"], [1.0], [True], [1, 1]])
async def test_items_that_make_no_sense_are_refused(products: Peer, buyer: Peer, quantities: list[object]) -> None:
    product = await added(products)
    items = [{"product_id": product["id"], "quantity": quantity} for quantity in quantities]
    for path, body in (("/internal/quotes", {}), ("/internal/reservations", {"reservation_id": str(uuid4())})):
        answer = await buyer.call("POST", path, {**body, "items": items}, who=USER)
        assert (answer.status_code, problem(answer)["code"]) == (400, "invalid_fields")
    assert await stock_of(products, product) == 3


@pytest.mark.parametrize("user", [USER, ADMIN])
async def test_internal_routes_are_not_the_gateways(products: Peer, user: Who) -> None:
    product = await added(products)
    body = {"reservation_id": str(uuid4()), "items": [{"product_id": product["id"], "quantity": 1}]}
    answer = await products.call("POST", "/internal/reservations", body, who=user)
    assert (answer.status_code, problem(answer)["code"]) == (403, "link_refused")
    assert await stock_of(products, product) == 3


async def test_the_catalogue_is_not_written_over_another_link(products: Peer, links: Links, clock: Clock) -> None:
    other = Peer(products.http, links, "orders", "products", clock)
    answer = await other.call("POST", "/products", KETTLE, who=ADMIN)
    assert (answer.status_code, problem(answer)["code"]) == (403, "link_refused")
    assert (await products.call("GET", "/products")).json()["items"] == []
