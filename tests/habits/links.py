"""`python -m tests.habits.links`: what the Markdown files point to exists; exit status 1 where it does not. Offline.

A link's path is relative to its file, or to the root of the repository when it begins with a slash. A `#name` is the
anchor that GitHub makes of a heading, or an `id` written out. A file of the project that is named in backticks by its
path must exist too, in docstrings and comments as well: such a name is what a move leaves behind.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from tests.habits.files import ROOT, project_files
from tests.habits.prose import docstrings_and_other_prose, markdown_prose

CODE: Final = re.compile(r"``.*?``|`[^`\n]*`")
LINK: Final = re.compile(
    r"""\]\(\s*<?([^)\s>]+)>?[^)]*\)|^\s*\[[^]]+\]:\s+<?(\S+?)>?(?:\s|$)|(?:href|src)="([^"]+)\""""
)
ELSEWHERE: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:|//")
"""A scheme or a host: not looked up."""
NAMED_FILE: Final = re.compile(r"`([\w.-]+/[\w./-]+\.(?:py|md|lua|sh|js|mjs))(?::[^`]*)?`")
HEADING: Final = re.compile(r"#{1,6}\s+(.+?)(?:\s+#+)?$")
ANCHOR: Final = re.compile(r"""(?:id|name)="([^"]+)\"""")
LINE_ANCHOR: Final = re.compile(r"L(\d+)(?:-L(\d+))?")
LINK_TEXT: Final = re.compile(r"!?\[([^]]*)\]\([^)]*\)")


def slug(heading: str) -> str:
    """The anchor that GitHub makes of a heading."""
    text = LINK_TEXT.sub(r"\1", heading.strip()).lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


@cache
def anchors(file: Path) -> frozenset[str]:
    """What may stand behind `#` in a link to this Markdown file."""
    found: set[str] = set()
    seen: Counter[str] = Counter()
    for _, line in markdown_prose(file.read_text()):
        found.update(ANCHOR.findall(line))
        if (heading := HEADING.match(line)) is not None:
            name = slug(heading[1])
            found.add(f"{name}-{seen[name]}" if seen[name] else name)
            seen[name] += 1
    return frozenset(found)


def has_anchor(file: Path, name: str) -> bool:
    """Whether this file has this anchor; a source file has its lines."""
    if file.suffix == ".md":
        return name in anchors(file)
    lines = LINE_ANCHOR.fullmatch(name)
    return lines is not None and int(lines[2] or lines[1]) <= len(file.read_text().splitlines())


def fault_of(target: str, file: Path, root: Path) -> str | None:
    """What is wrong with a link in this file; None where all is well."""
    path, _, anchor = unquote(target).partition("#")
    place = root / path.lstrip("/") if path.startswith("/") else file.parent / path if path else file
    if not place.exists():
        return "does not exist"
    if anchor and not (place.is_file() and has_anchor(place, anchor)):
        return "has no such anchor"
    return None


def broken_links(file: Path, root: Path) -> list[str]:
    """Each link of a Markdown file that leads nowhere."""
    return [
        f"{file.relative_to(root)}:{number}: {target} {fault}"
        for number, line in markdown_prose(file.read_text())
        for target in (next(filter(None, groups)) for groups in LINK.findall(CODE.sub("``", line)))
        if not ELSEWHERE.match(target) and (fault := fault_of(target, file, root)) is not None
    ]


def missing_files(file: Path, files: list[Path], root: Path) -> list[str]:
    """Each file of the project that the prose of this one names and that does not exist.

    A path begins at the root of the repository or at a package. A first folder that the root does not have belongs to
    another project.
    """
    folders = {entry.name for entry in root.iterdir() if entry.is_dir()}
    docstrings, others = docstrings_and_other_prose(file) or ([], [])
    return [
        f"{file.relative_to(root)}:{number}: {name} does not exist"
        for number, line in docstrings + others
        for name in NAMED_FILE.findall(line)
        if name.partition("/")[0] in folders and not any(one.as_posix().endswith(f"/{name}") for one in files)
    ]


def main(root: Path = ROOT) -> int:
    """The exit status."""
    files = project_files(root)
    documents = [file for file in files if file.suffix == ".md"]
    found = [fault for file in documents for fault in broken_links(file, root)]
    found += [fault for file in files for fault in missing_files(file, files, root)]
    print("\n".join(found) if found else f"the links of {len(documents)} documents lead somewhere")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
