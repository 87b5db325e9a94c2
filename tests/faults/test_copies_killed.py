"""Copies of a service are killed and started again under load, and clients notice nothing (R-192, R-280).

`COPIES_REQUESTS=100000` in the environment asks for more requests than in CI.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count, cycle
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

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
CLIENTS: Final = 32
BETWEEN: Final = 200
"""Responses between a kill and a start, and the next kill."""
IDEMPOTENT: Final = ("GET", "PUT", "GET", "DELETE", "GET", "OPTIONS", "PUT", "HEAD", "GET")
_RETRIES: Final = re.compile(r'^lockgate_retries_total\{outcome="(\w+)",service="orders"\} (\S+)$', re.MULTILINE)


@dataclass
class Load:
    """What the clients saw.

    Attributes:
        done: idempotent requests that were responded to.
        failed: responses to idempotent requests that are not 200, by method and status.
        posted: the status of each POST, by its body.
    """

    done: int = 0
    failed: Counter[tuple[str, int]] = field(default_factory=Counter)
    posted: dict[bytes, int] = field(default_factory=dict)
    stopped: bool = False
    _numbers: count[int] = field(default_factory=count)
    _seen: asyncio.Event = field(default_factory=asyncio.Event)

    async def run_client(self, node: Process) -> None:
        """Ask again and again, over one connection."""
        client, bearer = await node.connect(), node.tokens.bearer(sub="alice")
        for method in cycle((*IDEMPOTENT, "POST")):
            if self.stopped:
                break
            status = await self._ask(client, method, bearer)
            if method != "POST":
                self.done += 1
                if status != 200:
                    self.failed[method, status] += 1
            self._seen.set()
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
        await client.send(f"{method} /profile HTTP/1.1\r\n{HOST}{bearer}{length}\r\n".encode() + body)
        status = (await client.message(body=method != "HEAD")).status
        if method == "POST":
            self.posted[body] = status
        return status


@dataclass(frozen=True)
class Rig:
    """Two copies, and a gateway process in front of them."""

    node: Process
    copies: tuple[Copy, Copy]
    file: Path
    metrics_port: int

    async def counted(self) -> dict[str, int]:
        """The outcomes of second tries that the gateway counted."""
        client = await Wire.connect("127.0.0.1", self.metrics_port)
        await client.send(f"GET /metrics HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n".encode())
        text = (await client.message()).body.decode()
        client.close()
        return {outcome: int(float(number)) for outcome, number in _RETRIES.findall(text)}


@pytest_asyncio.fixture
async def rig(store: Store, tmp_path: Path) -> AsyncIterator[Rig]:
    await store.start()
    file, links, port = tmp_path / "posts", tmp_path / "keys" / "links", closed_port()
    with copies.held(links, file) as one, copies.held(links, file) as other:
        route = {"name": "profile", "prefix": "/profile", "service": "orders", "upstreams": [one.url, other.url]}
        sections = {"route": [route], "operations": {"port": port}, "log": {"access": False}}
        with nodes.process(tmp_path, store.url, one.url, **sections) as node:
            await one.start()
            await other.start()
            yield Rig(node, (one, other), file, port)
    store.kill()


@pytest.mark.timeout(1200 if REQUESTS > 20_000 else 240)
async def test_no_idempotent_request_fails_and_no_post_happens_twice_while_copies_are_killed(rig: Rig) -> None:
    """R-192, R-280: killed at any moment, with requests under way."""
    load, kills = Load(), 0
    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(load.run_client(rig.node))
        await load.await_responses(BETWEEN)
        for copy in cycle(rig.copies):
            if kills >= KILLS and load.done >= REQUESTS:
                break
            copy.kill()
            kills += 1
            await load.await_responses(BETWEEN)
            await copy.start()
            await load.await_responses(BETWEEN)
        load.stopped = True
    counted = await rig.counted()
    happened = Counter(rig.file.read_bytes().split())
    print(  # noqa: T201 - the figures of a long run
        f"{load.done} idempotent requests, {len(load.posted)} POSTs, {kills} kills; statuses of POSTs "
        f"{dict(Counter(load.posted.values()))}; second tries {counted}"
    )
    assert load.failed == Counter()
    assert max(happened.values()) == 1
    assert {body for body, status in load.posted.items() if status == 200} <= set(happened)
    assert set(load.posted.values()) <= {200, 502}
    assert counted["tried"] > 0, "no copy was killed with a request under way, so this run proves nothing"
