"""`python -m tests.habits.counts`: the build of the source in four figures that reading alone does not hold.

- One-word function names: a bare verb says what is done only to a reader with the class at hand.
- Waivers of "too many arguments" (`PLR0913`): each is a constructor or a call that is told too much at once.
- Entries of `Args:` with three words or fewer: most say the name and the type again.
- Modules with a test file of their name in the mirrored folder, where a reader looks for it first.
"""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.habits.files import ROOT, project_files

SAYS_NOTHING: Final = frozenset({"do", "handle", "data"})
"""Words that add nothing to the one beside them: `handle_request` counts as one word."""
WAIVER: Final = re.compile(r"#\s*noqa:[^#]*\bPLR0913\b")
FEW_WORDS: Final = 3
ENTRY: Final = 4
"""How far an entry of a section is indented."""
GENERATED: Final = "migrations/versions"


@dataclass(frozen=True, slots=True)
class Figures:
    """What was counted in one package."""

    functions: int
    one_word: int
    waivers: int
    arguments: int
    """Entries of `Args:` sections."""
    short_arguments: int
    unmirrored: tuple[str, ...]
    """Modules without a test file of their name, below the package."""
    modules: int


def packages() -> dict[str, Path]:
    """Each package of the project, and where its tests are."""
    found = sorted(ROOT.glob("*/lockgate*/__init__.py"))
    return {file.parent.relative_to(ROOT).as_posix(): ROOT / "tests" / file.parent.parent.name for file in found}


def functions_of(tree: ast.Module) -> list[str]:
    """The names of all functions and methods, but for those that Python itself names."""
    return [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("__")
    ]


def is_one_word(name: str) -> bool:
    """Whether one word of this name says something, or none."""
    return len([word for word in name.split("_") if word and word not in SAYS_NOTHING]) <= 1


def arguments_of(docstring: str) -> list[str]:
    """What a docstring says of each argument, without the names; `docstring` is without its indentation."""
    found: list[str] = []
    section = False
    for line in docstring.splitlines():
        indentation = len(line) - len(line.lstrip())
        if line.strip() and indentation == 0:
            section = line == "Args:"
        elif section and indentation == ENTRY:
            found.append(line.partition(": ")[2])
        elif section and line.strip():
            found[-1] += f" {line.strip()}"
    return found


def docstrings_of(tree: ast.Module) -> list[str]:
    """The docstrings of a module, its classes and functions, without their indentation."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, documented)]


def has_code(tree: ast.Module) -> bool:
    """Whether a module defines anything: a package's docstring and its imports need no test."""
    return any(not isinstance(node, ast.Expr | ast.Import | ast.ImportFrom) for node in tree.body)


def is_mirrored(module: Path, tests: Path) -> bool:
    """Whether a test file has this module's name, or begins with it, in the mirrored folder."""
    name = module.stem.strip("_") if module.name != "__init__.py" else module.parent.name
    folder = tests / (module.parent if module.name != "__init__.py" else module.parent.parent)
    return (folder / f"test_{name}.py").exists() or any(folder.glob(f"test_{name}_*.py"))


def figures(package: Path, tests: Path) -> Figures:
    """What is in this package."""
    names: list[str] = []
    arguments: list[str] = []
    unmirrored: list[str] = []
    modules = waivers = 0
    for file in project_files(package):
        if file.suffix != ".py" or GENERATED in file.as_posix():
            continue
        text = file.read_text()
        tree = ast.parse(text)
        names += functions_of(tree)
        waivers += len(WAIVER.findall(text))
        arguments += [one for docstring in docstrings_of(tree) for one in arguments_of(docstring)]
        if has_code(tree):
            modules += 1
            if not is_mirrored(file.relative_to(package), tests):
                unmirrored.append(str(file.relative_to(package)))
    return Figures(
        functions=len(names),
        one_word=sum(is_one_word(name) for name in names),
        waivers=waivers,
        arguments=len(arguments),
        short_arguments=sum(len(one.split()) <= FEW_WORDS for one in arguments),
        unmirrored=tuple(unmirrored),
        modules=modules,
    )


def line(name: str, of: list[Figures]) -> str:
    """A line of the table."""
    functions = sum(one.functions for one in of)
    one_word = sum(one.one_word for one in of)
    modules = sum(one.modules for one in of)
    mirrored = modules - sum(len(one.unmirrored) for one in of)
    return (
        f"{name:24}{functions:10}{one_word:10}{one_word / max(functions, 1):7.1%}"
        f"{sum(one.waivers for one in of):9}{sum(one.arguments for one in of):7}"
        f"{sum(one.short_arguments for one in of):7}{modules:9}{mirrored:10}{mirrored / max(modules, 1):7.1%}"
    )


def main() -> None:
    """Print the table, and the modules without a test file of their name."""
    found = {source: figures(ROOT / source, tests) for source, tests in packages().items()}
    print(
        f"{'':24}{'functions':>10}{'one word':>17}{'waivers':>9}{'Args':>7}{'short':>7}{'modules':>9}{'mirrored':>17}"
    )
    for source, one in found.items():
        print(line(source, [one]))
    print(line("all", list(found.values())))
    if "--missing" in sys.argv[1:]:
        for source, one in found.items():
            print("\n".join(f"{source}/{module}" for module in one.unmirrored))


if __name__ == "__main__":
    main()
