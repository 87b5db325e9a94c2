"""Finding products, and not sending again what a client has."""

from __future__ import annotations

import pytest

from tests.support.peers import Peer, Who, problem
from tests.support.shop_calls import ADMIN, added, listed

USER = Who("user-id", scopes=frozenset({"orders:write"}))


async def names(products: Peer, query: str) -> list[str]:
    return [product["name"] for product in (await listed(products, query))["items"]]


async def test_words_are_found_in_name_and_description_in_any_case_and_form(products: Peer) -> None:
    await added(products, name="Teekanne GROSS", description="Weiße Keramik")
    await added(products, name="Kettle", description="100% steel_plate")
    for query in ("q=keramik", "q=WEISSE+kanne", "q=gross", "q=%EF%BD%94eekanne"):
        assert await names(products, query) == ["Teekanne GROSS"], query
    for query in ("q=100%25", "q=steel_", "q=kett"):
        assert await names(products, query) == ["Kettle"], query
    for query in ("q=keramik+steel", "q=1%250", "q=s_eel", "q=%27+OR+1%3D1"):
        assert await names(products, query) == [], query


async def test_a_changed_product_is_found_by_what_it_is_called_now(products: Peer) -> None:
    product = await added(products, name="Kettle")
    await products.call("PATCH", f"/products/{product['id']}", {"name": "Samovar"}, who=ADMIN)
    assert await names(products, "q=samovar") == ["Samovar"]
    assert await names(products, "q=kettle") == []
    assert await names(products, "q=whistles") == ["Samovar"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("in_stock=true", ["dear", "pounds"]),
        ("in_stock=false", ["cheap"]),
        ("currency=EUR", ["cheap", "dear"]),
        ("currency=EUR&min_price=101", ["dear"]),
        ("currency=EUR&max_price=100", ["cheap"]),
        ("currency=EUR&min_price=100&max_price=900", ["cheap", "dear"]),
        ("currency=EUR&in_stock=true&q=dear", ["dear"]),
    ],
)
async def test_filters_keep_what_fits_all_of_them(products: Peer, query: str, found: list[str]) -> None:
    await added(products, name="cheap", price={"amount": 100, "currency": "EUR"}, stock=0)
    await added(products, name="dear", price={"amount": 900, "currency": "EUR"})
    await added(products, name="pounds", price={"amount": 500, "currency": "GBP"})
    assert await names(products, query) == found


async def test_pages_of_a_search_follow_each_other(products: Peer) -> None:
    for number in range(5):
        await added(products, name=f"Kettle {number}")
        await added(products, name=f"Pan {number}")
    first = await listed(products, "q=kettle&limit=3")
    second = await listed(products, f"q=kettle&limit=3&after={first['next']}")
    found = [product["name"] for product in first["items"] + second["items"]]
    assert found == [f"Kettle {number}" for number in range(5)]
    assert second["next"] is None


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("min_price=1", "currency_required"),
        ("max_price=1", "currency_required"),
        ("min_price=-1&currency=EUR", "invalid_fields"),
        ("max_price=1e3&currency=EUR", "invalid_fields"),
        ("currency=euro", "invalid_fields"),
        ("in_stock=perhaps", "invalid_fields"),
        ("q=", "invalid_fields"),
        ("q=a%00b", "invalid_fields"),
        ("q=a%0Ab", "invalid_fields"),
        ("q=" + "x" * 101, "invalid_fields"),
        ("colour=red", "invalid_fields"),
    ],
)
async def test_a_search_that_makes_no_sense_is_refused(products: Peer, query: str, code: str) -> None:
    answer = await products.call("GET", "/products", query=query)
    assert (answer.status_code, problem(answer)["code"]) == (400, code)


@pytest.mark.parametrize("who", [USER, ADMIN])
@pytest.mark.parametrize("one", [True, False])
async def test_what_a_client_has_already_is_not_sent_again(products: Peer, who: Who, one: bool) -> None:  # noqa: FBT001 - a parameter of the test
    product = await added(products)
    path = f"/products/{product['id']}" if one else "/products"
    first = await products.call("GET", path, who=who)
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "no-cache"
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = await products.call("GET", path, who=who, headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    for unknown in ('"other"', tag.strip('"'), "", '"' * 300, tag[:-1]):
        again = await products.call("GET", path, who=who, headers={"if-none-match": unknown})
        assert (again.status_code, again.json()) == (200, first.json())

    await products.call("PATCH", f"/products/{product['id']}", {"stock": 99}, who=ADMIN)
    changed = await products.call("GET", path, who=who, headers={"if-none-match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag
