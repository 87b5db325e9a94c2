"""The identity of a forwarded request has been admitted."""

from __future__ import annotations

import ast
from pathlib import Path

import lockgate


def test_only_admission_makes_an_identity() -> None:
    """`Identity` is a `NewType`: mypy holds every other place to what admission returned."""
    source = Path(lockgate.__file__).parent
    makers = {
        str(path.relative_to(source))
        for path in source.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Identity"
    }
    assert makers == {"admission/gate.py"}
