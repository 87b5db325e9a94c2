"""Copies of a service are killed and started again under load, and clients notice nothing (R-192, R-280).

`COPIES_REQUESTS=100000` in the environment asks for more requests than in CI.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from itertools import count, cycle
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from lockgate_trust import create_link
from tests.support import copies
from tests.support import node as nodes
from tests.support.copies import Copy
from tests.support.node import HOST, Process
from tests.support.peers import closed_port
from tests.support.raw import Wire
from tests.support.store import Store

pytestmark = [pytest.mark.fault, pytest.mark.stack]

REQUESTS: Final = int(os.environ.get("COPIES_REQUESTS", "4000"))
"""Idempotent requests, at least; every tenth request beside them is a POST."""
KILLS: Final = 4
"""Copies that are killed, at least."""
BETWEEN: Final = 200
"""Responses between a kill and a start, and the next kill."""
METHODS: Final = ("GET", "PUT", "GET", "DELETE", "GET", "OPTIONS", "PUT", "HEAD", "GET", "POST")
_RETRIES: Final = re.compile(r'^lockgate_retries_total\{outcome="(\w+)",service="\w+"\} (\S+)$', re.MULTILINE)


@dataclass
class Load:
    """What the clients asked and saw.

    Attributes:
        path: what they ask for.
        methods: with these methods, again and again.
        well: the status of every response to an idempotent request.
        done: idempotent requests that were responded to.
        failed: responses to them with another status, by method and status.
        posted: the status of each POST, by its body.
    """

    path: str = "/profile"
    methods: tuple[str, ...] = METHODS
    well: int = 204
    done: int = 0
    failed: Counter[tuple[str, int]] = field(default_factory=Counter)
    posted: dict[bytes, int] = field(default_factory=dict)
    stopped: bool = False
    _numbers: count[int] = field(default_factory=count)
    _seen: asyncio.Event = field(default_factory=asyncio.Event)

    async def run_client(self, node: Process) -> None:
        """Ask again and again, over one connection."""
        client, bearer = await node.connect(), node.tokens.bearer(sub="alice", roles=["customer"])
        try:
            for method in cycle(self.methods):
                if self.stopped:
                    break
                status = await self._ask(client, method, bearer)
                if method != "POST":
                    self.done += 1
                    if status != self.well:
                        self.failed[method, status] += 1
                self._seen.set()
        finally:
            client.close()

    async def await_responses(self, number: int) -> None:
        """Return after so many more responses."""
        until = self.done + number
        while self.done < until:
            self._seen.clear()
            await self._seen.wait()

    async def _ask(self, client: Wire, method: str, bearer: str) -> int:
        body = b"%d" % next(self._numbers) if method in {"POST", "PUT"} else b""
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        await client.send(f"{method} {self.path} HTTP/1.1\r\n{HOST}{bearer}{length}\r\n".encode() + body)
        status = (await client.message(body=method != "HEAD")).status
        if method == "POST":
            self.posted[body] = status
        return status


@dataclass(frozen=True)
class Gateway:
    """A gateway process before copies of a service."""

    node: Process
    metrics_port: int

    async def shoot(self, copies: tuple[Copy, ...], load: Load, *, kills: int, requests: int, clients: int) -> int:
        """Kill and start the copies in turns, under load; the number of kills."""
        killed = 0
        async with asyncio.TaskGroup() as tasks:
            for _ in range(clients):
                tasks.create_task(load.run_client(self.node))
            await load.await_responses(BETWEEN)
            for copy in cycle(copies):
                if killed >= kills and load.done >= requests:
                    break
                copy.kill()
                killed += 1
                await load.await_responses(BETWEEN)
                await copy.start()
                await load.await_responses(BETWEEN)
            load.stopped = True
        return killed

    async def count_retries(self) -> dict[str, int]:
        """The outcomes of second tries that the gateway counted."""
        client = await Wire.connect("127.0.0.1", self.metrics_port)
        await client.send(f"GET /metrics HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n".encode())
        text = (await client.message()).body.decode()
        client.close()
        return {outcome: int(float(number)) for outcome, number in _RETRIES.findall(text)}


@contextlib.contextmanager
def gateway(folder: Path, redis_url: str, route: dict[str, Any]) -> Iterator[Gateway]:
    """A gateway with one route."""
    sections = {"route": [route], "upstreams": {}, "operations": {"port": closed_port()}, "log": {"access": False}}
    with nodes.process(folder, redis_url, "http://127.0.0.1:9", **sections) as node:
        yield Gateway(node, sections["operations"]["port"])  # type: ignore[index]  # as above


@pytest_asyncio.fixture
async def redis_url(store: Store) -> AsyncIterator[str]:
    await store.start()
    yield store.url
    store.kill()


@pytest.mark.timeout(1200 if REQUESTS > 20_000 else 240)
async def test_no_idempotent_request_fails_and_no_post_happens_twice_while_copies_are_killed(
    redis_url: str, tmp_path: Path
) -> None:
    """R-192, R-280: killed at any moment, with requests under way."""
    file, links, load = tmp_path / "posts", tmp_path / "keys" / "links", Load()
    with copies.recording(links, file) as one, copies.recording(links, file) as other:
        route = {"name": "profile", "prefix": "/profile", "service": "orders", "upstreams": [one.url, other.url]}
        with gateway(tmp_path, redis_url, route) as before:
            await one.start()
            await other.start()
            kills = await before.shoot((one, other), load, kills=KILLS, requests=REQUESTS, clients=32)
            counted = await before.count_retries()
    happened = Counter(file.read_bytes().split())
    print(  # noqa: T201 - the figures of a long run
        f"{load.done} idempotent requests, {len(load.posted)} POSTs, {kills} kills; statuses of POSTs "
        f"{dict(Counter(load.posted.values()))}; second tries {counted}"
    )
    assert load.failed == Counter()
    assert max(happened.values()) == 1
    assert {body for body, status in load.posted.items() if status == 204} <= set(happened)
    assert set(load.posted.values()) <= {204, 502}
    assert counted["tried"] > 0, "no copy was killed with a request under way, so this run proves nothing"


@pytest.mark.long
@pytest.mark.parametrize(
    ("service", "path", "well"),
    [("users", "/users/me", 404), ("orders", "/orders", 200), ("products", "/products", 200)],
)
async def test_no_request_to_a_service_of_the_shop_fails_while_its_copies_are_killed(
    redis_url: str, tmp_path: Path, service: str, path: str, well: int
) -> None:
    """R-280: each service, with its database; the users service does not know the user, and says so each time."""
    links, load = tmp_path / "keys" / "links", Load(path, ("GET",), well)
    more = {"REDIS_URL": redis_url} if service == "orders" else {}
    with (
        copies.of_shop(service, tmp_path, links, **more) as one,
        copies.of_shop(service, tmp_path, links, **more) as other,
    ):
        route = {"name": service, "prefix": f"/{service}", "upstreams": [one.url, other.url]}
        with gateway(tmp_path, redis_url, route) as before:
            if service == "orders":
                create_link(links, "orders", "products")
            await one.start()
            await other.start()
            await before.shoot((one, other), load, kills=2, requests=500, clients=8)
            counted = await before.count_retries()
    assert load.failed == Counter()
    assert counted["tried"] > 0
