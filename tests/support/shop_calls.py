"""Helpers that several tests share."""

from __future__ import annotations

from typing import Any

import httpx
from fastapi import FastAPI
from sqlalchemy import func, select

from lockgate_shop.kit.data.database import Database
from lockgate_shop.users.models import Account
from tests.support.peers import Peer, Who

ALICE = Who("alice-id", scopes=frozenset({"orders:read", "orders:write"}))


BOB = Who("bob-id", scopes=frozenset({"orders:read", "orders:write"}))


def basket(*wanted: tuple[dict[str, Any], int]) -> dict[str, Any]:
    return {"items": [{"product_id": product["id"], "quantity": quantity} for product, quantity in wanted]}


async def placed(orders: Peer, *wanted: tuple[dict[str, Any], int], who: Who = ALICE) -> dict[str, Any]:
    answer = await orders.call("POST", "/orders", basket(*wanted), who=who)
    assert answer.status_code == 201, answer.text
    members: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/orders/{members['id']}"
    return members


async def orders_of(orders: Peer, who: Who, query: str = "") -> dict[str, Any]:
    members: dict[str, Any] = (await orders.call("GET", "/orders", who=who, query=query)).json()
    return members


ADMIN = Who("admin-id", scopes=frozenset({"products:write"}))


READER = Who("reader-id", scopes=frozenset({"products:read", "orders:write"}))


KETTLE = {"name": "Kettle", "description": "Whistles.", "price": {"amount": 2500, "currency": "EUR"}, "stock": 3}


async def added(products: Peer, **fields: object) -> dict[str, Any]:
    answer = await products.call("POST", "/products", {**KETTLE, **fields}, who=ADMIN)
    assert answer.status_code == 201, answer.text
    members: dict[str, Any] = answer.json()
    return members


async def listed(products: Peer, query: str = "") -> dict[str, Any]:
    answer = await products.call("GET", "/products", query=query)
    assert answer.status_code == 200, answer.text
    members: dict[str, Any] = answer.json()
    return members


USER = Who("user-id")


async def stock_of(products: Peer, product: dict[str, Any]) -> int:
    stock: int = (await products.call("GET", f"/products/{product['id']}")).json()["stock"]
    return stock


async def reserve(buyer: Peer, reservation: str, *wanted: tuple[dict[str, Any], int]) -> httpx.Response:
    items = [{"product_id": product["id"], "quantity": quantity} for product, quantity in wanted]
    return await buyer.call("POST", "/internal/reservations", {"reservation_id": reservation, "items": items}, who=USER)


CAROL = {"username": "carol", "password": "a-long-enough-one"}


def database_of(app: FastAPI) -> Database:
    database: Database = app.state.database
    return database


async def registered(users: Peer, **fields: str) -> dict[str, Any]:
    answer = await users.call("POST", "/users/register", {**CAROL, **fields})
    assert answer.status_code == 201, answer.text
    members: dict[str, Any] = answer.json()
    return members


async def count(app: FastAPI) -> int:
    async with database_of(app).read_session() as session:
        return await session.scalar(select(func.count()).select_from(Account)) or 0
