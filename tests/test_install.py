"""The locks hold everything that lockgate needs, and the Makefile installs them with the oldest pip around."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.support.stack import ROOT

OLD_PIP: Final = "23.0.1"
"""What Debian 12 brings. Before 23.3 pip resolves a package with extras apart from the same package without."""
LOCKS: Final = {"requirements.lock": ("build",), "requirements-dev.lock": ("build", "dev")}
"""Each lock, and the dependency groups in it."""
EXTRAS: Final = {"requirements.lock": ("embedded", "shop"), "requirements-dev.lock": ("embedded", "otel", "shop")}
OWN: Final = "lockgate-trust"
"""A distribution of this repository: installed from its folder, so no lock has it."""
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())
SOURCES: Final = (
    "Makefile",
    "pyproject.toml",
    "hatch_build.py",
    "README.md",
    "LICENSE",
    *LOCKS,
    "gateway",
    "trust",
    "common",
    "services",
)


def pinned(lock: str) -> dict[str, Version]:
    """The packages of a lock that this interpreter installs."""
    lines = [
        line.removesuffix(" \\") for line in (ROOT / lock).read_text().splitlines() if line[:1] not in (" ", "#", "")
    ]
    found: dict[str, Version] = {}
    for requirement in map(Requirement, lines):
        (pin,) = requirement.specifier
        assert pin.operator == "=="
        if requirement.marker is None or requirement.marker.evaluate():
            found[canonicalize_name(requirement.name)] = Version(pin.version)
    return found


def asked_for(lock: str) -> list[Requirement]:
    """What pyproject.toml says has to be in a lock."""
    groups = PROJECT["dependency-groups"]
    texts = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
    for extra in EXTRAS[lock]:
        texts += PROJECT["project"]["optional-dependencies"][extra]
    waiting = list(LOCKS[lock])
    while waiting:
        for entry in groups[waiting.pop()]:
            if isinstance(entry, str):
                texts.append(entry)
            else:
                waiting.append(entry["include-group"])
    return [one for one in map(Requirement, texts) if one.name != OWN]


def lacking(requirement: Requirement, pins: dict[str, Version], extra: str = "") -> bool:
    """Whether a requirement holds on this interpreter, and the pins do not satisfy it."""
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
        return False
    pin = pins.get(canonicalize_name(requirement.name))
    return pin is None or not requirement.specifier.contains(pin, prereleases=True)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_requirement_of_the_project_is_in_the_lock(lock: str) -> None:
    pins, wanted = pinned(lock), asked_for(lock)
    assert len(wanted) > len(PROJECT["project"]["dependencies"])
    assert [str(requirement) for requirement in wanted if lacking(requirement, pins)] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_what_a_locked_package_requires_is_locked_too(lock: str) -> None:
    """Nothing is resolved at installation, so nothing that is missing here would be found there."""
    pins = pinned(lock)
    extras: dict[str, set[str]] = {name: {""} for name in pins}
    asked = asked_for(lock)
    waiting: list[tuple[str, str]] = [(name, "") for name in pins]
    waiting += [(canonicalize_name(one.name), extra) for one in asked for extra in one.extras]
    missing: list[str] = []
    read = 0
    while waiting:
        name, extra = waiting.pop()
        try:
            requires = distribution(name).requires or []
        except PackageNotFoundError:
            continue  # locked for what is not installed here; the other test installs it
        read += 1
        for requirement in map(Requirement, requires):
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
                continue
            if lacking(requirement, pins, extra):
                missing.append(f"{name}[{extra}]: {requirement}")
            target = canonicalize_name(requirement.name)
            for more in requirement.extras - extras.get(target, set()):
                extras.setdefault(target, set()).add(more)
                waiting.append((target, more))
    assert missing == []
    assert read > len(pins) / 2


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_a_hash_and_none_an_address(lock: str) -> None:
    text = (ROOT / lock).read_text()
    packages = re.split(r"\n(?=[A-Za-z0-9])", text.strip())
    assert len(packages) > 50
    assert [package for package in packages if "--hash=sha256:" not in package] == []
    assert "://" not in text


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_makefile_installs_both_locks_with_an_old_pip(tmp_path: Path) -> None:
    """Into an empty environment, from nothing but the files that a clone has."""
    for source in SOURCES:
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, tmp_path / source, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, tmp_path / source)
    python = tmp_path / "python-with-an-old-pip"
    # The environment gets its pip when it is made; everything after that is the Makefile's.
    python.write_text(
        f'#!/bin/sh\nset -e\n"{sys.executable}" "$@"\n'
        f'if [ "$2" = venv ]; then "$3/bin/python" -m pip install --quiet "pip=={OLD_PIP}"; fi\n'
    )
    python.chmod(0o755)
    env = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH", "MAKEFLAGS")}
    subprocess.run(  # noqa: S603 - the project's own Makefile
        ["make", f"PYTHON={python}", ".venv/.installed-dev"],  # noqa: S607 - whichever the machine has
        cwd=tmp_path,
        env=env,
        check=True,
        timeout=800,
    )
    made = tmp_path / ".venv" / "bin" / "python"
    assert said(made, "-m", "pip", "--version").startswith(f"pip {OLD_PIP} ")
    assert said(made, "-m", "pip", "check") == "No broken requirements found.\n"
    assert "serve" in said(tmp_path / ".venv" / "bin" / "lockgate", "--help")


def said(program: Path, *arguments: str) -> str:
    """Standard output of a program that has to succeed."""
    run = subprocess.run(  # noqa: S603 - of the environment that the test made
        [program, *arguments], capture_output=True, text=True, cwd=program.parent, check=False, timeout=60
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout
