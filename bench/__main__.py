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

from bench import page, parts, trees
from bench.machine import Cores
from bench.page import DOCUMENT
from bench.parts import PARTS, Run
from bench.site import opened
from bench.table import Plan

NEEDED: Final = ("nginx", "wrk")
OPEN_FILES: Final = 20_000
MOST_MINUTES: Final = 20


def main() -> None:
    """Run the bench."""
    options = _options()
    for program in NEEDED:
        if shutil.which(program) is None:
            sys.exit(f"{program} is not installed; see bench/install_peers.sh")
    _allow_open_files()
    chosen = ["table"] if options.only else options.parts or list(PARTS)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lockgate-bench-") as name, opened(Path(name), Cores.take()) as site:
        grove = trees.find(options.baseline, options.python)
        plan = Plan(rounds=1, seconds=1) if options.quick else Plan(rounds=3, seconds=3)
        run = Run(site, grove, plan, _say, is_quick=options.quick, only=options.only or ())
        for part in chosen:
            start = time.monotonic()
            text, plots = PARTS[part](run)
            written = f"{page.measured((time.monotonic() - start) / 60)}.\n\n{text}"
            print(f"{written}\n", flush=True)
            if options.quick or options.only:
                _say(f"Not written to {DOCUMENT.name}: that takes a whole run.")
            else:
                parts.write(part, written, plots)
    minutes = (time.monotonic() - begin) / 60
    _say(f"{minutes:.1f} minutes")
    if minutes > MOST_MINUTES:
        _say(f"longer than {MOST_MINUTES} minutes: the machine had other work, or the bench has grown")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Lockgate and other gateways.")
    parser.add_argument("--quick", action="store_true", help="one short round of everything: does it work?")
    parser.add_argument("--parts", nargs="+", choices=PARTS, help="some of them; each rewrites its part of the page")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some rows of the table; writes nothing")
    parser.add_argument("--baseline", type=Path, help="an earlier checkout of Lockgate, to measure beside this one")
    parser.add_argument("--python", type=Path, help="of a venv on an interpreter built with PGO")
    return parser.parse_args()


def _allow_open_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < OPEN_FILES:
        sys.exit(f"the bench opens {OPEN_FILES} files; `ulimit -Hn` says {most}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
