"""A worker that is killed in the middle of a job: another one finishes it, once."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from lockgate_shop.products.demo import product_id
from tests.support.node import redis as running_redis
from tests.support.peers import Links, Peer, closed_port
from tests.support.s3 import bucket_in
from tests.support.service_processes import environment, running
from tests.support.shop_calls import ALICE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.fault, pytest.mark.slow]

NOTEBOOK = str(product_id("Field notebook, dotted"))
WITHIN_S = 60
IDLE_S = "1"
"""How long a worker may be silent; small, so that the test need not wait long for the other one."""


class Gate:
    """In front of the object storage: notices every upload, and lets none through until it is opened."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open = asyncio.Event()
        self.uploads = 0
        self.reached = asyncio.Event()
        self.passing: list[asyncio.Task[None]] = []

    def open(self) -> None:
        self._open.set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.passing.append(asyncio.create_task(self._pass(reader, writer)))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            is_upload = head.startswith(b"PUT ")
            self.uploads += is_upload
            if is_upload and not self._open.is_set():
                self.reached.set()
                await reader.read()  # until its sender is dead
            else:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
                far_writer.write(head)
                await asyncio.gather(_copied(reader, far_writer), _copied(far_reader, writer))
        await _closed(writer)


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    await _closed(writer)


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


@dataclass(frozen=True)
class Rig:
    """Orders and products as processes, with the parts that workers need."""

    tmp_path: Path
    orders: Peer
    gate: Gate
    given: dict[str, str]

    @contextlib.contextmanager
    def worker(self) -> Iterator[subprocess.Popen[str]]:
        """A worker process that is ready."""
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "lockgate_shop.orders.worker", "--port", str(closed_port())],
            env=environment("orders", self.tmp_path, **self.given, WORKER_IDLE_S=IDLE_S),
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                assert process.stderr is not None
                line = process.stderr.readline()
                assert '"ready"' in line, line
                yield process
            finally:
                if process.poll() is None:
                    process.kill()

    async def export(self) -> str:
        answer = await self.orders.call("POST", "/orders/exports", who=ALICE)
        assert answer.status_code == 202, answer.text
        return answer.headers["location"]

    async def look(self, location: str) -> dict[str, Any]:
        members: dict[str, Any] = (await self.orders.call("GET", location, who=ALICE)).json()
        return members

    async def until_done(self, location: str) -> dict[str, Any]:
        async with asyncio.timeout(WITHIN_S):
            while (export := await self.look(location))["status"] not in {"done", "failed"}:
                pass  # each look is a request over sockets
        return export


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    links = Links(tmp_path / "links")
    with running_redis(tmp_path / "redis") as redis_url, running("products", tmp_path) as (products_url, _):
        async with bucket_in(tmp_path / "s3") as bucket:
            gate = Gate(int(bucket.s3_endpoint.rpartition(":")[2]))
            server = await asyncio.start_server(gate.accept, "127.0.0.1", 0)
            given = {
                "PRODUCTS_URL": products_url,
                "REDIS_URL": redis_url,
                "S3_ENDPOINT": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
                "S3_BUCKET": bucket.s3_bucket,
                "S3_ACCESS_KEY": bucket.s3_access_key,
                "S3_SECRET_KEY": bucket.s3_secret_key,
            }
            with running("orders", tmp_path, **given) as (url, _):
                async with server, httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as http:
                    yield Rig(tmp_path, Peer(http, links, "gateway", "orders", time.time), gate, given)
            await asyncio.gather(*gate.passing)


async def bought(rig: Rig, number: int) -> list[str]:
    body = {"items": [{"product_id": NOTEBOOK, "quantity": 1}]}
    answers = [await rig.orders.call("POST", "/orders", body, who=ALICE) for _ in range(number)]
    return [answer.json()["id"] for answer in answers]


async def test_a_job_whose_worker_was_killed_is_finished_by_another_one_once(rig: Rig) -> None:
    orders = await bought(rig, 5)
    location = await rig.export()
    with rig.worker() as first:
        await asyncio.wait_for(rig.gate.reached.wait(), WITHIN_S)
        middle = await rig.look(location)
        assert (middle["status"], middle["done"], middle["total"]) == ("running", 5, 5)
        os.kill(first.pid, signal.SIGKILL)
        first.wait(WITHIN_S)
    rig.gate.open()
    # Bought since then, so in no export that was asked for before.
    await bought(rig, 1)
    with rig.worker() as second:
        done = await rig.until_done(location)
        second.send_signal(signal.SIGTERM)
        _, log = second.communicate(timeout=WITHIN_S)
    assert (second.returncode, done["status"]) == (0, "done"), log
    finished = [event for event in map(json.loads, log.splitlines()) if event["event"] == "export_done"]
    assert [event["attempts"] for event in finished] == [2]
    assert rig.gate.uploads == 2, "one that was cut off, and one that arrived"
    async with httpx.AsyncClient(trust_env=False) as anybody:
        file = (await anybody.get(done["download"]["url"])).text
    assert [row["order_id"] for row in csv.DictReader(io.StringIO(file, newline=""))] == orders


async def test_two_workers_do_a_job_once(rig: Rig) -> None:
    rig.gate.open()
    await bought(rig, 1)
    with rig.worker(), rig.worker():
        locations = [await rig.export() for _ in range(3)]
        assert {(await rig.until_done(location))["status"] for location in locations} == {"done"}
    assert rig.gate.uploads == 3


def test_a_worker_without_redis_says_so_in_one_line_and_ends(tmp_path: Path) -> None:
    Links(tmp_path / "links")
    outcome = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "lockgate_shop.orders.worker", "--port", str(closed_port())],
        env=environment("orders", tmp_path, REDIS_URL=f"redis://127.0.0.1:{closed_port()}"),
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert outcome.returncode == 1
    assert outcome.stderr.splitlines()[-1].startswith("orders-worker: the queue cannot be used: ")
    assert "Traceback" not in outcome.stderr
