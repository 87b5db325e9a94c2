"""Each number in `docs/requirements.md` is proved by a test that names it, and no other number is used anywhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.habits.files import project_files
from tests.support.stack import ROOT

LIST: Final = ROOT / "docs" / "requirements.md"
TESTS: Final = ROOT / "tests"
NUMBER: Final = re.compile(r"\bR-\d+\b")
IN_A_NAME: Final = re.compile(r"_r(\d+)_")
ROW: Final = re.compile(r"\| (R-\d+) \| (.+) \| (.+) \| ((?:`[\w/]+`(?:, )?)+) \|")
SOURCES: Final = frozenset({".lua", ".md", ".mjs", ".py", ".sh", ".toml", ".yaml", ".yml"})


class Requirement(NamedTuple):
    """A row of the list."""

    number: str
    tests: tuple[str, ...]
    """The end of the path of each test file that proves the requirement, without `.py`."""


@cache
def requirements() -> tuple[Requirement, ...]:
    """The list, in its order."""
    rows = (ROW.fullmatch(line) for line in LIST.read_text().splitlines())
    return tuple(Requirement(row[1], tuple(re.findall(r"`(.+?)`", row[4]))) for row in rows if row is not None)


def functions_of_tests(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The tests in a file."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node


@cache
def numbers_proved_in(file: Path) -> frozenset[str]:
    """The requirements that tests in this file name: in a docstring, or in the name of the test (`test_r59_…`)."""
    found: set[str] = set()
    for test in functions_of_tests(file):
        found.update(NUMBER.findall(ast.get_docstring(test) or ""))
        found.update(f"R-{number}" for number in IN_A_NAME.findall(test.name))
    return frozenset(found)


def files_called(name: str) -> list[Path]:
    """The test files with a path that ends with this name."""
    parts = Path(f"{name}.py").parts
    return [file for file in TESTS.rglob(parts[-1]) if file.parts[-len(parts) :] == parts]


def test_every_row_of_the_list_can_be_read() -> None:
    """A row in another form would go unchecked."""
    rows = [line for line in LIST.read_text().splitlines() if line.startswith("| R-")]
    assert [row for row in rows if ROW.fullmatch(row) is None] == []
    numbers = [requirement.number for requirement in requirements()]
    assert len(numbers) == len(set(numbers)) > 0


@pytest.mark.parametrize("requirement", requirements(), ids=lambda requirement: requirement.number)
def test_a_requirement_is_proved_where_the_list_says(requirement: Requirement) -> None:
    for name in requirement.tests:
        files = files_called(name)
        assert len(files) == 1, f"{name} is the name of {len(files)} test files"
        assert requirement.number in numbers_proved_in(files[0]), f"no test in {files[0]} names {requirement.number}"


def test_only_numbers_of_the_list_are_used() -> None:
    listed = {requirement.number for requirement in requirements()}
    unknown = {
        f"{file.relative_to(ROOT)}: {number}"
        for file in project_files()
        if file.suffix in SOURCES
        for number in NUMBER.findall(file.read_text())
        if number not in listed
    }
    assert unknown == set()
