"""The page of figures, docs/performance.md: each program rewrites what stands between its two markers."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

DOCUMENT: Final = Path(__file__).parents[1] / "docs" / "performance.md"


def write(document: Path, name: str, command: str, text: str) -> None:
    """Put Markdown between two markers.

    Args:
        document: the page.
        name: of the markers.
        command: how to measure again, for readers of the page's source.
        text: the figures, as Markdown.

    Raises:
        ValueError: the page has no such markers.
    """
    begin, end = f"<!-- {name}:begin; written by `{command}`, do not edit -->", f"<!-- {name}:end -->"
    before, found, rest = document.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{document} has no line {begin!r} and {end!r}")
    document.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}")


def measured(minutes: float) -> str:
    """When, for how long, and on what, as the beginning of a sentence."""
    machine = f"Linux {platform.release()}, {_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return f"Measured on {datetime.now(UTC):%Y-%m-%d} in {minutes:.0f} minutes: {machine}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
