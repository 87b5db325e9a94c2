"""How the cost of a request grows: with connections, bodies, tokens and routes. For the reference and for Lockgate."""

from __future__ import annotations

import socket
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from bench import lockgate, systems, wrk
from bench.lockgate import Setup
from bench.machine import HOST
from bench.site import BODY_SIZES, PATH, Site
from bench.systems import NGINX, Credential, Deployed, System, deploy, lockgate_of
from bench.table import TOKENS as USUAL_TOKENS
from bench.table import Plan
from bench.trees import Grove, Tree
from bench.wrk import Load

CONNECTIONS: Final = (1, 8, 64, 256, 5_000)
TOKENS: Final = (1, 100, USUAL_TOKENS, 10_000, 100_000, 1_000_000)
TOKENS_BEFORE: Final = (USUAL_TOKENS, 10_000, 100_000)
TOKENS_TOGETHER: Final = (10_000, 100_000)
ROUTES: Final = (3, 1_000)
IDLE_CONNECTIONS: Final = 5_000
FEW: Final = 10_000
"""Tokens at most, where a run is to be short."""
_BODY_CONNECTIONS: Final = 8
_UPLOAD_TOKENS: Final = 8
_WARM_S: Final = 1
_SEEN_S: Final = 120
"""How long a pass over all tokens may take before it is cut off."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Point:
    """Medians at one value of what is varied; see `wrk.Result`."""

    rate: float
    cpu_us: float
    memory: int
    failed: int


@dataclass(slots=True)
class Sweep:
    """The points of one varied parameter, all else equal.

    Attributes:
        name: of the file with the plot.
        title: the varied parameter, with its unit.
        points: by the label of a system and the value of the parameter.
        notes: more to say of them.
    """

    name: str
    title: str
    points: dict[str, dict[int, Point]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def share(self, label: str, x: int) -> float | None:
        """Requests per second as a share of the reference's at the same point; `None` where not measured."""
        own, other = (self.points.get(one, {}).get(x) for one in (label, NGINX.label))
        return None if own is None or other is None else own.rate / other.rate


@dataclass(frozen=True, slots=True)
class Party:
    """One system in a sweep.

    Attributes:
        xs: the points at which it takes part; `None` for all.
    """

    deployed: Deployed
    xs: Sequence[int] | None = None

    @property
    def label(self) -> str:
        """The name of its column."""
        return self.deployed.system.label

    def takes_part(self, x: int) -> bool:
        """Whether it is measured at a point."""
        return self.xs is None or x in self.xs


def run(site: Site, grove: Grove, plan: Plan, say: Say) -> list[Sweep]:
    """Run all sweeps. Each point is measured in turns, like the table."""
    with ExitStack() as stack:
        parties = _pair(site, stack, grove.now)
        own = parties[1].deployed.port
        usual = Load(0, _paths(site, "usual", [PATH]), lockgate.token_file(site, own, USUAL_TOKENS))
        # The load keeps a whole request for each token, body included.
        few = replace(usual, tokens=lockgate.token_file(site, own, _UPLOAD_TOKENS))
        measure = partial(_measure, site, plan, say)
        swept = [
            measure(
                Sweep("connections", "connections"), parties, {n: replace(usual, connections=n) for n in CONNECTIONS}
            ),
            measure(Sweep("answers", "bytes of response body"), parties, _answers(site, usual)),
            measure(Sweep("uploads", "bytes of request body"), parties, _uploads(site, few)),
        ]
    return [*swept, _routes(site, grove.now, plan, say)]


def by_tokens(site: Site, grove: Grove, plan: Plan, say: Say, most: int = TOKENS[-1]) -> Sweep:
    """By distinct tokens, each of which the node has seen once before.

    Args:
        site: the common ground.
        grove: the trees.
        plan: how long.
        say: takes a line of progress.
        most: the largest number of tokens.
    """
    sweep = Sweep("tokens", "distinct tokens")
    with ExitStack() as stack:
        parties = _pair(site, stack, grove.now)
        if grove.before is not None:
            before = lockgate_of(grove.before, label=grove.before.label)
            parties.append(Party(deploy(before, site, stack), TOKENS_BEFORE))
        together = lockgate_of(grove.now, label=f"{grove.now.label}, two workers on the core", workers=2)
        parties.append(Party(deploy(together, site, stack), TOKENS_TOGETHER))
        paths = _paths(site, "tokens", [PATH])
        for count in (count for count in TOKENS if count <= most):
            loads = {}
            for party in parties:
                if not party.takes_part(count):
                    continue
                issuer = parties[1] if party.deployed.system.credential is Credential.NONE else party
                load = Load(party.deployed.port, paths, lockgate.token_file(site, issuer.deployed.port, count))
                loads[party.label] = load
                if issuer is party:
                    seen = wrk.send_each_once(load, _SEEN_S, site.cores)
                    if seen < count:
                        sweep.notes.append(f"{party.label} had seen {seen:,} of {count:,} tokens before.")
            _measure_point(site, plan, say, sweep, parties, count, loads)
    return sweep


def idle_connections(site: Site, grove: Grove) -> dict[str, float]:
    """Bytes of proportional set size that one idle keep-alive connection costs, by the label of a system."""
    found = {}
    for system in (NGINX, lockgate_of(grove.now, label=grove.now.label)):
        with ExitStack() as stack:
            deployed = deploy(system, site, stack)
            token = None
            if system.credential is Credential.OWN:
                token = lockgate.token_file(site, deployed.port, 1).read_text().strip()
            request = f"GET {PATH} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
            # As many again come first: they use up what the start left free on the heap.
            for _ in range(IDLE_CONNECTIONS):
                _ask(deployed.port, request, stack)
            before = deployed.memory()
            for _ in range(IDLE_CONNECTIONS):
                _ask(deployed.port, request, stack)
            found[system.label] = (deployed.memory() - before) / IDLE_CONNECTIONS
    return found


def _pair(site: Site, stack: ExitStack, tree: Tree) -> list[Party]:
    return [Party(deploy(system, site, stack)) for system in (NGINX, lockgate_of(tree, label=tree.label))]


def _ask(port: int, request: bytes, stack: ExitStack) -> None:
    """Send one request on a connection that then stays open."""
    connection = stack.enter_context(socket.create_connection((HOST, port)))
    connection.settimeout(10)
    connection.sendall(request)
    head = connection.recv(65_536)
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"an idle connection could not be opened: {head[:200]!r}")


def _answers(site: Site, usual: Load) -> dict[int, Load]:
    found = {}
    for size in BODY_SIZES:
        paths = _paths(site, f"answer-{size}", [f"/orders/bodies/{size}"])
        found[size] = replace(usual, paths=paths, connections=_BODY_CONNECTIONS)
    return found


def _uploads(site: Site, usual: Load) -> dict[int, Load]:
    paths = _paths(site, "upload", ["/orders/uploads"])
    return {size: replace(usual, paths=paths, connections=_BODY_CONNECTIONS, body=size) for size in BODY_SIZES}


def _routes(site: Site, tree: Tree, plan: Plan, say: Say) -> Sweep:
    """The table of routes is read at the start, so each point has processes of its own."""
    sweep = Sweep("routes", "routes")
    for count in ROUTES:
        own = lockgate_of(tree, label=tree.label)
        pair: list[System] = [
            replace(NGINX, commands=partial(systems.nginx, routes=count)),
            replace(own, commands=partial(lockgate.commands, setup=Setup(tree, routes=count))),
        ]
        with ExitStack() as stack:
            parties = [Party(deploy(system, site, stack)) for system in pair]
            prefixes = ["/orders", *(f"/r{number:04}" for number in range(1, count))]
            paths = _paths(site, f"routes-{count}", [f"{prefix}/1" for prefix in prefixes])
            load = Load(0, paths, lockgate.token_file(site, parties[1].deployed.port, USUAL_TOKENS))
            _measure(site, plan, say, sweep, parties, {count: load})
    return sweep


def _measure(  # noqa: PLR0913, PLR0917 - the first three are the same for every sweep
    site: Site, plan: Plan, say: Say, sweep: Sweep, parties: Sequence[Party], loads: Mapping[int, Load]
) -> Sweep:
    for x, load in loads.items():
        by_party = {party.label: replace(load, port=party.deployed.port) for party in parties}
        _measure_point(site, plan, say, sweep, parties, x, by_party)
    return sweep


def _measure_point(  # noqa: PLR0913, PLR0917 - as above
    site: Site, plan: Plan, say: Say, sweep: Sweep, parties: Sequence[Party], x: int, loads: Mapping[str, Load]
) -> None:
    results: dict[str, list[wrk.Result]] = {label: [] for label in loads}
    for number in range(plan.rounds + 1):
        for party in parties:
            if party.label not in loads:
                continue
            seconds = plan.seconds if number else _WARM_S
            result = wrk.run(loads[party.label], seconds, site.cores, party.deployed)
            if number:
                results[party.label].append(result)
    for label, found in results.items():
        point = _point(found)
        sweep.points.setdefault(label, {})[x] = point
        say(f"{sweep.title} {x:,}: {label} {point.rate:,.0f}/s, {point.cpu_us:,.1f} us")


def _point(results: Sequence[wrk.Result]) -> Point:
    return Point(
        rate=statistics.median(result.rate for result in results),
        cpu_us=statistics.median(result.cpu_us for result in results),
        memory=max(result.memory for result in results),
        failed=sum(result.refused + result.broken for result in results),
    )


def _paths(site: Site, name: str, paths: Sequence[str]) -> Path:
    file = site.folder / f"{name}.paths"
    file.write_text("".join(f"{path}\n" for path in paths))
    return file
