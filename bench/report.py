"""Writes the figures into docs/performance.md, between two markers, and the plots beside it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Final

from bench import charts
from bench.sweeps import IDLE_CONNECTIONS, Sweep
from bench.systems import NGINX, Credential
from bench.table import Plan, Row
from bench.wrk import CONNECTIONS

_MB: Final = 1_000_000
_NOISY: Final = 0.03


def comparison(rows: Sequence[Row], left_out: Sequence[tuple[str, str]], plan: Plan) -> str:
    """The comparison of systems as Markdown.

    Args:
        rows: what was measured.
        left_out: labels of systems that are not in the table, with the reason.
        plan: how it was measured.
    """
    how = (
        f"{CONNECTIONS} connections, {plan.tokens:,} distinct tokens, "
        f"medians of interleaved rounds ({plan.rounds}) of {plan.seconds} s."
    )
    parts = [
        "![share of plain nginx](performance/share.svg)",
        how,
        _table(rows),
        *(f"Left out: {label}: {reason}." for label, reason in left_out),
        _warnings(rows),
    ]
    return "\n\n".join(part for part in parts if part)


def shares(rows: Sequence[Row]) -> str:
    """The bars of the comparison, as SVG."""
    reference = _reference(rows)
    ordered = sorted(rows, key=lambda row: -row.rate)
    found = {_plain(row.system.label): row.rate / reference.rate for row in ordered}
    own = [_plain(row.system.label) for row in ordered if row.system.credential is Credential.OWN]
    return charts.bars("Requests per second as a share of plain nginx", "share", found, own)


def plots(found: Sequence[Sweep]) -> dict[str, str]:
    """A chart for each sweep, as SVG by file name."""
    drawn = {}
    for one in found:
        series = {label: [(x, max(p.cpu_us, 0.1)) for x, p in points.items()] for label, points in one.points.items()}
        title = f"Processor time per request by {one.title}"
        drawn[one.name] = charts.lines(title, one.title, "microseconds", series)
    return drawn


def _reference(rows: Sequence[Row]) -> Row:
    return next((row for row in rows if row.system == NGINX), rows[0])


def _table(rows: Sequence[Row]) -> str:
    """The comparison as Markdown, the fastest first."""
    reference = _reference(rows)
    lines = [
        "| system | does | requests/s | share | µs of CPU | MB idle | MB loaded | failed |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in sorted(rows, key=lambda row: -row.rate):
        failed = sum(result.refused + result.broken for result in row.results)
        cells = [
            row.system.label,
            row.system.does,
            f"{row.rate:,.0f}",
            f"{row.rate / reference.rate:.2f}",
            f"{row.median(lambda result: result.cpu_us):,.1f}",
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


def idle(idle_bytes: Mapping[str, float]) -> str:
    """The memory of idle connections, as a sentence."""
    cells = ", ".join(f"{label} {count / 1000:.1f} KB" for label, count in idle_bytes.items())
    return f"One idle keep-alive connection, over {IDLE_CONNECTIONS:,} that had a request each, kernel aside: {cells}."


def sweep(found: Sweep) -> str:
    """A sweep as Markdown."""
    shown = [label for label in found.points if label != NGINX.label]
    lines = [
        f"### By {found.title}",
        "",
        f"![{found.title}](performance/{found.name}.svg)",
        "",
        f"| {found.title} | {NGINX.label}: requests/s | µs of CPU | MB | "
        + " | ".join(f"{label}: requests/s | share | µs of CPU | MB" for label in shown)
        + " | failed |",
        "|--:|--:|--:|--:|" + "--:|--:|--:|--:|" * len(shown) + "--:|",
    ]
    for x, reference in found.points[NGINX.label].items():
        cells = [f"{x:,}", f"{reference.rate:,.0f}", f"{reference.cpu_us:,.1f}", f"{reference.memory / _MB:.1f}"]
        for label in shown:
            point = found.points[label].get(x)
            if point is None:
                cells += [""] * 4
                continue
            share = point.rate / (reference.rate or math.inf)
            cells += [f"{point.rate:,.0f}", f"{share:.2f}", f"{point.cpu_us:,.1f}", f"{point.memory / _MB:.1f}"]
        failed = sum(points[x].failed for points in found.points.values() if x in points)
        lines.append(f"| {' | '.join([*cells, str(failed)])} |")
    return "\n".join([*lines, *(f"\n{note}" for note in found.notes)])


def _plain(label: str) -> str:
    return label.replace("*", "").replace("`", "")
