"""The version stands in pyproject.toml; each other place that cannot read it there says the same."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Final

import pytest

from tests.habits.files import ROOT, project_files

if TYPE_CHECKING:
    from pathlib import Path

VERSION: Final[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
PINNED: Final = re.compile(r"\blockgate(?:-\w+)?(?::|==|-)(\d+\.\d+\.\d+)\b")
"""An image, a requirement or the file of a wheel, with a version."""
RELEASED: Final = re.compile(r"^## \[?v?(\d+\.\d+\.\d+)", re.MULTILINE)
READ: Final = frozenset({".md", ".py", ".toml", ".yaml", ".yml", ".sh", "Dockerfile", "Makefile"})


def said_in(file: Path) -> set[str]:
    """The versions of Lockgate that a file names."""
    text = file.read_text()
    found = set(PINNED.findall(text))
    if file.name == "pyproject.toml":
        found.add(tomllib.loads(text)["project"]["version"])
    if file.name == "CHANGELOG.md":
        found.update(RELEASED.findall(text)[:1])
    return found


def test_every_file_says_the_same_version() -> None:
    said = {
        str(file.relative_to(ROOT)): versions
        for file in project_files()
        if READ & {file.suffix, file.name} and (versions := said_in(file))
    }
    assert {"pyproject.toml", "compose.yaml", "deploy/Dockerfile"} <= said.keys()
    assert {name: versions for name, versions in said.items() if versions != {VERSION}} == {}


@pytest.mark.process
def test_the_program_says_that_version() -> None:
    command = [sys.executable, "-m", "lockgate.cli", "--version"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603  # ourselves
    assert run.stdout.startswith(f"lockgate {VERSION} (")
