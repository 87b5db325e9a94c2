"""The sources of Lockgate that are measured, and the interpreters that run them.

Three of them stand side by side in one run: this checkout without compiled modules, this checkout with them, and an
earlier checkout. Figures of different runs on a virtual machine cannot be compared; those of one run can.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from bench.machine import Command

HERE: Final = Path(__file__).parents[1]
_SOURCES: Final = ("gateway", "services", "trust", "common")
OPTIMISED: Final = HERE / "bench" / ".peers" / "pgo" / "bin" / "python"
"""Made by bench/install_peers.sh where the distribution has an interpreter built with PGO."""
# The tree's own way to make a key ring: an earlier tree makes keys of another algorithm.
_MAKE_KEYS: Final = """
import sys
from pathlib import Path
from lockgate import settings
from lockgate.cli import keys
keys.create_missing(settings.load_settings(Path(sys.argv[1])))
"""
_SERVING: Final = "import lockgate; print(getattr(lockgate, 'SERVING', ''))"


@dataclass(frozen=True, slots=True)
class Tree:
    """One checkout, run by one interpreter.

    Attributes:
        name: what the figures are found by.
        label: for the page.
        root: the checkout.
        python: the interpreter, of a venv with what Lockgate needs.
        pure: whether compiled modules are left aside.
    """

    name: str
    label: str
    root: Path
    python: Path = field(default=Path(sys.executable))
    pure: bool = False

    @property
    def env(self) -> dict[str, str]:
        """Where the interpreter finds the tree; `bench` is that of the tree, too."""
        paths = [str(self.root / name) for name in _SOURCES]
        found = {"PYTHONPATH": os.pathsep.join([*paths, str(self.root)])}
        return {**found, "PURE_PYTHON": "1"} if self.pure else found

    def command(
        self, *argv: str, env: Mapping[str, str] | None = None, folder: Path | None = None, port: int | None = None
    ) -> Command:
        """A module with its arguments, as a command to start."""
        return Command([str(self.python), "-P", "-m", *argv], {**self.env, **(env or {})}, folder, port)

    def run(self, *argv: str, env: Mapping[str, str] | None = None, core: int | None = None) -> str:
        """Run the interpreter to its end.

        Returns:
            What it wrote to standard output.

        Raises:
            subprocess.CalledProcessError: it failed.
        """
        pinned = [] if core is None else ["taskset", "-c", str(core)]
        done = subprocess.run(
            [*pinned, str(self.python), "-P", *argv],
            env={**os.environ, **self.env, **(env or {})},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return done.stdout

    def make_keys(self, configuration: Path) -> None:
        """Make the key ring that a configuration names."""
        self.run("-c", _MAKE_KEYS, str(configuration))


COMPILED: Final = "Lockgate, compiled"
OWN: Final = Tree("lockgate", "Lockgate", HERE)
"""This checkout as it is, compiled or not."""


@dataclass(frozen=True, slots=True)
class Grove:
    """The trees of a run.

    Attributes:
        pure: this checkout without compiled modules.
        compiled: this checkout with them; `None` where `make compile` has not been run.
        before: an earlier checkout; `None` where none was given.
        optimised: an interpreter built with profile-guided optimisation; `None` where there is none.
    """

    pure: Tree
    compiled: Tree | None
    before: Tree | None
    optimised: Path | None

    @property
    def now(self) -> Tree:
        """What users get: compiled where it can be."""
        return self.compiled or self.pure

    @property
    def pair(self) -> list[Tree]:
        """The earlier checkout, if any, and what users get now."""
        return [tree for tree in (self.before, self.now) if tree is not None]

    @property
    def all(self) -> list[Tree]:
        """Each once."""
        return [tree for tree in (self.before, self.pure, self.compiled) if tree is not None]

    @property
    def all_optimised(self) -> list[Tree]:
        """The same by the optimised interpreter, without a tree whose compiled modules do not fit that interpreter."""
        python = self.optimised
        if python is None:
            return []
        found = [replace(tree, name=f"{tree.name}-optimised", python=python) for tree in self.all]
        return [tree for tree in found if tree.label != COMPILED or is_compiled(tree)]


def find(before: Path | None, python: Path | None) -> Grove:
    """The trees that there are.

    Args:
        before: the root of an earlier checkout.
        python: of a venv whose interpreter is built with profile-guided optimisation; `None` for that of the bench.
    """
    return Grove(
        pure=Tree("lockgate", "Lockgate", HERE, pure=True),
        compiled=Tree("lockgate-compiled", COMPILED, HERE) if is_compiled(OWN) else None,
        before=None if before is None else Tree("lockgate-before", "Lockgate, before", before.resolve()),
        optimised=python or (OPTIMISED if OPTIMISED.exists() else None),
    )


def is_compiled(tree: Tree) -> bool:
    """Whether compiled modules serve: they are there, and were made of these sources for this interpreter."""
    return tree.run("-c", _SERVING).startswith("compiled")


def describe(python: Path) -> str:
    """The version of an interpreter, as the page names it."""
    found = subprocess.run([python, "-V"], stdout=subprocess.PIPE, text=True, check=True)
    return found.stdout.strip()
