"""How the cost of a request grows: with connections, bodies, tokens and routes. For the reference and for Lockgate."""

from __future__ import annotations

import socket
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from bench import lockgate, systems, wrk
from bench.site import BODY_SIZES, PATH, Site
from bench.systems import REFERENCE, SUBJECT, Deployed, System, deploy
from bench.table import Plan
from bench.wrk import Load

CONNECTIONS: Final = (1, 8, 64, 256, 1_000, 5_000)
TOKENS: Final = (1, 100, 2_000, 10_000, 100_000)
ROUTES: Final = (3, 30, 300, 1_000)
IDLE_CONNECTIONS: Final = 5_000
_BODY_CONNECTIONS: Final = 8
_UPLOAD_TOKENS: Final = 8
_WARM_S: Final = 1
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Point:
    """Medians at one value of what is varied; see `wrk.Result`."""

    x: int
    rate: float
    bytes_rate: float
    cpu_us: float
    memory: int
    failed: int


@dataclass(frozen=True, slots=True)
class Sweep:
    """The points of one varied parameter, all else equal.

    Attributes:
        name: of the file with the plot.
        title: the varied parameter, with its unit.
        points: by system, in the same order of `x`.
    """

    name: str
    title: str
    points: dict[str, list[Point]]


def run(site: Site, plan: Plan, say: Say) -> list[Sweep]:
    """Run all sweeps. Each point is measured in turns, like the table."""
    pair = [system for system in systems.ALL if system.name in {REFERENCE, SUBJECT}]
    with ExitStack() as stack:
        deployed = [deploy(system, site, stack) for system in pair]
        own = next(found.port for found in deployed if found.system.name == SUBJECT)
        token_files = {count: lockgate.token_file(site, own, count) for count in TOKENS}
        usual = Load(0, _paths(site, "usual", [PATH]), token_files[plan.tokens])
        # The load keeps a whole request for each token, body included.
        few = replace(usual, tokens=lockgate.token_file(site, own, _UPLOAD_TOKENS))
        measure = partial(_measure, site, plan, say)
        sweeps = [
            measure("connections", "connections", deployed, [(n, replace(usual, connections=n)) for n in CONNECTIONS]),
            measure("answers", "bytes of answer body", deployed, _answers(site, usual)),
            measure("uploads", "bytes of request body", deployed, _uploads(site, few)),
            measure(
                "tokens", "distinct tokens", deployed, [(n, replace(usual, tokens=token_files[n])) for n in TOKENS]
            ),
        ]
    return [*sweeps, _routes(site, plan, say)]


def idle_connections(site: Site) -> dict[str, float]:
    """Bytes of proportional set size that one idle keep-alive connection costs, by system."""
    found = {}
    for system in systems.ALL:
        if system.name not in {REFERENCE, SUBJECT}:
            continue
        with ExitStack() as stack:
            deployed = deploy(system, site, stack)
            token = None
            if system.name == SUBJECT:
                token = lockgate.token_file(site, deployed.port, 1).read_text().strip()
            request = f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
            # As many again come first: they use up what the start left free on the heap.
            for _ in range(IDLE_CONNECTIONS):
                _ask(deployed.port, request, stack)
            before = deployed.memory()
            for _ in range(IDLE_CONNECTIONS):
                _ask(deployed.port, request, stack)
            found[system.name] = (deployed.memory() - before) / IDLE_CONNECTIONS
    return found


def _ask(port: int, request: bytes, stack: ExitStack) -> None:
    """Send one request on a connection that then stays open."""
    connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
    connection.settimeout(10)
    connection.sendall(request)
    if not connection.recv(65_536).startswith(b"HTTP/1.1 200"):
        raise RuntimeError("an idle connection could not be opened")


def _answers(site: Site, usual: Load) -> list[tuple[int, Load]]:
    return [
        (
            size,
            replace(
                usual,
                paths=_paths(site, f"answer-{size}", [f"/orders/bodies/{size}"]),
                connections=_BODY_CONNECTIONS,
            ),
        )
        for size in BODY_SIZES
    ]


def _uploads(site: Site, usual: Load) -> list[tuple[int, Load]]:
    paths = _paths(site, "upload", ["/orders/uploads"])
    # Without a body wrk.lua sends GET, to which the service responds alike.
    return [(size, replace(usual, paths=paths, connections=_BODY_CONNECTIONS, body=size)) for size in BODY_SIZES]


def _routes(site: Site, plan: Plan, say: Say) -> Sweep:
    """The table of routes is read at the start, so each point has processes of its own."""
    points: dict[str, list[Point]] = {REFERENCE: [], SUBJECT: []}
    for count in ROUTES:
        by_name: dict[str, systems.Commands] = {
            REFERENCE: partial(systems.nginx, routes=count),
            SUBJECT: partial(lockgate.commands, routes=count),
        }
        pair: list[System] = [
            replace(system, commands=by_name[system.name]) for system in systems.ALL if system.name in by_name
        ]
        with ExitStack() as stack:
            deployed = [deploy(system, site, stack) for system in pair]
            own = next(found.port for found in deployed if found.system.name == SUBJECT)
            prefixes = ["/orders", *(f"/r{number:04}" for number in range(1, count))]
            paths = _paths(site, f"routes-{count}", [f"{prefix}/1" for prefix in prefixes])
            load = Load(0, paths, lockgate.token_file(site, own, plan.tokens))
            sweep = _measure(site, plan, say, "routes", "routes", deployed, [(count, load)])
        for name, found in sweep.points.items():
            points[name] += found
    return Sweep("routes", "routes", points)


def _measure(  # noqa: PLR0913, PLR0917 - the first three are the same for every sweep
    site: Site,
    plan: Plan,
    say: Say,
    name: str,
    title: str,
    deployed: Sequence[Deployed],
    loads: Sequence[tuple[int, Load]],
) -> Sweep:
    points: dict[str, list[Point]] = {found.system.name: [] for found in deployed}
    for x, load in loads:
        results: dict[str, list[wrk.Result]] = {found.system.name: [] for found in deployed}
        for number in range(plan.rounds + 1):
            for found in deployed:
                seconds = plan.seconds if number else _WARM_S
                result = wrk.run(replace(load, port=found.port), seconds, site.cores, found)
                if number:
                    results[found.system.name].append(result)
        for system, found_results in results.items():
            points[system].append(_point(x, found_results))
            say(f"{title} {x:,}: {system} {points[system][-1].rate:,.0f}/s, {points[system][-1].cpu_us:,.1f} us")
    return Sweep(name, title, points)


def _point(x: int, results: Sequence[wrk.Result]) -> Point:
    return Point(
        x=x,
        rate=statistics.median(result.rate for result in results),
        bytes_rate=statistics.median(result.bytes_rate for result in results),
        cpu_us=statistics.median(result.cpu_us for result in results),
        memory=max(result.memory for result in results),
        failed=sum(result.refused + result.broken for result in results),
    )


def _paths(site: Site, name: str, paths: Sequence[str]) -> Path:
    file = site.folder / f"{name}.paths"
    file.write_text("".join(f"{path}\n" for path in paths))
    return file
