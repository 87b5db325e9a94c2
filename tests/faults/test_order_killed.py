"""An orders process that is killed at the worst moment: the stock is taken, and the order is not stored yet."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from lockgate_shop.products.demo import product_id
from tests.support.node import redis as running_redis
from tests.support.peers import Links, Peer
from tests.support.service_processes import running
from tests.support.shop_calls import ALICE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

BLANKET = str(product_id("Wool blanket, 140 by 200"))
BODY = {"items": [{"product_id": BLANKET, "quantity": 3}]}
KEY = {"idempotency-key": '"one purchase"'}


class Silence:
    """Forwards requests to a service, and withholds its responses."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.answered = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)

        async def listen() -> None:
            await far_reader.readuntil(b"\r\n\r\n")
            self.answered.set()

        listening = asyncio.create_task(listen())
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                far_writer.write(data)
        await listening
        for each in (writer, far_writer):
            each.close()
            with contextlib.suppress(ConnectionError):
                await each.wait_closed()


@contextlib.asynccontextmanager
async def peer(url: str, links: Links, target: str) -> AsyncIterator[Peer]:
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as http:
        yield Peer(http, links, "gateway", target, time.time)


@pytest.mark.fault
@pytest.mark.slow
async def test_a_purchase_whose_process_was_killed_is_neither_lost_nor_doubled(tmp_path: Path) -> None:
    links = Links(tmp_path / "links")
    with running_redis(tmp_path / "redis") as redis_url, running("products", tmp_path) as (products_url, _):
        silence = Silence(int(products_url.rpartition(":")[2]))
        connections: list[asyncio.Task[None]] = []
        server = await asyncio.start_server(
            lambda r, w: connections.append(asyncio.create_task(silence.serve(r, w))), "127.0.0.1", 0
        )
        deaf_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server, peer(products_url, links, "products") as products:

            async def stock() -> int:
                left: int = (await products.call("GET", f"/products/{BLANKET}")).json()["stock"]
                return left

            with running("orders", tmp_path, PRODUCTS_URL=deaf_url, REDIS_URL=redis_url) as (url, process):
                async with peer(url, links, "orders") as orders:
                    lost = asyncio.create_task(orders.call("POST", "/orders", BODY, who=ALICE, headers=KEY))
                    await silence.answered.wait()
                    process.kill()
                    with pytest.raises(httpx.HTTPError):
                        await lost
            await asyncio.gather(*connections)
            assert await stock() == 7, "the killed process had taken it"

            with running("orders", tmp_path, PRODUCTS_URL=products_url, REDIS_URL=redis_url) as (url, _):
                async with peer(url, links, "orders") as orders:
                    soon = await orders.call("POST", "/orders", BODY, who=ALICE, headers=KEY)
                    assert (soon.status_code, soon.json()["code"]) == (409, "idempotency_key_in_flight")
                    assert int(soon.headers["retry-after"]) >= 1
                    half_a_minute_later(tmp_path)
                    late = await orders.call("POST", "/orders", BODY, who=ALICE, headers=KEY)
                    assert late.status_code == 201, late.text
                    assert await stock() == 7, "taken once"
                    again = await orders.call("POST", "/orders", BODY, who=ALICE, headers=KEY)
                    assert again.json() == late.json()
                    history = (await orders.call("GET", "/orders", who=ALICE)).json()["items"]
                    assert [order["id"] for order in history] == [late.json()["id"]]


def half_a_minute_later(tmp_path: Path) -> None:
    """What is under way was begun longer ago than any process takes."""
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "orders.db")) as database, database:
        changed = database.execute("UPDATE checkouts SET started_at = '2020-01-01 00:00:00.000000'")
        assert changed.rowcount == 1
