"""Each requirement in docs/requirements.md is proved by a test that names it."""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import Final

import pytest

from tests.support.stack import ROOT

ROWS: Final = re.findall(
    r"^\| (R-\d+) \|(?: (K\d+) \|)?", (ROOT / "docs" / "requirements.md").read_text(), re.MULTILINE
)
NAMES: Final = re.compile(r"\b(?:R-\d+|K\d+)\b")


@cache
def named_by_tests() -> frozenset[str]:
    """The requirements and kinds in the docstrings of test functions, and of the modules that hold them."""
    found: set[str] = set()
    for file in (ROOT / "tests").rglob("test_*.py"):
        tree = ast.parse(file.read_text())
        tests = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
        ]
        for node in (tree, *tests):
            found.update(NAMES.findall(ast.get_docstring(node) or ""))
    return frozenset(found)


def test_the_list_can_be_read() -> None:
    """A row that this file does not understand would go untested."""
    lines = (ROOT / "docs" / "requirements.md").read_text().splitlines()
    assert len(ROWS) == sum(line.startswith("| R-") for line in lines) > 0
    assert len(set(ROWS)) == len(ROWS)


@pytest.mark.parametrize(("requirement", "kind"), ROWS, ids=[requirement for requirement, _ in ROWS])
def test_a_requirement_is_named_by_a_test(requirement: str, kind: str) -> None:
    assert {requirement, kind} & named_by_tests()
