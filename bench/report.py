"""Writes the figures into docs/performance.md, between two markers, and the plots beside it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import charts, page
from bench.sweeps import IDLE_CONNECTIONS, Sweep
from bench.systems import REFERENCE, SUBJECT, System
from bench.table import Plan, Row
from bench.wrk import CONNECTIONS

_MB: Final = 1_000_000
_NOISY: Final = 0.03
_LABELS: Final = {REFERENCE: "nginx, plain", SUBJECT: "Lockgate"}


@dataclass(frozen=True, slots=True)
class Findings:
    """The figures of one run.

    Attributes:
        left_out: systems that are not in the table, with the reason.
        idle_bytes: for each idle connection, by system; empty where not measured.
        minutes: how long the run took.
    """

    plan: Plan
    rows: Sequence[Row]
    left_out: Sequence[tuple[System, str]]
    sweeps: Sequence[Sweep]
    idle_bytes: Mapping[str, float]
    minutes: float


def text(findings: Findings) -> str:
    """The measured part of the document, without its markers."""
    parts = [_preamble(findings), table(findings.rows)]
    if findings.left_out:
        parts.append("\n\n".join(f"Left out: {system.label}: {reason}." for system, reason in findings.left_out))
    parts += [_warnings(findings.rows), _idle(findings.idle_bytes)]
    parts += [_sweep(sweep) for sweep in findings.sweeps]
    return "\n\n".join(part for part in parts if part) + "\n"


def write(findings: Findings, document: Path) -> None:
    """Put the measured part into the document, and the plots into the folder of the same name.

    Raises:
        ValueError: the document has no markers.
    """
    folder = document.with_suffix("")
    folder.mkdir(exist_ok=True)
    for name, drawing in plots(findings).items():
        (folder / f"{name}.svg").write_text(drawing)
    pictures = "![share of plain nginx](performance/share.svg)"
    page.write(document, "bench", "make bench", f"{pictures}\n\n{text(findings)}")


def plots(findings: Findings) -> dict[str, str]:
    """SVG by file name."""
    reference = _reference(findings.rows)
    ordered = sorted(findings.rows, key=lambda row: -row.rate)
    shares = {_plain(row.system.label): row.rate / reference.rate for row in ordered}
    own = [_plain(row.system.label) for row in ordered if row.system.name.startswith(SUBJECT)]
    found = {"share": charts.bars("Requests per second as a share of plain nginx", "share", shares, own)}
    for sweep in findings.sweeps:
        series = {_LABELS[name]: [(p.x, max(p.cpu_us, 0.1)) for p in points] for name, points in sweep.points.items()}
        title = f"Processor time per request by {sweep.title}"
        found[sweep.name] = charts.lines(title, sweep.title, "microseconds", series)
    return found


def _preamble(findings: Findings) -> str:
    plan = findings.plan
    return (
        f"{page.measured(findings.minutes)}; {CONNECTIONS} connections, "
        f"{plan.tokens:,} distinct tokens, medians of interleaved rounds ({plan.rounds}) of {plan.seconds} s."
    )


def _reference(rows: Sequence[Row]) -> Row:
    return next((row for row in rows if row.system.name == REFERENCE), rows[0])


def table(rows: Sequence[Row]) -> str:
    """The comparison as Markdown, the fastest first."""
    reference = _reference(rows)
    lines = [
        "| system | does | requests/s | share | µs of CPU | p50, ms | p99, ms | MB idle | MB loaded | failed |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in sorted(rows, key=lambda row: -row.rate):
        p50 = statistics.median(latency.p50_ms for latency in row.latencies)
        p99 = statistics.median(latency.p99_ms for latency in row.latencies)
        failed = sum(result.refused + result.broken for result in row.results) + sum(
            latency.failed for latency in row.latencies
        )
        cells = [
            row.system.label,
            row.system.does,
            f"{row.rate:,.0f}",
            f"{row.rate / reference.rate:.2f}",
            f"{row.median(lambda result: result.cpu_us):,.1f}",
            f"{p50:.2f}",
            f"{p99:.2f}",
            f"{row.idle / _MB:.1f}",
            f"{max(result.memory for result in row.results) / _MB:.1f}",
            f"{failed}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _warnings(rows: Sequence[Row]) -> str:
    """The reasons why the figures are less exact than they look."""
    found = []
    foreign = statistics.median(result.foreign for row in rows for result in row.results)
    if foreign > _NOISY:
        found.append(f"The machine was not quiet: other work took {foreign:.0%} of the gateway's core (median).")
    waiting = [_plain(row.system.label) for row in rows if row.median(lambda r: r.busy + r.foreign) < 1 - 2 * _NOISY]
    if waiting:
        found.append(
            f"Not at the limit of its core, because load and service were: {', '.join(waiting)}. "
            "The processor time per request is the better measure there."
        )
    return "\n".join(found)


def _idle(idle_bytes: Mapping[str, float]) -> str:
    if not idle_bytes:
        return ""
    cells = ", ".join(f"{_LABELS[name]} {count / 1000:.1f} KB" for name, count in idle_bytes.items())
    return f"One idle keep-alive connection, over {IDLE_CONNECTIONS:,} that had a request each, kernel aside: {cells}."


def _sweep(sweep: Sweep) -> str:
    lines = [
        f"### By {sweep.title}",
        "",
        f"![{sweep.title}](performance/{sweep.name}.svg)",
        "",
        f"| {sweep.title} | "
        + " | ".join(f"{_LABELS[name]}: requests/s | µs of CPU | MB" for name in sweep.points)
        + " | share | failed |",
        "|--:|" + "--:|--:|--:|" * len(sweep.points) + "--:|--:|",
    ]
    for row in zip(*sweep.points.values(), strict=True):
        by_name = dict(zip(sweep.points, row, strict=True))
        cells = [f"{row[0].x:,}"]
        for point in row:
            cells += [f"{point.rate:,.0f}", f"{point.cpu_us:,.1f}", f"{point.memory / _MB:.1f}"]
        cells += [f"{by_name[SUBJECT].rate / by_name[REFERENCE].rate:.2f}", f"{sum(point.failed for point in row)}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _plain(label: str) -> str:
    return label.replace("*", "").replace("`", "")
