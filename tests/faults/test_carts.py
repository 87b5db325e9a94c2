"""A cart that is changed all the while masters are frozen, replaced, and woken up again."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final
from uuid import UUID

import httpx
import pytest

from lockgate_shop.orders.app import create_app
from lockgate_shop.orders.settings import OrdersSettings
from tests.support.peers import Links, Peer, Who, served
from tests.support.redis_groups import REPLICA, UP_WITHIN_S, WATCHER, cut_off, sentinel_group, stopped

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.redis_groups import SentinelGroup

pytestmark = [pytest.mark.fault, pytest.mark.slow]

SHOPPERS: Final = 8
PRODUCTS: Final = 40
"""That a shopper changes in turn; fewer than a cart may hold."""
AFTER: Final = 200
"""How many more changes have to be acknowledged once the old master is awake: a second of them or more."""


class Shopper:
    """Counts up the quantities in a cart, and records for each the last acknowledged quantity, and the tried one."""

    def __init__(self, orders: Peer, number: int) -> None:
        self._orders = orders
        self._who = Who(f"shopper-{number}", scopes=frozenset({"orders:write"}))
        self._tried: dict[str, int] = {}
        self.acknowledged: dict[str, int] = {}
        self.bell = asyncio.Semaphore(0)
        """Released with each acknowledged change."""
        self.refused = 0
        self.count = 0

    async def shop(self) -> None:
        """Change the cart until cancelled."""
        while True:
            product = str(UUID(int=self.count % PRODUCTS + 1))
            self.count += 1
            tried = self._tried[product] = self._tried.get(product, 0) % 999 + 1
            self.acknowledged.pop(product, None)  # from here on it may be this one or the one before
            body = {"items": [{"product_id": product, "quantity": tried}]}
            answer = await self._orders.call("PATCH", "/orders/cart", body, who=self._who)
            if answer.status_code == 200:
                self.acknowledged[product] = tried
                self.bell.release()
            else:
                assert answer.status_code == 503, answer.text
                assert int(answer.headers["retry-after"]) >= 1
                self.refused += 1

    async def missing(self) -> list[str]:
        """The acknowledged quantities that are not in the cart."""
        answer = await self._orders.call("GET", "/orders/cart", who=self._who)
        assert answer.status_code == 200, answer.text
        held = {item["product_id"]: item["quantity"] for item in answer.json()["items"]}
        return [
            f"{self._who.user_id}: {product} x {quantity}, not {held.get(product)}"
            for product, quantity in self.acknowledged.items()
            if held.get(product) != quantity
        ]


async def lose_master(group: SentinelGroup, fault: str) -> None:
    """Another takes over; the old one is awake again, and takes itself for the master."""
    master = await group.master()
    async with group.switching() as switched:
        if fault == "kill":
            master.kill()
            await switched()
        elif fault == "freeze":
            with stopped(master):
                await switched()
        elif fault == "unwatch":
            async with cut_off(master, WATCHER):
                await switched()
        else:
            async with cut_off(master, REPLICA, WATCHER):
                await switched()


async def acknowledge(shoppers: list[Shopper], changes: int) -> None:
    """Wait until so many more have been."""
    bell = asyncio.Semaphore(0)
    for shopper in shoppers:
        shopper.bell = bell
    async with asyncio.timeout(UP_WITHIN_S):
        for _ in range(changes):
            await bell.acquire()


LONG: Final = [pytest.param(fault, marks=pytest.mark.long) for fault in ("kill", "unwatch", "isolate")]


@pytest.mark.parametrize("fault", ["freeze", *LONG])
async def test_no_acknowledged_change_of_a_cart_is_lost_with_a_master(tmp_path: Path, fault: str) -> None:
    """R-230: the master is killed, frozen, out of reach for the Sentinels, or for replicas, too; services reach it."""
    links = Links(tmp_path / "links")
    async with sentinel_group(tmp_path) as group:
        settings = OrdersSettings(redis_url=group.url, database_url=f"sqlite:///{tmp_path}/orders.db")
        app = create_app(settings, links.of("orders"))
        async with (
            app.router.lifespan_context(app),
            served(app) as url,
            httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as http,
        ):
            orders = Peer(http, links, "gateway", "orders", time.time)
            shoppers = [Shopper(orders, number) for number in range(SHOPPERS)]
            async with asyncio.TaskGroup() as tasks:
                shopping = [tasks.create_task(shopper.shop()) for shopper in shoppers]
                await lose_master(group, fault)
                await acknowledge(shoppers, AFTER)
                for task in shopping:
                    task.cancel()
            await group.heal()
            missing = [line for shopper in shoppers for line in await shopper.missing()]
            print(fault, sum(s.count for s in shoppers), "changes,", sum(s.refused for s in shoppers), "times 503")  # noqa: T201 - shown by pytest -rP
            assert not missing
