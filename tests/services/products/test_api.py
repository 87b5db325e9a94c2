from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from lockgate_shop.products import demo
from tests.support.peers import NOBODY, Peer, Who, problem
from tests.support.shop_calls import ADMIN, KETTLE, READER, added, listed

if TYPE_CHECKING:
    from fastapi import FastAPI

    from tests.support.peers import Clock


async def test_an_added_product_can_be_read_by_everybody(products: Peer) -> None:
    product = await added(products)
    assert product["price"] == {"amount": 2500, "currency": "EUR"}
    answer = await products.call("GET", f"/products/{product['id']}")
    assert answer.json() == product
    assert (await listed(products))["items"] == [product]


async def test_an_unknown_product_is_not_found(products: Peer) -> None:
    answer = await products.call("GET", f"/products/{uuid4()}")
    assert (answer.status_code, problem(answer)["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("who", "status", "code"), [(NOBODY, 401, "credentials_required"), (READER, 403, "insufficient_scope")]
)
async def test_only_the_scope_lets_write(products: Peer, who: Who, status: int, code: str) -> None:
    product = await added(products)
    path = f"/products/{product['id']}"
    for method, where, body in (("POST", "/products", KETTLE), ("PATCH", path, {"stock": 9}), ("DELETE", path, None)):
        answer = await products.call(method, where, body, who=who)
        assert (answer.status_code, problem(answer)["code"]) == (status, code)
    assert (await listed(products))["items"] == [product]


@pytest.mark.parametrize(
    "wrong",
    [
        {"price": {"amount": 1.5, "currency": "EUR"}},
        {"price": {"amount": "100", "currency": "EUR"}},
        {"price": {"amount": True, "currency": "EUR"}},
        {"price": {"amount": -1, "currency": "EUR"}},
        {"price": {"amount": 10**13, "currency": "EUR"}},
        {"price": {"amount": 1, "currency": "eur"}},
        {"price": {"amount": 1, "currency": "EUR\n"}},
        {"stock": -1},
        {"stock": 10**10},
        {"stock": None},
        {"name": " "},
        {"name": "x" * 121},
        {"description": "bell \u0007"},
        {"id": str(uuid4())},
    ],
)
async def test_a_product_with_a_wrong_field_is_neither_added_nor_changed(
    products: Peer, wrong: dict[str, object]
) -> None:
    product = await added(products)
    adding = await products.call("POST", "/products", {**KETTLE, **wrong}, who=ADMIN)
    changing = await products.call("PATCH", f"/products/{product['id']}", wrong, who=ADMIN)
    assert {problem(adding)["code"], problem(changing)["code"]} == {"invalid_fields"}
    assert (await listed(products))["items"] == [product]


async def test_a_change_leaves_the_rest_and_moves_the_time(products: Peer, clock: Clock) -> None:
    product = await added(products)
    clock.now += 60
    price = {"amount": 1999, "currency": "USD"}
    answer = await products.call("PATCH", f"/products/{product['id']}", {"price": price}, who=ADMIN)
    changed = answer.json()
    assert changed == {**product, "price": price, "updated_at": changed["updated_at"]}
    assert changed["updated_at"] > product["updated_at"]


async def test_a_withdrawn_product_is_gone(products: Peer) -> None:
    product = await added(products)
    path = f"/products/{product['id']}"
    assert (await products.call("DELETE", path, who=ADMIN)).status_code == 204
    for method, body in (("GET", None), ("PATCH", {"stock": 1}), ("DELETE", None)):
        assert (await products.call(method, path, body, who=ADMIN)).status_code == 404
    assert (await listed(products))["items"] == []


async def test_pages_follow_each_other_without_gap_or_repetition(products: Peer) -> None:
    for number in range(7):
        await added(products, name=f"Kettle {number // 2}")
    seen, query = [], "limit=3"
    while True:
        page = await listed(products, query)
        seen += page["items"]
        if page["next"] is None:
            break
        query = f"limit=3&after={page['next']}"
    assert len(seen) == len({product["id"] for product in seen}) == 7
    assert [product["name"] for product in seen] == sorted(product["name"] for product in seen)


async def test_a_product_added_before_the_cursor_does_not_shift_the_next_page(products: Peer) -> None:
    for name in ("b", "c", "d"):
        await added(products, name=name)
    first = await listed(products, "limit=2")
    await added(products, name="a")
    second = await listed(products, f"limit=2&after={first['next']}")
    assert [product["name"] for product in second["items"]] == ["d"]


@pytest.mark.parametrize(
    "cursor", ["x", "!!", "bnVsbA", "WyJhIl0", "WyJhIiwiYiJd", "WzEsMl0", "WyJcdTAwMDAiLCJhIl0", "%00", "W1tbWw"]
)
async def test_a_cursor_that_was_never_given_out_is_refused(products: Peer, cursor: str) -> None:
    answer = await products.call("GET", "/products", query=f"after={cursor}")
    assert (answer.status_code, problem(answer)["code"]) == (400, "invalid_cursor")


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "limit=1e9", "after=" + "a" * 1025])
async def test_a_wrong_query_is_refused(products: Peer, query: str) -> None:
    answer = await products.call("GET", "/products", query=query)
    assert (answer.status_code, problem(answer)["code"]) == (400, "invalid_fields")


async def test_the_demo_catalogue_is_seeded_once_and_stays_withdrawn(products: Peer, products_app: FastAPI) -> None:
    await demo.seed_products(products_app)
    items = (await listed(products))["items"]
    assert len(items) == 8
    await products.call("DELETE", f"/products/{items[0]['id']}", who=ADMIN)
    await demo.seed_products(products_app)
    assert (await listed(products))["items"] == items[1:]
