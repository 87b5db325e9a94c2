"""The compiled modules serve only where they are made from these sources for this Python, and otherwise it is said."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pkgutil
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

import lockgate
from lockgate import compilation
from lockgate.compilation import (
    MANIFEST,
    PURE_VARIABLE,
    Serving,
    choose_modules,
    describe_modules,
    digest_sources,
    name_python,
)
from tests.habits.files import ROOT


@pytest.fixture(autouse=True)
def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these tests choose holds for them alone."""
    monkeypatch.delenv(PURE_VARIABLE, raising=False)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))


def compiled(folder: Path, **changed: object) -> Path:
    """A folder as a compilation of the sources here for this Python leaves it, but for what is changed."""
    fitting = {"python": name_python(), "sources": digest_sources(compilation.find_packages()), "modules": []}
    (folder / MANIFEST).write_text(json.dumps({**fitting, **changed}))
    return folder


def test_how_to_compile_is_told_where_that_is_possible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R-251: in a checkout with a compiler, and nowhere else."""
    script = tmp_path / "hatch_build.py"
    pure = Serving(compiled=False)
    monkeypatch.setenv("CC", sys.executable)  # any program
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    (tmp_path / "Python.h").touch()
    assert describe_modules(pure, script) == "pure Python"
    script.touch()
    assert describe_modules(pure, script) == "pure Python; `make compile` makes the gateway faster"
    assert describe_modules(Serving(compiled=True), script) == "compiled"
    (tmp_path / "Python.h").unlink()
    assert describe_modules(pure, script) == "pure Python"
    (tmp_path / "Python.h").touch()
    monkeypatch.setenv("CC", str(tmp_path / "no compiler"))
    assert describe_modules(pure, script) == "pure Python"


def test_compiled_modules_that_fit_serve(tmp_path: Path) -> None:
    assert choose_modules(compiled(tmp_path)) == Serving(compiled=True)
    assert str(Serving(compiled=True)) == "compiled"


def test_without_compiled_modules_the_sources_serve_and_nothing_is_wrong(tmp_path: Path) -> None:
    before = list(sys.meta_path)
    assert choose_modules(tmp_path) == Serving(compiled=False)
    assert str(Serving(compiled=False)) == "pure Python"
    assert sys.meta_path == before


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"python": "cpython-399-riscv"}, "compiled for cpython-399-riscv"),
        ({"sources": "of another day"}, "a source has changed"),
    ],
)
def test_compiled_modules_that_do_not_fit_are_not_served(tmp_path: Path, changed: dict[str, str], said: str) -> None:
    """R-250."""
    before = list(sys.meta_path)
    serving = choose_modules(compiled(tmp_path, **changed))
    assert not serving.compiled
    assert said in str(serving)
    assert "\n" not in str(serving)
    assert sys.meta_path == before


def test_the_sources_serve_where_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PURE_VARIABLE, "1")
    assert str(choose_modules(compiled(tmp_path))) == "pure Python: PURE_PYTHON is set"


@pytest.mark.parametrize("change", ["an edit", "another file", "another name", "another package"])
def test_every_change_of_the_sources_is_noticed(tmp_path: Path, change: str) -> None:
    (tmp_path / "deep").mkdir()
    source = tmp_path / "deep" / "one.py"
    source.write_text("LIMIT = 1\n")
    packages = {"package": str(tmp_path)}
    before = digest_sources(packages)
    (tmp_path / "deep" / "notes.txt").write_text("of no account")
    assert digest_sources(packages) == before
    match change:
        case "an edit":
            source.write_text("LIMIT = 2\n")
        case "another file":
            (tmp_path / "two.py").write_text("")
        case "another name":
            source.rename(tmp_path / "deep" / "won.py")
        case _:
            packages["other"] = str(tmp_path)
    assert digest_sources(packages) != before


def tree(folder: Path, listed: str) -> Path:
    """As much of the project as a compilation needs to fail."""
    for name in ("gateway/lockgate", "common/lockgate_common", "trust/lockgate_trust"):
        (folder / name).mkdir(parents=True)
    shutil.copy(ROOT / "gateway/lockgate/compilation.py", folder / "gateway/lockgate")
    shutil.copy(ROOT / "hatch_build.py", folder)
    (folder / "pyproject.toml").write_text(f'[tool.lockgate]\ncompiled = ["{listed}"]\n')
    return folder


@pytest.mark.process
@pytest.mark.parametrize(
    ("compiler", "said"),
    [("no-such-compiler", "there is no C compiler (no-such-compiler)"), ("true", "the compilation failed (")],
)
def test_what_hinders_a_compilation_is_one_line(tmp_path: Path, compiler: str, said: str) -> None:
    """R-251."""
    folder = tree(tmp_path, "lockgate.no_such_module")
    env = {name: value for name, value in os.environ.items() if name != PURE_VARIABLE}
    ran = subprocess.run(
        [sys.executable, "hatch_build.py"],
        cwd=folder,
        env={**env, "CC": compiler},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert said in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert not (folder / "gateway/lockgate/_compiled").exists()


def test_each_class_with_a_compiled_base_is_compiled() -> None:
    """R-250: a class that is not compiled cannot have such a base, and no worker would start."""
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["lockgate"]["compiled"])
    names = [found.name for found in pkgutil.walk_packages(lockgate.__path__, "lockgate.") if found.name not in listed]
    modules = [importlib.import_module(name) for name in names if not name.endswith("__main__")]
    classes = [(one, module) for module in modules for one in vars(module).values() if inspect.isclass(one)]
    bases = {
        (base.__module__, base.__name__): one.__name__
        for one, module in classes
        if one.__module__ == module.__name__
        for base in one.__bases__
    }
    assert len(bases) > 10
    assert {base: name for base, name in bases.items() if base[0] in listed} == {}
