from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from lockgate.cpus import count_usable_cpus

if TYPE_CHECKING:
    from pathlib import Path


def count(folder: Path, group: str, **quotas: str) -> int:
    """The CPUs for a process in `group`; `quotas` gives the `cpu.max` of each part of its path."""
    (folder / "cgroup").write_text(f"0::/{group}\n")
    place = folder / "fs"
    for part in ("", *group.split("/")):
        place /= part
        place.mkdir(exist_ok=True)
        if quota := quotas.get(part or "root"):
            (place / "cpu.max").write_text(f"{quota}\n")
    return count_usable_cpus(folder / "cgroup", folder / "fs")


@pytest.fixture(autouse=True)
def _eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000", 8), ("200000 100000", 2), ("150000 100000", 2), ("20000 100000", 1), ("nonsense", 8)],
)
def test_a_quota_bounds_the_cpus_and_a_part_of_one_counts_as_one(tmp_path: Path, quota: str, expected: int) -> None:
    assert count(tmp_path, "service", service=quota) == expected


def test_the_smallest_quota_on_the_way_up_counts(tmp_path: Path) -> None:
    quotas = {"root": "max 100000", "slice": "300000 100000", "service": "500000 100000"}
    assert count(tmp_path, "slice/service", **quotas) == 3


def test_a_quota_above_the_affinity_mask_grants_no_cpu_more(tmp_path: Path) -> None:
    assert count(tmp_path, "service", service="6400000 100000") == 8


@pytest.mark.parametrize("lines", ["", "4:cpu:/service\n", "0::/../other\n"])
def test_without_a_group_of_version_2_the_affinity_mask_counts(tmp_path: Path, lines: str) -> None:
    (tmp_path / "cgroup").write_text(lines)
    assert count_usable_cpus(tmp_path / "cgroup", tmp_path) == 8
