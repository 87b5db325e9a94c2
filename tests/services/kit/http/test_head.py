"""R-76: HEAD is answered as GET is, without the body, by the routes of every service."""

from __future__ import annotations

import httpx

from tests.support.peers import NO_AUTHORITY, Clock, Links, Peer, Who, problem
from tests.support.shop_calls import ALICE, added, placed, registered


async def asked_alike(peer: Peer, path: str, who: Who) -> None:
    """Ask with both methods: the heads are the same, and only one has a body."""
    got = await peer.call("GET", path, who=who)
    head = await peer.call("HEAD", path, who=who)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert got.content
    assert head.headers == got.headers


async def test_the_users_service_answers_head(users: Peer) -> None:
    await asked_alike(users, "/users/me", Who((await registered(users, username="carol"))["id"]))


async def test_the_products_service_answers_head(products: Peer) -> None:
    await asked_alike(products, f"/products/{(await added(products))['id']}", ALICE)


async def test_the_orders_service_answers_head(orders: Peer, products: Peer) -> None:
    order = await placed(orders, (await added(products), 1))
    await asked_alike(orders, f"/orders/{order['id']}", ALICE)


async def test_a_head_of_what_the_client_has_is_a_304(products: Peer) -> None:
    path = f"/products/{(await added(products))['id']}"
    tag = (await products.call("HEAD", path)).headers["etag"]
    answer = await products.call("HEAD", path, headers={"if-none-match": tag})
    assert (answer.status_code, answer.headers["etag"]) == (304, tag)


async def test_probes_may_ask_with_head(users: Peer) -> None:
    for path in ("/healthz", "/readyz"):
        answer = await users.http.head(path)
        assert (answer.status_code, answer.content) == (200, b"")


async def test_a_head_of_what_is_refused_is_the_refusal(users: Peer) -> None:
    assert (await users.call("HEAD", "/users/me")).status_code == 401
    assert (await users.call("HEAD", "/users/nobody")).status_code == 404
    assert (await users.http.head("/users/me")).status_code == 401, "it is not signed"


async def test_a_signature_for_get_is_none_for_head(users: Peer) -> None:
    """R-59: the method that was asked with is the one that has to be signed."""
    answer = await users.http.head("/users/me", headers=users.signed("GET", "/users/me", who=Who("carol-id")))
    assert answer.status_code == 401


async def test_what_a_route_allows_includes_head_where_it_has_get(users: Peer) -> None:
    read_only = await users.call("POST", "/users/me/uploads/00000000-0000-4000-8000-000000000000", who=ALICE)
    assert (read_only.status_code, problem(read_only)["code"]) == (405, "method_not_allowed")
    assert set(read_only.headers["allow"].split(", ")) >= {"GET", "HEAD"}
    write_only = await users.call("HEAD", "/internal/credentials/verify")
    assert (write_only.status_code, write_only.headers["allow"]) == (405, "POST")


async def test_a_real_server_sends_no_body_that_would_be_taken_for_the_next_answer(
    products_url: str, products: Peer, links: Links, clock: Clock
) -> None:
    """R-194: all of it on one connection."""
    path = f"/products/{(await added(products))['id']}"
    async with httpx.AsyncClient(
        base_url=products_url, trust_env=False, verify=NO_AUTHORITY, limits=httpx.Limits(max_connections=1)
    ) as http:
        peer = Peer(http, links, "gateway", "products", clock)
        for _ in range(3):
            assert (await peer.call("HEAD", path)).status_code == 200
            assert (await peer.call("HEAD", "/products/none")).status_code == 400
            assert (await peer.call("GET", path)).json()["name"] == "Kettle"
