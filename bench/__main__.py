"""`python -m bench`: measure, print the tables, and write them into docs/performance.md."""

from __future__ import annotations

import argparse
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from bench import report, sweeps, systems, table
from bench.machine import Cores
from bench.page import DOCUMENT
from bench.report import Findings
from bench.site import opened
from bench.systems import REFERENCE, System
from bench.table import Plan

NEEDED: Final = ("nginx", "wrk")
OPEN_FILES: Final = 20_000
_QUICK: Final = Plan(rounds=1, seconds=1)


def main() -> None:
    """Run the bench."""
    options = _options()
    for program in NEEDED:
        if shutil.which(program) is None:
            sys.exit(f"{program} is not installed; see bench/install_peers.sh")
    _allow_open_files()
    plan = _QUICK if options.quick else Plan(rounds=options.rounds, seconds=options.seconds)
    chosen, left_out = _choose(options.only)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lockgate-bench-") as name, opened(Path(name), Cores.take()) as site:
        rows, failed = table.compare(site, chosen, plan, _say)
        _say(report.table(rows))
        found_sweeps: list[sweeps.Sweep] = []
        idle: dict[str, float] = {}
        if not options.no_sweeps and not options.only:
            idle = sweeps.idle_connections(site)
            found_sweeps = sweeps.run(site, _sweep_plan(plan), _say)
    minutes = (time.monotonic() - start) / 60
    findings = Findings(plan, rows, left_out + failed, found_sweeps, idle, minutes)
    print(report.text(findings))
    if options.quick or options.only or options.no_sweeps:
        print(f"Not written to {DOCUMENT.name}: that takes a whole run.", file=sys.stderr)
    else:
        report.write(findings, DOCUMENT)


def _options() -> argparse.Namespace:
    names = [system.name for system in systems.ALL]
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Lockgate and other gateways.")
    parser.add_argument("--quick", action="store_true", help="one short round of everything: does it work?")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=names, help=f"some of: {', '.join(names)}")
    parser.add_argument("--no-sweeps", action="store_true", help="the table alone")
    parser.add_argument("--rounds", type=int, default=5, help="how often each system is measured")
    parser.add_argument("--seconds", type=int, default=4, help="how long each time")
    return parser.parse_args()


def _choose(only: list[str] | None) -> tuple[list[System], list[tuple[System, str]]]:
    """The systems to measure, and those that are left out with the reason."""
    # Shares need the reference.
    wanted = {REFERENCE, *only} if only else {system.name for system in systems.ALL}
    chosen, left_out = [], []
    for system in systems.ALL:
        if system.name in wanted:
            missing = system.missing()
            if missing:
                left_out.append((system, missing))
            else:
                chosen.append(system)
    return chosen, left_out


def _sweep_plan(plan: Plan) -> Plan:
    """Shorter: there are many points."""
    return Plan(rounds=min(3, plan.rounds), seconds=min(2, plan.seconds), tokens=plan.tokens)


def _allow_open_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < OPEN_FILES:
        sys.exit(f"the bench opens {OPEN_FILES} files; `ulimit -Hn` says {most}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
