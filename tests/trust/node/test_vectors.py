"""The package for node passes the vectors that the Python package passes (R-311)."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support import trust_vectors
from tests.support.node_modules import node, project
from tests.support.node_service import PROGRAMS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.process


def test_r311_each_vector_has_its_outcome(tmp_path: Path) -> None:
    program = project(tmp_path, PROGRAMS) / "vectors.mjs"
    argv = [node(), str(program), str(trust_vectors.FILE)]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own program
    outcomes = [json.loads(line) for line in said.splitlines()]
    vectors = json.loads(trust_vectors.FILE.read_text())["vectors"]
    expected = [{name: vector[name] for name in ("accepted", "refused") if name in vector} for vector in vectors]
    named = zip(vectors, expected, outcomes, strict=True)
    assert [(vector["name"], outcome) for vector, right, outcome in named if outcome != right] == []
