"""Full load: wrk, one thread, as many requests as the system answers."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from bench.machine import Cores, busy_s, run_on
from bench.site import HERE

CONNECTIONS: Final = 64
_BEYOND_S: Final = 60


class Measured(Protocol):
    """A system that is measured while the load runs."""

    def cpu_s(self) -> float:
        """Processor time so far, in seconds."""

    def memory(self) -> int:
        """Proportional set size, in bytes."""


@dataclass(frozen=True, slots=True)
class Load:
    """The requests of a load, and the number of its connections.

    Attributes:
        paths: file with a path a line.
        tokens: file with a token a line.
        body: bytes sent with each request, then POST.
    """

    port: int
    paths: Path
    tokens: Path
    connections: int = CONNECTIONS
    body: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """The figures of one load.

    Attributes:
        rate: responses per second.
        bytes_rate: bytes of responses per second, heads included.
        cpu_us: processor time of the system measured, per request, in microseconds.
        busy: the share of its core that the system measured used.
        foreign: the share of that core that something else used; the figures are worth little
            where it is not small.
        memory: proportional set size of the system measured under this load, in bytes.
        refused: responses that were not 2xx or 3xx.
        broken: connections that failed and requests that timed out.
    """

    rate: float
    bytes_rate: float
    cpu_us: float
    busy: float
    foreign: float
    memory: int
    refused: int
    broken: int


def run(load: Load, seconds: int, cores: Cores, measured: Measured) -> Result:
    """Load a system for some seconds; wrk takes whole ones."""
    memory = 0

    def halfway() -> None:
        nonlocal memory
        time.sleep(seconds / 2)
        memory = measured.memory()

    before = measured.cpu_s()
    busy_before = busy_s(cores.gateway)
    output = run_on(cores.load, command(load, seconds), seconds + _BEYOND_S, halfway=halfway)
    used = measured.cpu_s() - before
    foreign = busy_s(cores.gateway) - busy_before - used
    found = json.loads(output.splitlines()[-1])
    requests = max(1, found["requests"])
    return Result(
        rate=found["requests"] / found["seconds"],
        bytes_rate=found["bytes"] / found["seconds"],
        cpu_us=used / requests * 1e6,
        busy=used / found["seconds"],
        foreign=max(0.0, foreign / found["seconds"]),
        memory=memory,
        refused=found["refused"],
        broken=found["broken"],
    )


def send_each_once(load: Load, most_s: int, cores: Cores) -> int:
    """Send each token of a load once, in order.

    Args:
        load: what is sent, and where.
        most_s: when to give up, in seconds.
        cores: those of the run.

    Returns:
        How many were sent.
    """
    output = run_on(cores.load, [*command(load, most_s), "once"], most_s + _BEYOND_S)
    return int(json.loads(output.splitlines()[-1])["requests"])


def command(load: Load, seconds: int) -> list[str]:
    """Wrk with a load, for some seconds."""
    # fmt: off
    return [
        "wrk", "--threads", "1", "--connections", str(load.connections), "--duration", str(seconds),
        "--timeout", "20", "--script", str(HERE / "load.lua"), f"http://127.0.0.1:{load.port}/",
        "--", str(load.tokens), str(load.paths), str(load.body),
    ]
    # fmt: on
