"""What a node costs and how its workers share: balance of connections, memory, start, and opening a WebSocket."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import re
import secrets
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import uvloop

from bench import lockgate, wrk
from bench.client import Client, request
from bench.lockgate import Setup
from bench.machine import Running, free_port, listener_of, ports_in_a_row, run_on, started
from bench.site import PATH, Site, get, wait_for, wait_for_port, wait_for_response
from bench.trees import HERE, Tree
from bench.wrk import Load

BALANCED: Final = (8, 64, 256)
WORKERS: Final = 2
_TRIALS: Final = 3
_OPENERS: Final = 16
_START_TRIALS: Final = 3
_READY_S: Final = 60
_SETTLE_S: Final = 1
_GAUGE: Final = re.compile(r"^lockgate_connections (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Memory:
    """Proportional set size of a node after its start, in bytes.

    Attributes:
        first: of all processes of a node with one worker.
        further: that each worker adds to a node with several.
    """

    first: int
    further: int


@dataclass(frozen=True, slots=True)
class Balance:
    """How many connections the worker with most has for one of the worker with least, medians of trials.

    Attributes:
        fresh: by the number of connections, after the start.
        restarted: the same after one worker was restarted.
    """

    fresh: dict[int, float]
    restarted: dict[int, float]


def balance(site: Site, tree: Tree) -> Balance:
    """Count the connections of each of two workers while wrk has its connections open."""
    with _gateway(site, tree, WORKERS) as (running, port, operations):
        load = _load(site, port)
        fresh = {count: _most_to_least(site, load, operations, count) for count in BALANCED}
        _restart_one(running, operations)
        return Balance(fresh, {count: _most_to_least(site, load, operations, count) for count in BALANCED})


def memory(site: Site, tree: Tree) -> Memory:
    """Start nodes with one worker, two and three, and look at each once it is at rest."""
    found = []
    for workers in (1, 2, 3):
        with _gateway(site, tree, workers) as (running, port, _):
            if get(port, "/healthz")[0] != 200:  # noqa: PLR2004 - well
                raise RuntimeError("a new gateway is not well")
            time.sleep(_SETTLE_S)
            found.append(running.memory())
    return Memory(found[0], found[2] - found[1])


def start_s(tree: Tree, folder: Path) -> float:
    """Seconds from the start of the whole demo stack until it says that it is ready, with its data there already."""
    argv = ["lockgate.cli", "dev", "--port", "0", "--data", str(folder / f"dev-{tree.name}")]
    command = tree.command(*argv)
    found = []
    for _ in range(_START_TRIALS + 1):
        start = time.monotonic()
        process = subprocess.Popen(
            command.argv,
            env={**os.environ, **command.env},
            cwd=tree.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        with process:
            assert process.stdout is not None  # noqa: S101 - a pipe was asked for
            ready = any(line.startswith("ready ") for line in process.stdout)
            found.append(time.monotonic() - start)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=_READY_S)
        if not ready:
            raise RuntimeError(f"{tree.name} did not become ready")
    return statistics.median(found[1:])


def socket_us(site: Site, tree: Tree, seconds: float) -> float:
    """Processor time of the gateway for each WebSocket that is opened and closed again, in microseconds."""
    cores = site.cores
    echo_port, sockets_port, port = free_port(), free_port(), free_port()
    echo = Tree("echo", "", HERE).command("bench.echo", "--port", f"{echo_port}", "--sockets-port", f"{sockets_port}")
    command = lockgate.commands(site, port, Setup(tree, sockets=sockets_port))[0]
    log = site.folder / f"sockets-{tree.name}.log"
    with ExitStack() as stack:
        service = stack.enter_context(started(echo, cores.load, log))
        wait_for_port(service, "echo", sockets_port)
        gateway = stack.enter_context(started(command, cores.gateway, log))
        wait_for_response(gateway, "lockgate", port)
        tokens = lockgate.token_file(site, port, _OPENERS).read_text().split()
        uvloop.run(_open_sockets(port, tokens, 1))
        before = gateway.cpu_s()
        opened = uvloop.run(_open_sockets(port, tokens, seconds))
        return (gateway.cpu_s() - before) / opened * 1e6


async def _open_sockets(port: int, tokens: list[str], seconds: float) -> int:
    end = time.monotonic() + seconds
    opened = 0

    async def open_and_close(token: str) -> None:
        nonlocal opened
        while time.monotonic() < end:
            fields = {
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": base64.b64encode(secrets.token_bytes(16)).decode(),
            }
            client = await Client.connect(port)
            client.writer.write(request("GET", "/sockets", token=token, fields=fields))
            head = await client.reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 101"):
                raise RuntimeError(f"a WebSocket was refused: {head!r}")
            client.writer.write(b"\x88\x80\x00\x00\x00\x00")  # a close frame without a code, masked with zeros
            await client.reader.read()
            client.close()
            opened += 1

    await asyncio.gather(*map(open_and_close, tokens))
    return opened


@contextlib.contextmanager
def _gateway(site: Site, tree: Tree, workers: int) -> Iterator[tuple[Running, int, int]]:
    """A gateway on any core, its port, and the port of its first operations listener."""
    port, operations = free_port(), ports_in_a_row(workers)
    command = lockgate.commands(site, port, Setup(tree, workers=workers, operations=operations))[0]
    with started(command, None, site.folder / f"node-{port}.log") as running:
        for listens in (port, *range(operations, operations + workers)):
            wait_for_response(running, tree.name, listens)
        yield running, port, operations


def _load(site: Site, port: int) -> Load:
    paths = site.folder / "node.paths"
    paths.write_text(f"{PATH}\n")
    return Load(port, paths, lockgate.token_file(site, port, 100))


def _most_to_least(site: Site, load: Load, operations: int, count: int) -> float:
    found = []
    for _ in range(_TRIALS):
        counts: list[float] = []

        def look(counts: list[float] = counts) -> None:
            time.sleep(0.5)
            counts += [_connections(operations + number) for number in range(WORKERS)]

        run_on(site.cores.load, wrk.command(replace(load, connections=count), 1), _READY_S, halfway=look)
        found.append(max(counts) / max(1, min(counts)))
    return statistics.median(found)


def _connections(port: int) -> float:
    match = _GAUGE.search(get(port, "/metrics")[1].decode())
    if match is None:
        raise RuntimeError("a worker does not tell its connections")
    return float(match[1])


def _restart_one(running: Running, operations: int) -> None:
    """Kill the second worker, and wait for its successor."""
    port = operations + 1
    old = listener_of(running.pids, port)
    if old is None:
        raise RuntimeError("no worker listens for operators")
    os.kill(old, signal.SIGKILL)
    wait_for(running, "a new worker", lambda: listener_of(running.pids, port) not in {None, old})
    wait_for(running, "a new worker", lambda: _is_well(port))
    time.sleep(_SETTLE_S)


def _is_well(port: int) -> bool:
    with contextlib.suppress(OSError):
        return get(port, "/metrics")[0] == 200  # noqa: PLR2004 - well
    return False
