"""A link in the documents that leads nowhere is found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.habits import links
from tests.habits.files import project_files

if TYPE_CHECKING:
    from pathlib import Path

GUIDE = """# A guide

## Keys & `rings`, [said](other.md) twice
## Twice
## Twice
<a id="own-name"></a>
```
# Not a heading
[x](missing.md)
```
"""


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    (tmp_path / "docs" / "deep").mkdir(parents=True)
    (tmp_path / "docs" / "guide.md").write_text(GUIDE)
    (tmp_path / "docs" / "with space.md").touch()
    (tmp_path / "docs" / "code.py").write_text("one = 1\ntwo = 2\n")
    return tmp_path


def faults(root: Path, text: str) -> list[str]:
    file = root / "docs" / "deep" / "page.md"
    file.write_text(text)
    return links.broken_links(file, root) + links.missing_files(file, project_files(root), root)


@pytest.mark.parametrize(
    "text",
    [
        "[a](../guide.md)",
        "[a](../guide.md#a-guide)",
        "[a](../guide.md#keys--rings-said-twice)",
        "[a](../guide.md#twice), [b](../guide.md#twice-1)",
        "[a](../guide.md#own-name)",
        "[a](/docs/guide.md 'title')",
        "[a](../with%20space.md)",
        "[a](..)",
        "[a](../code.py#L2)",
        "# Here\n[a](#here)",
        "[a]: ../guide.md",
        '<a href="../guide.md">a</a>',
        "![a](https://example.com/missing.svg), [b](mailto:a@example.com), [c](//example.com/x)",
        "`[a](missing.md)` and `docs/code.py`, `docs/code.py: one`, `theirs/missing.py`",
    ],
)
def test_a_link_that_leads_somewhere(docs: Path, text: str) -> None:
    assert faults(docs, text) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[a](guide.md)", "guide.md does not exist"),
        ("![a](../image.svg)", "../image.svg does not exist"),
        ("[a](../guide.md#not-a-heading)", "../guide.md#not-a-heading has no such anchor"),
        ("[a](../guide.md#twice-2)", "../guide.md#twice-2 has no such anchor"),
        ("[a](../code.py#L3)", "../code.py#L3 has no such anchor"),
        ("[a](#here)", "#here has no such anchor"),
        ("[a]: missing.md", "missing.md does not exist"),
        ('<img src="missing.svg">', "missing.svg does not exist"),
        ("see `docs/moved.py`", "docs/moved.py does not exist"),
        ("see `docs/moved.py: one`", "docs/moved.py does not exist"),
    ],
)
def test_a_link_that_leads_nowhere(docs: Path, text: str, fault: str) -> None:
    assert faults(docs, f"{text}\n") == [f"docs/deep/page.md:1: {fault}"]


def test_a_file_that_a_comment_names(docs: Path) -> None:
    module = docs / "docs" / "module.py"
    module.write_text('"""As `docs/code.py` and\n`docs/moved.py`."""\nPATH = "`docs/gone.py`"  # `deep/gone.md`\n')
    (docs / "deep").mkdir()
    assert links.missing_files(module, project_files(docs), docs) == [
        "docs/module.py:2: docs/moved.py does not exist",
        "docs/module.py:3: deep/gone.md does not exist",
    ]


def test_a_fault_decides(docs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (docs / "docs" / "other.md").touch()
    assert links.main(docs) == 0
    (docs / "docs" / "deep" / "page.md").write_text("[a](gone.md)\n")
    assert links.main(docs) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "docs/deep/page.md:1: gone.md does not exist"
