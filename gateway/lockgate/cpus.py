"""How many CPUs this process may use: what `server.workers = "auto"` stands for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc/self/cgroup")
_CGROUPS: Final = Path("/sys/fs/cgroup")


def count_usable_cpus(cgroup_of_process: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """The CPUs of this process's affinity mask, or fewer where a cgroup (version 2) grants less time; at least 1.

    A part of a CPU counts as one: with `cpu.max` of 1.5 CPUs, two workers use what one would leave.

    Args:
        cgroup_of_process: the file that names the cgroup of this process.
        cgroups: where cgroups are mounted.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Each group above grants its part of its own quota, so the smallest one counts.
    for group in _groups_of(cgroup_of_process):
        quota = _read_quota(cgroups / group / "cpu.max")
        if quota is not None:
            count = min(count, quota)
    return max(count, 1)


def _groups_of(file: Path) -> list[Path]:
    """The cgroup of the process and all groups above it, relative to the mount."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return []
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), None)
    if own is None or ".." in Path(own).parts:  # version 1 alone, or a group outside of this namespace
        return []
    return [Path(own), *Path(own).parents]


def _read_quota(file: Path) -> int | None:
    """The CPUs that a `cpu.max` grants, rounded up; `None`: it bounds nothing."""
    try:
        quota, period = (int(number) for number in file.read_text().split())
        return -(-quota // period)
    except (OSError, ValueError, ZeroDivisionError):  # "max 100000" is no bound
        return None
