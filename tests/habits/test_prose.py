"""The count of vague pronouns sees prose, all of it and nothing else, and holds both bounds."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.habits import prose
from tests.habits.files import ROOT, project_files

if TYPE_CHECKING:
    from pathlib import Path

SIX = "Nobody knows whose key somebody sent, nor to whom; whoever asks, who answers?"
PLAIN = "The gateway answers the client with the key of the service. " * 400


def hits(folder: Path, name: str, text: str) -> list[tuple[int, str]]:
    """The line and the word of each hit in a file with this name and text."""
    file = folder / name
    file.write_text(text)
    found = prose.count(file)
    assert found is not None
    assert found.words > 0
    return [(number, word) for number, word, _ in found.hits]


def test_six_in_one_file_are_too_many(tmp_path: Path) -> None:
    file = tmp_path / "guide.md"
    file.write_text(f"{SIX}\n{PLAIN}")
    counts = prose.count_all([file])
    assert prose.per_thousand(counts) < prose.PER_THOUSAND
    assert prose.problems(counts) == [f"{file}: 6 vague pronouns, at most 5 are allowed"]


def test_five_in_one_file_are_allowed(tmp_path: Path) -> None:
    file = tmp_path / "guide.md"
    file.write_text(f"{SIX.replace('Nobody', 'No client')}\n{PLAIN}")
    counts = prose.count_all([file])
    assert len(counts[file].hits) == prose.PER_FILE
    assert prose.problems(counts) == []


def test_few_in_each_of_many_files_are_too_many(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.md" for number in range(10)]
    for file in files:
        file.write_text("The client knows whose key it is, and nobody else.")
    assert prose.problems(prose.count_all(files)) == ["200.00 vague pronouns in 1,000 words, at most 2 are allowed"]


def test_docstrings_and_comments_are_prose_and_python_is_not(tmp_path: Path) -> None:
    source = '''"""Whoever reads.

Nobody.
"""

nobody = "somebody"  # whose?
"""Whom."""


def who(whatever: str = "whose") -> str:
    """Everyone's."""
    return whatever  # noqa: WHO
'''
    assert hits(tmp_path, "module.py", source) == [
        (1, "whoever"),
        (3, "nobody"),
        (6, "whose"),
        (7, "whom"),
        (11, "everyone"),
    ]


def test_code_in_markdown_is_not_prose(tmp_path: Path) -> None:
    text = """Run `whoami --who nobody`, or read [the page](who/whose.md).

```python
whoever = nobody
~~~
whose = somebody
```

~~~~
```
who
~~~~
Then *who* reads | whose |
"""
    assert hits(tmp_path, "guide.md", text) == [(13, "who"), (13, "whose")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("script.lua", "local who = 1 -- nobody\n"),
        ("settings.toml", 'who = "#whose"  # nobody\n'),
        ("compose.yaml", "who: whose#who # nobody\n"),
        ("start.sh", "#!/usr/bin/env who\nwho | whose # nobody\n"),
        ("Makefile", "who: whose ## nobody\n"),
        ("example.js", "const who = whose; // nobody\n"),
        ("Example.java", "/** nobody */ who = whose;\n"),
    ],
)
def test_comments_are_prose_in_every_language(tmp_path: Path, name: str, text: str) -> None:
    assert [word for _, word in hits(tmp_path, name, text)] == ["nobody"]


def test_a_file_without_prose_is_left_out(tmp_path: Path) -> None:
    image = tmp_path / "image.png"
    image.write_bytes(b"\x89PNG who")
    assert prose.count_all([image]) == {}


def test_only_files_of_the_project_are_counted(tmp_path: Path) -> None:
    kept = ["docs/guide.md", ".ci/run", "top.md"]
    for name in [*kept, ".venv/lib/site.py", "docs/node_modules/a.js", "src/__pycache__/a.py"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [str(file.relative_to(tmp_path)) for file in project_files(tmp_path)] == sorted(kept)


@pytest.mark.process
def test_hits_are_listed_with_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "guide.md"
    file.write_text("A client.\nSomebody asks.\n")
    command = [sys.executable, "-m", "tests.habits.prose", "--files", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603  # ourselves
    assert run.stdout == f"{file}:2: somebody: Somebody asks.\n1 in 1 files\n"
