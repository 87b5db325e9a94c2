"""Compiles the hot modules: `python hatch_build.py` in place, and the build of a wheel into the wheel.

The modules are listed in `pyproject.toml`, `[tool.lockgate] compiled`. They are compiled by mypyc from the same
sources that serve without a compiler; `lockgate.compilation` chooses which of the two serve. What hinders a compilation
is said in one line, and a wheel is then built without compiled modules.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT: Final = Path(__file__).parent
ROOTS: Final = ("gateway", "common", "trust")
"""Folders with the packages that the modules import."""
TOOLS: Final = ("mypy>=2.4", "setuptools>=65")


def load_compilation() -> Any:  # noqa: ANN401 - a module
    """The module `lockgate.compilation`, without its package, which is not installed where a wheel is built."""
    spec = importlib.util.spec_from_file_location("compilation", ROOT / "gateway/lockgate/compilation.py")
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - the file is beside this one
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


compilation: Final = load_compilation()


def compile_modules(target: Path) -> None:
    """Compile into a folder, which is replaced.

    Args:
        target: gets the extension modules, named by their modules, and the manifest.

    Raises:
        SystemExit: the modules cannot be compiled; mypyc has printed why.
        Exception: one of setuptools', for the same reason.
    """
    from mypyc.build import mypycify  # noqa: PLC0415 - not needed for a wheel without compiled modules
    from setuptools import Distribution  # noqa: PLC0415 - as above

    sources = [f"gateway/{name.replace('.', '/')}.py" for name in list_modules()]
    shutil.rmtree(target, ignore_errors=True)
    os.chdir(ROOT)
    os.environ["MYPYPATH"] = os.pathsep.join(ROOTS)
    with tempfile.TemporaryDirectory() as build:
        options = ["--config-file=", "--ignore-missing-imports", f"--cache-dir={build}/mypy"]
        extensions = mypycify(
            [*options, *sources], opt_level="2", debug_level="0", group_name="lockgate", target_dir=f"{build}/c"
        )
        command = Distribution({"name": "lockgate", "ext_modules": extensions}).get_command_obj("build_ext")
        command.build_lib, command.build_temp = f"{build}/lib", f"{build}/temp"
        command.ensure_finalized()
        command.run()
        target.mkdir(parents=True)
        names = [extension.name for extension in extensions]
        for name in names:
            shutil.copy(command.get_ext_fullpath(name), target / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}")
    # Last, because the extension modules serve only with a manifest.
    manifest = {"python": compilation.name_python(), "sources": digest_sources(), "modules": names}
    (target / compilation.MANIFEST).write_text(json.dumps(manifest, indent=1))


def list_modules() -> list[str]:
    """The modules to compile."""
    listed: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["lockgate"]["compiled"]
    return listed


def digest_sources() -> str:
    """The digest of the sources here, as `lockgate.compilation` makes it where they are installed."""
    folders = {path.name: str(path) for root in ROOTS for path in (ROOT / root).iterdir()}
    digest: str = compilation.digest_sources({name: folders[name] for name in compilation.PACKAGES})
    return digest


def is_compiled(folder: Path) -> bool:
    """Whether a folder has what a compilation would put there now."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        manifest = json.loads((folder / compilation.MANIFEST).read_text())
        same = manifest["sources"] == digest_sources() and set(list_modules()) <= set(manifest["modules"])
        return same and manifest["python"] == compilation.name_python()
    return False


def try_to_compile(target: Path) -> str | None:
    """Compile in a process of its own; why that was not possible, if so.

    Args:
        target: a folder, which is replaced.
    """
    hindrance = compilation.find_hindrance()
    if hindrance is not None:
        return hindrance
    command = [sys.executable, __file__, "--into", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - this file
    if done.returncode == 0:
        return None
    last = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
    return f"the compilation failed ({last})"


def find_fault(folder: Path) -> str | None:
    """Why a worker cannot import the modules that were just compiled, if so; then the folder is removed.

    An example is a class with a compiled base that is not compiled itself.
    """
    command = [sys.executable, "-c", "import lockgate.app.server"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own module
    if done.returncode == 0:
        return None
    shutil.rmtree(folder)
    return f"a worker cannot import the compiled modules ({done.stderr.strip().splitlines()[-1]})"


class CompilingHook(BuildHookInterface[Any]):
    """Adds compiled modules to a wheel; to none for an editable installation, which `make compile` is for."""

    def dependencies(self) -> list[str]:
        """What the build needs besides hatchling."""
        return [] if os.environ.get(compilation.PURE_VARIABLE) or compilation.find_hindrance() else list(TOOLS)

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and make the wheel one of this Python and this platform."""
        if version == "editable":
            return
        if os.environ.get(compilation.PURE_VARIABLE):
            return
        folder = compilation.FOLDER if is_compiled(compilation.FOLDER) else Path(self.directory) / "compiled"
        hindrance = None if is_compiled(folder) else try_to_compile(folder)
        if hindrance is not None:
            self.app.display_warning(f"lockgate: built as pure Python: {hindrance}")
            return
        build_data["force_include"][str(folder)] = "lockgate/_compiled"
        build_data["pure_python"] = False
        build_data["infer_tag"] = True


def main(arguments: list[str]) -> None:
    """Compile in place; or, for `try_to_compile`, into a folder."""
    if arguments[:1] == ["--into"]:
        compile_modules(Path(arguments[1]))
        return
    hindrance = None
    if not is_compiled(compilation.FOLDER):
        print(f"compiling {len(list_modules())} modules: two minutes of processor time", flush=True)  # noqa: T201
        hindrance = try_to_compile(compilation.FOLDER) or find_fault(compilation.FOLDER)
    if hindrance is not None:
        sys.exit(f"lockgate: not compiled, and the pure modules serve: {hindrance}")
    print("compiled; `lockgate --version` says which modules serve")  # noqa: T201 - a program for the terminal


if __name__ == "__main__":
    main(sys.argv[1:])
