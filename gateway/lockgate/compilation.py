"""Chooses between the compiled modules and their sources, before the first of them is imported.

`make compile` and the build of a wheel put extension modules into `_compiled/`, where no import finds them by itself,
and write down which sources and which Python they were made from. They serve only where both are still the same, so
that an edited source is never shadowed by what it used to say.
"""

from __future__ import annotations

import json
import os
import sys
import sysconfig
from collections.abc import Sequence
from hashlib import blake2b
from importlib.abc import MetaPathFinder
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from shutil import which
from types import ModuleType
from typing import Final, NamedTuple

FOLDER: Final = Path(__file__).parent / "_compiled"
MANIFEST: Final = "manifest.json"
SCRIPT: Final = FOLDER.parent.parent.parent / "hatch_build.py"
"""Compiles, in a checkout."""
PACKAGES: Final = ("lockgate", "lockgate_common", "lockgate_trust")
"""The packages whose sources count: compiled code contains constants of modules that it imports."""
PURE_VARIABLE: Final = "PURE_PYTHON"
"""The sources serve where this variable is not empty: for debugging, coverage, and a build without a compiler."""


class _CompiledModules(MetaPathFinder):
    """Finds the compiled modules by their full names."""

    def __init__(self, files: dict[str, Path]) -> None:
        self._files = files

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        file = self._files.get(fullname)
        if file is None:
            return None
        return spec_from_file_location(fullname, file, loader=ExtensionFileLoader(fullname, str(file)))


class Serving(NamedTuple):
    """Which modules serve.

    Attributes:
        compiled: the compiled ones, instead of their sources.
        hindrance: why compiled modules that are present do not serve; empty where none are, or they serve.
    """

    compiled: bool
    hindrance: str = ""

    def __str__(self) -> str:
        words = "compiled" if self.compiled else "pure Python"
        return f"{words}: {self.hindrance}" if self.hindrance else words


def choose_modules(folder: Path = FOLDER) -> Serving:
    """Let the compiled modules serve if they fit.

    Args:
        folder: what a compilation has left, if there was any.
    """
    if not (folder / MANIFEST).exists():
        return Serving(compiled=False)
    manifest = json.loads((folder / MANIFEST).read_text())
    built_for, runs = manifest["python"], name_python()
    if os.environ.get(PURE_VARIABLE):
        return Serving(compiled=False, hindrance=f"{PURE_VARIABLE} is set")
    if built_for != runs:
        return Serving(compiled=False, hindrance=f"the modules are compiled for {built_for}, and this is {runs}")
    if manifest["sources"] != digest_sources(find_packages()):
        return Serving(compiled=False, hindrance="a source has changed since the modules were compiled")
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    sys.meta_path.insert(0, _CompiledModules({name: folder / f"{name}{suffix}" for name in manifest["modules"]}))
    return Serving(compiled=True)


def name_python() -> str:
    """The Python that runs, by the name that the files of its extension modules have."""
    return str(sysconfig.get_config_var("SOABI"))


def digest_sources(packages: dict[str, str]) -> str:
    """A digest of every source of these packages; each is named with its folder."""
    digest = blake2b(digest_size=16)
    for package, top in sorted(packages.items()):
        for folder, within, files in os.walk(top):
            within.sort()
            for name in sorted(files):
                if name.endswith(".py"):
                    file = os.path.join(folder, name)  # noqa: PTH118 - twice as fast, at each start
                    with open(file, "rb") as source:  # noqa: PTH123 - as above
                        content = source.read()
                    digest.update(f"{package}{file.removeprefix(top)} {len(content)}\n".encode())
                    digest.update(content)
    return digest.hexdigest()


def find_packages() -> dict[str, str]:
    """The folders of the packages, without an import of them."""
    specs = {name: find_spec(name) for name in PACKAGES if name != __package__}
    origins = {name: spec.origin for name, spec in specs.items() if spec is not None}
    found = {name: os.path.dirname(origin) for name, origin in origins.items() if origin is not None}  # noqa: PTH120
    return {**found, PACKAGES[0]: str(FOLDER.parent)}


def find_hindrance() -> str | None:
    """Why nothing can be compiled here, if so."""
    if sys.implementation.name != "cpython":
        return f"{sys.implementation.name} is not supported"
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if which(compiler) is None:
        return f"there is no C compiler ({compiler})"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return "there are no header files of Python"
    return None


def describe_modules(serving: Serving, script: Path = SCRIPT) -> str:
    """Which modules serve, for the terminal; and how to compile them, in a checkout where that is possible.

    Args:
        serving: what was chosen.
        script: of the compilation; an installation has none.
    """
    can_compile = not serving.compiled and not os.environ.get(PURE_VARIABLE)
    if can_compile and script.exists() and find_hindrance() is None:
        return f"{serving}; `make compile` makes the gateway faster"
    return str(serving)
