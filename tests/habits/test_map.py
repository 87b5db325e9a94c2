"""`tests/README.md` leads from each module to its tests, and helpers of tests stand in `tests/support`."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

import pytest

from tests.habits import counts
from tests.habits.files import ROOT, project_files

TESTS: Final = ROOT / "tests"
ROW: Final = re.compile(r"\| `(\S+)` \| ((?:`\S+`(?:, )?)+) \|")
PACKAGES: Final = counts.packages()
NODE: Final = "trust/node/lib"


def rows_of(package: str) -> dict[str, list[str]]:
    """By module, the tests that the table of this package names."""
    text = (TESTS / "README.md").read_text()
    section = text.partition(f"\n## {package}\n")[2].partition("\n## ")[0]
    return {row[1]: re.findall(r"`(.+?)`", row[2]) for row in ROW.finditer(section)}


def modules_of(package: str) -> list[Path]:
    """The modules of a package, below it and without `.py`."""
    folder = ROOT / package
    files = [file.relative_to(folder) for file in project_files(folder) if file.suffix == ".py"]
    return [file.with_suffix("") for file in files if file.name != "__init__.py" and "migrations" not in file.parts]


def files_named_after(module: Path, tests: Path) -> set[str]:
    """The test files in the mirrored folder with the name of this module, as a row names them."""
    name, folder = module.name.strip("_"), tests / module.parent
    files = [*folder.glob(f"test_{name}.py"), *folder.glob(f"test_{name}_*.py")]
    return {file.relative_to(TESTS).with_suffix("").as_posix() for file in files}


def imported_by(file: Path) -> set[str]:
    """Every module that this file imports, and every name out of a module, with dots."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            found.add(str(node.module))
            found.update(f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_each_module_has_a_row_and_each_row_a_module(package: str) -> None:
    assert sorted(rows_of(package)) == sorted(module.as_posix() for module in modules_of(package))


@pytest.mark.parametrize("package", PACKAGES)
def test_each_file_of_a_row_exists(package: str) -> None:
    named = {name for names in rows_of(package).values() for name in names}
    assert [name for name in sorted(named) if not (TESTS / f"{name}.py").is_file()] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_tests_with_the_name_of_a_module_stand_in_its_row(package: str) -> None:
    rows = rows_of(package)
    for module in modules_of(package):
        assert files_named_after(module, PACKAGES[package]) <= set(rows[module.as_posix()]), module


def test_each_module_for_node_has_a_row_of_files_that_exist() -> None:
    rows = rows_of(NODE)
    assert sorted(rows) == sorted(file.stem for file in (ROOT / NODE).glob("*.js"))
    assert [name for names in rows.values() for name in names if not (TESTS / f"{name}.py").is_file()] == []


def test_support_imports_no_tests() -> None:
    for file in project_files(TESTS / "support"):
        if file.suffix == ".py":
            ours = {name for name in imported_by(file) if name.startswith("tests.")}
            assert {name for name in ours if not name.startswith("tests.support")} == set(), file


def test_no_helper_is_taken_from_a_file_of_tests() -> None:
    for file in project_files(TESTS):
        if file.suffix == ".py":
            taken = {name for name in imported_by(file) if name.startswith("tests.") and ".test_" in name}
            assert taken == set(), file
