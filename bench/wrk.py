"""Full load: wrk, one thread, as many requests as the system answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.machine import Cores, Running, run_on
from bench.site import HERE

CONNECTIONS: Final = 64
_BEYOND_S: Final = 60


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked, and by how many.

    Attributes:
        tokens: file with a token a line; nobody authenticates without one.
        paths: file with a path a line.
        body: bytes sent with each request, then POST.
    """

    port: int
    paths: Path
    tokens: Path | None = None
    connections: int = CONNECTIONS
    body: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it.

    Attributes:
        rate: requests answered per second.
        bytes_rate: bytes of answers per second, heads included.
        cpu_us: processor time of the system measured, per request, in microseconds.
        busy: the share of its core that the system measured used.
        refused: answers that were not 2xx or 3xx.
        broken: connections that failed and requests that timed out.
    """

    rate: float
    bytes_rate: float
    cpu_us: float
    busy: float
    refused: int
    broken: int


def run(load: Load, seconds: float, cores: Cores, measured: Running) -> Result:
    """Load a system for some seconds."""
    tokens = str(load.tokens) if load.tokens else "-"
    # fmt: off
    argv = [
        "wrk", "--threads", "1", "--connections", str(load.connections), "--duration", f"{seconds:g}",
        "--timeout", "20", "--script", str(HERE / "load.lua"), f"http://127.0.0.1:{load.port}/",
        "--", tokens, str(load.paths), str(load.body),
    ]
    # fmt: on
    before = measured.cpu_s()
    output = run_on(cores.load, argv, seconds + _BEYOND_S)
    used = measured.cpu_s() - before
    found = json.loads(output.splitlines()[-1])
    requests = max(1, found["requests"])
    return Result(
        rate=found["requests"] / found["seconds"],
        bytes_rate=found["bytes"] / found["seconds"],
        cpu_us=used / requests * 1e6,
        busy=used / found["seconds"],
        refused=found["refused"],
        broken=found["broken"],
    )
