"""`python -m bench.soak`: a gateway with every feature on, under full load, beside clients and services that fail.

Clients hang up, dawdle, send and take large bodies; a service behind it is killed every few seconds. It ends with an
error where a response was another client's, a worker died or grew, or descriptors and requests were left behind (R-107,
R-108).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import uvloop

from bench import lockgate, page, tokens
from bench.client import Client, request
from bench.crowd import Crowd, Person, Seen
from bench.machine import HOST, Command, Cores, Running, free_port, listener_of, ports_in_a_row, started
from bench.site import Site, opened, wait_for_response
from bench.trees import HERE, OWN, is_compiled

SERVICES: Final = 3
USERS: Final = 2_000
LEAVERS: Final = 20_000
MEMBERS: Final = {
    "fast": 48,
    "big": 2,
    "slow sender": 12,
    "slow reader": 6,
    "hangs up": 6,
    "anonymous": 2,
    "leaves": 2,
    "socket": 8,
}
GROWTH: Final = 0.05
GROWTH_BYTES: Final = 3_000_000
SPARE_FILES: Final = 1
"""Open files more than before: the connection that asks for the gauges may not be closed yet."""
SPARE_CONNECTIONS: Final = 32
"""To Redis, more than before: a worker keeps as many as calls of its own were ever under way at once."""
_WARM_SHARE: Final = 0.25
_KILL_EVERY_S: Final = 5.0
_SETTLE_S: Final = 30
_UPSTREAM_IDLE_S: Final = 2
_MB: Final = 1_000_000
_GAUGE: Final = re.compile(r"^(lockgate_connections|lockgate_upstream_load) (\S+)$", re.MULTILINE)


class Open(NamedTuple):
    """Open files.

    Attributes:
        files: and connections of clients and to services.
        local: unix sockets; Redis is reached by these.
    """

    files: int
    local: int

    def stays_within(self, base: Open) -> bool:
        """Whether no more files are open than before, apart from those that are kept on purpose."""
        return self.files <= base.files + SPARE_FILES and self.local <= base.local + SPARE_CONNECTIONS


NOTHING: Final = Open(0, 0)


@dataclass(slots=True)
class Worker:
    """One worker, watched.

    Attributes:
        operations: port of its operations listener.
        memory: resident bytes, once a second.
        base, most, left: its open files before the load, at most, and after.
        held: its connections of clients and requests at services at the end.
    """

    pid: int
    operations: int
    memory: list[int] = field(default_factory=list)
    base: Open = NOTHING
    most: Open = NOTHING
    left: Open = NOTHING
    held: dict[str, float] = field(default_factory=dict)

    def files(self) -> Open:
        """Open now."""
        local = {f"socket:[{line.split()[6]}]" for line in Path("/proc/net/unix").read_text().splitlines()[1:]}
        found = Counter(link in local for link in self._links())
        return Open(found[False], found[True])

    def _links(self) -> Iterator[str]:
        for descriptor in Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed since
                yield str(descriptor.readlink())

    def sample(self) -> None:
        """Measure memory and open files."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        self.memory.append(pages * os.sysconf("SC_PAGE_SIZE"))
        self.most = max(self.most, self.files())

    @property
    def early(self) -> float:
        """Median of the second fifth, in bytes."""
        fifth = max(1, len(self.memory) // 5)
        return statistics.median(self.memory[fifth : 2 * fifth] or self.memory)

    @property
    def late(self) -> float:
        """Median of the last fifth."""
        return statistics.median(self.memory[-max(1, len(self.memory) // 5) :])

    @property
    def grows(self) -> bool:
        """Whether memory is not flat."""
        return self.late - self.early > max(GROWTH * self.early, GROWTH_BYTES)

    async def look(self) -> dict[str, float]:
        """Read the gauges of connections and requests."""
        client = await Client.connect(self.operations)
        try:
            text = (await client.ask(request("GET", "/metrics"))).body.decode()
        finally:
            client.close()
        return {name: float(value) for name, value in _GAUGE.findall(text)}


@dataclass(slots=True)
class Service:
    """A service that is killed and comes back at the same ports."""

    port: int
    sockets_port: int
    folder: Path
    running: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    process: Running | None = None
    killed: int = 0

    def start(self) -> None:
        """Start the service; it listens a moment later."""
        argv = [sys.executable, "-m", "bench.echo", "--port", f"{self.port}", "--sockets-port", f"{self.sockets_port}"]
        command = Command(argv, folder=HERE)
        self.process = self.running.enter_context(started(command, None, self.folder / f"echo-{self.port}.log"))

    def kill(self) -> None:
        """Kill the service with SIGKILL, and start it again."""
        if self.process is not None:
            self.process.process.send_signal(signal.SIGKILL)
            self.running.close()
            self.killed += 1
        self.start()


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that runs."""

    port: int
    gateway: Running
    workers: list[Worker]
    services: list[Service]
    people: list[Person]
    leavers: list[Person]


@contextlib.contextmanager
def staged(site: Site, workers: int) -> Iterator[Stage]:
    """Start services and a gateway, everything on, on any core."""
    folder = site.folder / "soak"
    folder.mkdir()
    services = [Service(free_port(), free_port(), folder) for _ in range(SERVICES)]
    port, operations = free_port(), ports_in_a_row(workers)
    file = folder / "lockgate.toml"
    file.write_text(lockgate.toml(_configuration(site, folder, port, operations, services, workers)))
    OWN.make_keys(file)
    command = OWN.command("lockgate.cli", "serve", "--config", str(file), folder=folder)
    with contextlib.ExitStack() as stack:
        for service in services:
            stack.callback(service.running.close)
            service.start()
        gateway = stack.enter_context(started(command, None, folder / "gateway.log"))
        for listens in (port, *(operations + number for number in range(workers))):
            wait_for_response(gateway, "lockgate", listens)
        watched = [
            Worker(pid, operations + number) for number, pid in enumerate(_workers_of(gateway, operations, workers))
        ]
        people = [
            Person(tokens.name_user(number), token)
            for number, token in enumerate(tokens.own(USERS + LEAVERS, folder / "keys"))
        ]
        yield Stage(port, gateway, watched, services, people[:USERS], people[USERS:])


async def soak(stage: Stage, seconds: float) -> Seen:
    """Warm up, let everything settle, and then for some seconds load, watch, and kill services; then settle again."""
    warm = Crowd(stage.port, stage.people, [])
    await warm.run(max(3, min(20, _WARM_SHARE * seconds)), MEMBERS)
    await _settled(stage)
    for worker in stage.workers:
        worker.base = worker.files()
    crowd = Crowd(stage.port, stage.people, stage.leavers)
    beside = [asyncio.create_task(_watch(stage)), asyncio.create_task(_kill(stage))]
    await crowd.run(seconds, MEMBERS)
    for task in beside:
        task.cancel()
    await asyncio.gather(*beside, return_exceptions=True)
    await _settled(stage)
    for worker in stage.workers:
        worker.left, worker.held = worker.files(), await worker.look()
    return crowd.seen


async def _watch(stage: Stage) -> None:
    while True:
        await asyncio.sleep(1)
        for worker in stage.workers:
            worker.sample()


async def _kill(stage: Stage) -> None:
    number = 0
    while True:
        await asyncio.sleep(_KILL_EVERY_S)
        stage.services[number % len(stage.services)].kill()
        number += 1


async def _settled(stage: Stage) -> None:
    """Wait until nothing is under way and idle connections to services are closed, or too much time is over."""
    end = time.monotonic() + _SETTLE_S
    await asyncio.sleep(2 * _UPSTREAM_IDLE_S)
    while time.monotonic() < end:
        gauges = [await worker.look() for worker in stage.workers]
        if all(not gauge["lockgate_upstream_load"] and not gauge["lockgate_connections"] for gauge in gauges) and all(
            worker.files().stays_within(worker.base) for worker in stage.workers if worker.base.files
        ):
            return
        await asyncio.sleep(0.5)


def _workers_of(gateway: Running, operations: int, count: int) -> list[int]:
    """Their process ids, in the order of their operations listeners; 0 for a worker that is not there."""
    return [listener_of(gateway.pids, operations + number) or 0 for number in range(count)]


def faults(stage: Stage, seen: Seen) -> list[str]:
    """The faults that were found, in words."""
    operations = stage.workers[0].operations
    said = [f"an answer for another client: {text}" for text in seen.crossed[:5]]
    said += [f"wrong answer, {count} times: {text}" for text, count in seen.wrong.items()]
    said += [f"no right answer for {kind!r}" for kind, counted in seen.statuses.items() if not counted[200]]
    if [worker.pid for worker in stage.workers] != _workers_of(stage.gateway, operations, len(stage.workers)):
        said.append("a worker has died")
    for number, worker in enumerate(stage.workers, start=1):
        if worker.grows:
            said.append(f"worker {number} grew from {worker.early / _MB:.1f} to {worker.late / _MB:.1f} MB")
        if not worker.left.stays_within(worker.base):
            said.append(f"worker {number} had open before {worker.base} and after {worker.left}")
        said += [f"worker {number} still holds {value:g}: {name}" for name, value in worker.held.items() if value]
    return said


def text(stage: Stage, seen: Seen, seconds: float, minutes: float) -> str:
    """The measured part of the page."""
    answers = sum(counted.total() for counted in seen.statuses.values())
    kills = sum(service.killed for service in stage.services)
    built = "compiled" if is_compiled(OWN) else "not compiled"
    summary = (
        f"{page.measured(minutes)}, {built}; {len(stage.workers)} workers, {sum(MEMBERS.values())} clients of "
        f"{USERS:,} users, "
        f"{seconds:g} s: {answers:,} answers, {len(seen.crossed)} of them another client's; a service was killed "
        f"{kills} times; clients hung up {seen.hung_up.total():,} times. Of what was away: "
        f"{', '.join(f'{count:,} {code}' for code, count in seen.away.most_common()) or 'nothing'}."
    )
    lines = [
        summary,
        "",
        "| clients | answers | 200 | 401 | 502, 503, 504 | broke off | anything else |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for kind, counted in seen.statuses.items():
        away = sum(counted[status] for status in (502, 503, 504))
        other = counted.total() - counted[200] - counted[401] - away
        cells = (kind, counted.total(), counted[200], counted[401], away, seen.broken[kind], other)
        lines.append(f"| {' | '.join(f'{cell:,}' if isinstance(cell, int) else cell for cell in cells)} |")
    lines += [
        "",
        "| worker | MB, second fifth | MB, last fifth | open files before | most | after | to Redis, after |",
        "|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {number} | {worker.early / _MB:.1f} | {worker.late / _MB:.1f} "
        f"| {worker.base.files} | {worker.most.files} | {worker.left.files} | {worker.left.local} |"
        for number, worker in enumerate(stage.workers, start=1)
    ]
    return "\n".join(lines)


def _configuration(  # noqa: PLR0913, PLR0917 - what is known of the stage
    site: Site, folder: Path, port: int, operations: int, services: Sequence[Service], workers: int
) -> dict[str, object]:
    shared = {"service": "echo", "auth": "required", "rate": ["100000000/min per user", "100000000/min per route"]}
    return {
        "redis_url": site.redis_url,
        "server": {"port": port, "workers": workers},
        "token": {
            "issuer": tokens.ISSUER,
            "audience": tokens.AUDIENCE,
            "access_life_s": tokens.LIFE_S,
            "signature_cache": USERS,
        },
        "upstream": {"idle_s": _UPSTREAM_IDLE_S},
        "keys": {"directory": str(folder / "keys")},
        "roles": {tokens.ROLES[0]: list(tokens.SCOPES)},
        "operations": {"port": operations},
        "log": {"access": True},
        "upstreams": {"users": [f"http://{HOST}:{services[0].port}"]},
        "route": [
            {
                **shared,
                "name": "echo",
                "prefix": "/echo",
                "upstreams": [f"http://{HOST}:{service.port}" for service in services],
                "scopes": {"*": ["orders:write"]},
            },
            {
                **shared,
                "name": "sockets",
                "prefix": "/sockets",
                "upstreams": [f"http://{HOST}:{service.sockets_port}" for service in services],
                "websocket": ["/sockets"],
            },
        ],
    }


def main() -> None:
    """Soak, print, and write the page after a run of minutes."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description="Full load for minutes, with faults.")
    parser.add_argument("--seconds", type=float, default=300, help="how long; the page is written from 300 on")
    parser.add_argument("--workers", type=int, default=2, help="of the gateway")
    options = parser.parse_args()
    start = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="lockgate-soak-") as name,
        opened(Path(name), Cores.take()) as site,
        staged(site, options.workers) as stage,
    ):
        seen = uvloop.run(soak(stage, options.seconds))
        written = text(stage, seen, options.seconds, (time.monotonic() - start) / 60)
        found = faults(stage, seen)
    print(written)
    for fault in found:
        print(f"fault: {fault}", file=sys.stderr)
    if options.seconds >= 300 and not found:  # noqa: PLR2004 - what the page tells of
        page.write(page.DOCUMENT, "soak", "python -m bench.soak", written)
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
