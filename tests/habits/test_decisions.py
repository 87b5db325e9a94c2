"""The decision records: each is in the index with its status, and each mention of one leads to a record."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tests.habits.files import ROOT, project_files

if TYPE_CHECKING:
    from pathlib import Path

RECORDS: Final = ROOT / "docs" / "decisions"
ROW: Final = re.compile(r"^\| (\d+) \| (.+) \| (.+) \| \d{4}-\d\d-\d\d \|$", re.MULTILINE)
LINKED: Final = re.compile(r"\[(.+)\]\((\d{4}-[a-z0-9-]+\.md)\)")
HEAD: Final = re.compile(r"# (\d+)\. (.+)\n\nStatus: (accepted)(?:, in the place of \d+)? · Date: \d{4}-\d\d-\d\d\n")
MENTION: Final = re.compile(r"decisions/(\d{4})")
READ: Final = frozenset({".md", ".py", ".lua", ".toml", ".yaml", ".yml", ".sh"})


def records() -> list[Path]:
    return sorted(file for file in RECORDS.glob("*.md") if file.name != "README.md")


def test_the_index_has_each_record_with_its_number_title_and_status() -> None:
    rows = ROW.findall((RECORDS / "README.md").read_text())
    assert len(rows) == (RECORDS / "README.md").read_text().count("\n| ") - 1
    listed = {found[2]: (number, found[1], status) for number, cell, status in rows if (found := LINKED.match(cell))}
    written = {}
    for file in records():
        head = HEAD.match(file.read_text())
        assert head is not None, file.name
        assert int(file.name[:4]) == int(head[1])
        written[file.name] = head.groups()
    assert listed == written


def test_each_number_is_given_once() -> None:
    numbers = [int(number) for number, _, _ in ROW.findall((RECORDS / "README.md").read_text())]
    assert numbers == sorted(set(numbers))


def test_each_mention_of_a_record_leads_to_one() -> None:
    there = {file.name[:4] for file in records()}
    mentioned = {
        (str(file.relative_to(ROOT)), number)
        for file in project_files()
        if file.suffix in READ
        for number in MENTION.findall(file.read_text())
    }
    assert mentioned
    assert [one for one in sorted(mentioned) if one[1] not in there] == []
