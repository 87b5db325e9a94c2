"""What is held against plain nginx, always in turns with it: shares of its rate, one connection alone, and the tail."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final

from bench import lockgate, steady, wrk
from bench.site import PATH, Site
from bench.systems import NGINX, Deployed, deploy, lockgate_of
from bench.table import TOKENS
from bench.trees import Grove, Tree
from bench.wrk import Load, Result

TAIL_PAIRS: Final = 7
TAIL_S: Final = 2
_WARM_S: Final = 1

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Full:
    """One tree under full load, medians over the rounds.

    Attributes:
        share: of the requests per second of nginx in the same round.
        cpu_us: processor time per request, in microseconds.
        alone: with one connection, the processor time per request divided by that of nginx in the same round; `None`
            where not measured.
        foreign: the share of the core that other programs used.
        failed: responses that were not 2xx, and broken connections.
    """

    tree: Tree
    rate: float
    share: float
    cpu_us: float
    alone: float | None
    foreign: float
    failed: int


@dataclass(frozen=True, slots=True)
class Tail:
    """Latency at half load, with nothing else running than nginx and one tree, medians over the pairs.

    Attributes:
        rate: requests per second, for both.
        p99_ms, nginx_ms: 99 of 100 responses were at least as fast.
        ratio: the median of the ratios of each pair.
    """

    tree: Tree
    rate: float
    p99_ms: float
    nginx_ms: float
    ratio: float
    failed: int


def full_load(site: Site, grove: Grove, rounds: int, seconds: int, say: Say) -> list[Full]:
    """All trees by all interpreters, one core, 64 connections, and then one connection."""
    with ExitStack() as stack:
        reference = deploy(NGINX, site, stack)
        runs = [_Run(site, tree, stack) for tree in [*grove.all, *grove.all_optimised]]
        nginx = replace(runs[0].load, port=reference.port)
        for run in runs:
            wrk.run(run.load, _WARM_S, site.cores, run.deployed)
        for number in range(rounds):
            for connections in (wrk.CONNECTIONS, 1):
                load = replace(nginx, connections=connections)
                beside = wrk.run(load, seconds, site.cores, reference)
                for run in runs:
                    # One connection is measured on the interpreter of this program alone, to save time.
                    if connections > 1 or run.tree in grove.all:
                        run.measure(beside, connections, seconds)
            say(f"round {number + 1}: " + ", ".join(f"{run.tree.name} {run.shares[-1]:.2f}" for run in runs))
    return [run.full() for run in runs]


class _Run:
    """One tree, deployed, and what was measured of it so far."""

    def __init__(self, site: Site, tree: Tree, stack: ExitStack) -> None:
        self.tree = tree
        self._site = site
        self.deployed = deploy(lockgate_of(tree), site, stack)
        self.load = _load(site, self.deployed)
        self.shares: list[float] = []
        self._alone: list[float] = []
        self._results: list[Result] = []

    def measure(self, beside: Result, connections: int, seconds: int) -> None:
        result = wrk.run(replace(self.load, connections=connections), seconds, self._site.cores, self.deployed)
        if connections == 1:
            self._alone.append(result.cpu_us / beside.cpu_us)
        else:
            self.shares.append(result.rate / beside.rate)
            self._results.append(result)

    def full(self) -> Full:
        return Full(
            self.tree,
            rate=statistics.median(one.rate for one in self._results),
            share=statistics.median(self.shares),
            cpu_us=statistics.median(one.cpu_us for one in self._results),
            alone=statistics.median(self._alone) if self._alone else None,
            foreign=statistics.median(one.foreign for one in self._results),
            failed=sum(one.refused + one.broken for one in self._results),
        )


def tail(site: Site, tree: Tree, pairs: int, say: Say) -> Tail:
    """The tail of one tree beside that of nginx."""
    with ExitStack() as stack:
        reference = deploy(NGINX, site, stack)
        own = deploy(lockgate_of(tree), site, stack)
        load = _load(site, own)
        wrk.run(load, _WARM_S, site.cores, own)
        rate = wrk.run(load, TAIL_S, site.cores, own).rate / 2
        found = []
        for _ in range(pairs):
            nginx, lockgate_ = (
                steady.measure(replace(load, port=one.port), PATH, rate, TAIL_S, site.cores.load)
                for one in (reference, own)
            )
            found.append((lockgate_, nginx))
            say(f"{tree.name}: p99 {lockgate_.p99_ms:.2f} ms, nginx {nginx.p99_ms:.2f} ms at {rate:,.0f}/s")
    return Tail(
        tree,
        rate,
        p99_ms=statistics.median(one.p99_ms for one, _ in found),
        nginx_ms=statistics.median(one.p99_ms for _, one in found),
        ratio=statistics.median(one.p99_ms / other.p99_ms for one, other in found),
        failed=sum(one.failed + other.failed for one, other in found),
    )


def _load(site: Site, own: Deployed) -> Load:
    paths = site.folder / "paired.paths"
    paths.write_text(f"{PATH}\n")
    return Load(own.port, paths, lockgate.token_file(site, own.port, TOKENS))
