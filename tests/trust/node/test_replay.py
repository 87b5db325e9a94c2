"""The memory of used signatures in the package for node is that of the Python package (R-312)."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from lockgate_trust import ReplayGuard
from tests.support.node_modules import node, project
from tests.support.node_service import PROGRAMS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.process

STEPS: Final = (
    ("a", 100, 90),
    ("a", 100, 91),
    ("b", 100, 92),
    ("c", 101, 92),
    ("b", 100, 109.9),
    ("a", 100, 119.9),
    ("d", 130, 119.9),
    ("d", 130, 120),
    ("e", 130, 120),
    ("f", 130, 121),
    ("f", 130, 100),
)
"""Signature, when it expires, now: three fit. A second is forgotten after twice the leeway."""
SOURCE: Final = """
import { ReplayGuard } from "lockgate-trust";
const guard = new ReplayGuard({ capacity: 3, leewayS: 10 });
const told = %s.map(([signature, expires, now]) => [guard.claim(signature, { expires, now }), guard.size]);
console.log(JSON.stringify(told));
"""


def test_r312_each_step_is_answered_as_by_the_python_package(tmp_path: Path) -> None:
    guard = ReplayGuard(3, leeway_s=10)
    refusals, sizes = [], []
    for signature, expires, now in STEPS:
        refusals.append(guard.claim(signature.encode(), expires=expires, now=now))
        sizes.append(len(guard))
    assert set(refusals) == {None, "replayed", "replay_memory_full"}
    assert min(sizes[7:]) < 3
    argv = [node(), "--input-type=module", "--eval", SOURCE % json.dumps(STEPS)]
    cwd = project(tmp_path, PROGRAMS)
    said = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own program
    assert json.loads(said) == [list(step) for step in zip(refusals, sizes, strict=True)]
