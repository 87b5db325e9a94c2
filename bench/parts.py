"""The parts of a run, each with its own place on the page."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from bench import calls, goals, logins, node, page, paired, report, sessions, sweeps, systems, table, verifying
from bench.goals import Measured
from bench.site import Site
from bench.systems import NGINX, System
from bench.table import Plan
from bench.trees import Grove, Tree

T = TypeVar("T")

Part = tuple[str, dict[str, str]]
"""Markdown, and plots as SVG by file name."""


NOT_COMPILED: Final = "`make compile` has not been run, or there is no C compiler"


@dataclass(frozen=True, slots=True)
class Run:
    """What all parts share.

    Attributes:
        say: takes a line of progress.
        is_quick: whether the run only shows that everything works.
        only: names of rows; empty for all.
    """

    site: Site
    grove: Grove
    plan: Plan
    say: Callable[[str], None]
    is_quick: bool
    only: Collection[str] = ()

    @property
    def short(self) -> Plan:
        """For sweeps, which have many points."""
        return Plan(rounds=min(2, self.plan.rounds), seconds=min(2, self.plan.seconds))

    def each(self, measure: Callable[[Tree], T]) -> dict[Tree, T]:
        """Measure the earlier checkout and this one; what fails is said and left out, and the rest goes on."""
        found = {}
        for tree in self.grove.pair:
            try:
                found[tree] = measure(tree)
            except (RuntimeError, OSError, EOFError, subprocess.SubprocessError) as error:
                self.say(f"{tree.name} is left out: {error!r}")
        return found


def write(name: str, text: str, plots: Mapping[str, str]) -> None:
    """Put a part into the page, and its plots into the folder beside the page."""
    folder = page.DOCUMENT.with_suffix("")
    folder.mkdir(exist_ok=True)
    for plot, drawing in plots.items():
        (folder / f"{plot}.svg").write_text(drawing)
    page.write(page.DOCUMENT, name, "make bench", text)


def measure_goals(run: Run) -> Part:
    """The goals: an earlier checkout and this one in turns, where one was given."""
    site, grove, plan, say = run.site, run.grove, run.plan, run.say
    checks = run.each(lambda tree: verifying.costs_of(tree, site.cores.gateway))
    full = paired.full_load(site, grove, 1 if run.is_quick else 5, min(2, plan.seconds), say)
    tails = run.each(lambda tree: paired.tail(site, tree, 1 if run.is_quick else paired.TAIL_PAIRS, say))
    tokens = sweeps.by_tokens(site, grove, run.short, say, sweeps.FEW if run.is_quick else sweeps.TOKENS[-1])
    called = calls.measure(site, grove.pair, plan.rounds, run.short.seconds, say)
    say("workers, memory, start, WebSockets, sessions")
    measured = Measured(
        full,
        list(tails.values()),
        tokens,
        called,
        checks,
        balances=run.each(lambda tree: node.balance(site, tree)),
        memories=run.each(lambda tree: node.memory(site, tree)),
        starts=run.each(lambda tree: node.start_s(tree, site.folder)),
        sockets=run.each(lambda tree: node.socket_us(site, tree, plan.seconds)),
        sessions=run.each(lambda tree: sessions.session_bytes(site, tree)),
    )
    texts = [
        "" if grove.compiled else f"Not compiled: {NOT_COMPILED}.",
        goals.text(measured, grove),
        report.sweep(tokens),
        "### Own calls and tokens",
        calls.text(called),
        verifying.text(checks),
    ]
    return "\n\n".join(text for text in texts if text), report.plots([tokens])


def compare(run: Run) -> Part:
    """The table of systems."""
    chosen: list[System] = []
    left_out: list[tuple[str, str]] = []
    if run.grove.compiled is None:
        left_out.append(("Lockgate, compiled", NOT_COMPILED))
    for system in systems.compared(run.grove):
        if run.only and system.name not in run.only and system is not NGINX:
            continue
        missing = system.missing()
        if missing:
            left_out.append((system.label, missing))
        else:
            chosen.append(system)
    rows, failed = table.compare(run.site, chosen, run.plan, run.say)
    left_out += [(system.label, reason) for system, reason in failed]
    return report.comparison(rows, left_out, run.plan), {"share": report.shares(rows)}


def sweep_all(run: Run) -> Part:
    """How the cost of a request grows."""
    idle = sweeps.idle_connections(run.site, run.grove)
    found = sweeps.run(run.site, run.grove, run.short, run.say)
    return "\n\n".join([report.idle(idle), *map(report.sweep, found)]), report.plots(found)


def log_in(run: Run) -> Part:
    """Logins with the hash of the password, on all cores; one thread less than cores hashes."""
    threads = max(1, (os.cpu_count() or 1) - 1)
    rounds = 1 if run.is_quick else 2
    found = logins.measure(run.site, run.grove.now, threads, rounds, 2 * run.plan.seconds)
    for missed in logins.missed(found):
        run.say(f"goal missed: {missed}")
    return logins.text(found), {}


PARTS: Final[Mapping[str, Callable[[Run], Part]]] = {
    "goals": measure_goals,
    "table": compare,
    "sweeps": sweep_all,
    "logins": log_in,
}
