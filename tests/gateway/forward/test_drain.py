"""A node that is told to stop, as a process that really gets SIGTERM."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.node import HOST
from tests.support.upstream import OK

pytestmark = pytest.mark.stack

GET = f"GET /open HTTP/1.1\r\n{HOST}\r\n".encode()


async def test_requests_in_flight_finish_and_nothing_new_is_taken(redis_url: str, tmp_path: Path) -> None:
    async with upstreams.running(upstreams.manual()) as service:
        with nodes.process(tmp_path, redis_url, service.url) as process:
            idle, busy, half = [await process.connect() for _ in range(3)]
            await busy.send(GET)
            wire = await service.connection()
            await wire.message()
            await half.send(GET[:20])
            await _answered(process)  # everything that was sent before has been read
            process.child.send_signal(signal.SIGTERM)
            assert await idle.rest() == b""
            with pytest.raises(ConnectionError):
                await process.connect()
            await half.send(GET[20:])
            fresh = await service.connection()
            await fresh.message()
            await fresh.send(OK)
            assert (await half.message()).value("connection") == "close"
            await wire.send(OK)
            answer = await busy.message()
            assert answer.status == 200
            assert answer.value("connection") == "close"
            assert await busy.rest() == b""
            for client in (idle, busy, half):
                client.close()
            # uvicorn ends by the signal it was sent, after everything was done.
            assert await asyncio.to_thread(process.child.wait, 10) in {0, -signal.SIGTERM}


async def _answered(process: nodes.Process) -> None:
    client = await process.connect()
    await client.send(b"GET /healthz HTTP/1.1\r\nConnection: close\r\n" + HOST.encode() + b"\r\n")
    assert (await client.message()).status == 200
    client.close()
