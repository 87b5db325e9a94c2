"""Clients that leave: R-108, R-196."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.node import Node
from tests.support.raw import Wire, until
from tests.support.upstream import OK, Upstream
from tests.support.wires import pool_of, request


@pytest.mark.parametrize("moment", ["in the body", "waiting", "in the answer"])
@pytest.mark.parametrize("ending", ["closes", "resets"])
async def test_a_client_that_leaves_takes_its_request_along(
    gateway: Node, service: Upstream, moment: str, ending: str
) -> None:
    """R-108: the service sees the end, and every permit is free."""
    client = await gateway.connect()
    size = 300_000 if moment == "in the body" else 2
    await client.send(request("POST", f"Content-Length: {size}\r\n") + b"x" * min(size, 150_000))
    wire = await service.connection()
    if moment == "in the body":
        await wire.exactly(150_000)
    else:
        await wire.message()
    if moment == "in the answer":
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        await client.exactly(20)
    if ending == "closes":
        client.close()
    else:
        client.reset()
    await asyncio.sleep(0)
    gateway.tick(0.1)
    # A close cannot be told from a half-close: the answer is still tried for two seconds.
    if ending == "closes":
        await until(lambda: all(one._saw_eof for one in gateway.worker.edge.connections))  # noqa: SLF001
        gateway.tick(2.5)
    assert await wire.gone() is not None
    await until(lambda: not gateway.worker.edge.connections)
    assert pool_of(gateway).load == 0
    assert gateway.worker.edge.peers == {}


async def test_a_thousand_aborted_requests_leave_nothing_behind(gateway: Node, service: Upstream) -> None:
    """R-108: no task, no socket, no connection to Redis; and the next client is served."""
    chance = random.Random(7)  # noqa: S311 - no secret
    tasks = len(asyncio.all_tasks())
    service.play(_answers_sometimes)

    async def abort() -> None:
        client = await gateway.connect()
        fields = gateway.tokens.bearer()
        raw = request("POST", f"{fields}Content-Length: 5\r\n", path="/orders") + b"hello"
        await client.send(raw[: chance.randrange(len(raw) + 1)])
        for _ in range(chance.randrange(30)):
            await asyncio.sleep(0)
        client.reset()

    for _ in range(50):
        await asyncio.gather(*(abort() for _ in range(20)))
    await until(lambda: not gateway.worker.edge.connections)
    await until(lambda: pool_of(gateway).load == 0)
    assert gateway.worker.edge.peers == {}
    service.play(upstreams.recorder())
    gateway.tick(31)
    await until(lambda: len(asyncio.all_tasks()) <= tasks)
    assert (await gateway.get("/orders", gateway.tokens.bearer())).status == 200


async def _answers_sometimes(_: Upstream, wire: Wire) -> None:
    number = 0
    while True:
        await wire.message()
        number += 1
        if number % 3:
            await wire.send(OK)


async def test_answers_are_never_crossed(redis_url: str, tmp_path: Path) -> None:
    """R-108, R-196: clients that leave at random moments, and each of the others gets its own answer."""
    async with (
        upstreams.running(_echo) as service,
        nodes.running(nodes.settings(tmp_path, redis_url, service.url)) as node,
    ):
        chance = random.Random(3)  # noqa: S311 - no secret

        async def ask(number: int) -> None:
            client = await node.connect()
            for turn in range(5):
                sub = f"user-{number}-{turn}"
                await client.send(request(fields=node.tokens.bearer(sub=sub), path=f"/profile/{sub}"))
                if chance.random() < 0.2:
                    for _ in range(chance.randrange(20)):
                        await asyncio.sleep(0)
                    client.reset()
                    return
                assert (await client.message()).body.decode() == f"/profile/{sub} {sub}"
            client.close()

        for start in range(0, 400, 40):
            await asyncio.gather(*(ask(start + number) for number in range(40)))
        await until(lambda: not node.worker.edge.connections)
        assert pool_of(node).load == 0


async def _echo(_: Upstream, wire: Wire) -> None:
    while True:
        got = await wire.message()
        body = f"{got.line.split()[1]} {got.value('x-user-id')}".encode()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
