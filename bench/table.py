"""The comparison: every system under the same load, interleaved."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench import lockgate, tokens, wrk
from bench.site import PATH, Site
from bench.systems import Credential, Deployed, System, check, deploy
from bench.wrk import Load, Result

TOKENS: Final = 2_000
_WARM_S: Final = 1


@dataclass(slots=True)
class Row:
    """The figures of one system.

    Attributes:
        idle: proportional set size before the first load, in bytes.
        results: of each round.
    """

    system: System
    idle: int = 0
    results: list[Result] = field(default_factory=list)

    def median(self, of: Callable[[Result], float]) -> float:
        """The median over the rounds."""
        return statistics.median(of(result) for result in self.results)

    @property
    def rate(self) -> float:
        """Requests per second at full load."""
        return self.median(lambda result: result.rate)


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often a system is measured.

    Attributes:
        rounds: of the table; sweeps take fewer.
        seconds: of one measurement in the table.
    """

    rounds: int
    seconds: int
    tokens: int = TOKENS


def compare(
    site: Site, systems: Sequence[System], plan: Plan, say: Callable[[str], None]
) -> tuple[list[Row], list[tuple[System, str]]]:
    """Measure the systems in turns, so that a disturbance of the machine disturbs them all.

    Returns:
        The figures, and the systems that could not be measured, with the reason.
    """
    paths = site.folder / "one-path"
    paths.write_text(f"{PATH}\n")
    files = {
        Credential.RS256: tokens.write(site.folder / "rs256", tokens.rs256(plan.tokens, site.peers)),
        Credential.HS256: tokens.write(site.folder / "hs256", tokens.hs256(plan.tokens, site.peers)),
    }
    files[Credential.NONE] = files[Credential.RS256]  # it gets them, and lets them pass unread
    with ExitStack() as stack:
        rows: list[Row] = []
        left_out: list[tuple[System, str]] = []
        deployed: list[Deployed] = []
        loads: list[Load] = []
        for system in systems:
            say(f"starting {system.name}")
            try:
                with ExitStack() as attempt:
                    found = deploy(system, site, attempt)
                    file = files.get(system.credential) or lockgate.token_file(site, found.port, plan.tokens)
                    check(found, _first_line(file))
                    stack.push(attempt.pop_all())
            except (RuntimeError, OSError) as error:
                say(f"{system.name} is left out: {error}")
                left_out.append((system, str(error).splitlines()[0]))
                continue
            rows.append(Row(system, idle=found.memory()))
            deployed.append(found)
            loads.append(Load(found.port, paths, file))
        for found, load in zip(deployed, loads, strict=True):
            wrk.run(load, _WARM_S, site.cores, found)
        for number in range(plan.rounds):
            for row, found, load in zip(rows, deployed, loads, strict=True):
                row.results.append(wrk.run(load, plan.seconds, site.cores, found))
                say(f"round {number + 1}: {row.system.name} {row.results[-1].rate:,.0f}/s")
    return rows, left_out


def _first_line(path: Path) -> str:
    with path.open() as file:
        return file.readline().strip()
